// Package kubernetes has a real Kubernetes of two nodes on this machine, for tests.
//
//	func TestMain(m *testing.M) { kubernetes.Main(m) }
//
//	func TestIt(t *testing.T) {
//		kubernetes.Start(t) // from here on kubectl is in PATH and reaches it
//		kubernetes.Image(t, "mine", dir)
//		kubernetes.Kubectl(t, "run", "cart", "--image=localhost/mine:1", "--image-pull-policy=Never")
//	}
//
// A test is skipped where the cluster is not built, which test/kubernetes/build does
// once. It is started with the first test that asks for it, and ended after the last
// one. A cluster that runs already, by test/kubernetes/up, is used and left running:
// that is for the work on one test. Only one runs on a machine, so test binaries that start
// it wait for each other.
package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// Dir has the files of the cluster, up's word for it, which is root's alone: kubeconfig with
// the contexts "admin" and "weak", and a directory for each node.
const Dir = "/run/nstool-test/kubernetes"

// Main is [nstest.Main] for the tests that use the cluster, and ends it.
func Main(m *testing.M) { os.Exit(nstest.Checked(ending{m}).Run()) }

type ending struct{ m *testing.M }

func (e ending) Run() int {
	status := e.m.Run()
	if lock != nil {
		defer lock.Close()
	}
	if !ours {
		return status
	}
	if out, err := exec.Command(script("down")).CombinedOutput(); err != nil || len(out) > 0 {
		fmt.Fprintf(os.Stderr, "down: %v: %s\n", err, out)
		return max(status, 1)
	}
	return status
}

var (
	lock *os.File // locked as long as we use the cluster
	ours bool     // it is we who started it
)

// Start starts the cluster unless it runs, or skips the test.
func Start(t testing.TB) {
	t.Helper()
	nstest.Need(t, "root", "kubernetes")
	if err := start(); err != nil {
		t.Fatal(err)
	}
}

var start = sync.OnceValue(func() error {
	if err := os.MkdirAll(filepath.Dir(Dir), 0o755); err != nil { //nolint:gosec // others have theirs there
		return err
	}
	var err error
	if lock, err = os.Create(Dir + ".lock"); err != nil {
		return err
	}
	runs := func() bool {
		_, err := os.Stat(filepath.Join(Dir, "env")) // which up writes last
		return err == nil
	}
	// Many may use one that runs; one that we start is ours alone, since it ends with us.
	for {
		ours = !runs()
		how := syscall.LOCK_SH
		if ours {
			how = syscall.LOCK_EX
		}
		if err := syscall.Flock(int(lock.Fd()), how); err != nil {
			return err
		}
		if runs() != ours {
			break
		}
	}
	if ours {
		if out, err := exec.Command(script("up")).CombinedOutput(); err != nil {
			return fmt.Errorf("up: %w: %s", err, out)
		}
	}
	os.Setenv("KUBECONFIG", filepath.Join(Dir, "kubeconfig"))
	os.Setenv("PATH", filepath.Join(Dir, "bin")+":"+os.Getenv("PATH"))
	return nil
})

// script returns the path of one of the scripts beside this file.
func script(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), name)
}

// Image makes an image of a directory and gives it to every node, as localhost/NAME:1.
func Image(t testing.TB, name, dir string) {
	t.Helper()
	if out, err := exec.Command(script("image"), name, dir).CombinedOutput(); err != nil {
		t.Fatalf("image %s: %v: %s", name, err, out)
	}
}

// Kubectl runs kubectl and returns its standard output, trimmed.
func Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	r := Run("", append([]string{"kubectl"}, args...)...)
	if r.Err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), r.Err, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// Apply creates what the manifest says, and deletes it at the end of the test.
func Apply(t testing.TB, manifest string) {
	t.Helper()
	if r := Run(manifest, "kubectl", "create", "-f", "-"); r.Err != nil {
		t.Fatalf("kubectl create: %v: %s", r.Err, r.Stderr)
	}
	t.Cleanup(func() {
		if r := Run(manifest, "kubectl", "delete", "--force", "--grace-period=0", "--ignore-not-found", "-f", "-"); r.Err != nil {
			t.Errorf("kubectl delete: %v: %s", r.Err, r.Stderr)
		}
	})
}

// A Result is what became of a command.
type Result struct {
	Stdout, Stderr string
	Status         int // -1 if it did not exit, or not run
	Err            error
}

// Run runs a command with that standard input.
func Run(stdin string, command ...string) Result {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // of a test
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	r := Result{Err: cmd.Run()}
	var exit *exec.ExitError
	if r.Err != nil {
		r.Status = -1
	}
	if errors.As(r.Err, &exit) {
		r.Status = exit.ExitCode()
	}
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	return r
}

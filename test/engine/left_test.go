package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// TestLeftBehind starts a container anew in whose network and IPC namespace
// another one is: that one stays in namespaces that are nobody's. The command that
// is proposed brings them together again, and touches nobody else.
func TestLeftBehind(t *testing.T) {
	for _, of := range []engine.Engine{engine.Docker, engine.Podman} {
		t.Run(string(of), func(t *testing.T) {
			t.Parallel()
			partner := engine.Start(t, of, engine.Options{Args: []string{"--ipc", "shareable"}})
			box := engine.Start(t, of, engine.Options{Args: []string{"--network", "container:" + partner.Name, "--ipc", "container:" + partner.Name}})
			bystander := engine.Start(t, of, engine.Options{})
			shares := func() string {
				t.Helper()
				out, err := exec.Command(nstest.Nstool(t), "containers", "-n", "-o", "net,ipc,uts", "container:"+string(of)+":"+box.Name).Output()
				if err != nil {
					t.Fatal(err)
				}
				return strings.Join(strings.Fields(string(out)), " ")
			}
			subject := string(of) + ":" + box.Name
			left := func() []finding { return doctor(t, subject, "--check", "left") }
			if got, want := shares(), fmt.Sprintf("=%s =%[1]s own", partner.Name); got != want {
				t.Errorf("before: %q, want %q", got, want)
			}
			if f := left(); f != nil {
				t.Errorf("before: %+v", f)
			}

			restart(t, of, partner.Name)
			if got, want := shares(), "other other own"; got != want {
				t.Errorf("left behind: %q, want %q", got, want)
			}
			out, _ := exec.Command(nstest.Nstool(t), "show", subject).CombinedOutput()
			if n := strings.Count(string(out), "of another container, which has left it"); n != 2 {
				t.Errorf("show says so %d times, not 2:\n%s", n, out)
			}
			f := left()
			want := fmt.Sprintf("%s was left behind in the ipc and net namespaces of another container: %s:%s has others since it was started anew", subject, of, partner.Name)
			if len(f) != 1 || f[0].What != want || f[0].Fix != fmt.Sprintf("%s restart -- %s", of, box.ID) {
				t.Fatalf("%+v, want %q", f, want)
			}

			before := firstOf(t, of, bystander.Name)
			words := strings.Fields(f[0].Fix)
			if of == engine.Podman { // as this package has it run
				words = slices.Insert(words, 1, "--runtime", "runc", "--cgroup-manager", "cgroupfs")
				words = slices.Insert(words, slices.Index(words, "restart")+1, "-t", "0")
			} else {
				words = slices.Insert(words, 2, "-t", "0")
			}
			if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v: %s", words, err, out)
			}
			if got, want := shares(), fmt.Sprintf("=%s =%[1]s own", partner.Name); got != want {
				t.Errorf("after the fix: %q, want %q", got, want)
			}
			if f := left(); f != nil {
				t.Errorf("after the fix: %+v", f)
			}
			if after := firstOf(t, of, bystander.Name); after != before {
				t.Errorf("%s was process %s, and is %s", bystander.Name, before, after)
			}
		})
	}
}

// restart has the engine start a container anew, and waits until its first process
// is another one.
func restart(t *testing.T, of engine.Engine, name string) {
	t.Helper()
	before := firstOf(t, of, name)
	words := []string{"restart", "-t", "0", name}
	if of == engine.Podman {
		words = append([]string{"--runtime", "runc", "--cgroup-manager", "cgroupfs"}, words...)
	}
	if out, err := exec.Command(string(of), words...).CombinedOutput(); err != nil {
		t.Fatalf("restart of %s: %v: %s", name, err, out)
	}
	if after := firstOf(t, of, name); after == before || after == "0" {
		t.Fatalf("the control: the first process of %s is %s still", name, after)
	}
}

// firstOf returns the PID of the first process of a container, as its engine has it.
func firstOf(t *testing.T, of engine.Engine, name string) string {
	t.Helper()
	cmd := exec.Command(string(of), "inspect", "-f", "{{.State.Pid}}", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// A bundle is a container of runc, which anybody may start and stop.
type bundle struct {
	name, dir string
	host      string // a file of the host that is not in the container
}

// newBundle makes a container that takes its time to be set up, and ends soon.
func newBundle(t *testing.T, words ...string) *bundle {
	t.Helper()
	nstest.Need(t, "root", "runc", "busybox", "nsenter")
	b := &bundle{name: "attack-" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid()), dir: nstest.Dir(t)}
	b.host = filepath.Join(b.dir, "host")
	mustWrite(t, b.host, "", 0o644)
	root := nstest.Busybox(t)
	mustWrite(t, filepath.Join(root, "etc/hostname"), "inside\n", 0o644)
	if err := os.Rename(root, filepath.Join(b.dir, "rootfs")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("runc", "spec", "-b", b.dir).CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	process, linux := config["process"].(map[string]any), config["linux"].(map[string]any)
	process["terminal"], process["args"] = false, words
	linux["cgroupsPath"] = "/" + b.name
	linux["seccomp"] = map[string]any{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []any{map[string]any{"names": []string{"bdflush"}, "action": "SCMP_ACT_ERRNO"}}}
	config["hooks"] = map[string]any{"createContainer": []any{map[string]any{"path": "/bin/sleep", "args": []string{"sleep", "0.1"}}}}
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(b.dir, "config.json"), string(text), 0o644)
	t.Cleanup(func() { _ = exec.Command("runc", "delete", "-f", b.name).Run() }) //nolint:errcheck // it may be gone
	return b
}

// again calls do again and again, until the test ends.
func again(t *testing.T, do func()) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				do()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// first returns a process that is in the control group of the container, as
// whoever looks for it there finds it, or "".
func first(name string) string {
	var found string
	for _, pattern := range []string{"/sys/fs/cgroup/%s/cgroup.procs", "/sys/fs/cgroup/*/%s/cgroup.procs", "/sys/fs/cgroup/*/docker/%s/cgroup.procs"} {
		files, _ := filepath.Glob(fmt.Sprintf(pattern, name)) //nolint:errcheck // the pattern is good
		for _, file := range files {
			text, _ := os.ReadFile(file) //nolint:errcheck // it is gone
			if pid, _, ok := strings.Cut(string(text), "\n"); ok {
				found = pid
			}
		}
	}
	return found
}

// A tally is what came of many tries to get into a container.
type tally struct {
	tries, inside, starting, gone int
	host, raised, unfiltered      int
}

func (n *tally) won() string {
	if n.host+n.raised+n.unfiltered == 0 {
		return ""
	}
	return fmt.Sprintf("of %d tries %d ran in the host's root, %d with all capabilities, %d without a filter", n.tries, n.host, n.raised, n.unfiltered)
}

// enter tries to run a program in a container by the given words.
func (n *tally) enter(t *testing.T, b *bundle, words ...string) {
	t.Helper()
	n.tries++
	script := `cat /proc/self/status; if [ -e "$1" ]; then echo host; else echo inside; fi`
	out, err := command(t, append(words, "/bin/sh", "-c", script, "sh", b.host)...).CombinedOutput()
	text := string(out)
	switch {
	case strings.Contains(text, "is being started"):
		n.starting++
	case !strings.Contains(text, "CapBnd"):
		n.gone++
		if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() == 0 || text == "" {
			t.Logf("%v: %v: %s", words, err, text)
		}
	default:
		if strings.HasSuffix(text, "inside\n") {
			n.inside++
		}
		if strings.Contains(text, "\nhost\n") {
			n.host++
		}
		if all := fact(t, text, "CapBnd:"); strings.HasPrefix(all, "000001f") {
			n.raised++
		}
		if fact(t, text, "Seccomp:") == "0" {
			n.unfiltered++
		}
	}
}

// tries is how often something is tried that goes well once in a while.
func tries() int {
	if testing.Short() {
		return 10
	}
	return 60
}

// A container that is started again and again has its name before it has its
// root directory, its bounds and its filter.
func TestCrashLoop(t *testing.T) {
	t.Run("runc", func(t *testing.T) {
		t.Parallel()
		b := newBundle(t, "/bin/sleep", "0.1")
		again(t, func() {
			_ = exec.Command("runc", "run", "-b", b.dir, b.name).Run() //nolint:errcheck // it ends as it likes
			_ = exec.Command("runc", "delete", "-f", b.name).Run()     //nolint:errcheck // it may be gone
		})
		crashLoop(t, b, "runc:"+b.name, b.name)
	})
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		c := engine.Start(t, engine.Docker, engine.Options{})
		again(t, func() { _ = exec.Command("docker", "restart", "-t", "0", c.ID).Run() }) //nolint:errcheck // the next one may go well
		b := &bundle{host: filepath.Join(nstest.Dir(t), "host")}
		mustWrite(t, b.host, "", 0o644)
		crashLoop(t, b, "docker:"+c.Name, c.ID)
	})
}

func crashLoop(t *testing.T, b *bundle, target, group string) {
	t.Helper()
	t.Run("control", func(t *testing.T) {
		var n tally
		for limit := time.Now().Add(time.Minute); n.won() == "" && time.Now().Before(limit); {
			if pid := first(group); pid != "" {
				n.enter(t, b, program(t, "nsenter"), "-t", pid, "-a")
			}
		}
		if n.won() == "" {
			t.Errorf("nsenter withstood in %d tries: it proves nothing", n.tries)
		}
		t.Logf("against nsenter: %s", n.won())
	})
	t.Run("nstool", func(t *testing.T) {
		var n tally
		for start := time.Now(); n.tries < 2*tries() && time.Since(start) < 10*time.Second; {
			n.enter(t, b, program(t, "nstool"), "enter", "-c", target)
			n.enter(t, b, program(t, "nstool"), "enter", "--wait=5s", "-c", target)
		}
		t.Logf("%+v", n)
		if n.won() != "" {
			t.Errorf("the attack succeeded: %s", n.won())
		}
	})
	t.Run("cp", func(t *testing.T) {
		host, err := os.ReadFile("/etc/hostname")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for range tries() / 3 {
			out, err := command(t, program(t, "nstool"), "cp", "--wait=5s", target+":/etc/hostname", "-").CombinedOutput()
			switch {
			case string(out) == string(host):
				got["the host's file"]++
			case err != nil:
				got["an error"]++
			default:
				got["the container's"]++
			}
		}
		t.Log(got)
		if got["the host's file"] > 0 || got["the container's"] == 0 {
			t.Errorf("of %d copies: %v", tries()/3, got)
		}
	})
}

// What was created and not started is not entered before it is: neither its
// program nor its filter are there.
func TestCreated(t *testing.T) {
	b := newBundle(t, "/bin/sleep", "1000")
	create := exec.Command("runc", "create", "-b", b.dir, b.name)
	if err := create.Run(); err != nil { // it has our output while it lives
		t.Fatal(err)
	}
	tool, name := program(t, "nstool"), "runc:"+b.name
	for _, words := range [][]string{
		{"enter", "-c", name, "true"},
		{"enter", "--wait=100ms", "-p", name, "true"},
		{"enter", "-p", fmt.Sprint(os.Getpid()), "--net=" + name, "true"},
		{"enter", "-p", "self", "--tools=" + name, "true"},
		{"run", "--uts", "--join", "net=" + name, "true"},
		{"cp", name + ":/etc/hostname", "-"},
		{"cp", "--wait=100ms", name + ":/etc/hostname", "-"},
		{"forward", name, "0:80"},
		{"pin", "add", b.name, "-p", name},
		{"show", name},
		{"show", "-t", "net", name},
		{"diff", name, "self"},
	} {
		out, err := command(t, append([]string{tool}, words...)...).CombinedOutput()
		e, ok := errors.AsType[*exec.ExitError](err)
		want := 1
		switch words[0] {
		case "enter", "run":
			want = 125
		case "diff":
			want = 2 // 1 says that they differ
		}
		if !ok || e.ExitCode() != want || !strings.Contains(string(out), "is being started") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("nstool %v: %v: %s", words, err, out)
		}
	}
	var n tally
	pid := first(b.name)
	n.enter(t, b, tool, "enter", "-p", pid)
	if n.inside != 1 {
		t.Errorf("nothing of it is asked of a PID: %+v", n)
	}
	waiting := command(t, tool, "enter", "--wait", "-c", name, "cat", "/etc/hostname")
	var out strings.Builder
	waiting.Stdout, waiting.Stderr = &out, &out
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("runc", "start", b.name).CombinedOutput(); err != nil {
		t.Fatalf("runc start: %v: %s", err, said)
	}
	if err := waiting.Wait(); err != nil || out.String() != "inside\n" {
		t.Errorf("enter --wait: %v: %s", err, out.String())
	}
	n = tally{}
	n.enter(t, b, tool, "enter", "-c", name)
	if n.inside != 1 || n.won() != "" {
		t.Errorf("when it was started: %+v", n)
	}
}

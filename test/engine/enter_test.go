package engine_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// links is a shell's words that print the namespaces it is in.
var links = "for t in " + strings.Join(types, " ") + "; do readlink /proc/self/ns/$t; done"

// enter runs nstool enter and returns what was written, standard error too.
func enter(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(nstest.Nstool(t), append([]string{"enter"}, args...)...).CombinedOutput()
	return string(out), err
}

// wantInside enters a target and looks at where that is.
func wantInside(t *testing.T, target string, pid int) {
	t.Helper()
	out, err := enter(t, "-p", target, "sh", "-c", links)
	if err != nil {
		t.Errorf("enter %s: %v: %s", target, err, out)
		return
	}
	want := namespaces(t, pid)
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if i >= len(types) || line != want[types[i]] {
			t.Errorf("enter %s: line %d is %q, process %d is in %v", target, i, line, pid, want)
			return
		}
	}
}

// TestEnter enters a container of every engine by name: all of it, with its
// shell, and its network alone, with a program of the host.
func TestEnter(t *testing.T) {
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{})
			target := string(e) + ":" + c.Name
			wantInside(t, target, c.PID)
			wantInside(t, fmt.Sprint(c.PID), c.PID)

			out, err := enter(t, "-c", c.Name, "--net", "readlink", "/proc/self/ns/net")
			if got, want := strings.TrimSpace(out), namespaces(t, c.PID)["net"]; err != nil || got != want {
				t.Errorf("enter %s --net: %v: %s, not %s", c.Name, err, got, want)
			}
			_, err = enter(t, "-p", target, "sh", "-c", "exit 42")
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 42 {
				t.Errorf("enter %s sh -c 'exit 42': %v", target, err)
			}

			c.Stop()
			out, err = enter(t, "-p", target, "true")
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 125 || strings.Count(out, "\n") > 2 || !strings.Contains(out, c.Name) {
				t.Errorf("enter %s, which is gone: %v: %s", target, err, out)
			}
		})
	}
	t.Run("pod", func(t *testing.T) {
		t.Parallel()
		for _, hostNetwork := range []bool{false, true} {
			p := engine.StartPod(t, hostNetwork, "web", "side")
			for _, c := range p.Containers {
				wantInside(t, fmt.Sprintf("pod:%s/%s/%s", p.Namespace, p.Name, c.Name), c.PID)
				wantInside(t, "containerd:"+c.ID[:12], c.PID)
			}
			// Two containers are in it: which one is asked, with the words for each.
			pod := fmt.Sprintf("pod:%s/%s", p.Namespace, p.Name)
			out, err := enter(t, "-p", pod, "true")
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 125 || !strings.Contains(out, pod+"/side") || !strings.Contains(out, pod+"/web") {
				t.Errorf("enter %s: %v: %s", pod, err, out)
			}
		}
	})
}

// TestEnterBare runs what there is in an image without a shell, and says of
// what there is not that it is not there.
func TestEnterBare(t *testing.T) {
	c := engine.Start(t, engine.Docker, engine.Options{Bare: true})
	if out, err := enter(t, "-c", c.Name, "/sleep", "0"); err != nil {
		t.Errorf("/sleep: %v: %s", err, out)
	}
	out, err := enter(t, "-c", c.Name, "sh")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 127 {
		t.Errorf("sh: %v: %s", err, out)
	}
}

// TestEnterFull enters a container that has as many processes as it may have, or
// whose user has.
func TestEnterFull(t *testing.T) {
	user := []string{"-u", "54399", "--ulimit", "nproc=5"}
	// The runtime's own threads count in the cgroup while a container starts, up to
	// about ten on a loaded machine.
	limit := []string{"--pids-limit", "20"}
	for _, full := range []struct {
		engine.Engine
		args  []string
		sleep int
	}{{engine.Docker, limit, 19}, {engine.Podman, limit, 19}, {engine.Docker, user, 4}} {
		t.Run(string(full.Engine)+full.args[0], func(t *testing.T) {
			c := engine.Start(t, full.Engine, engine.Options{
				Args:    full.args,
				Command: []string{"sh", "-c", fmt.Sprintf("for i in $(seq %d); do sleep 10000 & done; wait", full.sleep)},
			})
			if out, err := enter(t, "-p", fmt.Sprint(c.PID), "sh", "-c", "sleep 0; :"); err == nil {
				t.Fatalf("it is not full: %s", out)
			}
			for _, flags := range [][]string{nil, {"--tools"}} {
				out, err := enter(t, append(append([]string{"-c", c.Name}, flags...), "cat", "/proc/1/cmdline")...)
				if err != nil || !strings.Contains(out, "wait") {
					t.Errorf("enter -c %s %v: %v: %s", c.Name, flags, err, out)
				}
			}
		})
	}
}

// TestEnterPod enters what the containers of a pod share by --pod NS/POD, with a
// program of the host, and with /CONTAINER one container whole.
func TestEnterPod(t *testing.T) {
	p := engine.StartPod(t, false, "web", "side")
	pod := p.Namespace + "/" + p.Name
	host, shared := namespaces(t, "self"), namespaces(t, p.PID)
	out, err := enter(t, "--pod", pod, "sh", "-c", links)
	if err != nil {
		t.Fatalf("enter --pod %s: %v: %s", pod, err, out)
	}
	got := strings.Fields(out)
	for i, typ := range types {
		want := host[typ]
		if typ == "net" || typ == "ipc" || typ == "uts" {
			want = shared[typ]
		}
		if i >= len(got) || got[i] != want {
			t.Errorf("enter --pod %s: %s is %v, not %s", pod, typ, got, want)
		}
	}
	out, err = enter(t, "--pod", pod, "--net", "sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/uts")
	if want := shared["net"] + "\n" + host["uts"] + "\n"; err != nil || out != want {
		t.Errorf("enter --pod %s --net: %v: %q, not %q", pod, err, out, want)
	}
	for _, c := range p.Containers {
		out, err := enter(t, "--pod", pod+"/"+c.Name, "sh", "-c", links)
		want := namespaces(t, c.PID)
		for i, line := range strings.Fields(out) {
			if err != nil || line != want[types[i]] {
				t.Errorf("enter --pod %s/%s: %v: %s is %s, not %v", pod, c.Name, err, types[i], line, want)
			}
		}
	}

	for _, wrong := range []struct{ word, says string }{
		{pod[:len(pod)-1], "the nearest name is " + pod},
		{pod + "/wep", "the nearest name is " + pod + "/web"},
		{p.Name, "it is written NAMESPACE/POD[/CONTAINER]"},
		{"a/b/c/d", "it is written NAMESPACE/POD[/CONTAINER]"},
	} {
		out, err := enter(t, "--pod", wrong.word, "true")
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 125 || !strings.Contains(out, wrong.says) || strings.Count(out, "\n") > 2 {
			t.Errorf("enter --pod %s: %v: %s", wrong.word, err, out)
		}
	}

	words, err := exec.Command(nstest.Nstool(t), "__complete", "enter", "--pod", p.Namespace+"/"+p.Name[:4]).Output()
	for _, want := range []string{pod + "\t", pod + "/web\t", pod + "/side\t"} {
		if err != nil || !strings.Contains(string(words), want) {
			t.Errorf("the shell is not offered %q: %v: %s", want, err, words)
		}
	}

	pinned := "engine-" + p.Name
	if out, err := exec.Command(nstest.Nstool(t), "pin", "add", pinned, "--pod", pod).CombinedOutput(); err != nil {
		t.Fatalf("pin add --pod %s: %v: %s", pod, err, out)
	}
	list, err := exec.Command(nstest.Nstool(t), "pin", "ls", "-n", "-o", "type,ns", pinned).CombinedOutput()
	if rm, err := exec.Command(nstest.Nstool(t), "pin", "rm", pinned).CombinedOutput(); err != nil {
		t.Errorf("pin rm %s: %v: %s", pinned, err, rm)
	}
	want := ""
	for _, typ := range []string{"ipc", "net", "uts"} {
		want += typ + shared[typ]
	}
	if have := strings.Join(strings.Fields(string(list)), ""); err != nil || have != strings.NewReplacer("net:[", "", "ipc:[", "", "uts:[", "", "]", "").Replace(want) {
		t.Errorf("pin add --pod %s: %v: %s", pod, err, list)
	}
}

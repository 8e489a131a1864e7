package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// A stand is a container from which somebody debugs others: it sees the processes of the host.
type stand struct {
	name  string
	flags []string
}

var stands = []stand{
	{"cgroup namespace of its own", []string{"--cgroupns=private"}},
	{"the host's cgroup namespace", []string{"--cgroupns=host"}},
	{"the host's network too", []string{"--cgroupns=private", "--network=host", "--uts=host", "--ipc=host"}},
}

// start starts the container, and returns a function that runs nstool in it and one that runs it
// on the host.
func (s stand) start(t *testing.T) (there, here func(words ...string) (stdout, stderr string, err error)) {
	t.Helper()
	run := func(name string, args ...string) (string, string, error) {
		var out, errs bytes.Buffer
		cmd := exec.Command(name, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		return out.String(), errs.String(), err
	}
	// All capabilities that this machine has: a daemon cannot give more.
	flags := []string{"--pid=host", "--cap-add=ALL", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "-v", nstest.Nstool(t) + ":/nstool:ro"}
	if _, err := os.ReadFile("/proc/1/environ"); err != nil {
		flags = append(flags, "--cap-drop=SYS_RESOURCE")
	}
	box := engine.Start(t, engine.Docker, engine.Options{Args: append(flags, s.flags...)})
	if _, stderr, err := run("docker", "cp", nstest.Nstool(t), box.Name+":/bin/tool-of-the-pod"); err != nil {
		t.Fatal(err, stderr)
	}
	there = func(words ...string) (string, string, error) {
		return run("docker", append([]string{"exec", box.Name, "/nstool"}, words...)...)
	}
	here = func(words ...string) (string, string, error) { return run(nstest.Nstool(t), words...) }
	return there, here
}

// numbers are what differs from one call to the next: times, ages and counts of processes.
var numbers = regexp.MustCompile(`\b\d+(ms|[smhd])\b`)

// mentions returns the lines of a text that have a word, without what differs from call to call
// and without the width of columns.
func mentions(text, word string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			lines = append(lines, strings.Join(strings.Fields(numbers.ReplaceAllString(line, "AGE")), " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestFromInside runs nstool in containers that see the host's processes, as the pod of kubectl
// debug does: it answers as on the host.
func TestFromInside(t *testing.T) {
	others := make(map[engine.Engine]*engine.Container)
	for _, e := range []engine.Engine{engine.Docker, engine.Podman, engine.Containerd} {
		others[e] = engine.Start(t, e, engine.Options{})
	}
	for _, s := range stands {
		t.Run(s.name, func(t *testing.T) {
			there, here := s.start(t)
			for e, other := range others {
				name := string(e) + ":" + other.Name
				for _, words := range [][]string{{"ls"}, {"ls", "-t", "mnt"}, {"containers"}, {"net"}, {"ports"}, {"pin", "ls"}, {"show", name}, {"diff", name, "pid:" + strconv.Itoa(os.Getpid())}, {"pid", strconv.Itoa(other.PID)}} {
					want, _, err := here(words...)
					got, stderr, e := there(words...)
					if (e == nil) != (err == nil) {
						t.Errorf("%v: %v: %s; on the host %v", words, e, stderr, err)
					}
					if w, g := mentions(want, other.Name), mentions(got, other.Name); !slices.Equal(g, w) || len(w) == 0 && words[0] == "containers" {
						t.Errorf("%v: about %s\n%s\non the host\n%s\n%s", words, name, strings.Join(g, "\n"), strings.Join(w, "\n"), stderr)
					}
				}
				if out, stderr, err := there("enter", name, "cat", "/proc/self/cgroup"); err != nil {
					t.Errorf("enter %s: %v: %s", name, err, stderr)
				} else if want, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", other.PID)); err != nil || !strings.HasPrefix(out, string(want)) && e != engine.Containerd {
					t.Errorf("enter %s: in the control groups\n%s\nwant\n%s", name, out, want)
				}
				// The tools are the container's that nstool is in.
				if out, stderr, err := there("enter", "--tools", name, "tool-of-the-pod", "version"); err != nil || !strings.Contains(out, "nstool") {
					t.Errorf("enter --tools %s: %v: %s%s", name, err, out, stderr)
				}
				if _, stderr, err := there("cp", name+":/bin/busybox", "/tmp/copy-"+string(e)); err != nil {
					t.Errorf("cp from %s: %v: %s", name, err, stderr)
				}
				if _, _, err := there("cp", "/tmp/copy-"+string(e), name+":/tmp/copy"); err != nil {
					t.Errorf("cp from %s: the copy is not in the caller's container: %v", name, err)
				}
			}
			out, stderr, err := there("ls", "-v", "--json")
			if err != nil || !strings.Contains(stderr, "nstool: the host's file system is reached through pid:") || !regexp.MustCompile(`^\{[^[]*\[[^]]*\],"hostfs":"pid:\d+"`).MatchString(out) {
				t.Errorf("ls -v --json: %v: %.200s: %s", err, out, stderr)
			}
		})
	}
}

// TestPinFromInside makes a pin from a container: it is on the host, and outlives the container.
func TestPinFromInside(t *testing.T) {
	other := engine.Start(t, engine.Docker, engine.Options{})
	there, here := stands[0].start(t)
	name := "nstool-" + filepath.Base(t.TempDir()) + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { _, _, _ = here("pin", "rm", name) })
	_, stderr, err := there("pin", "add", name, other.Name)
	if err != nil || !strings.Contains(stderr, "on the host") {
		t.Fatalf("pin add: %v: %q", err, stderr)
	}
	// By its name it is entered from there too.
	out, stderr, err := there("enter", "--net=pin:"+name, "cat", "/proc/net/dev")
	if err != nil || !strings.Contains(out, "eth0") {
		t.Errorf("enter the pin from inside: %v: %s%s", err, out, stderr)
	}
	// New namespaces are pinned there too.
	t.Cleanup(func() { _, _, _ = here("pin", "rm", name+"-new") })
	if _, stderr, err := there("run", "--net", "--pin", name+"-new", "true"); err != nil {
		t.Errorf("run --pin: %v: %s", err, stderr)
	}
	if _, err := os.Stat("/run/nstool/" + name + "-new/net"); err != nil {
		t.Errorf("run --pin: %v", err)
	}
	other.Stop()
	if out, stderr, err = here("pin", "ls"); err != nil || !strings.Contains(out, "/run/nstool/"+name+"/net") {
		t.Errorf("pin ls on the host: %v: %s%s", err, out, stderr)
	}
	if _, stderr, err = there("pin", "rm", name); err != nil {
		t.Errorf("pin rm from inside: %v: %s", err, stderr)
	}
	if _, err := os.Stat("/run/nstool/" + name); err == nil {
		t.Errorf("/run/nstool/%s is still there", name)
	}
}

// TestNamesFromInside asks for the containers where less is permitted: what can be read has its
// names, one line says what is missing, and nothing is said of namespaces that could not be read.
func TestNamesFromInside(t *testing.T) {
	other := engine.Start(t, engine.Docker, engine.Options{})
	for _, c := range []struct {
		name  string
		flags []string
		named bool
		want  string // on standard error
	}{
		{"CAP_SYS_PTRACE alone", []string{"--cap-add=SYS_PTRACE"}, true, "reached through pid:"},
		{"the host's root directory alone", []string{"-v", "/:/host"}, true, "reached through /host"},
		{"nothing", nil, false, "cannot be reached: that takes CAP_SYS_PTRACE, or the host's root directory at /host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flags := append([]string{"--pid=host", "--cgroupns=private", "-v", nstest.Nstool(t) + ":/nstool:ro"}, c.flags...)
			box := engine.Start(t, engine.Docker, engine.Options{Args: flags})
			var out, errs bytes.Buffer
			cmd := exec.Command("docker", "exec", box.Name, "/nstool", "containers", "-v", "-o", "container,cgroup")
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil || !strings.Contains(errs.String(), c.want) {
				t.Errorf("%v: %s", err, &errs)
			}
			if strings.Contains(out.String(), "docker:"+other.Name) != c.named {
				t.Errorf("named is not %v:\n%s%s", c.named, &out, &errs)
			}
			// Its control groups are in the host's namespace, or not known to be in any.
			if strings.Contains(out.String(), "=") {
				t.Errorf("a namespace is said to be another container's:\n%s", &out)
			}
		})
	}
}

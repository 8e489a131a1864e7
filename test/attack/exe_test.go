package attack

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// overwritten enters a cage with a copy of the entrant's program and reports
// whether somebody in there wrote to it.
func overwritten(t *testing.T, by entrant, c *cage, times int, words ...string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), by.name)
	copyFile(t, program(t, by.words[0]), exe)
	before, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	changed := func() bool {
		now, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		return !bytes.Equal(now, before)
	}
	for range times {
		cmd := command(t, by.at(exe).expand(t, c, words...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && !strings.Contains(err.Error(), "exit status") {
			t.Logf("%v: %v: %s", cmd, err, out)
		}
		if changed() {
			return "the program on the host was overwritten; " + c.loot()
		}
	}
	if eventually(500*time.Millisecond, changed) {
		return "the program on the host was overwritten; " + c.loot()
	}
	if loot := c.loot(); loot != "" {
		t.Logf("seen by the watcher: %s", strings.SplitN(loot, "\n", 2)[0])
	}
	return ""
}

// times is how often to try, less often with -short.
func times(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// CVE-2019-5736: a script whose interpreter is /proc/self/exe has the
// entrant's own program executed inside, by an ELF interpreter of the
// container's if it wants one, and in view of a watcher.
func TestExeOverwriteShebang(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, func(root string) {
			mustWrite(t, filepath.Join(root, "bin/evil"), "#!/proc/self/exe\n", 0o755)
			if err := os.MkdirAll(filepath.Join(root, filepath.Dir(loaderPath())), 0o755); err != nil { //nolint:gosec // of a root file system
				t.Fatal(err)
			}
			copyFile(t, program(t, "loader"), filepath.Join(root, loaderPath()))
		}, []string{"-c", capsDefault}, "/bin/attack", "exe")
		return overwritten(t, by, c, 5, "/bin/evil")
	}}.run(t)
}

// The same between the fork into the PID namespace and the exec, by one who
// waits for a process whose program is none of the container's.
func TestExeOverwriteWindow(t *testing.T) {
	for _, caps := range []string{capsDefault, capsPtrace, capsSysAdmin} {
		t.Run(caps, func(t *testing.T) {
			try := func(t *testing.T, by entrant) string {
				c := newCage(t, nil, []string{"-c", caps}, "/bin/attack", "exe")
				return overwritten(t, by, c, times(40), "/bin/busybox", "true")
			}
			if caps != capsPtrace {
				// The kernel keeps those away from a process that has more
				// capabilities than they: nsenter's has. nstool's has not.
				if won := try(t, nstool); won != "" {
					t.Error(won)
				}
				return
			}
			attack{nsenter, try}.run(t)
		})
	}
}

// CVE-2016-9962: the same window, by ptrace(2).
func TestPtraceWindow(t *testing.T) {
	for name, options := range map[string][]string{
		"ptrace": {"-c", capsPtrace, "-s"},
		"user":   {"-u", "rooted", "-s"},
	} {
		t.Run(name, func(t *testing.T) {
			attack{nsenter, func(t *testing.T, by entrant) string {
				c := newCage(t, nil, options, "/bin/attack", "ptrace")
				for range times(60) {
					cmd := command(t, append(sloppy(t), by.expand(t, c, "/bin/busybox", "true")...)...)
					cmd.Env = append(os.Environ(), "PASSWORD=hunter2")
					out, err := cmd.CombinedOutput()
					if err != nil && by.name == nstool.name {
						t.Fatalf("%v: %v: %s", cmd, err, out)
					}
				}
				loot := c.loot()
				t.Logf("attached %d times", strings.Count(loot, "attached"))
				for line := range strings.Lines(loot) {
					if strings.HasPrefix(line, "gained") {
						return line
					}
				}
				return ""
			}}.run(t)
		})
	}
}

// Where nstool is itself under a filter that denies close_range(2), or says that it
// is done, there is nothing more to be had of the process in that window.
func TestPtraceWindowUnderFilter(t *testing.T) {
	for name, answer := range map[string]string{"missing": "38", "denied": "1", "as if done": "0"} {
		t.Run(name, func(t *testing.T) {
			attack{nsenter, func(t *testing.T, by entrant) string {
				c := newCage(t, nil, []string{"-c", capsPtrace}, "/bin/attack", "ptrace")
				attached := 0
				for tries := 0; tries < times(60) && (attached < 3 || by.name == nsenter.name); tries++ {
					cmd := command(t, append(append(sloppy(t), program(t, "attack"), "filtered", answer), by.expand(t, c, "/bin/busybox", "true")...)...)
					if out, err := cmd.CombinedOutput(); err != nil && by.name == nstool.name {
						t.Fatalf("%v: %v: %s", cmd, err, out)
					}
					attached = strings.Count(c.loot(), "attached")
				}
				t.Logf("attached %d times", attached)
				for line := range strings.Lines(c.loot()) {
					if strings.HasPrefix(line, "gained fd") {
						return line
					}
				}
				return ""
			}}.run(t)
		})
	}
}

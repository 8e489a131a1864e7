package kernel_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// closedBadly runs a program under strace(1) and returns its closes, and those of
// its children, that the kernel refused. After the first line of its output it
// calls after.
func closedBadly(t *testing.T, after func(), words ...string) (bad []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", append([]string{"-f", "--seccomp-bpf", "-qq", "-e", "trace=close", "-e", "signal=none", "-o", file}, words...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if lines.Scan() && after != nil {
		after()
	}
	for lines.Scan() {
	}
	_ = cmd.Wait() // its status is no matter
	trace, err := os.ReadFile(file)
	if err != nil || len(trace) == 0 {
		t.Fatalf("%q: no trace: %v", words, err)
	}
	for line := range strings.Lines(string(trace)) {
		if strings.Contains(line, "EBADF") {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return bad
}

// TestClosedOnce runs the commands: none closes a descriptor that it does not
// have, which is one that it has closed before.
func TestClosedOnce(t *testing.T) {
	nstest.Need(t, "strace", "python3", "userns", "unshare", "sleep")
	if bad := closedBadly(t, nil, "python3", "-c", "import os\ntry: os.close(99)\nexcept OSError: pass"); len(bad) != 1 {
		t.Fatalf("the control is not seen: %q", bad)
	}
	box := nstest.Sandbox(t, "user", "net", "uts", "mnt", "ipc")
	pid := strconv.Itoa(box.PID)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{
		{"ls"},
		{"ls", "-J"},
		{"containers"},
		{"show", pid},
		{"net"},
		{"ports"},
		{"pid", pid},
		{"doctor"},
		{"diff", "self", pid},
		{"enter", pid, "--", "true"},
		{"enter", "-a", pid, "--", "true"},
		{"enter", "-n", "-U", pid, "--", "echo", "x"},
		{"run", "-u", "-U", "-r", "--", "true"},
		{"cp", pid + ":" + dir + "/f", dir + "/g"},
		{"cp", dir + "/f", pid + ":" + dir + "/h"},
		{"cp", pid + ":" + dir, "-"},
		{"pin", "ls"},
		{"version"},
	} {
		if bad := closedBadly(t, nil, append([]string{program(t), words[0]}, words[1:]...)...); bad != nil {
			t.Errorf("nstool %s: %q", strings.Join(words, " "), bad)
		}
	}

	// An ordinary user has his sockets made by another process.
	as := []string{}
	if os.Geteuid() == 0 {
		as = []string{"setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"}
	}
	words := append(as, "unshare", "-Urn", "sleep", "600")
	target := exec.Command(words[0], words[1:]...)
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer target.Wait()
	defer target.Process.Kill()
	pid = strconv.Itoa(target.Process.Pid)
	for comm := ""; comm != "sleep\n"; {
		b, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			t.Fatal(err)
		}
		comm = string(b)
	}
	end := func() { target.Process.Kill() }
	if bad := closedBadly(t, end, append(as, program(t), "forward", pid, ":80", ":80/udp")...); bad != nil {
		t.Errorf("nstool forward: %q", bad)
	}
}

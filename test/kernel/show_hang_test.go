package kernel_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// A process that waits in execve(2) for ever does not keep show from saying what
// it can of it and of its namespaces, nor diff, nor pid.
func TestShowLockedExec(t *testing.T) {
	nstest.Need(t, "root", "gcc")
	exe := filepath.Join(t.TempDir(), "hangexec")
	if out, err := exec.Command("gcc", "-static", "-pthread", "-O1", "-Wall", "-Werror", "-o", exe, "testdata/hangexec.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	procs := hung(t, 1, func(args ...string) *exec.Cmd { return exec.Command(exe, args...) })
	var child int
	until(t, "the child waits in execve", func() bool {
		_, err := fmt.Sscan(read(fmt.Sprintf("/proc/%d/task/%[1]d/children", procs[0].Process.Pid)), &child)
		return err == nil
	})
	time.Sleep(300 * time.Millisecond) // until it is there: to look would be to wait for ever
	hangs(t, "cat", fmt.Sprintf("/proc/%d/environ", child))

	nstool := func(args ...string) run {
		t.Helper()
		r := finish(t, exec.Command(program(t), args...))
		t.Logf("%v took %v", args, r.took)
		if r.took > 6*time.Second {
			t.Errorf("%v took %v", args, r.took)
		}
		return r
	}
	r := nstool("show", "--json", fmt.Sprint(child))
	var s struct {
		Processes []struct {
			PID  int
			Task *struct{ Capabilities struct{ Bounding []string } }
		}
	}
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || len(s.Processes) != 1 || s.Processes[0].Task == nil || len(s.Processes[0].Task.Capabilities.Bounding) == 0 {
		t.Errorf("%v: %v in %s%s", s, err, r.out, r.err)
	}
	if r := nstool("pid", fmt.Sprint(child)); r.status != 0 || !strings.Contains(r.out, fmt.Sprint(child)) {
		t.Errorf("pid: %d: %s%s", r.status, r.out, r.err)
	}
	// Its links cannot be read. Where there are many threads, the kernel is asked in their place.
	if r := nstool("diff", fmt.Sprint(child), "self"); (r.status != 2 || !strings.Contains(r.out, "unknown")) && (r.status != 1 || !strings.Contains(r.out, "different")) {
		t.Errorf("diff: %d: %s%s", r.status, r.out, r.err)
	}
	if r := nstool("show", fmt.Sprintf("mnt:[%d]", ino(t, procs[0].Process.Pid, "mnt"))); r.status != 0 || !strings.Contains(r.out, "\nroot ") {
		t.Errorf("show: %d: %s%s", r.status, r.out, r.err)
	}
}

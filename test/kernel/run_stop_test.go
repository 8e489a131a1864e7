package kernel_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// A program that is stopped stops nstool, also if there is an init between
// them, and who continues nstool continues the program, as often as that is.
func TestRunStopped(t *testing.T) {
	nstest.Need(t, "userns", "sh")
	for name, flags := range map[string][]string{
		"init":    {"run", "--rootless", "--pid", "--mount-proc"},
		"all":     {"run", "--rootless", "--all"},
		"no init": {"run", "--rootless", "--uts"},
	} {
		t.Run(name, func(t *testing.T) {
			const times = 20
			cmd := exec.Command(program(t), append(flags, "sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -STOP $$; done; exit 7`)...)
			cmd.Stderr = os.Stderr
			start(t, cmd)
			for i := range times {
				var ws syscall.WaitStatus
				if _, err := wait4(cmd.Process.Pid, &ws, syscall.WUNTRACED); err != nil {
					t.Fatal(err)
				}
				if !ws.Stopped() {
					t.Fatalf("stop %d: %#x", i, ws)
				}
				if err := syscall.Kill(cmd.Process.Pid, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			var ws syscall.WaitStatus
			if _, err := wait4(cmd.Process.Pid, &ws, 0); err != nil || ws.ExitStatus() != 7 {
				t.Errorf("%v, %#x", err, ws)
			}
		})
	}
}

// Who stops nstool by the signal that can be caught stops the program, and not
// only who stands between them.
func TestRunSuspended(t *testing.T) {
	nstest.Need(t, "userns", "sh")
	for name, flags := range map[string][]string{
		"init":    {"run", "--rootless", "--pid", "--mount-proc"},
		"no init": {"run", "--rootless", "--pid", "--mount-proc", "--no-init"},
		"no pid":  {"run", "--rootless", "--uts"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program(t), append(flags, "sh", "-c", `trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done`)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			start(t, cmd)
			if _, err := out.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
			shell := shellBelow(t, cmd.Process.Pid)
			for range 3 {
				if err := syscall.Kill(cmd.Process.Pid, syscall.SIGTSTP); err != nil {
					t.Fatal(err)
				}
				var ws syscall.WaitStatus
				if _, err := wait4(cmd.Process.Pid, &ws, syscall.WUNTRACED); err != nil || !ws.Stopped() {
					t.Fatalf("%v, %#x", err, ws)
				}
				if state := stateOf(t, shell); state != "T" {
					t.Errorf("nstool was stopped, and the program is %s", state)
				}
				if err := syscall.Kill(cmd.Process.Pid, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				for end := time.Now().Add(10 * time.Second); stateOf(t, shell) == "T"; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("nstool was continued, and the program was not")
					}
				}
			}
			if err := syscall.Kill(cmd.Process.Pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			var ws syscall.WaitStatus
			if _, err := wait4(cmd.Process.Pid, &ws, 0); err != nil || ws.ExitStatus() != 7 {
				t.Errorf("%v, %#x", err, ws)
			}
		})
	}
}

// shellBelow returns the process below pid that is the shell of the test.
func shellBelow(t *testing.T, pid int) int {
	t.Helper()
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(text), "sh\x00-c\x00") {
			return pid
		}
		// The threads of nstool have the children that each has started.
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		if err != nil {
			t.Fatal(err)
		}
		below := 0
		for _, list := range lists {
			if text, err := os.ReadFile(list); err == nil && below == 0 {
				_, _ = fmt.Sscan(string(text), &below) //nolint:errcheck // a thread may have none
			}
		}
		if below == 0 {
			t.Fatalf("process %d has no child", pid)
		}
		pid = below
	}
}

func stateOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	end := strings.LastIndexByte(string(text), ')')
	if err != nil || end < 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	return string(text[end+2])
}

func wait4(pid int, ws *syscall.WaitStatus, options int) (int, error) {
	for {
		if got, err := syscall.Wait4(pid, ws, options, nil); err != syscall.EINTR {
			return got, err
		}
	}
}

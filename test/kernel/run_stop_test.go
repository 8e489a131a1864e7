package kernel_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

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

func wait4(pid int, ws *syscall.WaitStatus, options int) (int, error) {
	for {
		if got, err := syscall.Wait4(pid, ws, options, nil); err != syscall.EINTR {
			return got, err
		}
	}
}

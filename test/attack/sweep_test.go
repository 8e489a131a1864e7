package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// Who cleans up after an nstool that was killed ends those in its room, and nobody
// in the mount namespace that has got the number of the room since.
func TestSweepRecycled(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox")
	room := func(pid int) string {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil {
			return ""
		}
		return link
	}
	start := func() *exec.Cmd {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() //nolint:errcheck // the attack may have ended it
			_ = cmd.Wait()         //nolint:errcheck // it is killed
		})
		return cmd
	}
	// recycle starts others in mount namespaces of their own until one has the number.
	recycle := func(link string) (others []*exec.Cmd, won bool) {
		for range 64 {
			cmd := start()
			others = append(others, cmd)
			if room(cmd.Process.Pid) == link {
				return others, true
			}
		}
		return others, false
	}

	first := start()
	link := room(first.Process.Pid)
	_ = first.Process.Kill() //nolint:errcheck // it has not ended
	_ = first.Wait()         //nolint:errcheck // it is killed
	if _, won := recycle(link); !won {
		t.Fatalf("%s, which nobody holds, does not come again: it proves nothing", link)
	}

	c := quiet(t)
	cmd := command(t, program(t, "nstool"), "enter", "-p", fmt.Sprint(c.pid), "--tools="+nstest.Busybox(t), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	link = ""
	if !eventually(patience, func() bool {
		for _, pid := range c.members() {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.HasSuffix(string(b), "sleep\x001000\x00") {
				link = room(pid)
			}
		}
		return link != ""
	}) {
		t.Fatal("the program does not start")
	}
	watchman := 0
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			pid := 0
			if _, err := fmt.Sscan(field, &pid); err == nil && room(pid) == room(os.Getpid()) {
				watchman = pid
			}
		}
	}
	if watchman == 0 {
		t.Fatal("nobody watches")
	}
	if err := syscall.Kill(watchman, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(watchman, syscall.SIGCONT) //nolint:errcheck // it has ended
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() //nolint:errcheck // it is killed
	for _, pid := range c.members() {
		_ = syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
	}
	if !eventually(patience, func() bool { return len(c.members()) == 0 }) {
		t.Fatalf("%v still run", c.members())
	}
	others, won := recycle(link)
	t.Logf("%d others, one of them in %s: %t", len(others), link, won)
	if err := syscall.Kill(watchman, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return strings.Trim(stateOf(watchman), "Z") == "" }) {
		t.Errorf("who cleans up is in state %s", stateOf(watchman))
	}
	for _, other := range others {
		if state := stateOf(other.Process.Pid); state == "Z" {
			t.Errorf("process %d in %s was killed", other.Process.Pid, link)
		}
	}
}

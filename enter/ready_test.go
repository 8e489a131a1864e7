package enter

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

func ready(t *testing.T, pid int, terms Expected) string {
	t.Helper()
	target, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	err = target.Ready(terms)
	if e, ok := errors.AsType[*StartingError](err); ok {
		return e.Why
	}
	if err != nil {
		t.Fatal(err)
	}
	return ""
}

func flagged(t *testing.T, pid int) bool {
	t.Helper()
	p, err := sys.OpenProcess(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	forked, err := neverExecuted(p)
	if err != nil {
		t.Fatal(err)
	}
	return forked
}

// The host's root directory in a mount namespace of its own is what a container
// has that is being set up, unless it is meant to have it.
func TestReadyRoot(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Sandbox(t, "mnt")
	if why := ready(t, box.PID, Expected{Name: "x"}); !strings.Contains(why, "root directory") {
		t.Errorf("with the host's root: %q", why)
	}
	asked := 0
	has := func(dev, ino uint64) bool {
		id, err := sys.WhereAt(sys.CurrentDir, "/")
		asked++
		return err == nil && id.Dev == dev && id.Ino == ino
	}
	if why := ready(t, box.PID, Expected{HasRoot: has}); why != "" || asked != 1 {
		t.Errorf("with the host's root, as it is to have: %q, asked %d times", why, asked)
	}
	if why := ready(t, box.PID, Expected{HasRoot: has, Seccomp: true}); !strings.Contains(why, "filter") {
		t.Errorf("without a filter: %q", why)
	}
	if why := ready(t, box.PID, Expected{HasRoot: has, NoNewPrivs: true}); !strings.Contains(why, "no_new_privs") {
		t.Errorf("without no_new_privs: %q", why)
	}
	if why := ready(t, box.PID, Expected{HasRoot: has, Bounding: new(Caps)}); !strings.Contains(why, "capabilities") {
		t.Errorf("with too many capabilities: %q", why)
	}
	inside := nstest.Spec{Types: []string{"mnt"}, Root: true}.Start(t)
	if why := ready(t, inside.PID, Expected{Created: true}); why != "" {
		t.Errorf("with a root of its own, and a program: %q", why)
	}
}

// shell runs a shell in a root directory of its own, in a mount namespace of its
// own, and returns its first line.
func shell(t *testing.T, dir, script string) (first string) {
	t.Helper()
	nstest.Need(t, "root", "unshare")
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", dir)
	out := nstest.Start(t, cmd)
	first, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(first)
}

// A root that was unmounted lazily reads "/", as the caller's own does.
func TestReadyLazyRoot(t *testing.T) {
	dir := nstest.Busybox(t)
	pid, err := strconv.Atoi(shell(t, dir, `mount --bind "$1" "$1" && exec chroot "$1" /bin/sh -c 'echo $$; read x'`))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nsenter", "-t", fmt.Sprint(pid), "-m", "umount", "-l", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if link, err := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); err != nil || link != "/" {
		t.Fatalf("its root reads %q: %v", link, err)
	}
	if why := ready(t, pid, Expected{}); why != "" {
		t.Errorf("it is taken for one with the host's root: %q", why)
	}
}

// What has never executed a program may be a container all the same: a stub init,
// a daemon that has forked, what was restored.
func TestReadyNeverExecuted(t *testing.T) {
	pid, err := strconv.Atoi(shell(t, nstest.Busybox(t), `mkdir -p "$1/dev"; : >"$1/dev/null" # for a job in the background
		exec chroot "$1" /bin/sh -c 'exec 3<&0; (read x <&3; :) & echo $!; wait'`))
	if err != nil {
		t.Fatal(err)
	}
	if !flagged(t, pid) {
		t.Fatal("the fork has executed a program")
	}
	if why := ready(t, pid, Expected{}); why != "" {
		t.Errorf("a fork in a root of its own: %q", why)
	}
	if why := ready(t, pid, Expected{Created: true}); !strings.Contains(why, "not executed") {
		t.Errorf("one that was not started: %q", why)
	}

	// With the host's root it is what a runtime has there.
	pid, err = strconv.Atoi(shell(t, "", `exec 3<&0; (read x <&3; :) & echo $!; wait`))
	if err != nil {
		t.Fatal(err)
	}
	if why := ready(t, pid, Expected{HasRoot: func(_, _ uint64) bool { return true }}); !strings.Contains(why, "not executed") {
		t.Errorf("a fork with the host's root: %q", why)
	}
}

// bubblewrap's first process stays a fork of bubblewrap.
func TestReadyBubblewrap(t *testing.T) {
	nstest.Need(t, "root", "bwrap")
	cmd := exec.Command("bwrap", "--bind", nstest.Busybox(t), "/", "--unshare-pid", "--die-with-parent", "/bin/sh", "-c", "echo; read x")
	out := nstest.Start(t, cmd)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(strings.NewReader(string(children)))
	scan.Split(bufio.ScanWords)
	scan.Scan()
	pid, err := strconv.Atoi(scan.Text())
	if err != nil {
		t.Fatal(err)
	}
	if !flagged(t, pid) {
		t.Fatal("the first process has executed a program")
	}
	if why := ready(t, pid, Expected{}); why != "" {
		t.Errorf("bubblewrap's first process: %q", why)
	}
}

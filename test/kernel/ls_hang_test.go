package kernel_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// verbs are what the test binary does when it is run again; see verb.
var verbs = map[string]func(args []string) int{
	"read": func(args []string) int { // a page of the file, which never comes
		f, err := os.Open(args[0])
		if err == nil {
			_, err = f.Read(make([]byte, 1))
		}
		return said(err)
	},
	"hang": func(args []string) int { // with the memory map locked
		return said(hang(args[0]))
	},
}

func said(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func hang(file string) error {
	fd, err := syscall.Open(file, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = syscall.Mmap(fd, 0, 4096, syscall.PROT_READ, syscall.MAP_PRIVATE)
	return err
}

// hung starts n processes whose memory map is locked until the test ends, and
// returns them: cmd makes a command that takes a file as its argument.
func hung(t *testing.T, n int, cmd func(args ...string) *exec.Cmd) []*exec.Cmd {
	t.Helper()
	f := newFuse(t)
	dir := nstest.Dir(t)
	var cmds []*exec.Cmd
	begin := func(cmd *exec.Cmd) error {
		if err := cmd.Start(); err != nil {
			return err
		}
		cmds = append(cmds, cmd)
		return nil
	}
	t.Cleanup(func() {
		f.end()
		for _, cmd := range cmds {
			late := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
			cmd.Wait()
			late.Stop()
		}
	})
	inPrivate(t, func() error {
		if err := f.mount(dir); err != nil {
			return err
		}
		if err := begin(verb("read", filepath.Join(dir, "file"))); err != nil {
			return err
		}
		until(t, "the file is read", func() bool { return f.count(&f.reads) > 0 })
		for range n {
			if err := begin(cmd(filepath.Join(dir, "file"))); err != nil {
				return err
			}
		}
		return nil
	})
	if t.Failed() {
		t.FailNow()
	}
	for _, cmd := range cmds[1:] {
		// Not as while a page of its program is read.
		until(t, "the memory map is locked", func() bool {
			for range 3 {
				if !sleeps(cmd.Process.Pid) {
					return false
				}
				time.Sleep(10 * time.Millisecond)
			}
			return true
		})
	}
	return cmds[1:]
}

// sleeps reports whether a thread of the process is in a sleep that cannot be
// interrupted.
func sleeps(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, task := range tasks {
		if stat, err := os.ReadFile(task); err == nil && bytes.Contains(stat, []byte(") D ")) {
			return true
		}
	}
	return false
}

// hangs fails the test unless the command runs for ever, as far as can be
// waited. Not all can be killed: that is waited for when the test ends.
func hangs(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("the control: %v ended: %v", cmd, err)
	case <-time.After(500 * time.Millisecond):
		cmd.Process.Kill()
		t.Cleanup(func() { <-ended })
	}
}

// A process whose memory map is locked for ever lets nobody read its command
// line; ls says so, and does not wait.
func TestLsLockedMemory(t *testing.T) {
	nstest.Need(t, "root")
	for _, n := range []int{1, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if n > 1 && testing.Short() {
				t.Skip("takes long")
			}
			program(t)
			procs := hung(t, n, func(args ...string) *exec.Cmd { return verb("hang", args...) })
			hangs(t, "cat", fmt.Sprintf("/proc/%d/cmdline", procs[0].Process.Pid))

			r := ls(t, "--json", fmt.Sprintf("mnt:[%d]", ino(t, procs[0].Process.Pid, "mnt")))
			t.Logf("took %v", r.took)
			if r.took > soon {
				t.Errorf("it took %v", r.took)
			}
			l := decode(t, r)
			seen := map[int]string{}
			for _, p := range l.Processes {
				seen[p.PID] = p.Command
			}
			missing := map[int]bool{}
			for _, g := range l.Gaps {
				if g.What == "cmdline" {
					missing[g.PID] = true
				}
			}
			for _, cmd := range procs {
				if pid := cmd.Process.Pid; seen[pid] != "[exe]" || !missing[pid] {
					t.Errorf("process %d: command %q, gap %t", pid, seen[pid], missing[pid])
				}
			}
			if want := fmt.Sprintf("cmdline of %d of ", len(missing)); !strings.Contains(r.err, want) {
				t.Errorf("standard error: %q", r.err)
			}
		})
	}
}

// A process that waits in execve(2) for a memory map that is locked holds
// another lock, which pidfd_getfd(2) takes, and since Linux 6.18 also readlink(2)
// of the process's links and read(2) of its stat file.
func TestLsLockedExec(t *testing.T) {
	nstest.Need(t, "root")
	nstest.Need(t, "gcc")
	program(t)
	exe := filepath.Join(t.TempDir(), "hangexec")
	if out, err := exec.Command("gcc", "-static", "-pthread", "-O1", "-Wall", "-Werror", "-o", exe, "testdata/hangexec.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	n := 50
	if testing.Short() {
		n = 3
	}
	procs := hung(t, n, func(args ...string) *exec.Cmd { return exec.Command(exe, args...) })
	children := make([]int, n)
	for i := range children {
		until(t, "the child waits in execve", func() bool {
			_, err := fmt.Sscan(read(fmt.Sprintf("/proc/%d/task/%[1]d/children", procs[i].Process.Pid)), &children[i])
			return err == nil
		})
	}
	time.Sleep(300 * time.Millisecond) // until they are there: to look at one would be to wait for ever
	for _, child := range children[:1] {
		hangs(t, "cat", fmt.Sprintf("/proc/%d/environ", child))
	}
	mnt := fmt.Sprintf("mnt:[%d]", ino(t, procs[0].Process.Pid, "mnt"))
	for _, cpus := range []string{"", "1"} {
		cmd := exec.Command(program(t), "ls", "--json", mnt)
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+cpus)
		r := finish(t, cmd)
		t.Logf("took %v", r.took)
		if r.took > 20*time.Second || r.status != 0 { // it waits for ever, or not
			t.Errorf("status %d: it took %v", r.status, r.took)
		}
		l := decode(t, r)
		for _, child := range children {
			if !slices.ContainsFunc(l.Gaps, func(g gap) bool { return g.PID == child }) {
				t.Errorf("no gap of process %d: %v", child, l.Gaps)
			}
		}
	}
}

// read returns what is in a file, if anything.
func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// A container that runs an engine has its state on a file system whose server does
// not answer any more. Whoever asks that one cannot be ended: so nobody does.
func TestLsDeadEngineState(t *testing.T) {
	nstest.Need(t, "root", "fuse", "stat")
	bin := program(t)
	dir := fmt.Sprintf("/sys/fs/cgroup/pids/docker/%064x", os.Getpid())
	if _, err := os.Stat("/sys/fs/cgroup/pids"); err != nil {
		dir = strings.Replace(dir, "/pids", "", 1)
	}
	inner := fmt.Sprintf("%s/docker/%064x", dir, os.Getpid()+1)
	if err := os.MkdirAll(inner, 0o755); err != nil { //nolint:gosec // of a cgroup
		t.Skip(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{inner, filepath.Dir(inner), dir} {
			until(t, d+" is removed", func() bool { return os.Remove(d) == nil })
		}
		os.Remove(filepath.Dir(dir)) // which may be another's
	})
	f := newFuse(t)
	var pids []int
	inPrivate(t, func() error {
		if err := syscall.Mount("nstool-test", "/var/lib", "tmpfs", 0, ""); err != nil {
			return err
		}
		if err := os.Mkdir("/var/lib/docker", 0o700); err != nil {
			return err
		}
		if err := f.mount("/var/lib/docker"); err != nil {
			return err
		}
		for _, group := range []string{dir, inner} {
			cmd := exec.Command("cat")
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
			pids = append(pids, start(t, cmd).Process.Pid)
			if err := os.WriteFile(group+"/cgroup.procs", []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
				return err
			}
		}
		return nil
	})
	defer f.end()
	defer time.AfterFunc(enough, f.end).Stop() // or nobody could be ended
	f.deaf.Store(true)
	r := finish(t, exec.Command(bin, "containers", "--json"))
	t.Logf("took %v", r.took)
	if want := fmt.Sprintf("%064x", os.Getpid()+1); r.took > soon || r.status != 0 || !strings.Contains(r.out, want) || !strings.Contains(r.out, "may never answer") {
		t.Errorf("status %d after %v: %s%s", r.status, r.took, r.out, r.err)
	}
	if f.count(&f.left) > 0 {
		t.Errorf("%d questions were asked", f.count(&f.left))
	}
	hangs(t, "stat", fmt.Sprintf("/proc/%d/root/var/lib/docker/containers", pids[0]))
}

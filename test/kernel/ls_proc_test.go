package kernel_test

import (
	"errors"
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

const newNS, newPID = syscall.CLONE_NEWNS, syscall.CLONE_NEWPID

// Names of users come from a file that may be none, or may never end.
func TestLsUsers(t *testing.T) {
	nstest.Need(t, "root", "sh", "mkfifo")
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS, Credential: &syscall.Credential{Uid: 4294967294, Gid: 4294967294}}
	start(t, cmd)
	n := ino(t, cmd.Process.Pid, "uts")
	for name, script := range map[string]string{
		"as it is": ``,
		"fifo":     `mkfifo $1/p; mount --bind $1/p /etc/passwd;`,
		"device":   `mount --bind /dev/zero /etc/passwd;`,
		"endless":  `truncate -s 1T $1/p; mount --bind $1/p /etc/passwd;`,
		"missing":  `mount -t tmpfs none /etc;`,
		"evil":     `printf 'a\033[1mb\377:x:4294967294:0::/:\n:::\nx:x:-1:\nroot:x:0' >$1/p; mount --bind $1/p /etc/passwd;`,
	} {
		t.Run(name, func(t *testing.T) {
			r := finish(t, shell(t, newNS, script+` exec "$NSTOOL" ls --json`, nstest.Dir(t)))
			printable(t, r)
			if r.took > soon {
				t.Errorf("it took %v", r.took)
			}
			ns := decode(t, r).find(t, n)
			want := "4294967294"
			if name == "evil" {
				want = "a\x1b[1mb\ufffd"
			}
			if *ns.UID != 4294967294 || *ns.User != want {
				t.Errorf("uid %d, user %q", *ns.UID, *ns.User)
			}
		})
	}
}

// PIDs may have seven digits.
func TestLsLargePIDs(t *testing.T) {
	nstest.Need(t, "root", "sh", "unshare")
	cmd := shell(t, newNS|newPID, `mount -t proc proc /proc
		echo 4194304 2>/dev/null >/proc/sys/kernel/pid_max || exit 9
		echo 4194297 >/proc/sys/kernel/ns_last_pid
		unshare -u sleep 30 & sleep 0.2
		[ $! = 4194298 ] || exit 9
		exec "$NSTOOL" ls -r -n -t uts`)
	r := finish(t, cmd)
	if r.status == 9 {
		t.Skip("pid_max is that of the whole system")
	}
	if !strings.Contains(r.out, " 1 4194298 root ") {
		t.Errorf("status %d: %s%s", r.status, r.out, r.err)
	}
}

// What is not the caller's own proc file system is refused, or told.
func TestLsProc(t *testing.T) {
	nstest.Need(t, "root", "sh")
	for _, c := range []struct {
		name   string
		flags  uintptr
		script string
		status int
		says   string // on standard error
	}{
		{"tmpfs", newNS, `mount -t tmpfs none /proc; exec "$NSTOOL" ls --json`, 1, "/proc is not a proc file system"},
		{"copied", newNS, `mkdir -p $1/1/ns; ln -s 'net:[4026531840]' $1/1/ns/net; mount --bind $1 /proc; exec "$NSTOOL" ls --json`, 1, "/proc is not a proc file system"},
		{"none", newNS, `mkdir $1/e; exec "$NSTOOL" ls --json --proc $1/e`, 0, "not a proc file system"},
		{"not there", newNS, `exec "$NSTOOL" ls --json --proc $1/nowhere`, 1, "no such file or directory"},
		{"a file", newNS, `exec "$NSTOOL" ls --json --proc /etc/passwd`, 1, "not a directory"},
		{"of another PID namespace", newNS | newPID, `exec "$NSTOOL" ls --json`, 0, "another PID namespace"},
		{"of another PID namespace, elsewhere", newNS | newPID, `mkdir $1/p; mount -t proc proc $1/p; exec unshare -p -f "$NSTOOL" ls --json --proc $1/p`, 0, "another PID namespace"},
		{"of a PID namespace inside", newNS, `mkdir $1/p; unshare -p -f --kill-child sh -c 'mount -t proc proc $0/p; sleep 30' $1 & until [ -e $1/p/1 ]; do sleep 0.01; done; "$NSTOOL" ls --json --proc $1/p; kill -KILL $!`, 0, "which this process is not in"},
		{"only processes", newNS, `mount -t proc -o subset=pid proc /proc; exec "$NSTOOL" ls --json`, 0, ""},
		{"hidepid=1", newNS, `mount -t proc -o hidepid=1 proc /proc; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$NSTOOL" ls --json`, 0, "could not be read"},
		{"hidepid=2", newNS, `mount -t proc -o hidepid=2 proc /proc; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$NSTOOL" ls --json`, 0, "hidepid"},
		{"hidepid=4", newNS, `mount -t proc -o hidepid=4 proc /proc; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$NSTOOL" ls --json`, 0, "hidepid"},
		{"hidepid=2, root", newNS, `mount -t proc -o hidepid=2 proc /proc; exec "$NSTOOL" ls --json`, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := shell(t, c.flags, c.script, nstest.Dir(t))
			if c.flags&newPID != 0 { // sh is process 1 there
				cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
			}
			r := finish(t, cmd)
			printable(t, r)
			if r.status != c.status || !strings.Contains(r.err, c.says) {
				t.Errorf("status %d, not %d: %q does not say %q", r.status, c.status, r.err, c.says)
			}
			if r.status != 0 {
				if strings.Count(r.err, "\n") != 1 || r.out != "" {
					t.Errorf("not one line: %q %q", r.err, r.out)
				}
				return
			}
			l := decode(t, r)
			if c.says != "" && l.Complete {
				t.Error("marked as complete")
			}
			for _, ns := range l.Namespaces {
				if ns.Started != nil && (*ns.Started)[:4] < "2000" {
					t.Errorf("%s:[%d] started %s", ns.Type, ns.NS, *ns.Started)
				}
			}
			if strings.HasPrefix(c.name, "of a") {
				return
			}
			if c.name == "none" && len(l.Namespaces) != 0 {
				t.Errorf("%d namespaces", len(l.Namespaces))
			}
		})
	}
}

// Zombies and kernel threads are shown with what the kernel says of them.
func TestLsZombies(t *testing.T) {
	nstest.Need(t, "userns", "sh", "unshare")
	// A zombie in a user namespace of its own, whose parent does not reap it.
	cmd := exec.Command("sh", "-c", `unshare -U true & read x`)
	start(t, cmd)
	zombie := 0
	until(t, "there is a zombie", func() bool {
		_, err := fmt.Sscan(read(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)), &zombie)
		return err == nil && strings.Contains(read(fmt.Sprintf("/proc/%d/stat", zombie)), ") Z ")
	})
	n := ino(t, zombie, "user")
	l := lsJSON(t)
	ns := l.find(t, n)
	if ns.PID != zombie || ns.command() != "[true]" || ns.User == nil {
		t.Errorf("%+v, command %q", ns, ns.command())
	}
	for _, g := range l.Gaps {
		if g.PID == zombie {
			t.Errorf("gap %+v", g)
		}
	}
	if os.Geteuid() == 0 && read("/proc/2/comm") == "kthreadd\n" {
		p := lsJSON(t, fmt.Sprintf("pid:[%d]", ino(t, 2, "pid"))).Processes
		if !slices.ContainsFunc(p, func(p process) bool { return p.PID == 2 && p.Command == "[kthreadd]" }) {
			t.Error("no kthreadd")
		}
	}
}

// A pin under a directory of a file system that does not answer, or under a
// FIFO that was mounted over it, is still listed.
func TestLsDeadFiles(t *testing.T) {
	nstest.Need(t, "root")
	program(t)
	dir := nstest.Dir(t)
	f := newFuse(t)
	inPrivate(t, func() error {
		fdir := filepath.Join(dir, "fuse")
		fifo, plain := filepath.Join(dir, "fifo"), filepath.Join(dir, "plain")
		if err := os.Mkdir(fdir, 0o755); err != nil {
			return err
		}
		if err := f.mount(fdir); err != nil {
			return err
		}
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			return err
		}
		pin := func(path string) (uint64, error) {
			cmd := exec.Command("cat")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
			start(t, cmd)
			n := ino(t, cmd.Process.Pid, "uts")
			err := syscall.Mount(fmt.Sprintf("/proc/%d/ns/uts", cmd.Process.Pid), path, "", syscall.MS_BIND, "")
			cmd.Process.Kill()
			cmd.Process.Wait()
			return n, err
		}
		dead, err := pin(filepath.Join(fdir, "file"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(plain, nil, 0o600); err != nil {
			return err
		}
		over, err := pin(plain)
		if err != nil {
			return err
		}
		if err := syscall.Mount(fifo, plain, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
		// A member that has a descriptor and its directory there.
		open, err := os.Open(fdir)
		if err != nil {
			return err
		}
		member := exec.Command("cat")
		member.Dir, member.ExtraFiles = fdir, []*os.File{open}
		start(t, member)
		open.Close()
		defer f.end() // before they end
		f.deaf.Store(true)
		hangs(t, "stat", filepath.Join(fdir, "file"))

		ran := make(chan bool)
		look := func() {
			defer close(ran)
			for _, args := range [][]string{{}, {"-o", "+HOLDERS,PATH,NSFS"}, {"--tree"}} {
				if r := ls(t, args...); r.took > soon {
					t.Errorf("%v took %v", args, r.took)
				}
			}
			l := lsJSON(t)
			for _, n := range []uint64{dead, over} {
				if ns := l.find(t, n); len(ns.Holders) != 1 {
					t.Errorf("%d: %+v", n, ns)
				}
				if !slices.ContainsFunc(l.Gaps, func(g gap) bool { return g.What == fmt.Sprintf("uts:[%d]", n) }) && l.find(t, n).ONS == nil {
					t.Errorf("no gap for %d, and no owner", n)
				}
			}
		}
		look() // from inside
		<-ran
		ran = make(chan bool)
		go look() // from another mount namespace
		<-ran
		return nil
	})
}

// Many mounts take no more than reading them.
func TestLsManyMounts(t *testing.T) {
	nstest.Need(t, "root", "sh")
	n := 20000
	if testing.Short() {
		n = 1000
	}
	program(t)
	dir := nstest.Dir(t)
	inPrivate(t, func() error {
		if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
		pin := filepath.Join(dir, "pin")
		if err := os.WriteFile(pin, nil, 0o600); err != nil {
			return err
		}
		cmd := exec.Command("cat")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
		start(t, cmd)
		number := ino(t, cmd.Process.Pid, "uts")
		for i := range n {
			if i == n/2 {
				if err := syscall.Mount(fmt.Sprintf("/proc/%d/ns/uts", cmd.Process.Pid), pin, "", syscall.MS_BIND, ""); err != nil {
					return err
				}
			}
			at := filepath.Join(dir, fmt.Sprint(i))
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
			if err := syscall.Mount(at, at, "", syscall.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %d: %w", i, err)
			}
		}
		cmd.Process.Kill()
		cmd.Process.Wait()
		start(t, exec.Command("cat"))
		r := ls(t, "--json")
		t.Logf("%d mounts: %v", n, r.took)
		if r.took > 5*time.Second {
			t.Errorf("it took %v", r.took)
		}
		if ns := decode(t, r).find(t, number); len(ns.NSFS) != 1 || ns.NSFS[0] != pin {
			t.Errorf("%+v", ns)
		}
		return nil
	})
}

// A mount point may be deeper than any path that can be opened, and its line in
// mountinfo longer than a buffer: the lines behind it count all the same.
func TestLsDeepMount(t *testing.T) {
	nstest.Need(t, "root", "sh")
	program(t)
	dir := nstest.Dir(t)
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
	start(t, cmd)
	n := ino(t, cmd.Process.Pid, "uts")
	inPrivate(t, func() error {
		if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
		// The directory is the thread's own.
		if err := syscall.Chdir(dir); err != nil {
			return err
		}
		name := strings.Repeat("a", 255)
		for range 300 {
			if err := errors.Join(syscall.Mkdir(name, 0o755), syscall.Chdir(name)); err != nil {
				return err
			}
		}
		pin := filepath.Join(dir, "pin")
		if err := errors.Join(syscall.Mkdir("d", 0o755), syscall.Mount("none", "d", "tmpfs", 0, ""), syscall.Chdir("/"),
			os.WriteFile(pin, nil, 0o600), syscall.Mount(fmt.Sprintf("/proc/%d/ns/uts", cmd.Process.Pid), pin, "", syscall.MS_BIND, "")); err != nil {
			return err
		}
		start(t, exec.Command("cat"))
		if longest := slices.Max(slices.Collect(func(yield func(int) bool) {
			for line := range strings.Lines(read("/proc/thread-self/mountinfo")) {
				yield(len(line))
			}
		})); longest < 70000 {
			t.Errorf("the longest line has %d bytes only", longest)
		}
		l := lsJSON(t)
		if ns := l.find(t, n); len(ns.NSFS) != 1 {
			t.Errorf("%+v, gaps %v", ns, l.Gaps)
		}
		return nil
	})
}

// With few descriptors to have open, what is not listed is told.
func TestLsFewDescriptors(t *testing.T) {
	nstest.Need(t, "userns", "sh")
	box := nstest.Sandbox(t, "user", "uts")
	for n := 8; n < 16; n++ { // with less, Go itself dies
		r := finish(t, shell(t, 0, fmt.Sprintf(`ulimit -n %d; exec "$NSTOOL" ls --json`, n)))
		if r.status != 0 {
			if strings.Contains(r.err, "goroutine") || strings.Contains(r.err, "panic") {
				t.Errorf("with %d: status %d: %.500s", n, r.status, r.err)
			}
			continue
		}
		l := decode(t, r)
		found := slices.ContainsFunc(l.Namespaces, func(ns namespace) bool {
			return ns.NS == box.Ino["uts"] && ns.command() != "" && ns.User != nil && ns.ONS != nil
		})
		if !found && l.Complete {
			t.Errorf("with %d: not listed, and no word", n)
		}
		t.Logf("with %d: found %t, %d gaps", n, found, len(l.Gaps))
	}
}

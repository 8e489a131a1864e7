package nstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/nstool/nstool/internal/sys"
)

// A sandbox is a chain of processes, each the test binary run again, each of
// which starts the next and ends: one to become an ordinary user, one to be in
// a new user namespace when it makes a time namespace, which only children
// enter, and the last, which stays.

// childVar holds, in JSON, the hops that a re-executed test binary has to go.
const childVar = "NSTEST_CHILD"

// reportFD is where the processes of a sandbox send their messages.
const reportFD = 3

var flags = map[string]uintptr{
	"cgroup": syscall.CLONE_NEWCGROUP,
	"ipc":    syscall.CLONE_NEWIPC,
	"mnt":    syscall.CLONE_NEWNS,
	"net":    syscall.CLONE_NEWNET,
	"pid":    syscall.CLONE_NEWPID,
	"time":   syscall.CLONE_NEWTIME,
	"user":   syscall.CLONE_NEWUSER,
	"uts":    syscall.CLONE_NEWUTS,
}

func flagsOf(types []string) (f uintptr) {
	for _, name := range types {
		f |= flags[name]
	}
	return f
}

// A message is what a process of the chain reports.
type message struct {
	Error   string `json:",omitempty"`
	Started int    `json:",omitempty"` // the next one
	Ready   bool   `json:",omitempty"` // all is there, and this:

	TID                    int               `json:",omitempty"`
	ThreadIno, ChildrenIno map[string]uint64 `json:",omitempty"`
	Held                   []Held            `json:",omitempty"`
}

// A hop is how the next process of the chain is started.
type hop struct {
	Nobody bool     // as an ordinary user
	Clone  []string // in new namespaces
	Time   bool     // in a new time namespace
}

// A chain is the processes that are still to be started.
type chain struct {
	Hops []hop
	Spec Spec
	Root string
}

func (s Spec) plan(root string) chain {
	c := chain{Spec: s, Root: root}
	if s.Nobody && os.Geteuid() == 0 {
		c.Hops = append(c.Hops, hop{Nobody: true})
	}
	types := slices.Clone(s.Types)
	last := hop{}
	if i := slices.Index(types, "time"); i >= 0 {
		types, last.Time = slices.Delete(types, i, i+1), true
		if i := slices.Index(types, "user"); i >= 0 {
			types = slices.Delete(types, i, i+1)
			c.Hops = append(c.Hops, hop{Clone: []string{"user"}})
		}
		if len(c.Hops) == 0 {
			c.Hops = append(c.Hops, hop{}) // the test itself does not go there, nor fork
		}
	}
	last.Clone = types
	c.Hops = append(c.Hops, last)
	return c
}

// command returns what starts the next process of the chain. It must run on
// the thread that called it, which is left in a state of its own if the hop
// has a time namespace.
func (c chain) command() (*exec.Cmd, error) {
	h := c.Hops[0]
	c.Hops = c.Hops[1:]
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	// The link works also where the path of the test binary cannot be walked.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "sandbox"
	cmd.Env = append(os.Environ(), childVar+"="+string(text))
	attr := &syscall.SysProcAttr{Cloneflags: flagsOf(h.Clone)}
	cmd.SysProcAttr = attr
	switch euid := os.Geteuid(); {
	case h.Nobody:
		attr.Credential = &syscall.Credential{Uid: Nobody, Gid: Nobody}
	case !slices.Contains(h.Clone, "user"):
	case euid == 0:
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
		attr.GidMappings = attr.UidMappings
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{}
	default:
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: euid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if h.Time {
		runtime.LockOSThread()
		if err := syscall.Unshare(syscall.CLONE_NEWTIME); err != nil {
			return nil, fmt.Errorf("unshare of the time namespace: %w", err)
		}
	}
	return cmd, nil
}

func init() {
	if os.Getenv(childVar) != "" {
		runtime.LockOSThread() // main runs on the main thread, whose namespaces are the process's
	}
}

// child is a process of the chain. It does not return.
func child(text string) {
	if text == "exit" {
		os.Exit(0)
	}
	report := os.NewFile(reportFD, "report")
	syscall.CloseOnExec(reportFD)
	say := json.NewEncoder(report)
	fail := func(err error) {
		say.Encode(message{Error: err.Error()})
		os.Exit(1)
	}
	os.Unsetenv(childVar)
	var c chain
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fail(err)
	}
	if len(c.Hops) > 0 {
		cmd, err := c.command()
		if err != nil {
			fail(err)
		}
		cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stderr, []*os.File{report}
		pid := 0
		if err = cmd.Start(); err == nil {
			pid = cmd.Process.Pid
		} else if errors.Is(err, syscall.EINVAL) && c.Hops[0].Time {
			pid, err = forkExec(cmd)
		}
		if err != nil {
			fail(fmt.Errorf("start in new %v: %w", c.Spec.Types, err))
		}
		say.Encode(message{Started: pid})
		os.Exit(0)
	}
	m, err := c.Spec.furnish(c.Root)
	if err != nil {
		fail(err)
	}
	m.Ready = true
	say.Encode(m)
	if len(c.Spec.Exec) > 0 {
		path, err := exec.LookPath(c.Spec.Exec[0])
		if err == nil {
			err = syscall.Exec(path, c.Spec.Exec, os.Environ())
		}
		fail(fmt.Errorf("exec %s: %w", c.Spec.Exec[0], err))
	}
	report.Close()
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// furnish makes everything in the sandbox that was asked for.
func (s Spec) furnish(root string) (m message, err error) {
	if slices.Contains(s.Types, "mnt") {
		if err := s.mounts(root); err != nil {
			return m, err
		}
	}
	for _, name := range s.Children {
		if err := syscall.Unshare(int(flags[name])); err != nil {
			return m, fmt.Errorf("unshare for children: %w", err)
		}
		if name == "pid" {
			// Its init, which ends at once: the link leads nowhere before there
			// was one. Package os would fork another first, to learn of pidfds.
			pid, err := syscall.ForkExec("/proc/self/exe", []string{"init"}, &syscall.ProcAttr{Env: []string{childVar + "=exit"}})
			if err != nil {
				return m, fmt.Errorf("init of the PID namespace for children: %w", err)
			}
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
				return m, err
			}
		}
		if m.ChildrenIno == nil {
			m.ChildrenIno = map[string]uint64{}
		}
		if m.ChildrenIno[name], err = inode("/proc/self/ns/" + name + "_for_children"); err != nil {
			return m, err
		}
	}
	if len(s.Thread) > 0 {
		tid, _, err := leave(s.Thread, nil)
		if err != nil {
			return m, err
		}
		m.TID = tid
		if m.ThreadIno, err = namespacesOf(fmt.Sprintf("/proc/self/task/%d/ns", tid)); err != nil {
			return m, err
		}
	}
	for _, name := range s.Files {
		h, err := holdByFile(name)
		if err != nil {
			return m, err
		}
		m.Held = append(m.Held, h)
	}
	for _, name := range s.Sockets {
		h := Held{Kind: "socket", Type: name}
		tid, release, err := leave([]string{name}, func() (err error) {
			h.FD, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
			return err
		})
		if err == nil {
			h.Ino, err = inode(fmt.Sprintf("/proc/self/task/%d/ns/%s", tid, name))
			release()
		}
		if err != nil {
			return m, err
		}
		m.Held = append(m.Held, h)
	}
	for _, name := range s.Pins {
		h, err := pin(name)
		if err != nil {
			return m, err
		}
		m.Held = append(m.Held, h)
	}
	for _, kind := range s.Odd {
		h, err := holdOddly(kind)
		if err != nil {
			return m, err
		}
		m.Held = append(m.Held, h)
	}
	if len(s.Hidden) > 0 {
		held, err := hide(s.Hidden)
		if err != nil {
			return m, err
		}
		m.Held = append(m.Held, held...)
	}
	return m, nil
}

// mounts makes the mount namespace private and, if there is a root, its own.
// A process in a new PID namespace gets a /proc of it, and /mnt is for pins.
func (s Spec) mounts(root string) error {
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE); err != nil {
		return err
	}
	if root != "" {
		if err := mount(root, root, "", syscall.MS_BIND); err != nil {
			return err
		}
		// The old /proc is bound, since a new one needs a new PID namespace in
		// a user namespace.
		for _, d := range []string{"/proc", "/dev"} {
			if err := mount(d, root+d, "", syscall.MS_BIND|syscall.MS_REC); err != nil {
				return err
			}
		}
		if err := syscall.PivotRoot(root, root+"/old"); err != nil {
			return fmt.Errorf("pivot_root %s: %w", root, err)
		}
		if err := os.Chdir("/"); err != nil {
			return err
		}
		os.Setenv("PATH", "/bin")
	}
	if slices.Contains(s.Types, "pid") {
		if err := mount("proc", "/proc", "proc", 0); err != nil {
			return err
		}
	}
	if root != "" {
		if err := syscall.Unmount("/old", syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("umount /old: %w", err)
		}
	}
	return mount("tmpfs", "/mnt", "tmpfs", 0)
}

func mount(source, target, fstype string, flags uintptr) error {
	if err := syscall.Mount(source, target, fstype, flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// leave starts a thread that leaves for new namespaces, does there what it is
// returned, and stays until it is released. Then the thread is thrown away.
func leave(types []string, do func() error) (tid int, release func(), err error) {
	done, hold := make(chan error), make(chan struct{})
	gone := sys.StartThread(func() error {
		tid = syscall.Gettid()
		err := syscall.Unshare(int(flagsOf(types)))
		if err == nil && do != nil {
			err = do()
		}
		done <- err
		<-hold
		return nil
	})
	if err := <-done; err != nil {
		close(hold)
		return 0, nil, fmt.Errorf("thread in new %v: %w", types, err)
	}
	return tid, func() {
		close(hold)
		<-gone
		for { // until it has really gone, not only its goroutine
			if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid)); err != nil {
				return
			}
			runtime.Gosched()
		}
	}, nil
}

// linkOf returns the link of a thread's namespace that unshare(2) changed.
func linkOf(tid int, name string) string {
	if name == "time" {
		name = "time_for_children"
	}
	return fmt.Sprintf("/proc/self/task/%d/ns/%s", tid, name)
}

func holdByFile(name string) (Held, error) {
	tid, release, err := leave([]string{name}, nil)
	if err != nil {
		return Held{}, err
	}
	defer release()
	h := Held{Kind: "file", Type: name}
	if h.Ino, err = inode(linkOf(tid, name)); err != nil {
		return h, err
	}
	h.FD, err = syscall.Open(linkOf(tid, name), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	return h, err
}

// pin bind-mounts a new namespace on a file in /mnt.
func pin(name string) (Held, error) {
	tid, release, err := leave([]string{name}, nil)
	if err != nil {
		return Held{}, err
	}
	defer release()
	h := Held{Kind: "pin", Type: name}
	if h.Ino, err = inode(linkOf(tid, name)); err != nil {
		return h, err
	}
	if h.Mnt, err = inode("/proc/thread-self/ns/mnt"); err != nil {
		return h, err
	}
	h.Path = filepath.Join("/mnt", fmt.Sprintf("%s-%d", name, h.Ino))
	if err := os.WriteFile(h.Path, nil, 0o600); err != nil {
		return h, err
	}
	return h, mount(linkOf(tid, name), h.Path, "", syscall.MS_BIND)
}

// holdOddly holds a new network namespace by a descriptor whose link does not say
// so.
func holdOddly(kind string) (Held, error) {
	if kind == "named" || kind == "detached" {
		h, err := pin("net")
		if err == nil {
			h.FD, err = syscall.Open(h.Path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		}
		if err == nil && kind == "detached" {
			err = errors.Join(syscall.Unmount(h.Path, syscall.MNT_DETACH), os.Remove(h.Path))
		}
		h.Kind = kind
		return h, err
	}
	h := Held{Kind: kind, Type: "net"}
	file := map[string]string{"tun": "/dev/net/tun", "procfile": "/proc/thread-self/net/tcp"}[kind]
	_, release, err := leave([]string{"net"}, func() (err error) {
		if h.Ino, err = inode("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		flags := syscall.O_RDONLY
		if kind == "tun" {
			flags = syscall.O_RDWR
		}
		h.FD, err = syscall.Open(file, flags|syscall.O_CLOEXEC, 0)
		return os.NewSyscallError("open "+file, err)
	})
	if err == nil {
		release()
	}
	return h, err
}

// hide pins namespaces in a mount namespace that only a descriptor holds.
func hide(types []string) (held []Held, err error) {
	tid, release, err := leave([]string{"mnt"}, func() error {
		if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE); err != nil {
			return err
		}
		if err := mount("tmpfs", "/mnt", "tmpfs", 0); err != nil {
			return err
		}
		for _, name := range types {
			h, err := pin(name)
			if err != nil {
				return err
			}
			held = append(held, h)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer release()
	h := Held{Kind: "file", Type: "mnt"}
	if h.Ino, err = inode(linkOf(tid, "mnt")); err != nil {
		return nil, err
	}
	if h.FD, err = syscall.Open(linkOf(tid, "mnt"), syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	return append([]Held{h}, held...), nil
}

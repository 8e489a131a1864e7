package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// A Host is how the caller reaches what belongs to the host: the root directory of the initial
// mount namespace, and its control groups from their root on. The caller may be in a container
// that sees the host's processes, such as the pod of "kubectl debug node/NODE" or a container of
// "docker run --pid=host". Then the files of engines and /run/netns are not below the caller's own
// root directory.
//
// The zero value is the host of a caller that is in the host's mount namespace, or that sees no
// process of the host.
type Host struct {
	// PID is the process of the host through which the caller reaches it, or 0.
	PID int
	// Moved: the program was started in a container, and has moved to the host by [Host.Exec]. PID
	// is the process through which it did.
	Moved bool
	// Root is the path of its root directory for the caller: "" for the caller's own.
	Root string
	// Err says what is missing, if the caller is in another mount namespace than the host and
	// cannot reach its file system; else it is nil.
	Err error

	proc              sys.ProcDir // of the process
	root, mnt, cgroup int         // its root directory and namespaces, or 0 or -1
}

// ErrNoHost says what a caller lacks that does not reach the host's file system.
var ErrNoHost = errors.New("that takes CAP_SYS_PTRACE, or the host's root directory at /host")

// FindHost finds the host. It does so once for the life of the program, and keeps descriptors of
// the host's root directory and namespaces.
//
// It reads links of /proc/pid of one process of the host, which takes CAP_SYS_PTRACE in the
// initial user namespace.
var FindHost = sync.OnceValue(findHost)

// initialMnt is the inode number of the initial mount namespace since Linux 6.18: MNT_NS_INIT_INO
// in include/uapi/linux/nsfs.h. Other numbers of namespaces begin at 0xF0000000.
const initialMnt = 0xEFFFFFF8

// linkIn returns the text of a link in a directory of procfs, or "".
func linkIn(dir sys.ProcDir, name string) string {
	var buf [64]byte
	n, err := dir.Readlink(sys.NewName(name), buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// inoIn returns the inode number of the namespace that such a link leads to, or 0.
func inoIn(dir sys.ProcDir, name string) uint64 {
	_, ino, _ := ParseLink(linkIn(dir, name))
	return ino
}

// isInitial reports whether the link of a process leads to the initial namespace of type t. process
// is its directory in dir, with a slash.
func isInitial(dir sys.ProcDir, process string, t Type) bool {
	initial, ok := t.InitialIno()
	return ok && inoIn(dir, process+"ns/"+t.String()) == initial
}

// movedVar is the variable by which [Host.Exec] tells the program that it starts where it comes
// from: its own PID, and that of the process of the host.
const movedVar = "NSTOOL_MOVED"

func findHost() Host {
	proc, err := sys.OpenProc("/proc")
	if err != nil {
		return Host{}
	}
	// The link of a process that is stuck may never be read.
	var stuck wait.Stuck
	defer stuck.Close(proc.CloseRaw)
	// The numbers of /proc are those of the initial PID namespace if the caller has its own there.
	if linkIn(proc, "self") != strconv.Itoa(os.Getpid()) || !isInitial(proc, "self/", PID) || !isInitial(proc, "self/", User) {
		return Host{}
	}
	own, host := inoIn(proc, "self/ns/mnt"), inoIn(proc, "1/ns/mnt")
	if host == 0 {
		host = inoIn(proc, "2/ns/mnt") // of the parent of kernel threads
	}
	switch {
	case host == own || own == initialMnt:
		pid, through, _ := strings.Cut(os.Getenv(movedVar), ":")
		if n, err := strconv.Atoi(through); err == nil && pid == strconv.Itoa(os.Getpid()) {
			return Host{PID: n, Moved: true}
		}
		return Host{}
	case host == 0 && hasFixedNumbers():
		host = initialMnt
	}
	if host != 0 {
		if found, ok := hostIn(proc, host, &stuck); ok {
			return found
		}
	}
	if self, err := wait.One(context.Background(), &stuck, wait.Short, func() (string, error) { return os.Readlink("/host/proc/self") }); err == nil && self == strconv.Itoa(os.Getpid()) {
		return Host{Root: "/host"}
	}
	if host == 0 || os.Geteuid() != 0 {
		return Host{} // a service may have mounts of its own
	}
	return Host{Err: ErrNoHost}
}

// hasFixedNumbers reports whether the kernel gives the initial mount namespace a fixed number, as
// since the version that gives every namespace an identifier.
func hasFixedNumbers() bool {
	fd, err := sys.OpenNamespace(sys.CurrentDir, "/proc/self/ns/uts")
	if err != nil {
		return false
	}
	defer sys.CloseFD(fd)
	_, err = sys.NamespaceID(fd)
	return err == nil
}

// hostIn returns the host as a process reaches it whose mount namespace has the inode number mnt,
// and whether there is one.
func hostIn(proc sys.ProcDir, mnt uint64, stuck *wait.Stuck) (h Host, ok bool) {
	pids, err := (&procFS{path: "/proc", dir: proc}).pids()
	if err != nil {
		return h, false
	}
	const maxStuck = 4
	for _, pid := range pids {
		if stuck.Count >= maxStuck {
			break
		}
		found, err := wait.One(context.Background(), stuck, wait.Short, func() (Host, error) { return hostThrough(proc, pid, mnt) })
		if err == nil && found.isCallers() {
			found.close()
			return h, true
		}
		if err == nil {
			return found, true
		}
	}
	return h, false
}

var errNotHost = errors.New("not a process of the host")

// hostThrough returns the host as a process reaches it that is in the mount namespace with the
// inode number mnt and in the initial user namespace, and has the root directory of that mount
// namespace. Everything is read through one directory, so that it is of one process.
func hostThrough(proc sys.ProcDir, pid int, mnt uint64) (h Host, err error) {
	h = Host{PID: pid, root: -1, mnt: -1, cgroup: -1}
	if h.proc, err = proc.OpenPath(sys.AppendName(nil, pid, "")); err != nil {
		return Host{}, err
	}
	root, err := h.proc.OpenPath(sys.NewName("root"))
	if err == nil {
		h.Root, h.root = sys.FDPath(int(root)), int(root)
		// The root of a kernel thread, which has no program, is that of the initramfs.
		if inoIn(h.proc, "ns/mnt") != mnt || !isInitial(h.proc, "", User) || linkIn(h.proc, "root") != "/" || linkIn(h.proc, "exe") == "" {
			err = errNotHost
		}
	}
	if err != nil {
		h.close()
		return Host{}, err
	}
	// Without CAP_SYS_ADMIN they are of no use.
	h.mnt, _ = sys.OpenNamespace(int(h.proc), "ns/mnt") //nolint:errcheck // then it is -1
	if isInitial(h.proc, "", Cgroup) && !isInitial(proc, "self/", Cgroup) {
		h.cgroup, _ = sys.OpenNamespace(int(h.proc), "ns/cgroup") //nolint:errcheck // then it is -1
	}
	return h, nil
}

// isCallers reports whether the host's root directory is the caller's too: then the caller only has
// mounts of its own, as by unshare(1), and wants to see those. A caller that has changed its root
// to that of the host, as in a pod by "chroot /host", is still in the container.
func (h Host) isCallers() bool {
	host, err := sys.Fstat(h.root)
	own, e := rootHere()
	if err != nil || e != nil || own != host {
		return false
	}
	mnt, err := sys.OpenNamespace(sys.CurrentDir, "/proc/self/ns/mnt")
	if err != nil {
		return true
	}
	defer sys.CloseFD(mnt)
	top := own
	_ = sys.InMountNamespace(mnt, func() (err error) { top, err = rootHere(); return err }) //nolint:errcheck // without permission it is taken for that
	return top == own
}

// rootHere identifies the root directory of the calling thread.
func rootHere() (sys.FileID, error) {
	root, err := sys.ProcDir(sys.CurrentDir).OpenPath(sys.NewName("/"))
	if err != nil {
		return sys.FileID{}, err
	}
	defer root.CloseRaw()
	return sys.Fstat(int(root))
}

// close closes the descriptors of a host that is not used.
func (h Host) close() {
	sys.CloseAll(int(h.proc), h.root, h.mnt, h.cgroup)
}

// IsElsewhere reports whether the host's root directory is another than the caller's, and can be
// reached.
func (h Host) IsElsewhere() bool { return h.Root != "" }

// String says how the caller reaches the host: "pid:" and a process, "/host", or "unreachable".
// For a caller on the host it is "".
func (h Host) String() string {
	switch {
	case h.Err != nil:
		return "unreachable"
	case h.PID != 0:
		return "pid:" + strconv.Itoa(h.PID)
	}
	return h.Root
}

// Path returns the path for the caller of what the host has at an absolute path. Links on the way
// are followed as the caller's, so it is for paths without any.
func (h Host) Path(name string) string {
	if !h.IsElsewhere() {
		return name
	}
	return path.Join(h.Root, name)
}

// Mountinfo returns the path of a mount table of the host, see proc_pid_mountinfo(5), or "" if
// there is none to read.
func (h Host) Mountinfo() string {
	switch {
	case h.PID != 0 && !h.Moved:
		return path.Join(sys.FDPath(int(h.proc)), "mountinfo")
	case h.Root != "":
		return ""
	}
	return "/proc/self/mountinfo"
}

// InCgroups calls f where /proc/pid/cgroup and the roots in mountinfo show control groups as the
// host sees them: on a thread of its own that has joined the host's cgroup namespace, if the
// caller is in another and may do so, and else directly. Goroutines that f starts run elsewhere.
//
// To join takes CAP_SYS_ADMIN in the initial user namespace.
func (h Host) InCgroups(f func() error) error {
	if h.cgroup <= 0 {
		return f()
	}
	called := false
	err := sys.InNamespace(h.cgroup, Cgroup.Flag(), func() error { called = true; return f() })
	if !called {
		return f()
	}
	return err
}

// InMounts calls f where paths are the host's: on a thread of its own that has joined the host's
// mount namespace, if the caller is in another, and else directly. Goroutines that f starts run
// elsewhere.
//
// To join takes CAP_SYS_ADMIN and CAP_SYS_CHROOT in the initial user namespace.
func (h Host) InMounts(f func() error) error {
	if h.mnt <= 0 {
		return f()
	}
	return sys.InMountNamespace(h.mnt, f)
}

// Exec replaces the program with the one at path, a file of the caller's, in the mount and cgroup
// namespaces of the host: the root and the working directory are the host's then. It returns only
// an error.
//
// It takes CAP_SYS_ADMIN and CAP_SYS_CHROOT in the initial user namespace.
func (h Host) Exec(path string, argv, env []string) error {
	if h.mnt <= 0 {
		return errors.New("that takes CAP_SYS_PTRACE and CAP_SYS_ADMIN")
	}
	joins := []sys.Join{{FD: h.mnt, Flag: Mnt.Flag()}}
	if h.cgroup > 0 {
		joins = append(joins, sys.Join{FD: h.cgroup, Flag: Cgroup.Flag()})
	}
	env = append(slices.Clip(env), fmt.Sprintf("%s=%d:%d", movedVar, os.Getpid(), h.PID))
	return sys.ExecIn(joins, path, argv, env)
}

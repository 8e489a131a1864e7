package enter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A Target is a process, or a thread, whose namespaces can be joined. A pidfd and a descriptor
// of its directory in /proc make sure that it stays the same process, even if its PID is used
// again.
type Target struct{ proc *sys.Process }

// Open returns the process with the given PID as a target. If its first thread has exited and
// others run on, the target is one of those. It needs no privileges. The error is an
// [fs.ErrNotExist] if there is no such process.
func Open(pid int) (*Target, error) { return OpenThread(pid, 0) }

// OpenThread returns thread tid of process pid, whose namespaces may differ from those of the
// process.
func OpenThread(pid, tid int) (*Target, error) {
	open := func() (*sys.Process, error) { return sys.OpenProcess(pid, tid) }
	if tid == 0 {
		open = func() (*sys.Process, error) { return sys.OpenLive(pid) }
	}
	p, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &noProcessError{PID: pid, TID: tid, Err: err}
	}
	if err != nil {
		return nil, err
	}
	return &Target{p}, nil
}

// Self returns the calling process.
func Self() (*Target, error) { return Open(os.Getpid()) }

// PID returns the process ID.
func (t *Target) PID() int { return t.proc.PID }

// Close releases the process.
func (t *Target) Close() error { t.proc.Close(); return nil }

// String returns "process 4242", or "thread 4243 of process 4242".
func (t *Target) String() string {
	if t.proc.TID != 0 {
		return fmt.Sprintf("thread %d of process %d", t.proc.TID, t.proc.PID)
	}
	return "process " + strconv.Itoa(t.proc.PID)
}

// Check returns nil if a pidfd of the process has the inode number ino, which identifies the
// process until the next boot (Linux 6.9).
func (t *Target) Check(ino uint64) error {
	got, err := t.proc.PidfdInode()
	if err != nil {
		return err
	}
	if got != ino {
		return &noProcessError{
			PID: t.proc.PID,
			Why: fmt.Sprintf("the one that has this number has pidfd inode %d, not %d", got, ino), Err: fs.ErrNotExist,
		}
	}
	return nil
}

// NetOfSocket returns the network namespace of the socket that is descriptor fd of the target
// (Linux 5.6). The caller needs ptrace access to the target and CAP_NET_ADMIN over the
// namespace.
func (t *Target) NetOfSocket(fd int) (*os.File, error) {
	s, err := sys.Pidfd(t.proc.Pidfd).Getfd(fd)
	if err != nil {
		return nil, fmt.Errorf("take descriptor %d of %s: %w", fd, t, err)
	}
	defer sys.CloseAll(s)
	ns, err := sys.SocketNetns(s)
	if err != nil {
		return nil, fmt.Errorf("ask descriptor %d of %s for its network namespace: %w", fd, t, err)
	}
	return os.NewFile(uintptr(ns), fmt.Sprintf("the network namespace of descriptor %d of %s", fd, t)), nil
}

// OpenFile opens a namespace by a file, such as /run/netns/blue or /proc/1/ns/net. The error is
// [ErrNotNamespace] for any other file, which is not opened. If t is not 0, the namespace must
// be of that type.
func OpenFile(path string, t inspect.Type) (*os.File, error) {
	fd, err := sys.OpenNamespace(sys.CurrentDir, path)
	if err != nil {
		err = cause(err)
		if errors.Is(err, fs.ErrNotExist) {
			if to, e := sys.Readlink(path); e == nil {
				err = fmt.Errorf("it is a link to %s, which leads nowhere: %w", to, err)
			}
		} else if kind := sys.KindAt(path); errors.Is(err, ErrNotNamespace) && kind != "" {
			err = fmt.Errorf("it is %s: %w", kind, err)
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	got, err := typeOf(fd)
	if err == nil && t != 0 && got != t {
		err = &TypeError{Path: path, Got: got, Want: t}
	}
	if err != nil {
		sys.CloseAll(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ErrNotNamespace reports that a file is no namespace.
var ErrNotNamespace = sys.ErrNotNamespace

// typeOf returns the type of the namespace of fd.
func typeOf(fd int) (inspect.Type, error) {
	flag, err := sys.NamespaceFlag(fd)
	if err != nil {
		return 0, err
	}
	t, ok := inspect.TypeOfFlag(flag)
	if !ok {
		return 0, fmt.Errorf("a namespace of a type that is not known: %#x", flag)
	}
	return t, nil
}

// A TypeError reports that a file is a namespace of another type.
type TypeError struct {
	Path      string
	Got, Want inspect.Type
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("%s is a %s namespace, not a %s namespace", e.Path, e.Got, e.Want)
}

// A noProcessError reports that there is no such process or thread.
type noProcessError struct {
	PID, TID int
	Why      string // the reason, or ""
	Err      error
}

func (e *noProcessError) Error() string {
	if e.TID != 0 {
		return fmt.Sprintf("no thread %d of a process %d", e.TID, e.PID)
	}
	if e.Why != "" {
		return fmt.Sprintf("no process %d: %s", e.PID, e.Why)
	}
	return fmt.Sprintf("no process %d", e.PID)
}
func (e *noProcessError) Unwrap() error { return e.Err }

// Unseen reports that it may be there where the caller does not see it, not that it may be denied.
func (e *noProcessError) Unseen() (denied bool) { return false }

// cause returns the errno of err, or err, for messages that describe the call themselves.
func cause(err error) error {
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	return err
}

// Namespace opens the namespace of type t that a child of the target would be in, which may
// differ from the target's own for PID and time namespaces.
func (t *Target) Namespace(typ inspect.Type) (*os.File, error) {
	names := []string{typ.String()}
	if n := typ.ForChildren(); n != "" {
		names = []string{n, typ.String()}
	}
	var err error
	for _, name := range names {
		var fd int
		if fd, err = t.proc.OpenNamespace(name); err == nil {
			return os.NewFile(uintptr(fd), t.proc.Path("ns/"+name)), nil
		}
	}
	s := &situation{target: t.String()}
	return nil, s.noNamespace(t.proc, typ, err)
}

// ForChildren is Namespace without a fallback to the target's own. The error is an
// [errors.ErrUnsupported] if the kernel has no such namespaces, and an [fs.ErrNotExist] if the
// target made a PID namespace in which no process has been started yet.
func (t *Target) ForChildren(typ inspect.Type) (*os.File, error) {
	name := cmp.Or(typ.ForChildren(), typ.String())
	fd, err := t.proc.OpenNamespace(name)
	if errors.Is(err, fs.ErrNotExist) && t.Alive() == nil {
		if _, own := t.proc.Own("ns/" + name); own != nil {
			return nil, fmt.Errorf("%s namespaces: %w", typ, errors.ErrUnsupported)
		}
		return nil, err
	}
	if err != nil {
		s := &situation{target: t.String()}
		return nil, s.noNamespace(t.proc, typ, err)
	}
	return os.NewFile(uintptr(fd), t.proc.Path("ns/"+name)), nil
}

// Alive returns nil if the target has not ended: everything that was opened of it before is its
// own.
func (t *Target) Alive() error {
	if err := t.proc.Alive(); err != nil {
		return &noProcessError{PID: t.proc.PID, TID: t.proc.TID, Why: "it has just ended", Err: err}
	}
	return nil
}

// Wait waits until the target has ended, and returns nil, or until ctx is done.
func (t *Target) Wait(ctx context.Context) error {
	fd := sys.Dup(t.proc.Pidfd)
	if err := sys.SetNonblock(fd); err != nil { // so that no thread is blocked
		sys.CloseAll(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), t.String())
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := raw.Read(func(fd uintptr) bool { return sys.Ready(int(fd)) }); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for %s: %w", t, err)
	}
	return context.Cause(ctx)
}

// Root opens the root directory of the target with O_PATH, with everything that is mounted
// below it for the target. See proc_pid_root(5). The caller needs ptrace access to the target
// (PTRACE_MODE_READ_FSCREDS).
func (t *Target) Root() (*os.File, error) {
	fd, err := t.proc.Open("root")
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), t.proc.Path("root")), nil
}

// TypeOf returns the type of the namespace that f is.
func TypeOf(f *os.File) (inspect.Type, error) { return typeOf(int(f.Fd())) }

package inspect

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// kernel is the kernel as a scan asks it, besides reading /proc. Tests of made-up systems have
// their own.
type kernel interface {
	// open opens the namespace with the given inode number by w. An ino of 0 stands for any.
	open(w opener, ino uint64) (nsFile, error)
	// handle returns the handle of the namespace of w.
	handle(w opener) (sys.Handle, error)
	// list returns the identifiers of all namespaces of these types, or of those that a user
	// namespace owns, in order.
	list(types Types, owner uint64) ([]uint64, error)
	// listsAll reports whether the list has all namespaces for this caller.
	listsAll() bool
	// mountNamespaces returns the inode numbers of the mount namespaces, as the kernel goes from
	// one to the next. take, if not nil, gets a descriptor of each and reports whether it keeps
	// that.
	mountNamespaces(take func(ino uint64, fd int) bool) []uint64
	// close closes all descriptors.
	close()
}

// nsFile is an open namespace.
type nsFile interface {
	id() (ID, error)
	typ() (Type, error)
	owner() (nsFile, error)
	parent() (nsFile, error)
	creator() (uint32, error)
	nsid() (uint64, error)
	netnsid() (int, error)
	close()
}

// kernel returns the kernel of the proc file system.
func (p *procFS) kernel() kernel {
	if !p.real {
		return noKernel{}
	}
	return &realKernel{proc: p.dir}
}

// noKernel answers nothing.
type noKernel struct{}

func (noKernel) open(opener, uint64) (nsFile, error)             { return nil, ErrNotAsked }
func (noKernel) handle(opener) (sys.Handle, error)               { return sys.Handle{}, ErrNotAsked }
func (noKernel) list(Types, uint64) ([]uint64, error)            { return nil, ErrNotAsked }
func (noKernel) listsAll() bool                                  { return false }
func (noKernel) mountNamespaces(func(uint64, int) bool) []uint64 { return nil }
func (noKernel) close()                                          {}

// realKernel asks the running kernel.
type realKernel struct {
	proc  sys.ProcDir
	owned []int // for ownOpener
	route sys.Route
}

func (k *realKernel) close() {
	k.route.Close()
	for _, fd := range k.owned {
		sys.CloseFD(fd)
	}
}

func (k *realKernel) open(w opener, ino uint64) (nsFile, error) {
	fd, err := k.openFD(w)
	return k.opened(fd, err, ino, w.kind == byOwn)
}

// opened returns the namespace of fd, if its inode number is ino, or ino is 0. Else fd is closed,
// unless it is kept.
func (k *realKernel) opened(fd int, err error, ino uint64, kept bool) (nsFile, error) {
	if err != nil {
		return nil, err
	}
	file := openNS{k, fd, kept}
	if ino == 0 {
		return file, nil
	}
	id, err := file.id()
	if err == nil && id.Ino != ino {
		err = ErrGone // it leads to another namespace now
	}
	if err != nil {
		file.close()
		return nil, err
	}
	return file, nil
}

func (k *realKernel) openFD(w opener) (int, error) {
	switch w.kind {
	case byOwn:
		return w.fd, nil
	case byHandle:
		return sys.OpenHandle(w.handle)
	case byLink:
		return sys.OpenLink(int(k.proc), w.path())
	case byFD:
		return sys.OpenNamespace(int(k.proc), w.path())
	case bySocket:
		return openSocket(w)
	case byPath:
		if w.pid == 0 {
			break
		}
		root, err := k.proc.OpenPath(sys.AppendName(nil, w.pid, "/root"))
		if err != nil {
			return -1, err
		}
		defer root.CloseRaw()
		return openMount(k.proc, int(root), w.name)
	}
	return -1, ErrNotAsked
}

func (k *realKernel) handle(w opener) (sys.Handle, error) {
	return sys.HandleOf(k.proc, sys.NewName(w.path()))
}

func (k *realKernel) list(types Types, owner uint64) ([]uint64, error) {
	return sys.ListNamespaces(types.Flags(), owner)
}

func (k *realKernel) listsAll() bool {
	for _, t := range [...]Type{PID, User} {
		ino, _ := t.InitialIno()
		file, err := k.open(linkOpener(os.Getpid(), 0, t.String()), ino)
		if err != nil {
			return false
		}
		file.close()
	}
	return sys.IsAdmin()
}

func (k *realKernel) mountNamespaces(take func(ino uint64, fd int) bool) (inos []uint64) {
	own, err := sys.OpenLink(int(k.proc), "thread-self/ns/mnt")
	if err != nil {
		return nil
	}
	defer sys.CloseFD(own)
	for _, before := range [...]bool{false, true} {
		at, keep := own, true
		for {
			next, _, err := sys.NextMountNamespace(at, before)
			if !keep {
				sys.CloseFD(at)
			}
			if err != nil {
				break
			}
			at, keep = next, false
			if id, err := sys.Fstat(next); err == nil {
				inos = append(inos, id.Ino)
				keep = take != nil && take(id.Ino, next)
			}
			if keep {
				k.owned = append(k.owned, next)
			}
		}
	}
	return inos
}

// openSocket opens the network namespace of a socket of a process.
func openSocket(w opener) (int, error) {
	open, id := sys.OpenPidfd, w.pid
	if w.tid != 0 {
		open, id = sys.OpenThreadPidfd, w.tid // the thread has its own table
	}
	pidfd, err := open(id)
	if err != nil {
		return -1, err
	}
	defer pidfd.Close()
	sock, err := pidfd.Getfd(w.fd)
	if err != nil {
		return -1, err
	}
	defer sys.CloseFD(sock)
	return sys.SocketNetns(sock)
}

// openMount opens a namespace by its mount point, a path from the directory dir. The path may lead
// through a dead file system, and a thread that asks that cannot be killed. So only the memory of
// the kernel is used: it has all directories on which something is mounted.
func openMount(proc sys.ProcDir, dir int, path string) (int, error) {
	rel := strings.TrimPrefix(path, "/")
	fd, err := sys.OpenNamespaceCached(proc, dir, rel)
	if errors.Is(err, errors.ErrUnsupported) {
		return sys.OpenNamespace(dir, rel)
	}
	return fd, err
}

// openNS is an open descriptor of a namespace.
type openNS struct {
	kernel *realKernel
	fd     int
	kept   bool // its owner closes it
}

func (f openNS) id() (ID, error) {
	id, err := sys.Fstat(f.fd)
	return ID(id), err
}

func (f openNS) typ() (Type, error) {
	flag, err := sys.NamespaceFlag(f.fd)
	if err != nil {
		return 0, err
	}
	t, ok := TypeOfFlag(flag)
	if !ok {
		return 0, fmt.Errorf("type %#x: %w", flag, errors.ErrUnsupported)
	}
	return t, nil
}

func (f openNS) owner() (nsFile, error)   { return f.related(sys.Owner) }
func (f openNS) parent() (nsFile, error)  { return f.related(sys.Parent) }
func (f openNS) creator() (uint32, error) { return sys.CreatorUID(f.fd) }
func (f openNS) nsid() (uint64, error)    { return sys.NamespaceID(f.fd) }
func (f openNS) netnsid() (int, error)    { return f.kernel.route.NetNSID(f.fd) }

func (f openNS) close() {
	if !f.kept {
		sys.CloseFD(f.fd)
	}
}

func (f openNS) related(ask func(fd int) (int, error)) (nsFile, error) {
	fd, err := ask(f.fd)
	return f.kernel.opened(fd, err, 0, false)
}

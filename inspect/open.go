package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// Open opens a namespace of the snapshot by one of its holders: a member, a thread, a descriptor,
// a socket, a mount, also in a mount namespace without a process, or a namespace that it owns or
// encloses. A holder that leads to another namespace now is not used. The error is that of the
// last holder, or [ErrNotAsked] without one.
//
// The file is for ioctl_nsfs(2), setns(2) and bind mounts. Open needs what finding the holder
// needed: see [Scan]. It returns when ctx is done, or nothing answers in time.
func (s *Snapshot) Open(ctx context.Context, ns *Namespace) (*os.File, error) {
	var stuck wait.Stuck
	answer := opened{err: context.Canceled}
	silent := wait.Many(ctx, &stuck, 1,
		func() func(int) opened { return func(int) opened { return s.openNow(ns) } },
		func(_ int, o opened) { answer = o }, opened.close)
	switch {
	case ctx.Err() != nil && answer.err != nil:
		answer.err = context.Cause(ctx)
	case len(silent) > 0:
		answer.err = ErrSlow
	}
	if answer.err != nil {
		return nil, fmt.Errorf("open %s: %w", ns, answer.err)
	}
	return os.NewFile(uintptr(answer.file.(openNS).fd), ns.String()), nil
}

// openNow opens ns, however long it takes.
func (s *Snapshot) openNow(ns *Namespace) opened {
	if !s.proc.real {
		return opened{err: ErrNotAsked}
	}
	dir, err := sys.OpenProc(s.proc.path)
	if err != nil {
		return opened{err: err}
	}
	defer dir.Close()
	o := opening{snap: s, kernel: &realKernel{proc: dir}, tried: make(map[ID]bool)}
	file, err := o.open(ns)
	if err == nil && ns.NSID != 0 {
		// An inode number may be used again, an identifier never.
		if id, e := file.nsid(); e == nil && id != ns.NSID {
			file.close()
			err = ErrGone
		}
	}
	return opened{file, err}
}

// An opening tries one holder after another.
type opening struct {
	snap   *Snapshot
	kernel *realKernel
	tried  map[ID]bool // the namespaces being opened: none is opened through itself
}

func (o opening) open(ns *Namespace) (file nsFile, err error) {
	err = ErrNotAsked
	if o.tried[ns.ID] {
		return nil, err
	}
	o.tried[ns.ID] = true
	for w := range ns.openers() {
		if file, err = o.kernel.open(w, ns.ID.Ino); err == nil {
			return file, nil
		}
	}
	for _, h := range ns.holders {
		if h.Kind == ByMount && h.PID == 0 {
			if file, err = o.openInMount(h, ns); err == nil {
				return file, nil
			}
		}
	}
	for _, inner := range o.snap.nested[ns.ID] {
		if file, err = o.openOuterOf(inner, ns); err == nil {
			return file, nil
		}
	}
	if ns.NSID != 0 {
		handle := sys.Handle{ID: ns.NSID, Typ: uint32(ns.Type.Flag()), Ino: uint32(ns.ID.Ino)} //nolint:gosec // inode numbers of nsfs have 32 bits
		file, e := o.kernel.open(handleOpener(handle), ns.ID.Ino)
		if e == nil {
			return file, nil
		}
		if errors.Is(err, ErrNotAsked) && !errors.Is(e, errors.ErrUnsupported) {
			err = e
		}
	}
	return nil, err
}

// openInMount opens ns by a mount in a mount namespace without a process.
func (o opening) openInMount(h Holder, ns *Namespace) (nsFile, error) {
	mnt, ok := o.snap.Namespace(h.In)
	if !ok {
		return nil, ErrNotAsked
	}
	in, err := o.open(mnt)
	if err != nil {
		return nil, err
	}
	defer in.close()
	fd := -1
	err = sys.InMountNamespace(in.(openNS).fd, func() error {
		fd, err = openMount(o.kernel.proc, sys.CurrentDir, h.Path)
		return err
	})
	return o.kernel.opened(fd, err, ns.ID.Ino, false)
}

// openOuterOf opens ns by a namespace that it owns or encloses.
func (o opening) openOuterOf(inner, ns *Namespace) (nsFile, error) {
	in, err := o.open(inner)
	if err != nil {
		return nil, err
	}
	defer in.close()
	ask := sys.Parent
	if inner.Owner.ID == ns.ID {
		ask = sys.Owner
	}
	fd, err := ask(in.(openNS).fd)
	return o.kernel.opened(fd, err, ns.ID.Ino, false)
}

package inside

import (
	"context"
	"errors"
	"io/fs"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// PID is what is inside a PID namespace: see pid_namespaces(7).
type PID struct {
	// Init is the process with PID 1 in it, by the caller's number, or 0 if there is none or it
	// is not known.
	Init int
	// Dead: the first process of the namespace has exited, so that no process can be started in
	// it. DeadErr is why that is not known, or nil.
	Dead    bool
	DeadErr error
	// Level is the number of PID namespaces around this one, or -1 if not known.
	Level int
	// PIDs are the numbers of members in the namespace, by the caller's numbers: of the first
	// thousand, without those that could not be read.
	PIDs map[int]int
}

func (r *reader) pid() *PID {
	in := &PID{Level: r.level(), PIDs: make(map[int]int)}
	file, err := r.snap.Open(r.ctx, r.ns)
	if err != nil {
		r.gap("PIDs", err)
		in.DeadErr = err
		return in
	}
	defer file.Close()
	fd := int(file.Fd())
	if init, _, err := sys.PIDFrom(fd, 1); err == nil {
		in.Init = init
	}
	dead, err := sys.PIDNamespaceDead(fd)
	switch {
	case err == nil:
		in.Dead = dead
	case errors.Is(err, errors.ErrUnsupported):
		// The kernel shows no namespace that never had a process, and all members end with the
		// first one.
		in.Dead = len(r.ns.Members) == 0 && r.snap.Nested(r.ns) == 0
		if why := r.snap.Unseen(inspect.Members); in.Dead && why != nil {
			in.Dead, in.DeadErr = false, errors.New(why[0])
		}
	default:
		in.DeadErr = err
	}
	const maxAsked = 1000
	for i, p := range r.ns.Members {
		if i == maxAsked {
			break
		}
		pid, err := pidInside(r.ctx, fd, p.PID)
		switch {
		case err == nil:
			in.PIDs[p.PID] = pid
			if pid == 1 && in.Init == 0 {
				in.Init = p.PID
			}
		case !errors.Is(err, fs.ErrNotExist):
			r.gap("PIDs", err)
			return in
		}
	}
	return in
}

// level counts the namespaces around this one.
func (r *reader) level() int {
	n := 0
	for at := r.ns; ; n++ {
		if at.Parent.None() {
			return n
		}
		up, ok := r.snap.Namespace(at.Parent.ID)
		if !ok || !at.Parent.Known() {
			return -1
		}
		at = up
	}
}

// pidInside returns the number of a member in the PID namespace of fd: by NS_GET_PID_IN_PIDNS
// (Linux 6.11), or from the status of the process.
func pidInside(ctx context.Context, fd, pid int) (int, error) {
	n, _, err := sys.PIDIn(fd, pid)
	if !errors.Is(err, errors.ErrUnsupported) {
		return n, err
	}
	t, err := task.Read(ctx, pid, 0)
	if err != nil {
		return 0, err
	}
	if len(t.NSpid) == 0 {
		return 0, errors.ErrUnsupported
	}
	return t.NSpid[len(t.NSpid)-1], nil
}

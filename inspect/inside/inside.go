// Package inside reads what is inside a namespace: the host name, the queues and
// semaphores, the mounts, the PIDs, the maps of users, the limits, the clocks,
// the root of control groups.
//
//	snap, err := inspect.Scan(ctx)
//	...
//	in := inside.Read(ctx, snap, ns)
//	if in.UTS != nil {
//		fmt.Println(in.UTS.Host)
//	}
//
// Some facts the kernel shows only to a member. A thread that joins, and ends afterwards, reads
// these; or a child in which only prepared system calls run, if no thread of a Go program can
// join, or if the caller has its privileges only in a user namespace of its own. No program of
// the namespace runs, and nothing in it changes.
//
// Package network reads what is inside a network namespace.
//
// A fact that a member shows under /proc/PID is read there, through one descriptor of the
// directory, and a pidfd is asked afterwards whether the process still lives. A child that
// joins a namespace first joins the user namespace that owns it, so that an ordinary user can
// read about their own rootless containers.
package inside

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// Contents is what is inside a namespace. Only the field of its type is set, and only if
// something could be read.
type Contents struct {
	UTS    *UTS
	IPC    *IPC
	Mnt    *Mnt
	PID    *PID
	User   *User
	Time   *Time
	Cgroup *Cgroup

	// Gaps are what could not be read.
	Gaps []inspect.Gap
}

// limit is the longest time to read one namespace.
const limit = 2 * time.Second

// Read reads what is inside ns, a namespace of snap, which must be of the proc file system at
// /proc. The caller needs the right to join ns (CAP_SYS_ADMIN in the user namespace that owns
// it, and in its own), or, for mount, user, PID, time and control group namespaces, ptrace
// access to a member. Failures are gaps, with errors such as [fs.ErrPermission].
func Read(ctx context.Context, snap *inspect.Snapshot, ns *inspect.Namespace) *Contents {
	in, err := wait.One(ctx, new(wait.Stuck), limit, func() (*Contents, error) { return read(ctx, snap, ns), nil })
	if err != nil {
		return &Contents{Gaps: []inspect.Gap{{What: "inside of " + ns.String(), Err: err}}}
	}
	return in
}

func read(ctx context.Context, snap *inspect.Snapshot, ns *inspect.Namespace) *Contents {
	in := &Contents{}
	r := &reader{ctx: ctx, snap: snap, ns: ns, in: in}
	dir, err := sys.OpenProc(snap.Proc())
	if err != nil {
		r.gap("inside", err)
		return in
	}
	defer dir.Close()
	r.proc = dir
	if snap.Proc() != "/proc" {
		r.gap("inside", fmt.Errorf("%s is not the /proc of the caller: %w", snap.Proc(), inspect.ErrNotAsked))
		return in
	}
	switch ns.Type {
	case inspect.UTS:
		in.UTS = r.uts()
	case inspect.IPC:
		in.IPC = r.ipc()
	case inspect.Mnt:
		in.Mnt = r.mnt()
	case inspect.PID:
		in.PID = r.pid()
	case inspect.User:
		in.User = r.user()
	case inspect.Time:
		in.Time = r.time()
	case inspect.Cgroup:
		in.Cgroup = r.cgroup()
	}
	return in
}

// A reader reads one namespace.
type reader struct {
	ctx  context.Context
	snap *inspect.Snapshot
	proc sys.ProcDir
	ns   *inspect.Namespace
	in   *Contents
}

// gap notes something of the namespace that could not be read.
func (r *reader) gap(what string, err error) {
	if err != nil {
		r.in.Gaps = append(r.in.Gaps, inspect.Gap{What: what + " of " + r.ns.String(), Err: err})
	}
}

// own reports whether the caller is in ns.
func (r *reader) own(ns *inspect.Namespace) bool {
	self, ok := r.snap.Process(r.snap.Self())
	if !ok {
		return false
	}
	id, ok := self.Namespace(ns.Type)
	return ok && id == ns.ID
}

// maxFile is the most bytes that are read of a file.
const maxFile = 16 << 20

// joined reads files of /proc from inside the namespace. Those that could not be read are nil.
func (r *reader) joined(paths ...string) ([][]byte, error) {
	if r.own(r.ns) {
		return sys.ReadJoined(r.proc, nil, paths, maxFile)
	}
	file, err := r.snap.Open(r.ctx, r.ns)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	joins := []sys.Join{{FD: int(file.Fd()), Flag: r.ns.Type.Flag()}}
	texts, err := sys.ReadJoined(r.proc, joins, paths, maxFile)
	if !errors.Is(err, fs.ErrPermission) || r.ns.Type == inspect.User {
		return texts, err
	}
	// The creator of a user namespace has rights in it that it does not have here.
	owner, ok := r.snap.Namespace(r.ns.Owner.ID)
	if !ok || r.own(owner) {
		return nil, err
	}
	user, e := r.snap.Open(r.ctx, owner)
	if e != nil {
		return nil, err
	}
	defer user.Close()
	joins = append([]sys.Join{{FD: int(user.Fd()), Flag: inspect.User.Flag()}}, joins...)
	if texts, e = sys.ReadJoined(r.proc, joins, paths, maxFile); e != nil {
		return nil, err
	}
	return texts, nil
}

// readMember reads files of the first member that can be read completely: see [reader.of].
func (r *reader) readMember(accept func(*sys.Process) bool, names ...string) ([][]byte, error) {
	const maxAsked = 8
	err := fs.ErrNotExist
	for i, p := range r.ns.Members {
		if i == maxAsked {
			break
		}
		var texts [][]byte
		if texts, err = r.of(p.PID, r.ns.Type.String(), accept, names...); err == nil {
			return texts, nil
		}
	}
	return nil, err
}

// errElsewhere reports that a process is not in the namespace, or not accepted.
var errElsewhere = errors.New("not in the namespace by now")

// of reads files of a process, if its link under ns leads to the namespace and accept, if not
// nil, accepts it. A process that does not answer soon is skipped.
func (r *reader) of(pid int, link string, accept func(*sys.Process) bool, names ...string) ([][]byte, error) {
	want := r.ns.String()
	return wait.One(r.ctx, new(wait.Stuck), limit/10, func() ([][]byte, error) { return readOf(pid, link, want, accept, names) })
}

func readOf(pid int, link, want string, accept func(*sys.Process) bool, names []string) ([][]byte, error) {
	p, err := sys.OpenLive(pid)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	in := func() error {
		text, err := p.Readlink("ns/" + link)
		if err == nil && text != want {
			err = errElsewhere
		}
		return err
	}
	if err := in(); err != nil {
		return nil, err
	}
	if accept != nil && !accept(p) {
		return nil, errElsewhere
	}
	texts := make([][]byte, len(names))
	for i, name := range names {
		if texts[i], err = p.ReadFile(name, maxFile); err != nil {
			return nil, err
		}
	}
	if err := p.Alive(); err != nil {
		return nil, err
	}
	return texts, in()
}

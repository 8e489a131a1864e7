package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// Errors found in a [Relation] or a [Gap]. Test for them with [errors.Is].
var (
	// ErrHidden reports that the kernel does not show a namespace outside the caller's own. It is
	// also a [fs.ErrPermission].
	ErrHidden = sys.ErrHidden

	// ErrGone reports that the process exited during the scan.
	ErrGone = sys.ErrorOf(fs.ErrNotExist, "process exited")

	// ErrNotAsked reports that the kernel could not be asked: nothing that leads to the namespace
	// could be opened, or the proc file system is not of this kernel.
	ErrNotAsked = errors.New("no way to ask the kernel")

	// ErrSlow reports that something did not answer in time, such as the command line of a process
	// whose memory map is locked.
	ErrSlow = wait.ErrSlow
)

// A Relation is the namespace that owns or encloses another. There are three cases:
//
//	known:   ID is set, Err is nil
//	none:    ID is zero, Err is nil, as for the initial user namespace
//	unknown: ID is zero, Err is the reason, for instance [ErrHidden]
type Relation struct {
	ID  ID
	Err error
}

// Known reports whether r leads to a namespace.
func (r Relation) Known() bool { return r.Err == nil && !r.ID.IsZero() }

// None reports whether there is no such namespace.
func (r Relation) None() bool { return r.Err == nil && r.ID.IsZero() }

// A Namespace is one namespace of a [Snapshot].
type Namespace struct {
	ID   ID
	Type Type

	// Owner is the user namespace that owns the namespace: the one its creator was in. For a
	// user namespace that is its parent. See NS_GET_USERNS in ioctl_nsfs(2).
	Owner Relation

	// Parent is the enclosing namespace of a PID or user namespace; other
	// types have none. See NS_GET_PARENT in ioctl_nsfs(2).
	Parent Relation

	// Creator is the effective user ID of the process that made a user
	// namespace, in the caller's terms, or -1: for other types, and where it
	// is not known. See NS_GET_OWNER_UID in ioctl_nsfs(2).
	Creator int64

	// NSID is the identifier of the kernel, unique until the next boot. It is 0 if it is not
	// known, or before Linux 6.18.
	NSID uint64

	// NetNSID is the number of a network namespace in that of the caller, or -1: for other types,
	// and if it has none. See ip-netns(8), list-id.
	NetNSID int

	// Members are the processes whose thread group leader is in the namespace, by PID.
	Members []*Process

	// Threads is the number of threads in the namespace, also of processes that are no members.
	Threads int

	holders []Holder // without members and nested namespaces, sorted
}

// String returns the name the kernel uses, such as "net:[4026531840]".
//
//go:noinline
func (ns *Namespace) String() string { return FormatLink(ns.Type, ns.ID.Ino) }

// Leader returns the member with the lowest PID, or nil if there is none. It
// is the process that lsns(8) shows.
func (ns *Namespace) Leader() *Process {
	if len(ns.Members) == 0 {
		return nil
	}
	return ns.Members[0]
}

// Others returns the holders of the namespace other than members and nested namespaces, in the
// order of [Snapshot.Holders].
func (ns *Namespace) Others() []Holder { return ns.holders }

// Initial reports whether ns is the initial namespace of its type, by its inode number. For
// network and mount namespaces that is known since Linux 6.18.
func (ns *Namespace) Initial() bool {
	ino, ok := ns.Type.InitialIno()
	if ok {
		return ns.ID.Ino == ino
	}
	return ns.ID.Ino >= 0xEFFFFFF0 && ns.ID.Ino <= 0xEFFFFFFF
}

// A HolderKind is a way to keep a namespace alive.
type HolderKind uint8

// Kinds of holder.
const (
	ByProcess   HolderKind = iota + 1 // a member process
	ByTask                            // a thread whose process is not a member
	ByChildren                        // a pid_for_children or time_for_children link
	ByFD                              // an open descriptor of the namespace
	BySocket                          // a socket of a network namespace, in a process that is no member
	ByNetDevice                       // the same for /dev/net/tun, or a tap of macvtap or ipvtap
	ByProcFile                        // the same for a file below /proc/PID/net
	ByMount                           // a bind mount: the namespace is pinned
	ByNested                          // a child namespace, or one it owns
	ByKernel                          // the kernel, by something that /proc does not show, such as a descriptor in a message
)

var holderNames = [...]string{
	ByProcess: "process", ByTask: "thread", ByChildren: "children", ByFD: "fd",
	BySocket: "socket", ByNetDevice: "device", ByProcFile: "procfile", ByMount: "mount", ByNested: "nested", ByKernel: "kernel",
}

// String returns a word for k: "process", "thread", "children", "fd",
// "socket", "device", "procfile", "mount", "nested" or "kernel".
func (k HolderKind) String() string {
	if int(k) < len(holderNames) && holderNames[k] != "" {
		return holderNames[k]
	}
	return fmt.Sprintf("holder(%d)", uint8(k))
}

// MarshalText implements [encoding.TextMarshaler].
func (k HolderKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A Holder keeps a namespace alive.
type Holder struct {
	Kind HolderKind

	// PID is the process; for ByMount a process that sees the mount, or 0 if there is none.
	PID int

	// TID is the thread, for ByTask; also for ByChildren and descriptors of a thread other than
	// the first; else 0.
	TID int

	// FD is the descriptor, for ByFD, BySocket, ByNetDevice and ByProcFile.
	FD int

	// Path is the mount point, for ByMount, as seen from the root of the mount namespace.
	Path string

	// In is the mount namespace that the mount is in, for ByMount.
	In ID

	// Nested is the namespace that is owned or enclosed, for ByNested.
	Nested *Namespace
}

// File returns a path from the caller to the namespace of type t that h holds, or "": a link or a
// descriptor under /proc, or a mount point. It may lead elsewhere by the time it is used.
func (h Holder) File(t Type) string {
	p := h.opener(t).path()
	if p == "" || p[0] == '/' {
		return p
	}
	return "/proc/" + p
}

func compareHolders(a, b Holder) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.PID, b.PID), cmp.Compare(a.TID, b.TID),
		cmp.Compare(a.FD, b.FD), cmp.Compare(a.In.Ino, b.In.Ino), cmp.Compare(a.Path, b.Path))
}

// A Process is a process that a scan saw.
type Process struct {
	PID int

	// Threads is its number of threads.
	Threads int

	heir int // see Heir
	dev  uint64
	links
}

// Heir returns the thread that stands for a process whose first thread has exited while others
// run: its namespaces are those of the process. It is 0 for other processes.
func (p *Process) Heir() int { return p.heir }

// Inodes are the inode numbers of the namespaces of a process, by type. 0 means that it has none,
// or that it could not be read.
type Inodes [UTS + 1]uint64

// Inodes returns the inode numbers of the namespaces that p is a member of.
func (p *Process) Inodes() *Inodes { return &p.ino }

// Namespace returns the namespace of type t that p is a member of. A zombie
// has only some, and a process that could not be read has none.
func (p *Process) Namespace(t Type) (ID, bool) {
	if int(t) >= len(p.ino) || p.ino[t] == 0 {
		return ID{}, false
	}
	return ID{Dev: p.dev, Ino: p.ino[t]}, true
}

// ForChildren returns the PID or time namespace that new children of p will be
// members of: the pid_for_children and time_for_children links.
func (p *Process) ForChildren(t Type) (ID, bool) {
	var ino uint64
	switch t {
	case PID:
		ino = p.pidForChildren
	case Time:
		ino = p.timeForChildren
	}
	return ID{Dev: p.dev, Ino: ino}, ino != 0
}

// A Gap is something a scan could not read.
type Gap struct {
	PID  int    // the process, or 0
	What string // "ns", "fd", "socket", "mountinfo", "task", "cmdline", ...
	Err  error
}

func (g Gap) String() string {
	if g.PID == 0 {
		return fmt.Sprintf("%s: %v", g.What, g.Err)
	}
	return fmt.Sprintf("%s of process %d: %v", g.What, g.PID, g.Err)
}

// A Snapshot is the result of a [Scan]. It does not change.
type Snapshot struct {
	proc       procFS
	processes  []Process // by PID
	namespaces []*Namespace
	byID       map[ID]*Namespace
	nested     map[ID][]*Namespace // owner or parent -> what it owns or encloses
	gaps       []Gap
	unseen     []unseen
	mounts     bool  // bind mounts were looked for
	bpfErr     error // why iterators were not used, or nil
	listed     bool
	sockets    []socketRef // by inode number, with WithSockets
}

// Namespaces yields the namespaces of the given types, or of all types if none
// are given, by type and then by inode number.
func (s *Snapshot) Namespaces(types ...Type) iter.Seq[*Namespace] {
	want := TypesOf(types...)
	return func(yield func(*Namespace) bool) {
		for _, ns := range s.namespaces {
			if (want == 0 || want.Has(ns.Type)) && !yield(ns) {
				return
			}
		}
	}
}

// Namespace returns the namespace with the given ID.
func (s *Snapshot) Namespace(id ID) (*Namespace, bool) {
	ns, ok := s.byID[id]
	return ns, ok
}

// Find returns the namespace with the given inode number. The numbers are unique over all types,
// since the kernel has one nsfs.
func (s *Snapshot) Find(ino uint64) (*Namespace, bool) {
	return s.Namespace(ID{Dev: s.proc.nsDev, Ino: ino})
}

// Of returns the namespace of type t that p is a member of.
func (s *Snapshot) Of(p *Process, t Type) (*Namespace, bool) {
	id, ok := p.Namespace(t)
	if !ok {
		return nil, false
	}
	return s.Namespace(id)
}

// Owned yields the namespaces that a user namespace owns, by type and then by
// inode number; its children, which it owns too, are among them.
func (s *Snapshot) Owned(user ID) iter.Seq[*Namespace] {
	return s.nestedIn(user, func(ns *Namespace) Relation { return ns.Owner })
}

// Children yields the namespaces that a PID or user namespace directly
// encloses, by inode number.
func (s *Snapshot) Children(id ID) iter.Seq[*Namespace] {
	return s.nestedIn(id, func(ns *Namespace) Relation { return ns.Parent })
}

func (s *Snapshot) nestedIn(id ID, by func(*Namespace) Relation) iter.Seq[*Namespace] {
	return func(yield func(*Namespace) bool) {
		for _, ns := range s.nested[id] {
			if by(ns).ID == id && !yield(ns) {
				return
			}
		}
	}
}

// Holders yields everything that was seen to keep ns alive: its members first, then threads, links
// for children, descriptors, sockets, mounts, and the namespaces that it owns or encloses. Within
// a kind they are ordered by PID, thread and descriptor, and mounts by mount namespace and path.
func (s *Snapshot) Holders(ns *Namespace) iter.Seq[Holder] {
	return func(yield func(Holder) bool) {
		for _, p := range ns.Members {
			if !yield(Holder{Kind: ByProcess, PID: p.PID}) {
				return
			}
		}
		for _, h := range ns.holders {
			if !yield(h) {
				return
			}
		}
		for _, n := range s.nested[ns.ID] {
			if !yield(Holder{Kind: ByNested, Nested: n}) {
				return
			}
		}
	}
}

// Sockets yields the descriptors of the socket with the given inode number, by PID and descriptor:
// processes may share it. It needs a scan [WithSockets], and has the descriptors that could be
// read.
func (s *Snapshot) Sockets(ino uint64) iter.Seq[Holder] {
	return func(yield func(Holder) bool) {
		first, _ := slices.BinarySearchFunc(s.sockets, ino, func(r socketRef, ino uint64) int { return cmp.Compare(r.ino, ino) })
		for _, r := range s.sockets[first:] {
			if r.ino != ino || !yield(Holder{Kind: BySocket, PID: r.pid, TID: r.tid, FD: r.fd}) {
				return
			}
		}
	}
}

// Nested returns the number of namespaces that ns owns or encloses.
func (s *Snapshot) Nested(ns *Namespace) int { return len(s.nested[ns.ID]) }

// Processes yields the processes by PID.
func (s *Snapshot) Processes() iter.Seq[*Process] {
	return func(yield func(*Process) bool) {
		for i := range s.processes {
			if !yield(&s.processes[i]) {
				return
			}
		}
	}
}

// Process returns the process with the given PID.
//
//go:noinline
func (s *Snapshot) Process(pid int) (*Process, bool) {
	return findProcess(s.processes, pid)
}

// findProcess finds a process by its PID in a sorted list.
func findProcess(processes []Process, pid int) (*Process, bool) {
	i, ok := slices.BinarySearchFunc(processes, pid, func(p Process, pid int) int { return cmp.Compare(p.PID, pid) })
	if !ok {
		return nil, false
	}
	return &processes[i], true
}

// Gaps returns what the scan could not read, by PID.
func (s *Snapshot) Gaps() []Gap { return s.gaps }

// Listed reports whether the kernel listed its namespaces: then none in use is missing, whatever
// holds it. See [ByKernel].
func (s *Snapshot) Listed() bool { return s.listed }

// Proc returns the path of the proc file system that was read.
func (s *Snapshot) Proc() string { return s.proc.path }

// IsReal reports whether the proc file system is the kernel's, and not a made-up directory.
func (s *Snapshot) IsReal() bool { return s.proc.real }

// Host returns how the caller reaches the host's file system, if the snapshot has the processes of
// the host that the caller is on. See [FindHost], which it is for a nil snapshot.
func (s *Snapshot) Host() Host {
	if s != nil && !s.proc.initial {
		return Host{}
	}
	return FindHost()
}

// FarMounts returns the mount points that a process sees of file systems with a server, which may
// not answer. It reads /proc/pid/mountinfo.
func (s *Snapshot) FarMounts(pid int) (far []string, err error) {
	mounts, err := readMountTable(filepath.Join(s.proc.path, strconv.Itoa(pid), "mountinfo"), ID{})
	for _, m := range mounts {
		if !sys.IsNear(m.Type) {
			far = append(far, m.Point)
		}
	}
	return far, err
}

// Self returns the PID of the caller in the proc file system that was read, or 0 if it is not
// there.
func (s *Snapshot) Self() int { return s.proc.self }

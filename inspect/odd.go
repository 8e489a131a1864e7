package inspect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strconv"
	"sync"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// Most descriptors that hold a namespace say so in their link, "net:[4026531840]"
// or "socket:[12]". Not so one that was opened by the name of a bind mount, which
// has the path of that, or "/" once it is unmounted; nor devices that make network
// interfaces, nor files below /proc/PID/net. Iterators are told of all of these;
// here is how they are found by their links, without asking any file system that
// may not answer.

// An oddRef is a descriptor that may hold a namespace, by what its link looks like.
type oddRef struct {
	pid, tid, fd int
	kind         oddKind
	netns        uint64 // the network namespace of the process
	file         string // of oddProcFile, the name below /proc/PID/net
}

type oddKind uint8

const (
	oddRoot     oddKind = iota + 1 // "/": what was mounted there is no more
	oddName                        // the path of a bind mount of a namespace
	oddTun                         // /dev/net/tun, or a tap
	oddVhost                       // /dev/vhost-net: it has a tap of its process, also one that is closed
	oddPPP                         // /dev/ppp: it may have a channel, which keeps a namespace
	oddProcFile                    // of /proc/PID/net
)

// A nameRef is a descriptor that leads to a path. All there are have to be kept
// until it is known where namespaces are mounted, so they are small.
type nameRef struct {
	pid, tid, fd int32
	hash         uint32 // of the path
}

// nameSeed is made when it is first wanted: not every command reads descriptors.
var nameSeed = sync.OnceValue(maphash.MakeSeed)

func hashName(path []byte) uint32 { return uint32(maphash.Bytes(nameSeed(), path)) } //nolint:gosec // half of it will do

// notePath notes a descriptor whose link is a path.
func (s *scanner) notePath(p *part, proc *Process, tid int, name sys.Name, text []byte) {
	kind, file := oddKindOf(text)
	switch {
	case kind == 0 && s.mounts, kind == oddRoot, kind != 0 && s.types.Has(Net):
	default:
		return
	}
	fd, _ := parseFD(name[:len(name)-1])
	if kind == 0 {
		p.names = append(p.names, nameRef{int32(proc.PID), int32(tid), int32(fd), hashName(text)}) //nolint:gosec // as the kernel has them
	} else if p.fds.allows(p, proc.PID, uint64(kind)) {
		p.odd = append(p.odd, oddRef{proc.PID, tid, fd, kind, proc.ino[Net], string(file)})
	}
}

var (
	devPrefix = []byte("/dev/")
	netPart   = []byte("/net/")
	tapPrefix = []byte("tap")
)

// oddKindOf returns what kind of descriptor has such a link, or 0 if it is like
// that of any file.
func oddKindOf(text []byte) (kind oddKind, file []byte) {
	if len(text) == 1 {
		return oddRoot, nil
	}
	if rest, ok := bytes.CutPrefix(text, devPrefix); ok {
		switch {
		case string(rest) == "net/tun":
			return oddTun, nil
		case string(rest) == "vhost-net":
			return oddVhost, nil
		case string(rest) == "ppp":
			return oddPPP, nil
		case bytes.HasPrefix(rest, tapPrefix) && isNumber(rest[len(tapPrefix):]):
			return oddTun, nil
		}
		return 0, nil
	}
	// /proc/123/net/tcp, wherever that /proc is mounted.
	if before, file, ok := bytes.Cut(text, netPart); ok && isNumber(before[bytes.LastIndexByte(before, '/')+1:]) {
		return oddProcFile, file
	}
	return 0, nil
}

func isNumber(text []byte) bool {
	_, ok := parsePID(text)
	return ok
}

// kindOfFile returns the kind of holder that a descriptor is of which iterators
// tell, if it is neither a namespace nor a socket, else 0.
func kindOfFile(f sys.TaskFile) HolderKind {
	switch f.Flag {
	case sys.TaskDevice:
		return ByNetDevice
	case sys.TaskProcFile:
		return ByProcFile
	}
	return 0
}

// named takes what the kernel calls the namespace that a descriptor holds: nothing
// else may lead there.
func (s *scanner) openByID(file sys.TaskFile) {
	if f := s.find(Net, uint64(file.Ino)); file.NSID != 0 && f.opener.kind == noOpener {
		f.ns.NSID = file.NSID
		f.opener = handleOpener(sys.Handle{ID: file.NSID, Typ: uint32(Net.Flag()), Ino: file.Ino}) //nolint:gosec // a flag
	}
}

// Where the kernel has the inode numbers of namespaces, and of what it makes below
// /proc for each network namespace.
const (
	firstIno = 0xEFFFFFF0
	lastIno  = 0xFFFFFFFF
)

// askOdd asks about the descriptors that were noted.
func (s *scanner) askOdd(ctx context.Context, _ []int) {
	odd := s.odd
	s.odd = nil
	s.ask(ctx, odd)
}

// askPaths asks about the descriptors that lead to where namespaces are mounted.
func (s *scanner) askPaths(ctx context.Context, _ []int) {
	paths := make(map[uint32]bool)
	for _, f := range s.known {
		for _, h := range f.ns.holders {
			if h.Kind == ByMount {
				paths[hashName([]byte(h.Path))] = true
			}
		}
	}
	if len(paths) == 0 {
		return
	}
	var odd []oddRef
	for _, n := range s.names {
		if paths[n.hash] {
			odd = append(odd, oddRef{pid: int(n.pid), tid: int(n.tid), fd: int(n.fd), kind: oddName})
		}
	}
	s.ask(ctx, odd)
}

// errKept is said of a descriptor that may keep a network namespace.
var errKept = errors.New("a descriptor may keep a network namespace, and which one is not known")

// ask finds what the descriptors hold, process by process.
func (s *scanner) ask(ctx context.Context, odd []oddRef) {
	if len(odd) == 0 || !s.proc.real {
		return
	}
	sort.Slice(odd, func(i, j int) bool {
		a, b := odd[i], odd[j]
		return cmp.Or(a.pid-b.pid, a.tid-b.tid, a.fd-b.fd) < 0
	})
	var procs [][]oddRef
	for start, i := 0, 1; i <= len(odd); i++ {
		if i == len(odd) || odd[i].pid != odd[start].pid {
			procs = append(procs, odd[start:i])
			start = i
		}
	}
	var unknown []oddRef // what only the kernel itself can tell
	silent := wait.Many(ctx, &s.stuck, len(procs),
		func() func(int) []oddAnswer {
			buf := make([]byte, 4<<10)
			return func(i int) []oddAnswer {
				answers := make([]oddAnswer, len(procs[i]))
				for k, r := range procs[i] {
					answers[k] = s.askOne(r, buf)
				}
				return answers
			}
		},
		func(i int, answers []oddAnswer) {
			hasTun := slices.ContainsFunc(procs[i], func(r oddRef) bool { return r.kind == oddTun })
			for k, a := range answers {
				switch r := procs[i][k]; {
				case a.unknown && !(r.kind == oddVhost && hasTun):
					unknown = append(unknown, r)
				case a.err != nil && !s.proc.gone(r.pid, a.err):
					s.gap(Gap{r.pid, "fd", a.err})
				case a.ino != 0 && s.wanted.Has(a.typ) && !(r.kind == oddTun && a.ino == r.netns):
					h := Holder{Kind: ByFD, PID: r.pid, TID: r.tid, FD: r.fd}
					if r.kind == oddTun {
						h.Kind = ByNetDevice
					}
					s.hold(a.typ, a.ino, h, h.opener(a.typ))
				}
			}
		}, nil)
	for _, i := range silent {
		s.gap(Gap{procs[i][0].pid, "fd", ErrSlow})
	}
	s.askBPF(unknown)
}

// An oddAnswer says what a descriptor holds: nothing, a namespace, or what cannot
// be told.
type oddAnswer struct {
	typ     Type
	ino     uint64
	unknown bool
	err     error
}

// askOne asks about one descriptor.
func (s *scanner) askOne(r oddRef, buf []byte) (a oddAnswer) {
	opener := fdOpener(r.pid, r.tid, r.fd)
	switch r.kind {
	case oddVhost, oddPPP:
		return oddAnswer{unknown: true}
	case oddTun:
		if !s.proc.ours || r.tid != 0 {
			return oddAnswer{unknown: true}
		}
		a.typ = Net
		a.ino, a.err = askDevice(r)
		if errors.Is(a.err, errNoDevice) {
			return oddAnswer{}
		}
		a.unknown = a.err != nil && !sys.Gone(a.err)
		return a
	}
	ino, err := s.proc.dir.InodeOf(sys.NewName(opener.task()+"/fdinfo/"+strconv.Itoa(r.fd)), buf)
	switch {
	case errors.Is(err, errors.ErrUnsupported): // before Linux 5.14
		if r.kind == oddProcFile {
			return oddAnswer{unknown: true}
		}
	case err != nil:
		return oddAnswer{err: ignoreGone(err)}
	case ino < firstIno || ino > lastIno:
		return oddAnswer{} // no namespace has such a number, nor has what is below /proc/PID/net
	}
	if r.kind == oddProcFile {
		// The same file of the process's own namespace says nothing new.
		st, err := s.proc.dir.Stat(sys.NewName(opener.task() + "/net/" + r.file))
		return oddAnswer{unknown: err != nil || st.ID.Ino != ino}
	}
	fd, err := sys.OpenNamespaceOn(int(s.proc.dir), opener.path(), s.proc.nsDev)
	if err != nil {
		if errors.Is(err, sys.ErrNotNamespace) {
			err = nil
		}
		return oddAnswer{err: ignoreGone(err)}
	}
	file := openNS{fd: fd}
	defer file.close()
	a.typ, a.ino, a.err = typeAndIno(file)
	return a
}

func ignoreGone(err error) error {
	if sys.Gone(err) {
		return nil
	}
	return err
}

var errNoDevice = errors.New("no device of network interfaces")

// askDevice returns the network namespace that a descriptor of /dev/net/tun is of.
func askDevice(r oddRef) (uint64, error) {
	pidfd, err := sys.OpenPidfd(r.pid)
	if err != nil {
		return 0, err
	}
	defer pidfd.Close()
	dev, err := pidfd.Getfd(r.fd)
	if err != nil {
		return 0, err
	}
	defer sys.CloseFD(dev)
	if ok, err := sys.IsNetDevice(dev); err != nil || !ok {
		return 0, cmp.Or(err, errNoDevice) // the descriptor is another one's by now
	}
	ns, err := sys.SocketNetns(dev)
	if err != nil {
		return 0, err
	}
	defer sys.CloseFD(ns)
	id, err := sys.Fstat(ns)
	return id.Ino, err
}

// askBPF has the kernel say what descriptors keep that nobody else can tell: the
// iterators are asked, however few processes there are. Without them it is known
// that something may be kept, and not what.
func (s *scanner) askBPF(unknown []oddRef) {
	if len(unknown) == 0 {
		return
	}
	bpfTasks := make(map[[3]int]sys.TaskFile)
	err := ErrNotAsked
	if slices.ContainsFunc(unknown, func(r oddRef) bool { return r.kind == oddTun || r.kind == oddProcFile }) {
		var all *sys.Tasks
		if all, _, err = s.readBPFTasks(true, false); err == nil {
			for _, f := range all.Files {
				bpfTasks[[3]int{int(f.PID), int(f.TID), int(f.FD)}] = f
			}
		}
	}
	for _, r := range unknown {
		f, ok := bpfTasks[[3]int{r.pid, cmp.Or(r.tid, r.pid), r.fd}]
		switch {
		case ok && kindOfFile(f) != 0:
			s.openByID(f)
			s.hold(Net, uint64(f.Ino), Holder{Kind: kindOfFile(f), PID: r.pid, TID: r.tid, FD: r.fd}, opener{})
		case err != nil || r.kind == oddVhost || r.kind == oddPPP: // of which they know nothing
			s.gap(Gap{r.pid, "fd", fmt.Errorf("%d: %w", r.fd, errKept)})
		}
	}
}

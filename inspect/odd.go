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

// The link of most descriptors that hold a namespace says so: "net:[4026531840]" or "socket:[12]".
// There are exceptions. One that was opened by the name of a bind mount has that path, or "/" once
// it is unmounted. Devices that make network interfaces, and files below /proc/PID/net, have their
// own paths. The iterators know all of these; here they are found by their links, without asking a
// file system that may not answer.

// An oddRef is a descriptor that may hold a namespace, by its link.
type oddRef struct {
	pid, tid, fd int
	kind         oddKind
	netns        uint64 // the network namespace of the process
	file         string // for oddProcFile, the name below /proc/PID/net
}

type oddKind uint8

const (
	oddRoot     oddKind = iota + 1 // "/": it was unmounted
	oddName                        // the path of a bind mount of a namespace
	oddTun                         // /dev/net/tun, or a tap
	oddVhost                       // /dev/vhost-net: it has a tap of its process, even a closed one
	oddPPP                         // /dev/ppp: it may have a channel, which keeps a namespace
	oddProcFile                    // of /proc/PID/net
)

// A nameRef is a descriptor that leads to a path. All of them are kept until it is known where
// namespaces are mounted, so they are small.
type nameRef struct {
	pid, tid, fd int32
	hash         uint32 // of the path
}

// nameSeed is made on first use: not every command reads descriptors.
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

// oddKindOf returns the kind of a descriptor by its link, or 0 for an ordinary file.
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

// kindOfFile returns the kind of holder of a descriptor from the iterators, or 0 for a namespace
// or a socket.
func kindOfFile(f sys.TaskFile) HolderKind {
	switch f.Flag {
	case sys.TaskDevice:
		return ByNetDevice
	case sys.TaskProcFile:
		return ByProcFile
	}
	return 0
}

// openByID has the namespace of a descriptor opened by its identifier, if nothing else leads
// there.
func (s *scanner) openByID(file sys.TaskFile) {
	if f := s.find(Net, uint64(file.Ino)); file.NSID != 0 && f.opener.kind == noOpener {
		f.ns.NSID = file.NSID
		f.opener = handleOpener(sys.Handle{ID: file.NSID, Typ: uint32(Net.Flag()), Ino: file.Ino}) //nolint:gosec // a flag
	}
}

// The range of inode numbers of namespaces, and of the files below /proc/PID/net.
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

// errKept reports a descriptor that may keep a network namespace.
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
	var unknown []oddRef // only the kernel knows
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
				case a.err != nil && !s.proc.closed(r.pid, a.err):
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

// An oddAnswer is what a descriptor holds: nothing, a namespace, or something unknown.
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
		return oddAnswer{} // not the number of a namespace, or of a file below /proc/PID/net
	}
	if r.kind == oddProcFile {
		// A file of the process's own namespace is no news.
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
		return 0, cmp.Or(err, errNoDevice) // the number is of another descriptor now
	}
	ns, err := sys.SocketNetns(dev)
	if err != nil {
		return 0, err
	}
	defer sys.CloseFD(ns)
	id, err := sys.Fstat(ns)
	return id.Ino, err
}

// askBPF asks the iterators about descriptors that only the kernel knows about, however few
// processes there are. Without iterators it is known that something may be held, and not what.
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
		case err != nil || r.kind == oddVhost || r.kind == oddPPP: // unknown to the iterators
			s.gap(Gap{r.pid, "fd", fmt.Errorf("%d: %w", r.fd, errKept)})
		}
	}
}

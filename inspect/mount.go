package inspect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// readMounts finds the bind mounts of namespaces, in every mount namespace: first those with a
// process, then those that only a descriptor or a bind mount leads to, which may in turn have
// more.
func (s *scanner) readMounts(ctx context.Context, _ []int) {
	if !s.mounts {
		return
	}
	var todo []*record
	read := make(map[uint64]bool)
	for ino, f := range s.known {
		if f.ns.Type == Mnt && s.pinned != nil && !s.pinned[ino] {
			read[ino] = true // it has no pins
		} else if f.ns.Type == Mnt && len(f.ns.Members) > 0 {
			read[ino] = true
			todo = append(todo, f)
		}
	}
	type answer struct {
		pins  []pin
		whole bool
		err   error
	}
	part := make(map[uint64][]pin) // the pins that members see of a namespace that none sees whole
	silent := wait.Many(ctx, &s.stuck, len(todo),
		func() func(int) answer {
			buf := make([]byte, 64<<10)
			return func(i int) answer {
				pins, whole, err := s.pinsSeenBy(todo[i].ns, buf)
				return answer{pins, whole, err}
			}
		},
		func(i int, a answer) {
			if a.err != nil {
				s.gap(Gap{todo[i].ns.Leader().PID, "mountinfo", a.err})
			} else if ino := todo[i].ns.ID.Ino; !a.whole && s.proc.real && s.proc.ours {
				part[ino] = a.pins
				delete(read, ino)
				return
			}
			for _, pin := range a.pins {
				s.holdPin(pin)
			}
		}, nil)
	for _, i := range silent {
		s.gap(Gap{What: gapMounts + todo[i].ns.String(), Err: ErrSlow})
	}
	s.visitMounts(ctx, read, part)
}

// A pin is a namespace bind-mounted somewhere.
type pin struct {
	typ   Type
	ino   uint64
	path  string // as seen from the root of the mount namespace
	in    uint64 // the mount namespace
	pid   int    // a process that sees it there, or 0
	owned int    // a descriptor of the namespace, or -1
}

func (s *scanner) holdPin(p pin) {
	h := Holder{Kind: ByMount, PID: p.pid, Path: p.path, In: ID{Dev: s.proc.nsDev, Ino: p.in}}
	w := h.opener(p.typ)
	if p.owned >= 0 {
		w = ownOpener(p.owned)
	}
	s.hold(p.typ, p.ino, h, w)
}

// pinsSeenBy reads the mounts of a mount namespace through its members. A member with another root
// than the namespace sees only a part, so several are tried. whole is false if none sees all.
func (s *scanner) pinsSeenBy(ns *Namespace, buf []byte) (pins []pin, whole bool, err error) {
	const most = 8
	var link [8]byte
	members := ns.Members[:min(len(ns.Members), most)]
	for i, m := range members {
		dir, e := s.proc.dir.OpenPath(sys.AppendName(nil, m.PID, ""))
		if e == nil {
			n, e := dir.Readlink(nameRoot, link[:])
			whole = e == nil && string(link[:n]) == "/"
			if !whole && i+1 < len(members) {
				dir.CloseRaw()
				continue
			}
			pins, e = s.readPins(dir, buf)
			dir.CloseRaw()
			if e == nil || len(pins) > 0 {
				for i := range pins {
					pins[i].in, pins[i].pid = ns.ID.Ino, m.PID
				}
				return pins, whole, e
			}
			err = e
		} else {
			err = e
		}
		if s.proc.gone(m.PID, err) || errors.Is(err, syscall.EINVAL) { // EINVAL: a zombie by now
			err = nil
		}
	}
	return nil, false, err
}

var (
	nameRoot      = sys.NewName("root")
	nameMountinfo = sys.NewName("mountinfo")
)

func (s *scanner) readPins(dir sys.ProcDir, buf []byte) ([]pin, error) {
	file, err := dir.OpenFile(nameMountinfo)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var pins []pin
	err = parseMountinfo(file, buf, func(t Type, ino uint64, path string) {
		pins = append(pins, pin{typ: t, ino: ino, path: path, owned: -1})
	})
	return pins, err
}

// visitMounts reads the mounts of the mount namespaces without a process, or without one that sees
// all: part has what those see. Before Linux 6.12 that takes a thread that joins the namespace and
// exits afterwards.
func (s *scanner) visitMounts(ctx context.Context, read map[uint64]bool, part map[uint64][]pin) {
	if !s.proc.real || !s.proc.ours {
		return
	}
	for ctx.Err() == nil {
		var todo []*record
		for ino, f := range s.known {
			if f.ns.Type == Mnt && !read[ino] {
				read[ino] = true
				todo = append(todo, f)
			}
		}
		if len(todo) == 0 {
			return
		}
		slices.SortFunc(todo, func(a, b *record) int { return cmp.Compare(a.ns.ID.Ino, b.ns.ID.Ino) })
		silent := wait.Many(ctx, &s.stuck, len(todo),
			func() func(int) opened { return func(i int) opened { return s.openAny(todo[i]) } },
			func(i int, o opened) {
				err, gone := o.err, sys.Gone(o.err)
				if err == nil {
					err = s.visitMount(todo[i], o.file)
					o.close()
				}
				if err != nil {
					for _, pin := range part[todo[i].ns.ID.Ino] {
						s.holdPin(pin)
					}
				}
				if err != nil && !gone {
					s.gap(Gap{What: gapMounts + todo[i].ns.String(), Err: err})
				}
			}, opened.close)
		for _, i := range silent {
			s.gap(Gap{What: gapMounts + todo[i].ns.String(), Err: ErrSlow})
		}
	}
}

// visitMount reads the mounts of one mount namespace, which is open in file.
func (s *scanner) visitMount(f *record, file nsFile) error {
	ns, ok := file.(openNS)
	if !ok {
		return ErrNotAsked
	}
	pins, err := s.pinsListed(f, ns.fd)
	if err == nil && !slices.ContainsFunc(pins, func(p pin) bool { return s.known[p.ino] == nil }) {
		s.holdPins(pins)
		return nil
	}
	// Else only the fact that it is pinned is known.
	joined, joinErr := s.pinsInside(f, ns.fd)
	if joined != nil || err != nil {
		pins = joined
	}
	s.holdPins(pins)
	return joinErr
}

// pinsListed reads the mounts of the mount namespace of fd from outside, if the kernel lists them.
func (s *scanner) pinsListed(f *record, fd int) (pins []pin, err error) {
	info, err := sys.MountInfoOf(fd)
	if err != nil {
		return nil, err
	}
	err = sys.NamespaceMounts(info.ID, func(root, point string) {
		if t, ino, ok := ParseLink(root); ok {
			pins = append(pins, pin{typ: t, ino: ino, path: point, in: f.ns.ID.Ino, owned: -1})
		}
	})
	return pins, err
}

// pinsInside reads the mounts of the mount namespace of fd on a thread that joins it. A namespace
// without another opener is opened there, since its path only leads there from inside.
func (s *scanner) pinsInside(f *record, fd int) (pins []pin, err error) {
	err = sys.InMountNamespace(fd, func() (lost error) {
		self, err := s.proc.dir.OpenPath(sys.NewName("thread-self"))
		if err != nil {
			return err
		}
		defer self.CloseRaw()
		if pins, err = s.readPins(self, make([]byte, 64<<10)); err != nil {
			return err
		}
		for i, p := range pins {
			pins[i].in = f.ns.ID.Ino
			if s.known[p.ino] != nil {
				continue
			}
			fd, err := openMount(s.proc.dir, sys.CurrentDir, p.path)
			switch {
			case err == nil:
				pins[i].owned = fd
			case !sys.Gone(err) && !errors.Is(err, sys.ErrNotNamespace): // it is still mounted, and not covered
				lost = err
			}
		}
		return lost
	})
	return pins, err
}

func (s *scanner) holdPins(pins []pin) {
	for _, p := range pins {
		s.holdPin(p)
		if k, ok := s.kernel.(*realKernel); ok && p.owned >= 0 {
			k.owned = append(k.owned, p.owned)
		}
	}
}

// parseMountinfo calls f for each bind-mounted namespace in a mount table; see
// proc_pid_mountinfo(5). The root field has type and inode number: "net:[4026532281]". buf is the
// memory to use. A mount point may be longer than any path that can be opened: a line that does
// not fit into buf is skipped, and is an error in the end if it may have been of a namespace.
func parseMountinfo(r io.Reader, buf []byte, f func(t Type, ino uint64, path string)) error {
	have, skip := 0, false // skip: the rest of a line that did not fit follows
	var lost error
	for {
		n, err := r.Read(buf[have:])
		have += n
		rest := buf[:have]
		for {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				break
			}
			if !skip {
				parseMount(rest[:end], f)
			}
			rest, skip = rest[end+1:], false
		}
		have = copy(buf, rest)
		switch {
		case errors.Is(err, io.EOF):
			if !skip {
				parseMount(buf[:have], f)
			}
			return lost
		case err != nil:
			return err
		case have == len(buf):
			if !skip && !ofOther(buf) {
				lost = fmt.Errorf("a line of more than %d bytes", len(buf))
			}
			have, skip = 0, true
		}
	}
}

// ofOther reports whether the beginning of a line shows that the mount is of another file system
// than nsfs.
func ofOther(line []byte) bool {
	i := bytes.Index(line, nsfsMark[:3])
	return i >= 0 && i+len(nsfsMark) <= len(line) && !bytes.HasPrefix(line[i:], nsfsMark)
}

var nsfsMark = []byte(" - nsfs ")

// parseMount reads one line:
//
//	36 35 0:4 net:[4026532281] /run/netns/blue rw shared:2 - nsfs nsfs rw
func parseMount(line []byte, f func(t Type, ino uint64, path string)) {
	if !bytes.Contains(line, nsfsMark) {
		return
	}
	m, _ := procfile.ParseMount(string(line))
	if t, ino, ok := ParseLink(m.Root); ok && m.Type == "nsfs" {
		f(t, ino, m.Point)
	}
}

package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// A list is the kernel's own list of namespaces. It is read before anything else, so that
// namespaces which are made later are no surprise.
type list struct {
	ids   []uint64 // identifiers, if the kernel lists them
	whole bool     // the list has all namespaces
	mnts  []uint64 // else inode numbers of mount namespaces, if it lists those
}

// readList reads the list of the kernel. Only a scan that looks everywhere can conclude that
// nothing else holds a namespace on it.
func (s *scanner) readList(context.Context, []int) {
	if !s.proc.ours && s.proc.real || !s.list || !s.tasks || !s.fds || !s.mounts {
		return
	}
	var err error
	if s.all.ids, err = s.kernel.list(s.wanted, 0); err == nil {
		s.all.whole = s.kernel.listsAll()
		return
	}
	if !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, ErrNotAsked) {
		s.gap(Gap{What: "listns", Err: err})
	}
	s.all.mnts = s.kernel.mountNamespaces(nil)
}

// compareList finds namespaces on the list that were not found in /proc: a descriptor in a message
// holds them, or the kernel alone.
func (s *scanner) compareList(ctx context.Context, _ []int) {
	switch {
	case len(s.all.ids) > 0:
		s.compareIDs(ctx)
	case len(s.all.mnts) > 0:
		s.compareMounts()
	}
}

func (s *scanner) compareIDs(ctx context.Context) {
	if !s.all.whole && s.ownOnly() {
		return
	}
	s.identifyAll(ctx)
	openByID := make(map[uint64]bool, len(s.known))
	for _, f := range s.known {
		openByID[f.ns.NSID] = true
	}
	for _, id := range s.all.ids {
		if openByID[id] {
			continue
		}
		file, err := s.kernel.open(handleOpener(sys.Handle{ID: id}), 0)
		if err != nil {
			if !sys.Gone(err) && !errors.Is(err, errors.ErrUnsupported) {
				s.gap(Gap{What: fmt.Sprintf("nsid:%d", id), Err: err})
			}
			continue
		}
		t, ino, err := typeAndIno(file)
		file.close()
		if err != nil {
			s.gap(Gap{What: fmt.Sprintf("nsid:%d", id), Err: err})
			continue
		}
		f := s.find(t, ino)
		f.ns.NSID, f.listed = id, true
		if f.opener.kind == noOpener {
			f.opener = handleOpener(sys.Handle{ID: id, Typ: uint32(t.Flag()), Ino: uint32(ino)}) //nolint:gosec // inode numbers of nsfs have 32 bits
		}
	}
	s.reportUnlisted()
	s.askOwners()
}

// ownOnly reports whether the list has only the namespaces of the caller, as for most callers
// without privileges.
func (s *scanner) ownOnly() bool {
	own := 0
	for t := range s.wanted.All() {
		h, err := s.kernel.handle(linkOpener(s.proc.self, 0, t.String()))
		if _, listed := slices.BinarySearch(s.all.ids, h.ID); err == nil && listed {
			own++
		}
	}
	return own == len(s.all.ids)
}

func typeAndIno(file nsFile) (Type, uint64, error) {
	id, err := file.id()
	if err != nil {
		return 0, 0, err
	}
	t, err := file.typ()
	return t, id.Ino, err
}

// identifyAll learns the identifiers of known namespaces: one call for each, and no open file.
func (s *scanner) identifyAll(ctx context.Context) {
	var todo []*record
	for ino, f := range s.known {
		if f.ns.NSID == 0 && s.wanted.Has(f.ns.Type) && !s.identifyByBPF(f.ns, ino) && f.opener.kind == byLink {
			todo = append(todo, f)
		}
	}
	wait.Many(ctx, &s.stuck, len(todo),
		func() func(int) sys.Handle {
			return func(i int) sys.Handle {
				h, err := s.kernel.handle(todo[i].opener)
				if err != nil || uint64(h.Ino) != todo[i].ns.ID.Ino {
					return sys.Handle{} // asked again when it is opened
				}
				return h
			}
		},
		func(i int, h sys.Handle) { todo[i].ns.NSID = h.ID }, nil)
}

// identifyByBPF takes the identifier of ns from the task of its leader.
func (s *scanner) identifyByBPF(ns *Namespace, ino uint64) bool {
	i := slices.Index(sys.TaskFlags[:len(sys.Task{}.Owner)], ns.Type.Flag())
	if i < 0 || s.bpfTasks == nil || ns.Leader() == nil {
		return false
	}
	t, ok := taskOf(s.bpfTasks, ns.Leader().PID)
	if !ok || uint64(t.NS[i]) != ino {
		return false
	}
	ns.NSID = t.NSID[i]
	return ns.NSID != 0
}

// reportUnlisted adds a gap for each namespace that has members and is not on a complete list. The
// list is read again for those that are younger.
func (s *scanner) reportUnlisted() {
	if !s.all.whole {
		return
	}
	var unlisted []*record
	for _, f := range s.known {
		if _, ok := slices.BinarySearch(s.all.ids, f.ns.NSID); !ok && f.ns.NSID != 0 && len(f.ns.Members) > 0 && s.wanted.Has(f.ns.Type) {
			unlisted = append(unlisted, f)
		}
	}
	if len(unlisted) == 0 {
		return
	}
	again, err := s.kernel.list(s.wanted, 0)
	if err != nil {
		return
	}
	slices.SortFunc(unlisted, func(a, b *record) int { return cmp.Compare(a.ns.NSID, b.ns.NSID) })
	for _, f := range unlisted {
		if _, ok := slices.BinarySearch(again, f.ns.NSID); ok {
			continue
		}
		if o := s.openAny(f); o.err == nil { // it still exists
			o.close()
			s.gap(Gap{What: f.ns.String(), Err: errors.New("it has members, and the kernel does not list it")})
		}
	}
}

// askOwners asks each user namespace what it owns, if that takes fewer calls than asking each
// namespace.
func (s *scanner) askOwners() {
	var users []*record
	others := 0
	for _, f := range s.known {
		switch {
		case f.ns.NSID == 0 || !s.types.Has(f.ns.Type):
		case f.ns.Type == User:
			users = append(users, f)
		case f.ns.Type != Net && f.ns.Type != PID:
			others++ // the others need more than the owner
		}
	}
	if len(users) >= others {
		return
	}
	s.owners = make(map[uint64]ID, others)
	for _, user := range users {
		ids, err := s.kernel.list(s.types.Without(User).Without(Net).Without(PID), user.ns.NSID)
		if err != nil {
			return
		}
		for _, id := range ids {
			s.owners[id] = user.ns.ID
		}
	}
}

// compareMounts finds the mount namespaces that /proc did not show, where the kernel has no other
// list.
func (s *scanner) compareMounts() {
	want := make(map[uint64]bool)
	for _, ino := range s.all.mnts {
		if s.known[ino] == nil {
			want[ino] = true
		}
	}
	if len(want) == 0 {
		return
	}
	s.kernel.mountNamespaces(func(ino uint64, fd int) bool {
		if !want[ino] {
			return false
		}
		f := s.find(Mnt, ino)
		if f.opener.kind != noOpener {
			return false
		}
		f.opener, f.listed = ownOpener(fd), true
		return true
	})
}

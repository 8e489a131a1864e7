package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// A namespace whose only descriptor is in a message is nowhere in /proc: the kernel lists it, and
// opens it by its identifier, if it can.
func TestScanFindsWhatOnlyAMessageHolds(t *testing.T) {
	nstest.Need(t, "root")
	for _, typ := range []string{"net", "uts", "ipc", "mnt", "cgroup"} {
		t.Run(typ, func(t *testing.T) {
			ino := nstest.InFlight(t, typ)
			s := scan(t)
			ns, ok := s.Find(ino)
			if !ok {
				err := listing()
				if err == nil {
					t.Fatalf("%s:[%d] was not found; gaps: %v", typ, ino, s.Gaps())
				}
				nstest.SkipUnsupported(t, err, "6.19")
				t.Fatal(err)
			}
			if ns.Type.String() != typ || len(ns.Others()) != 1 || ns.Others()[0].Kind != ByKernel || ns.Owner.ID.Ino != 0xEFFFFFFD {
				t.Errorf("%v, owned by %v, is held by %+v", ns, ns.Owner, ns.Others())
			}
			f, err := s.Open(context.Background(), ns)
			if err != nil {
				if ns.NSID == 0 { // a mount namespace, found by going from one to the next
					nstest.SkipUnsupported(t, listing(), "6.19")
				}
				t.Fatal(err)
			}
			defer f.Close()
			if id, err := sys.Fstat(int(f.Fd())); err != nil || id.Ino != ino {
				t.Errorf("%v is opened as %+v: %v", ns, id, err)
			}
		})
	}
}

func listing() error {
	_, err := sys.ListNamespaces(0, 0)
	return err
}

// The list of the kernel and /proc have the same namespaces, while none is made or freed.
func TestListAgreesWithProc(t *testing.T) {
	nstest.Need(t, "root")
	if err := listing(); err != nil {
		nstest.SkipUnsupported(t, err, "6.19")
		t.Fatal(err)
	}
	hidden.Start(t)
	with := scan(t)
	without := scan(t, func(o *options) { o.list = false })
	own := func(s *Snapshot) (all []string) {
		for ns := range s.Namespaces() {
			all = append(all, fmt.Sprint(ns, ns.NSID, ns.Owner, ns.Parent, ns.Creator, len(ns.Members), ns.Others()))
		}
		return all
	}
	a, b := own(with), own(without)
	for _, line := range a {
		if !slices.Contains(b, line) {
			t.Errorf("only with the kernel's list: %s", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			t.Errorf("only without the kernel's list: %s", line)
		}
	}
	if len(with.Gaps()) != len(without.Gaps()) {
		t.Errorf("gaps %v, and without the list %v", with.Gaps(), without.Gaps())
	}
}

// Where the kernel opens handles, one that is made of an identifier, type and inode number
// leads to the namespace, and one of a namespace that is gone nowhere.
func TestOpenHandle(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Sandbox(t, "uts")
	s := scan(t)
	ns, ok := s.Find(box.Ino["uts"])
	if !ok {
		t.Fatal("not found")
	}
	if ns.NSID == 0 {
		nstest.SkipUnsupported(t, errors.ErrUnsupported, "6.18")
	}
	full := sys.Handle{ID: ns.NSID, Typ: uint32(UTS.Flag()), Ino: uint32(ns.ID.Ino)}
	for since, h := range map[string]sys.Handle{"6.18": full, "6.19": {ID: ns.NSID}} {
		fd, err := sys.OpenHandle(h)
		if errors.Is(err, errors.ErrUnsupported) && since == "6.19" && listing() != nil {
			continue
		}
		nstest.SkipUnsupported(t, err, since)
		if err != nil {
			t.Fatal(err)
		}
		id, err := sys.Fstat(fd)
		sys.CloseFD(fd)
		if err != nil || id.Ino != ns.ID.Ino {
			t.Errorf("%+v leads to %v: %v", h, id, err)
		}
	}
	box.Close()
	var err error // the kernel releases it after a grace period, which may take long on a busy machine
	for end := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		var fd int
		if fd, err = sys.OpenHandle(full); err == nil {
			sys.CloseFD(fd)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the handle of a namespace that is no more: %v", err)
	}
}

// Handles are found without opening anything, and are those of the open file.
func TestHandleOf(t *testing.T) {
	proc, err := sys.OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	for typ := range AllTypes.All() {
		h, err := sys.HandleOf(proc, sys.NewName("self/ns/"+typ.String()))
		nstest.SkipUnsupported(t, err, "6.18")
		if err != nil {
			t.Fatal(typ, err)
		}
		fd, err := sys.OpenLink(int(proc), "self/ns/"+typ.String())
		if err != nil {
			t.Fatal(err)
		}
		id, _ := sys.Fstat(fd)
		nsid, _ := sys.NamespaceID(fd)
		sys.CloseFD(fd)
		if uint64(h.Ino) != id.Ino || h.ID != nsid || int(h.Typ) != typ.Flag() {
			t.Errorf("%v: %+v, and opened it is %v with identifier %d", typ, h, id, nsid)
		}
	}
}

// listingKernel is a made-up kernel that lists namespaces, by identifier.
type listingKernel struct {
	madeUpKernel
	ids  []uint64
	lost map[uint64]error // identifiers that lead nowhere
	all  bool
}

func (k listingKernel) listsAll() bool { return k.all }

func (k listingKernel) list(types Types, owner uint64) (ids []uint64, err error) {
	for _, id := range k.ids {
		ns, ok := k.byID(id)
		if (!ok || types.Has(ns.is)) && (owner == 0 || ok && uint64(k.madeUpKernel[ns.up].number) == owner) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (k listingKernel) byID(id uint64) (madeUpNS, bool) {
	for _, ns := range k.madeUpKernel {
		if uint64(ns.number) == id {
			return ns, true
		}
	}
	return madeUpNS{}, false
}

func (k listingKernel) handle(w opener) (sys.Handle, error) {
	for _, ns := range k.madeUpKernel {
		if w.kind == byLink && w.pid == 1 && ns.number < 100 && w.name == ns.is.String() {
			return sys.Handle{ID: uint64(ns.number), Ino: uint32(ns.ino)}, nil
		}
	}
	return sys.Handle{}, ErrNotAsked
}

func (k listingKernel) open(w opener, ino uint64) (nsFile, error) {
	if w.kind != byHandle {
		return k.madeUpKernel.open(w, ino)
	}
	if err := k.lost[w.handle.ID]; err != nil {
		return nil, err
	}
	if ns, ok := k.byID(w.handle.ID); ok {
		return ns, nil
	}
	return nil, fs.ErrNotExist
}

// What the list and /proc say is held against each other.
func TestListAgainstProc(t *testing.T) {
	made := kernelOf(t, `
		net:[4026531840] owner user:[4026531837] id 5
		uts:[4026531838] owner user:[4026531837] id 4
		user:[4026531837] owner - id 3
		net:[4026532281] owner user:[4026531837] id 101
		user:[4026532300] owner user:[4026531837] uid 1000 id 102
		uts:[4026532301] owner user:[4026532300] id 103
	`)
	proc := "-- 1/ns/links --\nnet -> net:[4026531840]\nuts -> uts:[4026531838]\nuser -> user:[4026531837]\n-- 1/task/1/ --\n-- 1/fd/ --\n"
	for _, c := range []struct {
		name  string
		ids   []uint64
		lost  map[uint64]error
		all   bool
		found []uint64 // by the list alone
		gaps  int
	}{
		{"the same", []uint64{3, 4, 5}, nil, true, nil, 0},
		{"one more", []uint64{3, 4, 5, 101}, nil, true, []uint64{4026532281}, 0},
		{"one that another holds", []uint64{3, 4, 5, 102, 103}, nil, true, []uint64{4026532301}, 0},
		{"gone meanwhile", []uint64{3, 4, 5, 999}, nil, true, nil, 0},
		{"not to be opened", []uint64{3, 4, 5, 101}, map[uint64]error{101: fs.ErrPermission}, true, nil, 1},
		{"not listed", []uint64{3, 5}, nil, true, nil, 1},
		{"not listed to the caller", []uint64{3, 5}, nil, false, nil, 0},
		{"none", nil, nil, true, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := nstest.Proc(t, proc)
			s := scan(t, WithProc(dir), func(o *options) {
				o.kernel = listingKernel{made, c.ids, c.lost, c.all}
			})
			gaps := 0
			for _, g := range s.Gaps() {
				if g.What != dir {
					gaps++
				}
			}
			var found []uint64
			for ns := range s.Namespaces() {
				for _, h := range ns.Others() {
					if h.Kind == ByKernel {
						found = append(found, ns.ID.Ino)
					}
				}
			}
			if !slices.Equal(found, c.found) || gaps != c.gaps {
				t.Errorf("found %v with gaps %v, want %v with %d", found, s.Gaps(), c.found, c.gaps)
			}
			for _, ino := range found {
				if ns, _ := s.Find(ino); !ns.Owner.Known() || ns.NSID == 0 {
					t.Errorf("%v: owner %v, identifier %d", ns, ns.Owner, ns.NSID)
				}
			}
		})
	}
}

// A namespace that came to have the inode number of another is not taken for it.
func TestOpenRefusesWhatIsAnotherByNow(t *testing.T) {
	nstest.Need(t, "userns", "nsid")
	box := nstest.Sandbox(t, "user", "uts")
	s := scan(t)
	ns, ok := s.Find(box.Ino["uts"])
	if !ok || ns.NSID == 0 {
		t.Fatalf("not found, or without an identifier: %+v", ns)
	}
	before := *ns
	before.NSID-- // as if that one had gone since the scan
	if f, err := s.Open(context.Background(), &before); !errors.Is(err, ErrGone) {
		t.Errorf("%v is opened as %v: %v", ns, f, err)
	}
}

// The mounts of a mount namespace without a process are the same, whether the kernel lists them or
// a thread joins it and reads.
func TestMountsFromOutside(t *testing.T) {
	nstest.Need(t, "root", "mntns")
	box := nstest.Spec{Types: []string{"user", "mnt"}, Hidden: []string{"net", "uts"}}.Start(t)
	s := scan(t)
	proc, err := sys.OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	sc := &scanner{proc: &s.proc, known: map[uint64]*record{}}
	sc.proc.dir = proc
	found := 0
	for _, held := range box.Held {
		if held.Type != "mnt" {
			continue
		}
		ns, ok := s.Find(held.Ino)
		if !ok {
			t.Fatalf("no mnt:[%d]", held.Ino)
		}
		f, err := s.Open(context.Background(), ns)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		mnt := sc.find(Mnt, held.Ino)
		outside, err := sc.pinsListed(mnt, int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		inside, err := sc.pinsInside(mnt, int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range inside {
			sys.CloseAll(p.owned)
			inside[i].owned = -1
		}
		byPath := func(a, b pin) int { return strings.Compare(a.path, b.path) }
		slices.SortFunc(outside, byPath)
		slices.SortFunc(inside, byPath)
		if !slices.Equal(outside, inside) {
			t.Errorf("told from outside: %+v\nread inside: %+v", outside, inside)
		}
		found += len(outside)
	}
	if found < 2 {
		t.Errorf("%d mounts of namespaces were found", found)
	}
}

// What a scan costs with and without the kernel's own list, on a system with
// some containers: compare, on Linux 6.19 or newer.
func BenchmarkScanList(b *testing.B) {
	nstest.Need(b, "root", "listns")
	for range 30 {
		nstest.Sandbox(b, "user", "mnt", "net", "uts", "ipc", "cgroup", "pid")
	}
	for name, list := range map[string]bool{"with": true, "without": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Scan(context.Background(), func(o *options) { o.list = list }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

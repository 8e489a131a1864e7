package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// A madeUpKernel answers for a made-up system from lines such as
//
//	net:[4026532281] owner user:[4026532208] id 7
//	user:[4026532208] owner - uid 1000
//	user:[4026532300] owner ?
//
// "-" is none, which the real kernel says as it says "?", hidden: by EPERM.
type madeUpKernel map[uint64]madeUpNS

type madeUpNS struct {
	kernel             madeUpKernel
	is                 Type
	ino, up, enclosing uint64
	uid, number        int
}

func kernelOf(t *testing.T, text string) madeUpKernel {
	t.Helper()
	k := madeUpKernel{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		typ, ino, ok := ParseLink(f[0])
		if !ok {
			t.Fatalf("bad line %q", line)
		}
		ns := madeUpNS{kernel: k, is: typ, ino: ino, uid: -1}
		for i := 1; i+1 < len(f); i += 2 {
			_, to, _ := ParseLink(f[i+1])
			switch f[i] {
			case "owner":
				ns.up = to
			case "parent":
				ns.enclosing = to
			case "uid":
				fmt.Sscan(f[i+1], &ns.uid)
			case "id":
				fmt.Sscan(f[i+1], &ns.number)
			}
		}
		k[ino] = ns
	}
	return k
}

func (k madeUpKernel) open(w opener, ino uint64) (nsFile, error) {
	if ns, ok := k[ino]; ok && w.kind != noOpener {
		return ns, nil
	}
	return nil, ErrNotAsked
}
func (k madeUpKernel) handle(opener) (sys.Handle, error)    { return sys.Handle{}, ErrNotAsked }
func (k madeUpKernel) list(Types, uint64) ([]uint64, error) { return nil, errors.ErrUnsupported }
func (k madeUpKernel) listsAll() bool                       { return true }
func (k madeUpKernel) mountNamespaces(func(uint64, int) bool) []uint64 {
	return nil
}
func (k madeUpKernel) close() {}

func (n madeUpNS) id() (ID, error)    { return ID{Ino: n.ino}, nil }
func (n madeUpNS) typ() (Type, error) { return n.is, nil }
func (n madeUpNS) close()             {}
func (n madeUpNS) owner() (nsFile, error) {
	if n.up == 0 {
		return nil, ErrHidden
	}
	return n.kernel[n.up], nil
}

func (n madeUpNS) parent() (nsFile, error) {
	if n.enclosing == 0 {
		return nil, ErrHidden
	}
	return n.kernel[n.enclosing], nil
}

func (n madeUpNS) creator() (uint32, error) {
	if n.uid < 0 {
		return 0, ErrHidden
	}
	return uint32(n.uid), nil
}

func (n madeUpNS) nsid() (uint64, error) {
	if n.number == 0 {
		return 0, errors.ErrUnsupported
	}
	return uint64(n.number), nil
}
func (n madeUpNS) netnsid() (int, error) { return -1, errors.ErrUnsupported }

// textOf returns a snapshot as text.
func textOf(s *Snapshot) string {
	var b strings.Builder
	for ns := range s.Namespaces() {
		fmt.Fprint(&b, ns)
		for _, m := range ns.Members {
			fmt.Fprintf(&b, " %d", m.PID)
		}
		fmt.Fprintf(&b, " t%d", ns.Threads)
		relation := func(word string, r Relation) {
			switch {
			case r.Known():
				fmt.Fprintf(&b, " %s %d", word, r.ID.Ino)
			case errors.Is(r.Err, fs.ErrPermission):
				fmt.Fprintf(&b, " %s ?", word)
			case r.Err != nil:
				fmt.Fprintf(&b, " %s !", word)
			}
		}
		relation("owner", ns.Owner)
		relation("parent", ns.Parent)
		for h := range s.Holders(ns) {
			switch h.Kind {
			case ByProcess:
			case ByNested:
				fmt.Fprintf(&b, ", %s %s", h.Kind, h.Nested)
			case ByMount:
				fmt.Fprintf(&b, ", mount %s in %d seen by %d", h.Path, h.In.Ino, h.PID)
			default:
				fmt.Fprintf(&b, ", %s %d/%d fd %d", h.Kind, h.PID, h.TID, h.FD)
			}
		}
		b.WriteByte('\n')
	}
	for _, g := range s.Gaps() {
		if g.PID != 0 {
			fmt.Fprintf(&b, "gap %v\n", g)
		}
	}
	return b.String()
}

const madeUpProc = `
-- 1/ns/links --
mnt -> mnt:[4026531841]
net -> net:[4026531840]
pid -> pid:[4026531836]
pid_for_children -> pid:[4026531836]
user -> user:[4026531837]
-- 1/task/1/ --
-- 1/links --
root -> /
-- 1/mountinfo --
22 21 0:4 net:[4026532281] /run/netns/blue rw shared:2 - nsfs nsfs rw
-- 1/fd/links --
0 -> /dev/null
3 -> socket:[77]
7 -> uts:[4026532290]
8 -> /tmp/net:[4026532999]
-- 40/ns/links --
mnt -> mnt:[4026532300]
net -> net:[4026531840]
pid -> pid:[4026531836]
pid_for_children -> pid:[4026532400]
user -> user:[4026532208]
-- 40/links --
root -> /
-- 40/task/40/ --
-- 40/task/41/ns/links --
mnt -> mnt:[4026532300]
net -> net:[4026532500]
pid -> pid:[4026531836]
pid_for_children -> pid:[4026532400]
user -> user:[4026532208]
-- 40/fd/ --
-- 40/mountinfo --
23 21 0:4 net:[4026532281] /run/netns/blue rw - nsfs nsfs rw
24 21 0:4 ipc:[4026532282] /pins/a\040b rw - nsfs nsfs rw
-- 50/ns/links --
pid -> pid:[4026531836]
user -> user:[4026531837]
-- 50/task/50/ --
-- self/x --
-- 007x/x --
`

func TestScanMadeUp(t *testing.T) {
	dir := nstest.Proc(t, madeUpProc)
	kernel := kernelOf(t, `
		net:[4026531840] owner user:[4026531837]
		mnt:[4026531841] owner user:[4026531837]
		pid:[4026531836] owner user:[4026531837] parent -
		user:[4026531837] owner -
		net:[4026532281] owner user:[4026532600]
		user:[4026532600] owner user:[4026532601] uid 1000
		user:[4026532601] owner user:[4026531837] uid 1001
		uts:[4026532290] owner ?
		mnt:[4026532300] owner user:[4026532208]
		pid:[4026532400] owner user:[4026532208] parent pid:[4026531836]
		net:[4026532500] owner user:[4026532208]
		user:[4026532208] owner user:[4026531837]
	`)
	s, err := Scan(context.Background(), WithProc(dir), func(o *options) { o.kernel = kernel })
	if err != nil {
		t.Fatal(err)
	}
	want := `ipc:[4026532282] t0 owner ! parent !, mount /pins/a b in 4026532300 seen by 40
net:[4026531840] 1 40 t2 owner 4026531837
net:[4026532281] t0 owner 4026532600, mount /run/netns/blue in 4026531841 seen by 1, mount /run/netns/blue in 4026532300 seen by 40
net:[4026532500] t1 owner 4026532208, thread 40/41 fd 0
mnt:[4026531841] 1 t1 owner 4026531837
mnt:[4026532300] 40 t2 owner 4026532208
pid:[4026531836] 1 40 50 t4 owner 4026531837, nested pid:[4026532400]
pid:[4026532400] t0 owner 4026532208 parent 4026531836, children 40/0 fd 0
user:[4026531837] 1 50 t2, nested net:[4026531840], nested mnt:[4026531841], nested pid:[4026531836], nested user:[4026532208], nested user:[4026532601]
user:[4026532208] 40 t2 owner 4026531837 parent 4026531837, nested net:[4026532500], nested mnt:[4026532300], nested pid:[4026532400]
user:[4026532600] t0 owner 4026532601 parent 4026532601, nested net:[4026532281]
user:[4026532601] t0 owner 4026531837 parent 4026531837, nested user:[4026532600]
uts:[4026532290] t0 owner ?, fd 1/0 fd 7
`
	if diff := cmp.Diff(want, textOf(s)); diff != "" {
		t.Error(diff)
	}
	if ns, ok := s.Find(4026531837); !ok || !ns.Owner.None() || !ns.Initial() {
		t.Errorf("the initial user namespace: %+v", ns)
	}
	if len(s.Gaps()) != 1 || s.Gaps()[0].What != dir {
		t.Errorf("gaps: %v", s.Gaps())
	}
	p, ok := s.Process(40)
	if link, _ := p.ForChildren(PID); !ok || link.Ino != 4026532400 || p.Threads != 2 {
		t.Errorf("process 40: %+v", p)
	}
	if _, ok := p.Namespace(UTS); ok {
		t.Error("process 40 has a UTS namespace")
	}
}

func TestScanOptions(t *testing.T) {
	dir := nstest.Proc(t, madeUpProc)
	for name, c := range map[string]struct {
		opts []Option
		has  []uint64
		not  []uint64
	}{
		"all":      {nil, []uint64{4026532281, 4026532500, 4026532290, 4026532400}, nil},
		"tasks":    {[]Option{WithoutTasks()}, []uint64{4026532281, 4026532290, 4026532400}, []uint64{4026532500}},
		"fds":      {[]Option{WithoutFDs()}, []uint64{4026532281, 4026532500}, []uint64{4026532290}},
		"mounts":   {[]Option{WithoutMounts()}, []uint64{4026532500, 4026532290}, []uint64{4026532281}},
		"net only": {[]Option{WithTypes(TypesOf(Net))}, []uint64{4026531840, 4026532281, 4026532500}, []uint64{4026532290, 4026532400}},
	} {
		s, err := Scan(context.Background(), append(c.opts, WithProc(dir))...)
		if err != nil {
			t.Fatal(err)
		}
		for _, ino := range c.has {
			if _, ok := s.Find(ino); !ok {
				t.Errorf("%s: %d is missing", name, ino)
			}
		}
		for _, ino := range c.not {
			if _, ok := s.Find(ino); ok {
				t.Errorf("%s: %d is there", name, ino)
			}
		}
	}
}

func TestScanFails(t *testing.T) {
	if _, err := Scan(context.Background(), WithProc("/nonexistent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Scan(done); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
}

// A process that nobody may read is a gap, and costs nothing else.
func TestScanDenied(t *testing.T) {
	nstest.Need(t, "user")
	s, err := Scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(s.Gaps(), func(g Gap) bool { return g.What == "ns" && errors.Is(g.Err, fs.ErrPermission) }) {
		t.Errorf("an ordinary user can read all: %v", s.Gaps())
	}
	if _, ok := s.Process(s.Self()); !ok {
		t.Error("the test itself is not seen")
	}
}

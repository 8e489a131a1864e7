package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// hidden is a sandbox in which each namespace but its own is held by one thing
// alone, so that a scan that misses one kind of holder misses the namespace.
var hidden = nstest.Spec{
	Types:    []string{"user", "mnt", "pid", "net"},
	Thread:   []string{"net", "uts"},
	Children: []string{"pid", "time"},
	Files:    []string{"net", "uts", "ipc", "mnt", "cgroup", "time"},
	Sockets:  []string{"net"},
	Pins:     []string{"net", "uts"},
	Odd:      []string{"named", "detached", "procfile"},
	Hidden:   []string{"net"},
}

// tun is one that has what an ordinary user may not open.
var tun = nstest.Spec{Types: []string{"mnt"}, Odd: []string{"tun"}}

// oddKinds are the kinds of holder that [nstest.Spec.Odd] makes.
var oddKinds = map[string]HolderKind{"named": ByFD, "detached": ByFD, "tun": ByNetDevice, "procfile": ByProcFile}

func scan(t *testing.T, opts ...Option) *Snapshot {
	t.Helper()
	s, err := Scan(context.Background(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// holder returns the holders of the namespace with that inode number, of one kind.
func holder(t *testing.T, s *Snapshot, ino uint64, typ string, kind HolderKind) []Holder {
	t.Helper()
	ns, ok := s.Find(ino)
	if !ok {
		t.Errorf("%s:[%d], held by %s, was not found", typ, ino, kind)
		return nil
	}
	if ns.Type.String() != typ {
		t.Errorf("%s:[%d] is of type %s", typ, ino, ns.Type)
	}
	var of []Holder
	for h := range s.Holders(ns) {
		if h.Kind == kind {
			of = append(of, h)
		}
	}
	if len(of) == 0 {
		t.Errorf("%s is held, but not by %s: %+v", ns, kind, ns.holders)
	}
	return of
}

func TestScanFindsEveryKindOfHolder(t *testing.T) {
	nstest.Need(t, "userns")
	everyKindOfHolder(t, func() *Snapshot { return scan(t) })
}

func everyKindOfHolder(t *testing.T, scan func() *Snapshot) {
	box := hidden.Start(t)
	root := nstest.Lacks("root") == nil
	if _, err := os.Stat("/dev/net/tun"); err == nil && root {
		other := tun.Start(t)
		h := other.Held[0]
		for _, have := range holder(t, scan(), h.Ino, h.Type, ByNetDevice) {
			if have.PID != other.PID || have.FD != h.FD {
				t.Errorf("%+v is held by %+v", h, have)
			}
		}
	}
	before, _ := os.Readlink("/proc/self/ns/mnt")
	s := scan()
	if after, err := os.Readlink("/proc/self/ns/mnt"); after != before {
		t.Errorf("the scan left us in %s instead of %s: %v", after, before, err)
	}

	for typ, ino := range box.Ino {
		hs := holder(t, s, ino, typ, ByProcess)
		if !slices.ContainsFunc(hs, func(h Holder) bool { return h.PID == box.PID }) {
			t.Errorf("process %d is no member of %s:[%d]", box.PID, typ, ino)
		}
	}
	for _, typ := range hidden.Thread {
		for _, h := range holder(t, s, box.ThreadIno[typ], typ, ByTask) {
			if h.PID != box.PID || h.TID == 0 || h.TID == h.PID {
				t.Errorf("thread of %s: %+v", typ, h)
			}
		}
	}
	for _, typ := range hidden.Children {
		for _, h := range holder(t, s, box.ChildrenIno[typ], typ, ByChildren) {
			if h.PID != box.PID {
				t.Errorf("for children, %s: %+v", typ, h)
			}
		}
	}
	for _, held := range box.Held {
		if held.Kind == "procfile" && (!root || nstest.Lacks("bpf") != nil) {
			// Only the kernel knows which namespace it keeps. That it may keep one is reported.
			if !slices.ContainsFunc(s.Gaps(), func(g Gap) bool { return g.PID == box.PID && errors.Is(g.Err, errKept) }) {
				t.Errorf("no word of %+v: %v", held, s.Gaps())
			}
			if s.Whole(FDs) {
				t.Error("the descriptors are said to be known")
			}
			continue
		}
		if held.Kind == "pin" && held.Mnt != box.Ino["mnt"] && !root {
			continue // to read the mounts of a namespace without processes takes CAP_SYS_ADMIN
		}
		if held.Kind == "socket" && !root {
			continue // to ask for its namespace takes CAP_NET_ADMIN in the owner
		}
		kind := cmp.Or(map[string]HolderKind{"file": ByFD, "socket": BySocket, "pin": ByMount}[held.Kind], oddKinds[held.Kind])
		hs := holder(t, s, held.Ino, held.Type, kind)
		if !slices.ContainsFunc(hs, func(h Holder) bool {
			if kind == ByMount {
				return h.In.Ino == held.Mnt && h.Path == held.Path
			}
			return h.PID == box.PID && h.FD == held.FD
		}) {
			t.Errorf("%+v is held by %+v", held, hs)
		}
	}
}

func TestScanRelations(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "pid", "net")
	s := scan(t)
	self, ok := s.Process(s.Self())
	if !ok {
		t.Fatal("the test itself was not seen")
	}
	ownUser, _ := self.Namespace(User)
	ownPID, _ := self.Namespace(PID)
	for typ, ino := range map[Type]uint64{User: box.Ino["user"], PID: box.Ino["pid"], Net: box.Ino["net"]} {
		ns, ok := s.Find(ino)
		if !ok {
			t.Fatalf("%v:[%d] was not found", typ, ino)
		}
		owner, parent := box.Ino["user"], Relation{}
		switch typ {
		case User:
			owner, parent = ownUser.Ino, Relation{ID: ownUser}
		case PID:
			parent = Relation{ID: ownPID}
		}
		if ns.Owner.ID.Ino != owner || ns.Owner.Err != nil {
			t.Errorf("owner of %v: %+v, want %d", ns, ns.Owner, owner)
		}
		if ns.Parent != parent {
			t.Errorf("parent of %v: %+v, want %+v", ns, ns.Parent, parent)
		}
		if (ns.Creator >= 0) != (typ == User) {
			t.Errorf("creator of %v: %d", ns, ns.Creator)
		}
	}
	// A child is found among what its parent encloses and owns.
	user, _ := s.Find(box.Ino["user"])
	if !slices.Contains(slices.Collect(s.Children(ownUser)), user) || !slices.Contains(slices.Collect(s.Owned(ownUser)), user) {
		t.Errorf("%v is no child of %v", user, ownUser)
	}
	// A namespace without an owner differs from one with a hidden owner.
	if init, ok := s.Find(0xEFFFFFFD); ok && !(init.Owner.None() && init.Parent.None()) {
		t.Errorf("the initial user namespace has an owner or hides it: %+v", init)
	}
}

// A parent without a process, held by its child alone, is found through it.
func TestScanFindsParentsWithoutProcesses(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Spec{Types: []string{"user", "pid", "mnt"}, Children: []string{"pid"}}.Start(t)
	s := scan(t, WithoutTasks(), WithoutFDs())
	ns, ok := s.Find(box.ChildrenIno["pid"])
	if !ok || ns.Parent.ID.Ino != box.Ino["pid"] {
		t.Errorf("the PID namespace for children: %+v", ns)
	}
}

func TestScanNetNSID(t *testing.T) {
	nstest.Need(t, "root", "ip")
	box := nstest.Sandbox(t, "net")
	number := func() int {
		ns, ok := scan(t, WithTypes(TypesOf(Net))).Find(box.Ino["net"])
		if !ok {
			t.Fatal("not found")
		}
		return ns.NetNSID
	}
	if n := number(); n != -1 {
		t.Errorf("a namespace that nobody has numbered has number %d", n)
	}
	// The kernel numbers a namespace when an interface leads there.
	name := fmt.Sprintf("nstest%d", box.PID)
	if out, err := exec.Command("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(box.PID)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	out, err := exec.Command("ip", "-d", "link", "show", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := number(); !strings.Contains(string(out), fmt.Sprintf("link-netnsid %d ", n)) {
		t.Errorf("number %d; ip says %s", n, out)
	}
}

func TestScanNSID(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user")
	s := scan(t)
	ns, ok := s.Find(box.Ino["user"])
	if !ok {
		t.Fatal("not found")
	}
	if ns.NSID == 0 {
		nstest.SkipUnsupported(t, errors.ErrUnsupported, "6.18")
	}
}

// Nothing that a descriptor or a mount leads to is opened unless it is a
// namespace: a FIFO in the place of a pin would hang the scan.
func TestOpenMountOfAnythingElse(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "net:[4026531840]")
	if err := mkfifo(fifo); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	proc, err := sys.OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	t.Chdir("/")
	for _, path := range []string{fifo, link, sock, dir, "/dev/null", filepath.Join(dir, "none")} {
		if fd, err := openMount(proc, sys.CurrentDir, strings.TrimPrefix(path, "/")); err == nil {
			t.Errorf("%s is opened as %d", path, fd)
		}
	}
}

func TestDescribeRealProcesses(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Spec{Types: []string{"user", "mnt"}, Root: true, Exec: []string{"cat", "-"}}.Start(t)
	s := scan(t)
	p, ok := s.Process(box.PID)
	if !ok {
		t.Fatal("not found")
	}
	d := s.Describe(context.Background(), slices.Values([]*Process{p, p}), WithArgs())[box.PID]
	if d.Err != nil || d.PPID != os.Getpid() || d.Comm != "cat" && d.Comm != "busybox" || d.Start.IsZero() || !strings.HasSuffix(d.Command(), "cat -") {
		t.Errorf("%+v %q", d, d.Command())
	}
}

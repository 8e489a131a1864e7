package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

func scan(t *testing.T) *inspect.Snapshot {
	t.Helper()
	snap, err := inspect.Scan(t.Context(), inspect.WithSockets())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// survey1 returns the interfaces of the namespaces of some sandboxes, by
// "number of the sandbox/name", as found with the given ones of all namespaces.
func survey1(t *testing.T, boxes []*nstest.Box, but ...uint64) map[string]*Interface {
	t.Helper()
	snap := scan(t)
	spaces := slices.DeleteFunc(slices.Collect(snap.Namespaces(inspect.Net)), func(ns *inspect.Namespace) bool { return slices.Contains(but, ns.ID.Ino) })
	all, gaps := Interfaces(t.Context(), snap, spaces)
	found := make(map[string]*Interface)
	for n, box := range boxes {
		for _, g := range gaps {
			if strings.Contains(g.What, fmt.Sprint(box.Ino["net"])) {
				t.Errorf("%+v", g)
			}
		}
		for _, i := range all {
			if i.NS.ID.Ino == box.Ino["net"] {
				found[fmt.Sprint(n, "/", i.Link.Name)] = i
			}
		}
	}
	return found
}

// far says where an interface leads: "1/eth0", with the name alone for what is in
// no sandbox.
func far(boxes []*nstest.Box, i *Interface) string {
	switch {
	case i == nil:
		return "no interface"
	case i.Far == nil:
		return "-"
	case i.Far.NS == nil:
		return "?/" + i.Far.Name
	}
	for n, box := range boxes {
		if box.Ino["net"] == i.Far.NS.ID.Ino {
			return fmt.Sprint(n, "/", i.Far.Name)
		}
	}
	return i.Far.Name
}

func ip(t *testing.T, box *nstest.Box, words string) {
	t.Helper()
	in(t, box.PID, append([]string{"ip"}, strings.Fields(words)...)...)
}

func TestInterfacesLeadWhere(t *testing.T) {
	nstest.Need(t, "root", "ip", "nsenter")
	var boxes []*nstest.Box
	for range 6 {
		boxes = append(boxes, nstest.Sandbox(t, "net"))
	}
	// Numbers differ by direction: 5 is told of three others before 0 is.
	for _, other := range []int{1, 2, 3} {
		ip(t, boxes[5], fmt.Sprintf("link add t%d type veth peer name t5 netns %d", other, boxes[other].PID))
	}
	// Pairs that look alike: the indexes are the same at all ends.
	ip(t, boxes[0], fmt.Sprintf("link add eth9 index 9 type veth peer name eth9 index 9 netns %d", boxes[1].PID))
	ip(t, boxes[2], fmt.Sprintf("link add eth9 index 9 type veth peer name eth9 index 9 netns %d", boxes[3].PID))
	ip(t, boxes[4], fmt.Sprintf("link add eth9 index 9 type veth peer name eth9 index 9 netns %d", boxes[5].PID))
	// Both ends in one, and an interface on top of another's.
	ip(t, boxes[0], "link add a0 type veth peer name b0")
	ip(t, boxes[0], "link add low type "+plain(t, boxes[0].PID))

	want := map[string]string{
		"0/eth9": "1/eth9", "1/eth9": "0/eth9", "2/eth9": "3/eth9", "3/eth9": "2/eth9", "4/eth9": "5/eth9", "5/eth9": "4/eth9",
		"5/t1": "1/t5", "5/t2": "2/t5", "5/t3": "3/t5", "1/t5": "5/t1", "2/t5": "5/t2", "3/t5": "5/t3",
		"0/a0": "0/b0", "0/b0": "0/a0", "0/low": "-", "0/lo": "-",
	}
	ofUppers := map[string]string{"0/a0": "", "0/lo": ""}
	if exec.Command("nsenter", "-t", fmt.Sprint(boxes[0].PID), "-n", "ip", "link", "add", "mac0", "link", "low", "netns", fmt.Sprint(boxes[2].PID), "type", "macvlan").Run() == nil {
		want["2/mac0"], ofUppers["0/low"], ofUppers["2/mac0"] = "0/low", "mac0", ""
	}
	if can(t, boxes[0].PID, "bridge") {
		ip(t, boxes[0], "link add br0 type bridge")
		ip(t, boxes[0], "link set a0 master br0")
		want["0/br0"], ofUppers["0/br0"] = "-", "a0"
	}
	// A tunnel whose packets leave through another namespace.
	if can(t, boxes[0].PID, "vxlan id 5 dstport 4789") {
		ip(t, boxes[3], "link add tun0 type vxlan id 5 dstport 4789")
		ip(t, boxes[3], fmt.Sprintf("link set tun0 netns %d", boxes[4].PID))
		want["4/tun0"] = "3/"
	}
	found := survey1(t, boxes)
	for name, place := range want {
		if got := far(boxes, found[name]); got != place {
			t.Errorf("%s leads to %s, want %s", name, got, place)
		}
	}
	for name, uppers := range ofUppers {
		var have []string
		for _, u := range found[name].Uppers {
			have = append(have, u.Link.Name)
		}
		if strings.Join(have, " ") != uppers {
			t.Errorf("on top of %s: %q, want %q", name, have, uppers)
		}
	}
	if m := found["0/a0"].Master; m != found["0/br0"] {
		t.Errorf("a0 is a port of %v", m)
	}

	// The numbers are those of ip-netns(8), which knows whose they are where the
	// namespaces have names.
	for n, box := range boxes {
		name := fmt.Sprintf("nstool-test-%d-%d", os.Getpid(), n)
		if out, err := exec.Command("ip", "netns", "attach", name, fmt.Sprint(box.PID)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("ip", "netns", "delete", name).Run() })
	}
	compared := 0
	for n, box := range boxes {
		listed := in(t, box.PID, "ip", "netns", "list-id")
		for name, i := range found {
			if !strings.HasPrefix(name, fmt.Sprint(n, "/")) || i.NetNSID < 0 {
				continue
			}
			other := slices.IndexFunc(boxes, func(b *nstest.Box) bool { return b.Ino["net"] == i.Far.NS.ID.Ino })
			want := fmt.Sprintf("nsid %d (iproute2 netns name: nstool-test-%d-%d)", i.NetNSID, os.Getpid(), other)
			if !strings.Contains(listed, want) {
				t.Errorf("%s: ip netns list-id has %q, want %q", name, listed, want)
			}
			compared++
		}
	}
	if compared < 12 {
		t.Errorf("%d numbers were compared", compared)
	}

	// To a namespace that is not known nothing leads, but its interface tells
	// its name.
	found = survey1(t, boxes, boxes[1].Ino["net"])
	for name, place := range map[string]string{"0/eth9": "?/eth9", "5/t1": "?/t5", "2/eth9": "3/eth9"} {
		if got := far(boxes, found[name]); got != place {
			t.Errorf("%s leads to %s, want %s", name, got, place)
		}
	}
}

// The namespace with the other end may have no process, only a mount or a socket.
func TestInterfacesLeadToWhatIsHeld(t *testing.T) {
	nstest.Need(t, "root", "ip", "nsenter")
	box := nstest.Sandbox(t, "net")
	holder := nstest.Spec{Types: []string{"mnt"}, Files: []string{"net"}, Sockets: []string{"net"}, Pins: []string{"net"}, Hidden: []string{"net"}}.Start(t)
	snap := scan(t)
	want := make(map[string]uint64)
	for n, h := range holder.Held {
		ns, ok := snap.Find(h.Ino)
		if !ok || ns.Type != inspect.Net {
			continue
		}
		file, err := snap.Open(t.Context(), ns)
		if err != nil {
			t.Fatal(err)
		}
		pid, fd := os.Getpid(), file.Fd()
		name := fmt.Sprint("to", n)
		ip(t, box, fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/fd/%d", name, pid, fd))
		file.Close()
		want[name] = h.Ino
	}
	if len(want) != 4 {
		t.Fatalf("%+v", holder.Held)
	}
	found := survey1(t, []*nstest.Box{box})
	for name, ino := range want {
		i := found["0/"+name]
		if i == nil || i.Far == nil || i.Far.NS == nil || i.Far.NS.ID.Ino != ino || i.Far.Name != "eth0" {
			t.Errorf("%s: %+v, want net:[%d]", name, i, ino)
		}
	}
}

// What one end cannot say the other may.
func TestInterfacesTellOfEachOther(t *testing.T) {
	a, b := &inspect.Namespace{ID: inspect.ID{Ino: 1}}, &inspect.Namespace{ID: inspect.ID{Ino: 2}}
	for _, tt := range []struct {
		name       string
		link, peer Link
		want       *inspect.Namespace
	}{
		{"a pair", Link{Index: 2, Kind: "veth", Lower: 3, NetNSID: NoNumber}, Link{Index: 3, Kind: "veth", Lower: 2, NetNSID: 0}, b},
		{"a number that is not known", Link{Index: 2, Kind: "veth", Lower: 3, NetNSID: 7}, Link{Index: 3, Kind: "veth", Lower: 2, NetNSID: 0}, b},
		{"another index", Link{Index: 2, Kind: "veth", Lower: 4, NetNSID: NoNumber}, Link{Index: 3, Kind: "veth", Lower: 2, NetNSID: 0}, nil},
		{"neither says", Link{Index: 2, Kind: "veth", Lower: 3, NetNSID: NoNumber}, Link{Index: 3, Kind: "veth", Lower: 2, NetNSID: NoNumber}, nil},
		{"no pair", Link{Index: 2, Kind: "macvlan", Lower: 3, NetNSID: NoNumber}, Link{Index: 3, Kind: "ifb", NetNSID: SameNamespace}, nil},
	} {
		link, peer := &Interface{Link: tt.link, NS: a}, &Interface{Link: tt.peer, NS: b}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the kernel is not asked
		s := &surveyor{ctx: ctx, of: map[*inspect.Namespace]*space{
			a: {ns: a, byIndex: map[int]*Interface{2: link}, numbers: map[int]*inspect.Namespace{}},
			b: {ns: b, byIndex: map[int]*Interface{3: peer}, numbers: map[int]*inspect.Namespace{0: a}},
		}}
		s.snap = &inspect.Snapshot{}
		s.connect([]*Interface{link, peer})
		if link.Far == nil || link.Far.NS != tt.want {
			t.Errorf("%s: %+v, want %v", tt.name, link.Far, tt.want)
		}
	}
}

// A socket has all its processes, wherever they are, and one without a process
// has none.
func TestSocketsHaveTheirProcesses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	snap := scan(t)
	self, _ := snap.Process(os.Getpid())
	own, ok := snap.Of(self, inspect.Net)
	if !ok {
		t.Fatal("no network namespace")
	}
	all, gaps := Sockets(t.Context(), snap, []*inspect.Namespace{own}, InternetSockets|UnixSockets|RawSockets)
	if len(gaps) > 0 {
		t.Errorf("%v", gaps)
	}
	port := l.Addr().(*net.TCPAddr).Port
	i := slices.IndexFunc(all, func(s *Listener) bool { return s.Protocol == TCP && int(s.Local.Port()) == port })
	if i < 0 || len(all[i].Holders) != 1 || all[i].Holders[0].PID != os.Getpid() {
		t.Errorf("port %d: %+v", port, all)
	}
}

// A process need not be in the namespace of its socket, and a socket need not
// have a process.
func TestSocketsOfOthersAndOfNobody(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Sandbox(t, "net")
	ns := openOf(t, box.PID)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	listen := func(port int) (fd int) {
		if err := sys.OnThread(func() (err error) {
			if err := sys.JoinNetns(int(ns.Fd())); err != nil {
				return err
			}
			if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Port: port}), syscall.Listen(fd, 1))
		}); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	ours, sent := listen(80), listen(81)
	defer syscall.Close(ours)
	if err := syscall.Sendmsg(pair[0], []byte{0}, syscall.UnixRights(sent), nil, 0); err != nil {
		t.Fatal(err)
	}
	syscall.Close(sent) // it is under way now

	snap := scan(t)
	space, ok := snap.Find(box.Ino["net"])
	if !ok {
		t.Fatal("the sandbox is not there")
	}
	all, gaps := Sockets(t.Context(), snap, []*inspect.Namespace{space}, InternetSockets)
	if len(all) != 2 || len(gaps) > 0 {
		t.Fatalf("%+v, %v", all, gaps)
	}
	if h := all[0].Holders; all[0].Local.Port() != 80 || len(h) != 1 || h[0].PID != os.Getpid() || h[0].FD != ours {
		t.Errorf("a socket of ours: %+v", all[0])
	}
	if all[1].Local.Port() != 81 || len(all[1].Holders) != 0 || all[1].Inode == 0 {
		t.Errorf("a socket of nobody: %+v", all[1])
	}
}

// A namespace that cannot be read, or is no more, costs its rows only.
func TestSurveyLosesWhatItCannotRead(t *testing.T) {
	box := nstest.Sandbox(t, "user", "net")
	nstest.Need(t, "userns")
	snap := scan(t)
	gone, ok := snap.Find(box.Ino["net"])
	if !ok {
		t.Fatal("the sandbox is not there")
	}
	box.Close()
	self, _ := snap.Process(os.Getpid())
	own, _ := snap.Of(self, inspect.Net)
	all, gaps := Interfaces(t.Context(), snap, []*inspect.Namespace{gone, own})
	if len(gaps) != 1 || gaps[0].What != "interfaces of "+gone.String() || !errors.Is(gaps[0].Err, inspect.ErrGone) {
		t.Errorf("gaps: %v", gaps)
	}
	if !slices.ContainsFunc(all, func(i *Interface) bool { return i.Link.Name == "lo" && i.NS == own }) {
		t.Errorf("without lo: %v", all)
	}
	if _, gaps := Sockets(t.Context(), snap, []*inspect.Namespace{gone}, InternetSockets); len(gaps) != 1 {
		t.Errorf("gaps of sockets: %v", gaps)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, gaps := Interfaces(ctx, snap, []*inspect.Namespace{own}); len(gaps) != 1 || !errors.Is(gaps[0].Err, context.Canceled) {
		t.Errorf("cancelled: %v", gaps)
	}
}

// What could not be read has no number: nothing leads there, least of all what has
// the number 0.
func TestNothingLeadsToWhatWasNotRead(t *testing.T) {
	nstest.Need(t, "root", "ip", "nsenter")
	here, there, lost := nstest.Sandbox(t, "net"), nstest.Sandbox(t, "net"), nstest.Sandbox(t, "user", "net")
	ip(t, here, fmt.Sprintf("link add v0 type veth peer name v1 netns %d", there.PID))
	own := openOf(t, here.PID)
	snap := scan(t)
	lost.Close()
	find := func(box *nstest.Box) *inspect.Namespace {
		ns, ok := snap.Find(box.Ino["net"])
		if !ok {
			t.Fatalf("net:[%d] was not found", box.Ino["net"])
		}
		return ns
	}
	for name, tt := range map[string]struct {
		spaces []*inspect.Namespace
		want   *inspect.Namespace
	}{
		"the other end is known":     {[]*inspect.Namespace{find(here), find(there), find(lost)}, find(there)},
		"the other end is not known": {[]*inspect.Namespace{find(here), find(lost)}, nil},
	} {
		var all []*Interface
		var gaps []inspect.Gap
		if err := sys.OnThread(func() error {
			if err := sys.JoinNetns(int(own.Fd())); err != nil {
				return err
			}
			all, gaps = Interfaces(t.Context(), snap, tt.spaces)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(gaps) != 1 {
			t.Errorf("%s: the control: %v", name, gaps)
		}
		i := slices.IndexFunc(all, func(i *Interface) bool { return i.NS == find(here) && i.Link.Name == "v0" })
		if i < 0 || all[i].NetNSID != 0 {
			t.Fatalf("%s: the control: no v0 that leads to number 0 among %v", name, all)
		}
		if f := all[i].Far; f == nil || f.NS != tt.want || f.Name != "v1" {
			t.Errorf("%s: v0 leads to %+v, want %v", name, f, tt.want)
		}
	}
}

func TestOrdinaryUserReadsHisOwn(t *testing.T) {
	nstest.Need(t, "user")
	c, err := Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if links, err := c.Links(); err != nil || len(links) == 0 {
		t.Errorf("%v, %v", links, err)
	}
	if _, err := c.Routes(); err != nil {
		t.Error(err)
	}
	if _, err := newLister(InternetSockets | UnixSockets | RawSockets).Sockets(c); err != nil {
		t.Error(err)
	}
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if c, err := Dial(own); err != nil {
		t.Errorf("his own, by a file: %v", err)
	} else {
		c.Close()
	}
}

// What is near is found by reading only that; what is not near is not guessed.
func TestNear(t *testing.T) {
	nstest.Need(t, "root", "ip", "nsenter")
	var boxes []*nstest.Box
	for range 4 {
		boxes = append(boxes, nstest.Sandbox(t, "net"))
	}
	ip(t, boxes[0], fmt.Sprintf("link add v0 type veth peer name v1 netns %d", boxes[1].PID))
	ip(t, boxes[1], "link add a0 type veth peer name b0")
	ip(t, boxes[2], fmt.Sprintf("link add v2 type veth peer name v3 netns %d", boxes[3].PID))
	snap := scan(t)
	own, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", boxes[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for n, want := range map[int]map[string]string{
		1: {"lo": "-", "v1": "0/v0", "a0": "1/b0", "b0": "1/a0"},
		2: nil, // v3 is neither here nor there
	} {
		ns, ok := snap.Find(boxes[n].Ino["net"])
		if !ok {
			t.Fatalf("sandbox %d was not found", n)
		}
		var list []*Interface
		var gaps []inspect.Gap
		if err := sys.OnThread(func() error {
			if err := sys.JoinNetns(int(own.Fd())); err != nil {
				return err
			}
			list, gaps, ok = Near(t.Context(), snap, ns)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if ok != (want != nil) || len(gaps) > 0 || len(list) != len(want) {
			t.Errorf("sandbox %d: %v, %d interfaces, %+v", n, ok, len(list), gaps)
		}
		for _, i := range list {
			if got := far(boxes, i); got != want[i.Link.Name] {
				t.Errorf("sandbox %d: %s leads to %s, want %s", n, i.Link.Name, got, want[i.Link.Name])
			}
		}
	}
}

// A user reads the network of a user namespace that they made, which no thread of
// theirs can join.
func TestOwnUserNamespace(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "net")
	c, err := Dial(openOf(t, box.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	links, err := c.Links()
	if err != nil || len(links) == 0 || links[0].Name != "lo" {
		t.Errorf("links %+v, %v", links, err)
	}
	if routes, err := c.Routes(); err != nil {
		t.Errorf("routes %v, %v", routes, err)
	}
	if _, err := newLister(InternetSockets | UnixSockets | RawSockets).Sockets(c); err != nil {
		t.Error(err)
	}
	snap, err := inspect.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ns, ok := snap.Find(box.Ino["net"])
	if !ok {
		t.Fatal("the namespace was not found")
	}
	all, gaps := Interfaces(t.Context(), snap, []*inspect.Namespace{ns})
	if len(all) == 0 || len(gaps) > 0 {
		t.Errorf("interfaces %v, gaps %v", all, gaps)
	}
	if all, gaps := Sockets(t.Context(), snap, []*inspect.Namespace{ns}, InternetSockets|UnixSockets|RawSockets); len(gaps) > 0 {
		t.Errorf("sockets %v, gaps %v", all, gaps)
	}
}

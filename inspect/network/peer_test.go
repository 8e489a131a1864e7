package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// in runs a program in the network namespace of a process.
func in(t *testing.T, pid int, args ...string) string {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "--"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, stderr.String())
	}
	return string(out)
}

// openOf opens the network namespace of a process.
func openOf(t *testing.T, pid int) *os.File {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func connect(t *testing.T, pid int) *Conn {
	t.Helper()
	c, err := Dial(openOf(t, pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// furnish makes interfaces of many kinds in one namespace, with other ends in
// another.
func furnish(t *testing.T, pid, other int) {
	t.Helper()
	for _, words := range []string{
		"link set lo up",
		"link add port0 type veth peer name port1",
		"link set port0 up",
		"link set port1 up",
		"link add away0 type veth peer name here0 netns " + strconv.Itoa(other),
		"link set away0 up",
		"link add dummy0 type " + plain(t, pid),
		"link set dummy0 alias what\\sfor",
		"link property add dev dummy0 altname a-name-that-is-longer-than-15-bytes",
		"addr add 10.9.8.7/24 dev dummy0",
		"addr add 10.9.8.8/24 dev dummy0",
		"addr add 192.0.2.1 peer 192.0.2.2 dev port1",
		"addr add 2001:db8::1/64 dev dummy0 nodad",
		"link set dummy0 up",
		"route add 198.51.100.0/24 via 10.9.8.1",
		"route add default via 10.9.8.1 metric 100",
		"route add blackhole 203.0.113.0/24",
		"route add 198.18.0.0/15 nexthop via 10.9.8.1 nexthop via 10.9.8.2",
		"-6 route add 2001:db8:1::/48 via 2001:db8::2",
		"route add 100.64.0.0/10 via 10.9.8.1 table 77",
	} {
		in(t, pid, append([]string{"ip"}, strings.Fields(words)...)...)
	}
	for _, words := range []string{ // what not every kernel has
		"link add br0 type bridge",
		"link set port0 master br0",
		"link set br0 up",
		"link add mac0 link dummy0 netns " + strconv.Itoa(other) + " type macvlan mode bridge",
		"link add vlan7 link dummy0 type vlan id 7",
		"link add ipv0 link dummy0 type ipvlan mode l2",
		"link add nk0 type netkit peer name nk1",
		"link add vxlan0 type vxlan id 9 dstport 4789",
		"link add sit7 type sit local 10.9.8.7 remote 10.9.8.1",
	} {
		if out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "--", "ip"}, strings.Fields(words)...)...).CombinedOutput(); err != nil {
			t.Logf("ip %s: %v: %s", words, err, out)
		}
	}
}

// can reports whether the kernel has a kind of interface.
func can(t *testing.T, pid int, kind string) bool {
	t.Helper()
	words := append([]string{"nsenter", "-t", strconv.Itoa(pid), "-n", "--", "ip", "link", "add", "try0", "type"}, strings.Fields(kind)...)
	if exec.Command(words[0], words[1:]...).Run() != nil {
		t.Logf("the kernel has no %s", kind)
		return false
	}
	in(t, pid, "ip", "link", "del", "try0")
	return true
}

// plain returns a kind of interface that stands alone.
func plain(t *testing.T, pid int) string {
	t.Helper()
	if can(t, pid, "dummy") {
		return "dummy"
	}
	return "ifb"
}

func TestLinksLikeIP(t *testing.T) {
	nstest.Need(t, "root", "ip", "nsenter")
	box, other := nstest.Sandbox(t, "net"), nstest.Sandbox(t, "net")
	furnish(t, box.PID, other.PID)
	for _, pid := range []int{box.PID, other.PID} {
		var theirs []struct {
			Ifindex     int
			Ifname      string
			Altnames    []string
			Ifalias     string
			Link        *string
			LinkIndex   int  `json:"link_index"`
			LinkNetnsid *int `json:"link_netnsid"`
			Flags       []string
			MTU         int
			Master      string
			Operstate   string
			LinkType    string `json:"link_type"`
			Address     string
			Linkinfo    struct {
				InfoKind string         `json:"info_kind"`
				InfoData map[string]any `json:"info_data"`
			}
			AddrInfo []struct {
				Local     string
				Address   string
				Prefixlen int
			} `json:"addr_info"`
		}
		if err := json.Unmarshal([]byte(in(t, pid, "ip", "-d", "-j", "addr")), &theirs); err != nil {
			t.Fatal(err)
		}
		ours, err := connect(t, pid).Links()
		if err != nil {
			t.Fatal(err)
		}
		names := make(map[int]string)
		for _, l := range ours {
			names[l.Index] = l.Name
		}
		if len(ours) != len(theirs) {
			t.Fatalf("%d interfaces, ip has %d", len(ours), len(theirs))
		}
		for i, want := range theirs {
			got := ours[i]
			kind := want.Linkinfo.InfoKind
			if kind == "" {
				kind = want.LinkType
			}
			nsid := SameNamespace
			if want.LinkNetnsid != nil {
				nsid = *want.LinkNetnsid
			}
			lower := want.LinkIndex
			if want.Link != nil {
				for index, name := range names {
					if name == *want.Link {
						lower = index
					}
				}
			}
			vlan := 0.0
			if kind == "vlan" {
				vlan = want.Linkinfo.InfoData["id"].(float64)
			}
			if got.Index != want.Ifindex || got.Name != want.Ifname || !slices.Equal(got.AltNames, want.Altnames) || got.Alias != want.Ifalias || got.Kind != kind ||
				got.MTU != want.MTU || names[got.Master] != want.Master || !strings.EqualFold(got.OperState, want.Operstate) || got.NetNSID != nsid || got.Lower != lower || got.VLAN != int(vlan) {
				t.Errorf("got %+v, ip has %+v", got, want)
			}
			state := "down"
			switch {
			case slices.Contains(want.Flags, "NO-CARRIER"):
				state = "no-carrier"
			case slices.Contains(want.Flags, "UP"):
				state = "up"
			}
			if got.State() != state {
				t.Errorf("%s: state %s, flags of ip say %s", got.Name, got.State(), want.Flags)
			}
			var addresses []netip.Prefix
			for _, a := range want.AddrInfo {
				addresses = append(addresses, netip.PrefixFrom(netip.MustParseAddr(a.Local), a.Prefixlen))
			}
			var have []netip.Prefix
			for j, a := range got.Addresses {
				have = append(have, a.Prefix)
				if peer := want.AddrInfo[j].Address; peer != "" && a.Peer.String() != peer {
					t.Errorf("%s: peer %s, ip has %s", a.Prefix, a.Peer, peer)
				}
			}
			if !slices.Equal(have, addresses) {
				t.Errorf("%s: addresses %v, ip has %v", got.Name, have, addresses)
			}
		}
	}
}

func TestRoutesLikeIP(t *testing.T) {
	nstest.Need(t, "root", "ip", "nsenter")
	box, other := nstest.Sandbox(t, "net"), nstest.Sandbox(t, "net")
	furnish(t, box.PID, other.PID)
	c := connect(t, box.PID)
	ours, err := c.Routes()
	if err != nil {
		t.Fatal(err)
	}
	var theirs []string
	for _, family := range []string{"-4", "-6"} {
		var routes []struct {
			Type, Dst, Gateway, Dev string
			Metric                  int
			Nexthops                []struct{ Gateway, Dev string }
		}
		if err := json.Unmarshal([]byte(in(t, box.PID, "ip", "-j", "-d", family, "route")), &routes); err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			hops := max(len(r.Nexthops), 1)
			if len(r.Nexthops) > 0 {
				r.Gateway = r.Nexthops[0].Gateway
			}
			if r.Dst == "default" {
				r.Dst = map[string]string{"-4": "0.0.0.0/0", "-6": "::/0"}[family]
			}
			if !strings.Contains(r.Dst, "/") {
				r.Dst += map[string]string{"-4": "/32", "-6": "/128"}[family]
			}
			theirs = append(theirs, fmt.Sprint(r.Type, " ", r.Dst, " ", r.Gateway, " ", r.Metric, " ", hops))
		}
	}
	var have []string
	for _, r := range ours {
		gateway := ""
		if r.Gateway.IsValid() {
			gateway = r.Gateway.String()
		}
		have = append(have, fmt.Sprint(r.Type, " ", r.Dst, " ", gateway, " ", r.Metric, " ", r.Hops))
	}
	slices.Sort(have)
	slices.Sort(theirs)
	if !slices.Equal(have, theirs) || len(have) < 7 {
		t.Errorf("got  %q\nip has %q", have, theirs)
	}
}

func TestSocketsLikeSS(t *testing.T) {
	nstest.Need(t, "root", "ss", "nsenter", "python3")
	box := nstest.Sandbox(t, "net")
	in(t, box.PID, "ip", "link", "set", "lo", "up")
	dir := t.TempDir()
	listen := exec.Command("nsenter", "-t", strconv.Itoa(box.PID), "-n", "python3", "-c", `
import os, socket, sys
kept = []
def keep(family, typ, at, proto=0, only=None, dev=None, listen=False, connect=None):
    s = socket.socket(family, typ, proto)
    if only is not None: s.setsockopt(41, 26, only)
    if dev: s.setsockopt(1, 25, dev)
    if at: s.bind(at)
    if listen: s.listen(7)
    if connect: s.connect(connect)
    kept.append(s)
tcp, udp, seq = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
v4, v6, un = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
keep(v4, tcp, ("127.0.0.1", 8080), listen=True)
keep(v4, tcp, ("0.0.0.0", 8081), dev=b"lo", listen=True)
keep(v4, tcp, ("127.0.0.1", 8082))
keep(v4, tcp, None, connect=("127.0.0.1", 8080))
keep(v6, tcp, ("::", 8083), only=1, listen=True)
keep(v6, tcp, ("::", 8084), only=0, listen=True)
keep(v4, udp, ("127.0.0.1", 5353))
keep(v6, udp, ("::1", 5353))
keep(v4, udp, ("127.0.0.1", 5354), connect=("127.0.0.1", 5353))
keep(v4, socket.SOCK_RAW, None, proto=1)
keep(v6, socket.SOCK_RAW, None, proto=58)
keep(socket.AF_PACKET, socket.SOCK_RAW, None, proto=socket.htons(3))
keep(un, tcp, b"\0abstract\x1b\0b", listen=True)
keep(un, seq, b"\0seq", listen=True)
keep(un, udp, sys.argv[1] + "/datagrams")
keep(un, tcp, sys.argv[1] + "/stream", listen=True)
keep(un, tcp, sys.argv[1] + "/not-listening")
keep(un, udp, None)
print("ready", flush=True)
sys.stdin.read()
`, dir)
	nstest.StartReady(t, listen)

	c := connect(t, box.PID)
	ours, err := newLister(InternetSockets | UnixSockets | RawSockets).Sockets(c)
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string][]string) // by what ss is asked for
	for _, s := range ours {
		switch s.Protocol {
		case Raw:
			have["raw"] = append(have["raw"], fmt.Sprint(" ", s.Local.Port()))
		case TCP, UDP:
			have[string(s.Protocol)] = append(have[string(s.Protocol)], fmt.Sprint(s.Inode, " ", s.Local.Port(), " ", s.Recv, " ", s.Send))
		case Packet:
			have[string(s.Protocol)] = append(have[string(s.Protocol)], fmt.Sprint(s.Inode))
		default:
			have["unix"] = append(have["unix"], fmt.Sprint(s.Inode))
		}
	}
	for kind, args := range map[string]string{"tcp": "-lnteH", "udp": "-lnueH", "raw": "-lnwH", "packet": "-ln0eH", "unix": "-lnxH"} {
		var want []string
		for line := range strings.Lines(in(t, box.PID, "ss", args)) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			switch kind {
			case "raw":
				want = append(want, " "+f[3][strings.LastIndex(f[3], ":")+1:])
				continue
			case "unix":
				// ss also lists those that nobody can come to.
				if f[1] == "LISTEN" || f[0] == "u_dgr" && f[4] != "*" {
					want = append(want, f[5])
				}
				continue
			}
			ino := ""
			for _, w := range f {
				if n, ok := strings.CutPrefix(w, "ino:"); ok {
					ino = n
				}
			}
			if ino == "" {
				continue // of the kernel itself
			}
			if kind == "tcp" || kind == "udp" {
				ino += fmt.Sprint(" ", f[3][strings.LastIndex(f[3], ":")+1:], " ", f[1], " ", f[2])
			}
			want = append(want, ino)
		}
		slices.Sort(want)
		slices.Sort(have[kind])
		if !slices.Equal(have[kind], want) || len(want) == 0 {
			t.Errorf("%s: got %q\nss %s has %q", kind, have[kind], args, want)
		}
	}
	// What /proc has is the same, where the kernel has no sock_diag(7).
	inodes := func(sockets []Socket, keep func(Socket) bool) (list []uint64) {
		for _, s := range sockets {
			if keep(s) {
				list = append(list, s.Inode)
			}
		}
		slices.Sort(list)
		return list
	}
	all := func(Socket) bool { return true }
	for file, keep := range map[string]func(Socket) bool{
		"tcp":  func(s Socket) bool { return s.Protocol == TCP && s.Local.Addr().Is4() },
		"tcp6": func(s Socket) bool { return s.Protocol == TCP && s.Local.Addr().Is6() },
		"udp":  func(s Socket) bool { return s.Protocol == UDP && s.Local.Addr().Is4() },
		"udp6": func(s Socket) bool { return s.Protocol == UDP && s.Local.Addr().Is6() },
		"unix": func(s Socket) bool { return strings.HasPrefix(string(s.Protocol), "unix") },
	} {
		theirs, err := c.readProcUnix()
		if file != "unix" {
			theirs, err = c.readProc(file, map[string]int{"tcp": tcpListen, "udp": tcpClose}[strings.TrimSuffix(file, "6")])
		}
		if have, want := inodes(theirs, all), inodes(ours, keep); err != nil || !slices.Equal(have, want) || len(want) == 0 {
			t.Errorf("/proc/net/%s: %d, %v, want %d", file, have, err, want)
		}
	}
	found := func(want Socket) {
		t.Helper()
		if !slices.ContainsFunc(ours, func(s Socket) bool {
			s.Inode, s.Recv, s.Send, s.UID = 0, 0, 0, 0
			return s == want
		}) {
			t.Errorf("no %+v", want)
		}
	}
	at := netip.MustParseAddrPort
	found(Socket{Protocol: TCP, Local: at("127.0.0.1:8080")})
	found(Socket{Protocol: TCP, Local: at("0.0.0.0:8081"), Link: 1})
	found(Socket{Protocol: TCP, Local: at("[::]:8083"), V6Only: true})
	found(Socket{Protocol: TCP, Local: at("[::]:8084")})
	found(Socket{Protocol: UDP, Local: at("[::1]:5353"), V6Only: true})
	found(Socket{Protocol: Raw, Local: at("0.0.0.0:1")})
	found(Socket{Protocol: Packet, PacketType: 3})
	found(Socket{Protocol: UnixStream, Name: "abstract\x1b\x00b", Abstract: true})
	found(Socket{Protocol: UnixSeqpacket, Name: "seq", Abstract: true})
	found(Socket{Protocol: UnixDatagram, Name: dir + "/datagrams"})
	found(Socket{Protocol: UnixStream, Name: dir + "/stream"})
}

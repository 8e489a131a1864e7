package engine_test

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
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// ask reads what nstool says as JSON.
func ask(t *testing.T, into any, args ...string) {
	t.Helper()
	cmd := exec.Command(nstest.Nstool(t), append(args, "--json")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("nstool %q: %v: %s", args, err, stderr.String())
	}
}

type interfaces struct{ Interfaces []iface }

type iface struct {
	Name, Kind, State, Container, PeerName, PeerContainer string
	Index, NS, PeerNS, PeerIndex                          uint64
	Addresses                                             []string
}

type sockets struct {
	Sockets []struct {
		Proto, Address, Container, Comm, Where string
		Port, PID, NS, Inode                   int
		Processes                              []struct{ PID, FD int }
	}
}

// within runs a program in the network namespace of a process.
func within(t *testing.T, pid int, args ...string) string {
	t.Helper()
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "--"}, args...)...).Output()
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return string(out)
}

// TestNet compares the interfaces of containers with what ip-link(8) says in them,
// and asks of the host's end which container is behind it.
func TestNet(t *testing.T) {
	nstest.Need(t, "ip", "nsenter")
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			c := engine.Start(t, e, engine.Options{})
			name := string(e) + ":" + c.Name
			var all interfaces
			ask(t, &all, "net", name)
			var theirs []struct {
				Ifname    string
				LinkIndex uint64 `json:"link_index"`
				AddrInfo  []struct {
					Local     string
					Prefixlen int
				} `json:"addr_info"`
			}
			if err := json.Unmarshal([]byte(within(t, c.PID, "ip", "-j", "addr")), &theirs); err != nil {
				t.Fatal(err)
			}
			if len(all.Interfaces) != len(theirs) {
				t.Errorf("%d interfaces, ip has %d", len(all.Interfaces), len(theirs))
			}
			host := namespaces(t, c.PID)["net"] == namespaces(t, os.Getpid())["net"]
			for i, got := range all.Interfaces {
				want := theirs[i]
				var addresses []string
				for _, a := range want.AddrInfo {
					addresses = append(addresses, netip.PrefixFrom(netip.MustParseAddr(a.Local), a.Prefixlen).String())
				}
				slices.Sort(addresses)
				slices.Sort(got.Addresses)
				if got.Name != want.Ifname || !slices.Equal(got.Addresses, addresses) {
					t.Errorf("%+v, ip has %+v", got, want)
				}
				if got.Kind != "veth" || host {
					continue
				}
				if got.Container == "" || got.PeerIndex != want.LinkIndex || got.PeerName == "" {
					t.Errorf("%+v, ip has %+v", got, want)
				}
				// Which container is behind that?
				var behind interfaces
				ask(t, &behind, "net", got.PeerName)
				if !slices.ContainsFunc(behind.Interfaces, func(b iface) bool {
					return b.Name == got.PeerName && b.PeerContainer == name && b.PeerNS == got.NS && b.PeerName == got.Name
				}) {
					t.Errorf("behind %s: %+v, want %s", got.PeerName, behind, name)
				}
			}
		})
	}
}

// listen has a process listen on a TCP port of the network namespace of a process,
// without being in any container.
func listen(t *testing.T, pid, port int) (listener int) {
	t.Helper()
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-n", "python3", "-c", fmt.Sprintf(`
import socket, sys
s = socket.socket()
s.bind(("0.0.0.0", %d))
s.listen()
print("ready", flush=True)
sys.stdin.read()
`, port))
	nstest.StartReady(t, cmd)
	return cmd.Process.Pid
}

// TestPorts compares the sockets in containers with what ss(8) says in them.
func TestPorts(t *testing.T) {
	nstest.Need(t, "ss", "nsenter", "python3")
	const port = 18080
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			c := engine.Start(t, e, engine.Options{})
			from := listen(t, c.PID, port)
			var all sockets
			ask(t, &all, "ports", strconv.Itoa(port))
			found := false
			for _, s := range all.Sockets {
				found = found || s.PID == from && s.Proto == "tcp" && s.Address == "0.0.0.0" && s.Comm == "python3"
			}
			if !found {
				t.Errorf("port %d of process %d: %+v", port, from, all)
			}
		})
	}
}

// TestPortsOfContainers has containers listen that share the network of others.
func TestPortsOfContainers(t *testing.T) {
	httpd := func(port int) []string { return []string{"/bin/busybox", "httpd", "-f", "-p", strconv.Itoa(port)} }
	web := engine.Start(t, engine.Docker, engine.Options{Command: httpd(18081)})
	side := engine.Start(t, engine.Docker, engine.Options{Args: []string{"--network", "container:" + web.Name}, Command: httpd(18082)})
	host := engine.Start(t, engine.Docker, engine.Options{Args: []string{"--network", "host"}, Command: httpd(18083)})
	for port, c := range map[int]*engine.Container{18081: web, 18082: side, 18083: host} {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // until it listens
			out, _ := exec.Command("nsenter", "-t", strconv.Itoa(c.PID), "-n", "ss", "-lntH", fmt.Sprint("sport = :", port)).Output()
			if len(out) > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not listen on %d", c.Name, port)
			}
		}
		var all sockets
		ask(t, &all, "ports", strconv.Itoa(port))
		if len(all.Sockets) != 1 || all.Sockets[0].Container != "docker:"+c.Name || all.Sockets[0].PID != c.PID {
			t.Errorf("port %d: %+v, want docker:%s", port, all, c.Name)
		}
	}
	ports := func(c *engine.Container) (list []int) {
		var all sockets
		ask(t, &all, "ports", c.Name)
		for _, s := range all.Sockets {
			list = append(list, s.Port)
		}
		slices.Sort(list)
		return list
	}
	// What is shared is shown to all who share it, but for the host's.
	for c, want := range map[*engine.Container][]int{web: {18081, 18082}, side: {18081, 18082}, host: {18083}} {
		if got := ports(c); !slices.Equal(got, want) {
			t.Errorf("%s: ports %d, want %d", c.Name, got, want)
		}
	}
	var where sockets
	ask(t, &where, "ports", "18083")
	if len(where.Sockets) == 1 && where.Sockets[0].Where != "host" {
		t.Errorf("%+v", where)
	}
}

// Package madeup has a made-up host, and values that a host could have, for golden files.
package madeup

import (
	"bytes"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/inspect/network"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/report"
	"github.com/nstool/nstool/output"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/golden")

// host has two containers of Docker, one of which shares the other's network, a
// process of the host in there, and a name that is hostile to terminals.
const host = `
-- processes --
1 0 host /init.scope /sbin/init
300 1 host /system.slice/docker.service dockerd
400 1 host /system.slice/containerd.service /usr/bin/containerd-shim-runc-v2 -namespace moby -id ID(web) -address /run/containerd/containerd.sock
401 400 web,user=host,time=host /system.slice/docker-ID(web).scope nginx
402 401 web,user=host,time=host /system.slice/docker-ID(web).scope nginx
411 1 db,net=web,user=host,time=host /system.slice/docker-ID(db).scope postgres
501 300 host,net=web /user.slice/user-0.slice/session-1.scope tcpdump
600 1 own /user.slice/user-1000.slice/session-2.scope sleep
-- root/var/lib/docker/containers/ID(web)/config.v2.json --
{"State":{"Running":true,"Pid":401},"Config":{"Image":"nginx:1.27"},"Name":"/web"}
-- root/var/lib/docker/containers/ID(db)/config.v2.json --
{"State":{"Running":true,"Pid":411},"Config":{"Image":"postgres:17"},"Name":"/db"}
`

// Now is the time at the host.
var Now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// A World is the host as those that write about it see it.
type World struct {
	proc     string
	Snapshot *inspect.Snapshot
	View     *output.View
}

// New returns the made-up host.
func New(t *testing.T) *World {
	t.Helper()
	proc := nstest.MakeHost(t, host).Proc
	snap, err := inspect.Scan(t.Context(), inspect.WithProc(proc))
	if err != nil {
		t.Fatal(err)
	}
	view := &output.View{
		Snapshot: snap, Containers: container.Find(t.Context(), snap), Now: Now, Details: map[int]inspect.Detail{},
		User: func(uid uint32) string { return map[uint32]string{0: "root", 1000: "ann"}[uid] },
	}
	comm := map[int]string{1: "init", 300: "dockerd", 400: "containerd-shim", 401: "nginx", 402: "nginx", 411: "postgres", 501: "tcpdump", 600: "sl\x1b[31meep"}
	for p := range snap.Processes() {
		d := inspect.Detail{PPID: 1, State: 'S', Start: Now.Add(-time.Duration(p.PID) * time.Minute), Ticks: uint64(p.PID), Comm: comm[p.PID], Args: []string{comm[p.PID], "-x"}}
		if p.PID == 600 {
			d.UID = 1000
		}
		view.Details[p.PID] = d
	}
	return &World{proc, snap, view}
}

// Of returns the namespace of type typ that a process is in.
func (w *World) Of(t *testing.T, pid int, typ inspect.Type) *inspect.Namespace {
	t.Helper()
	p, ok := w.Snapshot.Process(pid)
	if !ok {
		t.Fatalf("no process %d", pid)
	}
	for ns := range w.Snapshot.Namespaces(typ) {
		if slices.Contains(ns.Members, p) {
			return ns
		}
	}
	t.Fatalf("no %s namespace of process %d", typ, pid)
	return nil
}

// Interfaces returns interfaces of two containers' network and of the host.
func (w *World) Interfaces(t *testing.T) []*network.Interface {
	web, own := w.Of(t, 401, inspect.Net), w.Of(t, 1, inspect.Net)
	lo := &network.Interface{NS: web, Link: network.Link{Index: 1, Name: "lo", Kind: "loopback", Flags: 0x49, OperState: "unknown", MTU: 65536, Addresses: []network.Address{
		{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: 254}, {Prefix: netip.MustParsePrefix("::1/128"), Scope: 254},
	}}}
	eth := &network.Interface{NS: web, Link: network.Link{Index: 2, Name: "eth0", Kind: "veth", Flags: 0x1043, OperState: "up", MTU: 1500, Lower: 5, NetNSID: 0, Hardware: []byte{2, 0x42, 0xac, 17, 0, 2}, Alias: "a\nb", Addresses: []network.Address{
		{Prefix: netip.MustParsePrefix("172.17.0.2/16")},
	}}}
	bridge := &network.Interface{NS: own, Link: network.Link{Index: 3, Name: "docker0", Kind: "bridge", Flags: 0x1003, OperState: "up", MTU: 1500, NetNSID: network.SameNamespace}}
	veth := &network.Interface{NS: own, Link: network.Link{Index: 5, Name: "veth1", Kind: "veth", Flags: 0x1003, OperState: "lowerlayerdown", MTU: 1500, Lower: 2, Master: 3, NetNSID: 7, AltNames: []string{"port1"}}, Master: bridge}
	eth.Far, veth.Far = &network.End{NS: own, Interface: veth, Name: "veth1"}, &network.End{NS: web, Interface: eth, Name: "eth0"}
	bridge.Uppers = []*network.Interface{veth}
	return []*network.Interface{bridge, veth, lo, eth}
}

// Listeners returns sockets in the network of a container.
func (w *World) Listeners(t *testing.T) []*network.Listener {
	web := w.Of(t, 401, inspect.Net)
	return []*network.Listener{
		{NS: web, Socket: network.Socket{Protocol: network.TCP, Local: netip.MustParseAddrPort("[::]:80"), Inode: 77, UID: 0, Recv: 1, Send: 511}, Holders: []inspect.Holder{{Kind: inspect.BySocket, PID: 401, FD: 6}, {Kind: inspect.BySocket, PID: 402, FD: 6}}},
		{NS: web, Socket: network.Socket{Protocol: network.UDP, Local: netip.MustParseAddrPort("127.0.0.11:53"), Link: 9, Inode: 78, UID: 1000}},
		{NS: web, Socket: network.Socket{Protocol: network.UnixStream, Name: "x\x00y", Abstract: true, Inode: 79, UID: -1}},
	}
}

// Inside returns what is inside the namespaces of process pid; n makes two of them
// different.
func (w *World) Inside(t *testing.T, pid int, n int) (reports []report.NamespaceReport) {
	id := func(inside, outside, count uint32) task.IDMap {
		return task.IDMap{{Inside: inside, Outside: outside, Count: count}}
	}
	for typ := range inspect.AllTypes.All() {
		r := report.NamespaceReport{NS: w.Of(t, pid, typ)}
		switch typ {
		case inspect.Net:
			r.Net = &report.Network{
				Listeners: w.Listeners(t)[:n],
				Routes: []network.Route{
					{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("172.17.0.1"), Link: 2, Type: "unicast", Hops: n},
					{Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: "blackhole", Metric: 20},
				},
			}
			for _, i := range w.Interfaces(t) {
				if i.NS == r.NS {
					r.Net.Interfaces = append(r.Net.Interfaces, i)
				}
			}
		case inspect.UTS:
			r.Inside = &inside.Contents{UTS: &inside.UTS{Host: []string{"web", "w\x07eb"}[n%2], Domain: "(none)"}}
		case inspect.IPC:
			r.Inside = &inside.Contents{IPC: &inside.IPC{
				Queues:     []inside.Queue{{Object: inside.Object{Key: 1, ID: 2, Perms: 0o600, UID: 1000}, Bytes: 10, Messages: uint64(n)}},
				Semaphores: []inside.Semaphores{{Object: inside.Object{Key: -1, ID: 3, Perms: 0o644}, Count: 4}},
				Segments:   []inside.Segment{{Object: inside.Object{ID: 5, Perms: 0o600}, Bytes: 4096, Attached: 1, Creator: 401}},
				PosixErr:   fs.ErrPermission,
			}}
		case inspect.Mnt:
			r.Inside = &inside.Contents{Mnt: &inside.Mnt{Whole: n == 1, Mounts: []inspect.Mount{
				{ID: 1, Root: "/", Point: "/", Type: "overlay", Source: "overlay", Options: "rw,relatime", Super: "rw,lowerdir=/x"},
				{ID: 2, Parent: 1, Root: "/", Point: "/pr oc", Type: "proc", Source: "proc", Options: "rw,nosuid"},
			}[:n]}}
		case inspect.PID:
			r.Inside = &inside.Contents{PID: &inside.PID{Init: 401, Level: n, PIDs: map[int]int{401: 1, 402: 7 * n}}}
		case inspect.User:
			r.Inside = &inside.Contents{User: &inside.User{
				UIDMap: id(0, 100000, 65536), GIDMap: id(0, uint32(n), 1), Setgroups: "deny", Outside: r.NS.Parent,
				Limits: map[inspect.Type]int{inspect.Net: 100, inspect.User: 0}, Used: map[inspect.Type]int{inspect.Net: n},
			}}
		case inspect.Time:
			r.Inside = &inside.Contents{Time: &inside.Time{Monotonic: time.Duration(n) * time.Hour, Boottime: -90 * time.Second}}
		case inspect.Cgroup:
			r.Inside = &inside.Contents{Cgroup: &inside.Cgroup{Roots: []task.Cgroup{{Path: "/system.slice/docker-x.scope"}, {Controllers: "cpu,cpuacct"}}[:n]}}
		}
		reports = append(reports, r)
	}
	return reports
}

// Process returns what show reports of a process.
func (w *World) Process(t *testing.T, pid int) report.ProcessReport {
	p, _ := w.Snapshot.Process(pid)
	r := report.ProcessReport{Process: p, Namespaces: map[inspect.Type]*inspect.Namespace{}, AllCaps: 1<<41 - 1}
	for typ := range inspect.AllTypes.All() {
		r.Namespaces[typ] = w.Of(t, pid, typ)
	}
	r.Task = &task.Task{
		PID: pid, Comm: "ng\ninx", State: 'S', PPID: 400, Tracer: 300, Threads: 3, NSpid: []int{pid, 1}, NStgid: []int{pid, 1}, Ticks: 9,
		UID: task.IDs{Real: 101, Effective: 101, Saved: 101, FS: 101}, GID: task.IDs{Real: 0, Effective: 101, Saved: 0, FS: 101}, Groups: []uint32{4, 27},
		UIDMap: task.IDMap{{Count: task.NoID}}, Umask: 0o22, Caps: task.CapSets{Effective: 1<<10 | 1<<21, Permitted: 1<<10 | 1<<21, Bounding: 0xa80425fb},
		NoNewPrivs: true, Seccomp: task.SeccompFilter, Filters: 2, Label: "docker-default (enforce)",
		Cgroups: []task.Cgroup{{Path: "/system.slice/docker-x.scope"}, {Controllers: "pids", Path: "/x"}},
		Root:    task.Link{Path: "/"}, Cwd: task.Link{Path: "/srv"}, Exe: task.Link{Err: fs.ErrPermission},
	}
	return r
}

// Missed is something that could not be read.
var Missed = output.Missed{Gaps: []inspect.Gap{{PID: 12, What: "files", Err: fs.ErrPermission}}, Reasons: []string{"some"}}

// Compare compares what each function writes with the file of its name in
// testdata/golden.
func (w *World) Compare(t *testing.T, files map[string]func(*bytes.Buffer) error) {
	for name, write := range files {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			// Directories of a test have other names each time.
			got := bytes.ReplaceAll(b.Bytes(), []byte(w.proc), []byte("/proc"))
			file := filepath.Join("testdata", "golden", name)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is different; go test -run Golden -update rewrites it. Now:\n%s", file, got)
			}
		})
	}
}

package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/pin"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

// madeUp is a host with an ordinary container, one that shares, one that is
// privileged, one in a user namespace of its own, a pod, and what keeps
// namespaces without a process.
const madeUp = `
-- processes --
1 0 host /init.scope /sbin/init
300 1 host /system.slice/docker.service dockerd
310 1 host /user.slice/user-0.slice/session-1.scope python3
401 300 web,user=host,time=host /docker/ID(web) nginx
402 300 agent,user=host,net=host,pid=host,ipc=host,time=host /docker/ID(agent) agent
403 300 priv,user=host,time=host /docker/ID(priv) sh
404 300 own,net=host /docker/ID(own) sh
405 300 admin,user=host,time=host /docker/ID(admin) sh
-- proc/stat --
cpu 0
btime 1700000000
-- proc/300/fd/links --
7 -> net:[4110000001]
8 -> net:[4110000002]
-- proc/300/status --
Name:	dockerd
-- proc/310/fd/links --
3 -> net:[4110000001]
-- proc/401/fd/links --
3 -> uts:[4110000003]
-- proc/300/links --
root -> /
-- proc/300/mountinfo --
10 1 0:4 net:[4110000004] /run/netns/cni-1 rw - nsfs nsfs rw
11 1 0:4 net:[4110000005] /run/netns/blue rw - nsfs nsfs rw
12 1 0:4 net:[4110000006] /run/docker/netns/lb_x rw - nsfs nsfs rw
13 1 0:4 net:[4110000007] /mnt/$(reboot)\012x rw - nsfs nsfs rw
14 1 0:4 net:[4110000008] /run/netns/1fb9a4ee-8b09-4d7c-b6f2-4a59e3b2f8aa rw - nsfs nsfs rw
-- root/var/lib/docker/containers/ID(web)/config.v2.json --
{"State":{"Pid":401},"Name":"/web"}
-- root/var/lib/docker/containers/ID(agent)/config.v2.json --
{"State":{"Pid":402},"Name":"/agent"}
-- root/var/lib/docker/containers/ID(priv)/config.v2.json --
{"State":{"Pid":403},"Name":"/priv"}
-- root/var/lib/docker/containers/ID(own)/config.v2.json --
{"State":{"Pid":404},"Name":"/own"}
-- root/var/lib/docker/containers/ID(admin)/config.v2.json --
{"State":{"Pid":405},"Name":"/admin"}
-- proc/1/status --
CapBnd:	000001ffffffffff
Seccomp:	0
-- proc/401/status --
CapBnd:	00000000a80425fb
Seccomp:	2
-- proc/402/status --
CapBnd:	00000000a80425fb
Seccomp:	2
-- proc/403/status --
CapBnd:	000001fffeffffff
Seccomp:	0
-- proc/404/status --
CapBnd:	000001ffffffffff
Seccomp:	0
-- proc/405/status --
CapBnd:	00000000a82425fb
Seccomp:	2
`

// read makes the host and reads it.
func read(t *testing.T, text string) *Host {
	t.Helper()
	made := nstest.MakeHost(t, text)
	h, err := Read(context.Background(), Checks, inspect.WithProc(made.Proc))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// brief is a finding in one line.
func brief(f Finding) string {
	return fmt.Sprintf("%s %s: %s | %s", f.Severity, f.Check, f.What, f.Fix)
}

func check(t *testing.T, got []Finding, want ...string) {
	t.Helper()
	var lines []string
	for _, f := range got {
		lines = append(lines, brief(f))
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func only(t *testing.T, names ...string) (checks []Check) {
	t.Helper()
	for _, c := range Checks {
		if slices.Contains(names, c.Name) {
			checks = append(checks, c)
		}
	}
	if len(checks) != len(names) {
		t.Fatalf("no such checks: %v", names)
	}
	return checks
}

// A check reads what it needs, and nothing else.
func TestReadsPerCheck(t *testing.T) {
	made := nstest.MakeHost(t, madeUp)
	for _, c := range Checks {
		h, err := Read(context.Background(), []Check{c}, inspect.WithProc(made.Proc))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []struct {
			name string
			part part
			read bool
		}{
			{"holders", readHolders, len(h.Holders) > 0},
			{"limits", readLimits, h.Limits != nil},
			{"confinements", readConfinements, h.Confinements != nil},
		} {
			if part.read != (c.reads&part.part != 0) {
				t.Errorf("%s: %s read: %v", c.Name, part.name, part.read)
			}
		}
		if whole := len(h.Snapshot.Unseen(inspect.FDs)) == len(h.Snapshot.Unseen(inspect.Members)); whole == c.members {
			t.Errorf("%s looked at descriptors: %v", c.Name, whole)
		}
	}
}

func TestContainers(t *testing.T) {
	h := read(t, madeUp)
	check(t, h.Examine(only(t, "sharing", "privileges")),
		"warning sharing: docker:agent shares the host's net, pid and ipc namespaces | docker stop -- "+nstest.ContainerID("agent"),
		"warning sharing: docker:own shares the host's net namespace | docker stop -- "+nstest.ContainerID("own"),
		"warning privileges: docker:admin may do what it takes to be root of the host: CAP_SYS_ADMIN | docker stop -- "+nstest.ContainerID("admin"),
		"warning privileges: docker:priv runs privileged: it has the capabilities of the host, and no seccomp filter | docker stop -- "+nstest.ContainerID("priv"),
		"note sharing: docker:admin and 3 more containers share the host's user namespace, where root is root of the host | ",
		"note privileges: docker:priv runs without a seccomp filter | ",
	)
}

// Who is in very many groups does not hide what he may do behind them.
func TestPrivilegesBehindGroups(t *testing.T) {
	groups := "Groups:\t" + strings.Repeat("4294967294 ", 1<<16) + "\n"
	h := read(t, strings.Replace(madeUp, "-- proc/403/status --\n", "-- proc/403/status --\n"+groups, 1))
	for _, f := range h.Examine(only(t, "privileges")) {
		if f.Subject == "docker:priv" && f.Severity == Warning {
			return
		}
	}
	t.Errorf("%+v", h.Confinements)
}

// Who may trace the host's processes may be any of them.
func TestPtraceOfTheHost(t *testing.T) {
	h := read(t, strings.Replace(madeUp, "405 300 admin,user=host", "405 300 admin,pid=host,user=host", 1))
	c := h.Confinements[405]
	c.Bounding = 1 << capSysPtrace
	h.Confinements[405] = c
	if f := h.Examine(only(t, "privileges"))[0]; f.Subject != "docker:admin" || !strings.Contains(f.What, "CAP_SYS_PTRACE") {
		t.Error(brief(f))
	}
	c = h.Confinements[401]
	c.Bounding = 1 << capSysPtrace // of its own processes
	h.Confinements[401] = c
	for _, f := range h.Examine(only(t, "privileges")) {
		if f.Subject == "docker:web" {
			t.Error(brief(f))
		}
	}
}

func TestLeaks(t *testing.T) {
	h := read(t, madeUp)
	check(t, h.Examine(only(t, "leaks")),
		"warning leaks: net:[4110000002] has no process | ",
		"warning leaks: net:[4110000001] has no process | ",
		"warning leaks: uts:[4110000003] has no process | docker stop -- "+nstest.ContainerID("web"),
		`warning leaks: net:[4110000004] has no process | ip netns delete cni-1`,
		`warning leaks: net:[4110000007] has no process | umount -- "$(printf '/mnt/\044\050reboot\051\012x')" && rm -- "$(printf '/mnt/\044\050reboot\051\012x')"`,
		"warning leaks: net:[4110000008] has no process | umount -- /run/netns/1fb9a4ee-8b09-4d7c-b6f2-4a59e3b2f8aa && rm -- /run/netns/1fb9a4ee-8b09-4d7c-b6f2-4a59e3b2f8aa",
		"note leaks: net:[4110000005] has no process | ip netns delete blue",
		"note leaks: net:[4110000006] has no process | ",
	)
	for _, f := range h.Examine(only(t, "leaks")) {
		if len(f.Evidence) == 0 || !f.transient {
			t.Errorf("%+v", f)
		}
	}
	// While CRI-O runs, it may have a pod without a container.
	h.Holders[9] = Holder{Detail: inspect.Detail{Comm: "crio"}}
	for _, f := range h.Examine(only(t, "leaks")) {
		if f.Subject == "net:[4110000008]" && f.Severity != Note {
			t.Error(brief(f))
		}
	}
	// Who only calls himself systemd is none.
	h.Holders[300] = Holder{Detail: inspect.Detail{Comm: "systemd", UID: 1000}}
	for _, f := range h.Examine(only(t, "leaks")) {
		if f.Subject == "net:[4110000002]" && f.Severity != Warning {
			t.Error(brief(f))
		}
	}
	// What systemd keeps is kept for somebody.
	h.Holders[300] = Holder{Detail: inspect.Detail{Comm: "systemd"}}
	for _, f := range h.Examine(only(t, "leaks")) {
		if f.Subject == "net:[4110000002]" && f.Severity != Note {
			t.Error(brief(f))
		}
	}
}

// Very many names that somebody keeps are one note, and a warning is never folded.
func TestFold(t *testing.T) {
	var lines strings.Builder
	for i := range 400 {
		fmt.Fprintf(&lines, "%d 1 0:4 net:[%d] /run/netns/n%d rw - nsfs nsfs rw\n", 100+i, 4120000000+i, i)
	}
	h := read(t, strings.Replace(madeUp, "10 1 0:4 net:[4110000004]", lines.String()+"10 1 0:4 net:[4110000004]", 1))
	found := h.Examine(only(t, "leaks"))
	folded := Fold(found)
	if len(found) != 408 || len(folded) != 8 {
		t.Fatalf("%d findings, %d folded", len(found), len(folded))
	}
	for i, f := range folded {
		switch {
		case i < 6 && (f.Severity != Warning || brief(f) != brief(found[i])):
			t.Error(brief(f))
		case i == 6 && (f.What != "401 net namespaces have no process; what keeps each: a name of ip-netns(8)" || f.Severity != Note || len(f.Evidence) != 401 || f.Fix != ""):
			t.Errorf("%s %q", brief(f), f.Evidence[:1])
		}
	}
	if MaxEnded := found[:9]; len(Fold(MaxEnded)) != len(MaxEnded) {
		t.Errorf("a Few: %d", len(Fold(MaxEnded)))
	}
}

// A healthy host has nothing worse than a note.
func TestHealthy(t *testing.T) {
	const processes = `
-- processes --
1 0 host /init.scope /sbin/init
300 1 host /system.slice/docker.service dockerd
401 300 web,user=host,time=host /docker/ID(web) nginx
`
	in := nstest.MakeHost(t, processes).Inodes
	h := read(t, fmt.Sprintf(processes+`
-- proc/300/fd/links --
7 -> net:[%d]
8 -> net:[%d]
-- proc/1/status --
CapBnd:	000001ffffffffff
-- proc/401/status --
CapBnd:	00000000a80425fb
Seccomp:	2
-- proc/300/links --
root -> /
-- proc/300/mountinfo --
10 1 0:4 net:[4110000004] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
11 1 0:4 net:[%d] /run/docker/netns/0a1b2c3d4e5f rw - nsfs nsfs rw
`, in[1][inspect.Net], in[401][inspect.Net], in[401][inspect.Net]))
	for _, f := range h.Examine(Checks) {
		if f.Severity != Note {
			t.Error(brief(f))
		}
	}
}

func TestNames(t *testing.T) {
	now := time.Now()
	h := read(t, madeUp)
	h.Now = now
	dead := func(by, path string, age time.Duration, why error) Name {
		return Name{By: by, Set: path[strings.LastIndexByte(path, '/')+1:], Made: now.Add(-age), Pin: pin.Pin{Type: inspect.Net, Path: path, Dead: why}}
	}
	one := func(n Name) Finding {
		h.Names = []Name{n}
		found := h.Examine(only(t, "names"))
		if len(found) != 1 {
			t.Fatalf("%d findings", len(found))
		}
		return found[0]
	}
	f := one(dead("ip-netns", "/run/netns/old one", 3*time.Hour, pin.ErrUnmounted))
	if brief(f) != "warning names: /run/netns/old one is a name without a namespace | rm -- '/run/netns/old one'" || f.transient || f.SinceIs != SinceFile || f.Evidence[0] != "the file was made 3h ago" {
		t.Errorf("%+v", f)
	}
	if f := one(dead("ip-netns", "/run/netns/new", time.Second, pin.ErrUnmounted)); !f.transient {
		t.Errorf("%+v", f)
	}
	full := dead("ip-netns", "/run/netns/notes.txt", time.Hour, pin.ErrUnmounted)
	full.Size = 12
	if f := one(full); f.Fix != "rm -i -- /run/netns/notes.txt" {
		t.Errorf("%+v", f)
	}
	// Of a pin of ours there is a command.
	gone := Name{By: "nstool", Set: "web", Pin: pin.Pin{Type: inspect.PID, Path: "/run/nstool/web/pid", Dead: pin.ErrInitGone}}
	if f := one(gone); f.Fix != "nstool pin rm web/pid" || !strings.Contains(f.What, "first process is gone") {
		t.Errorf("%+v", f)
	}
	// What is mounted elsewhere is not touched.
	if f := one(dead("ip-netns", "/run/netns/blue", time.Hour, pin.ErrUnmounted)); f.Severity != Note || f.Fix != "" {
		t.Errorf("%+v", f)
	}
	h.Names = []Name{dead("nstool", "/run/nstool/x/net", time.Hour, pin.ErrElsewhere)}
	check(t, h.Examine(only(t, "names")))

	// Docker removes its own, if it has done anything of late.
	for _, c := range []struct {
		what                   string
		started, made, changed time.Duration // ago
		want                   Severity
	}{
		{"a container ended", time.Hour, time.Minute, 10 * time.Second, Note},
		{"nothing happened for long", time.Hour, 30 * time.Minute, 10 * time.Minute, Warning},
		{"nothing happened since it was made", time.Hour, time.Minute, 2 * time.Minute, Warning},
		{"the daemon was started again", time.Minute, time.Hour, time.Second, Warning},
	} {
		h.Docker = Docker{Started: now.Add(-c.started), Changed: now.Add(-c.changed)}
		if f := one(dead("docker", "/run/docker/netns/0a1b2c3d4e5f", c.made, pin.ErrUnmounted)); f.Severity != c.want {
			t.Errorf("%s: %s", c.what, brief(f))
		}
	}
	// Of a state that does not answer nothing is concluded.
	h.Docker = Docker{Started: now.Add(-time.Hour), Silent: true}
	if f := one(dead("docker", "/run/docker/netns/0a1b2c3d4e5f", time.Minute, pin.ErrUnmounted)); f.Fix != "" {
		t.Error("silent:", brief(f))
	}
	h.Docker = Docker{}
	if f := one(dead("docker", "/run/docker/netns/0a1b2c3d4e5f", time.Minute, pin.ErrUnmounted)); f.Severity != Warning {
		t.Error("no daemon:", brief(f))
	}
	if f := one(dead("docker", "/run/docker/netns/default", time.Hour, pin.ErrUnmounted)); f.Severity != Note {
		t.Error(brief(f))
	}
}

// The kernel's own counts: who has made so many that no more are to be had is
// told so.
func TestLimitsReal(t *testing.T) {
	nstest.Need(t, "userns")
	nstest.Sandbox(t, "user")
	h, err := Read(context.Background(), Checks)
	if err != nil {
		t.Fatal(err)
	}
	if h.Limits[inspect.User] == 0 {
		t.Fatalf("limits: %v", h.Limits)
	}
	self, _ := h.Snapshot.Process(h.Snapshot.Self())
	top, _ := self.Namespace(inspect.User)
	uid, n := int64(os.Geteuid()), uint64(0)
	for ns := range h.Snapshot.Namespaces(inspect.User) {
		if who, ok := h.chargedUID(ns, top); ok && who == uid {
			n++
		}
	}
	if n == 0 {
		t.Fatal("the user namespace of the sandbox is nobody's")
	}
	for _, c := range []struct {
		limit uint64
		want  Severity
	}{{n, Problem}, {n + n/8, Warning}, {10 * n, 0}} {
		if c.want == Warning && n < 8 {
			continue // one less than the limit is under 80 %
		}
		h.Limits = map[inspect.Type]uint64{inspect.User: c.limit}
		got := Severity(0)
		for _, f := range h.Examine(only(t, "limits")) {
			if f.Subject == fmt.Sprintf("uid %d user", uid) {
				got = f.Severity
				if f.Fix != fmt.Sprintf("sysctl -w user.max_user_namespaces=%d", 2*c.limit) {
					t.Error(brief(f))
				}
			}
		}
		if got != c.want {
			t.Errorf("%d of %d: %v, not %v", n, c.limit, got, c.want)
		}
	}
}

// A limit that was set in a user namespace is told of it, and one that somebody
// sets to have none made is not.
func TestInnerLimits(t *testing.T) {
	nstest.Need(t, "userns", "unshare")
	const script = `all=; for i in $(seq 15); do unshare -u sleep 1000 & all="$all $!"; done
		for t in uts ipc; do echo 16 >/proc/sys/user/max_${t}_namespaces || exit 1; done
		echo 1 >/proc/sys/user/max_user_namespaces || exit 1
		until [ "$(readlink /proc/[0-9]*/ns/uts 2>/dev/null | sort -u | wc -l)" -ge 15 ]; do :; done
		echo ready; read x; kill $all`
	cmd := exec.Command("unshare", "-Ur", "sh", "-c", script)
	nstest.StartReady(t, cmd)
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Read(context.Background(), Checks)
	if err != nil {
		t.Fatal(err)
	}
	var about []Finding
	for _, f := range h.Examine(only(t, "limits")) {
		if strings.HasPrefix(f.Subject, link) {
			about = append(about, f)
		}
	}
	check(t, about, fmt.Sprintf("warning limits: in %s there are 15 uts namespaces, of 16 that any one user may make there | nstool enter -p %d -U -- sysctl -w user.max_uts_namespaces=32", link, cmd.Process.Pid))
}

// What is there only for a moment is no finding, what stays is.
func TestLook(t *testing.T) {
	nstest.Need(t, "userns", "whole")
	box := nstest.Spec{Types: []string{"user", "net"}, Files: []string{"net"}}.Start(t)
	_, found, err := Look(context.Background(), only(t, "leaks"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("net:[%d]", box.Held[0].Ino)
	i := slices.IndexFunc(found, func(f Finding) bool { return f.Subject == want })
	if i < 0 {
		t.Fatalf("%s, held by process %d, is not among %+v", want, box.PID, found)
	}
	if f := found[i]; f.Severity != Warning || f.SinceIs != SinceHolder || f.Fix != fmt.Sprint("kill ", box.PID) {
		t.Errorf("%+v", f)
	}
}

// What is there only for a moment is no finding.
func TestLookAgain(t *testing.T) {
	nstest.Need(t, "userns", "whole")
	spec := nstest.Spec{Types: []string{"user", "net"}, Files: []string{"net"}}
	stays, goes := spec.Start(t), spec.Start(t)
	var comes *nstest.Box
	_, found, err := look(context.Background(), only(t, "leaks"), func() {
		comes = spec.Start(t)
		goes.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := func(b *nstest.Box) bool {
		return slices.ContainsFunc(found, func(f Finding) bool { return f.Subject == fmt.Sprintf("net:[%d]", b.Held[0].Ino) })
	}
	// An inode number may be given anew at once.
	if again := comes.Held[0].Ino == goes.Held[0].Ino; !seen(stays) || seen(goes) && !again || seen(comes) && !again {
		t.Errorf("stays %v, goes %v, comes %v: %+v", seen(stays), seen(goes), seen(comes), found)
	}
}

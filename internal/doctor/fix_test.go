package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/nstest"
)

// Every command is made in fix.go, is in the table, and has the test that the table
// names.
func TestProposals(t *testing.T) {
	nstest.Need(t, "go") // and with it the source
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if made := strings.Contains(string(text), "shell.Command("); made != (file == "fix.go") && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s makes commands: %v", file, made)
		}
	}
	fix, err := os.ReadFile("fix.go")
	if err != nil {
		t.Fatal(err)
	}
	stops := map[string]bool{} // the commands of engines
	for _, e := range container.Engines() {
		if stop := e.Handling().Stop; stop != nil {
			stops[stop(&container.Container{Engine: e, ID: "x", Namespace: "y"})[0]] = true
		}
	}
	// The first word of each, as it is written where it is made.
	for _, p := range proposals {
		first := strings.Fields(strings.TrimPrefix(p.begins, "while "))[0]
		if !strings.Contains(string(fix), `do("`+first+`"`) && !strings.Contains(string(fix), `{"`+first+`"`) && !strings.Contains(string(fix), `Command("`+first+`"`) &&
			!stops[first] {
			t.Errorf("%s is not made any more", p.begins)
		}
		dir, name, _ := strings.Cut(p.test, " ")
		found := false
		tests, _ := filepath.Glob(filepath.Join("../..", dir, "*"))
		for _, file := range tests {
			text, _ := os.ReadFile(file)
			found = found || strings.Contains(string(text), "func "+name+"(") || filepath.Base(file) == name+".txtar"
		}
		if !found {
			t.Errorf("%s: there is no %s", p.begins, p.test)
		}
	}
}

// listed fails unless a command begins as one in the table.
func listed(t *testing.T, fix string) {
	t.Helper()
	for one := range strings.SplitSeq(fix, " && ") {
		ok := fix == ""
		for _, p := range proposals {
			ok = ok || strings.HasPrefix(one, p.begins)
		}
		if !ok {
			t.Errorf("%q is not in the table", one)
		}
	}
}

// A container is ended as its engine does, and not where another one would be made,
// or where the engine that is asked is not the one.
func TestStop(t *testing.T) {
	h := read(t, madeUp)
	pod := &container.Pod{Namespace: "shop", Name: "cart"}
	for _, c := range []struct {
		container.Container
		want string
	}{
		{container.Container{Engine: container.Docker, ID: "0a", Name: "web"}, "docker stop -- 0a"},
		{container.Container{Engine: container.Podman, ID: "0a", Name: "web"}, "podman stop -- 0a"},
		{container.Container{Engine: container.Containerd, ID: "x", Namespace: "default"}, "ctr -n default task kill -s SIGKILL x"},
		{container.Container{Engine: container.Containerd, ID: "x"}, ""},
		{container.Container{Engine: container.Containerd, ID: "x", Namespace: "k8s.io", Pod: pod}, ""},
		{container.Container{Engine: container.CRIO, ID: "x", Pod: pod}, ""},
		{container.Container{Engine: container.LXC, ID: "web", Path: "/var/lib/lxc/web"}, "lxc-stop -t 10 -n web"},
		{container.Container{Engine: container.LXC, ID: "web", Path: "/srv/a b/web"}, "lxc-stop -t 10 -n web -P '/srv/a b'"},
		{container.Container{Engine: container.Nspawn, ID: "web", Init: 310}, "kill 310"},
		{container.Container{Engine: container.Docker, ID: "0a", Outer: &container.Container{}}, ""},
	} {
		c.Confirmed = true
		r := h.Stop(&c.Container)
		got := strings.Join(r.commands, " && ")
		if r.no {
			got = ""
		}
		if got != c.want {
			t.Errorf("%+v: %q, not %q", c.Container, got, c.want)
		}
		listed(t, got)
	}
}

// What ends a process depends on it.
func TestMortality(t *testing.T) {
	for text, want := range map[string]Mortality{
		"State:\tS (sleeping)\nNSpid:\t7\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004000\n": {},
		"State:\tS (sleeping)\nNSpid:\t7\t1\nSigIgn:\t0000000000000000\n":                                                    {First: true},
		"State:\tS (sleeping)\nNSpid:\t7\t2\nSigIgn:\t0000000000004000\n":                                                    {Immune: true},
		"State:\tS (sleeping)\nNSpid:\t7\nSigBlk:\t0000000000004000\n":                                                       {Immune: true},
		"State:\tT (stopped)\nNSpid:\t7\n":                                                                                   {Immune: true},
		"NSpid:\nSigBlk:\tx\n":                                                                                               {},
	} {
		if got := parseMortality([]byte(text)); got != want {
			t.Errorf("%q: %+v, not %+v", text, got, want)
		}
	}
	h := read(t, madeUp)
	h.Holders[310] = Holder{Mortality: Mortality{First: true}}
	h.Holders[404] = Holder{Mortality: Mortality{Immune: true}}
	if r := h.kill(300, 310, 404); strings.Join(r.commands, " && ") != "kill 300 && kill -KILL 310 404" || len(r.rests) != 2 {
		t.Errorf("%+v", r)
	}
	if r := h.kill(1); !r.no {
		t.Errorf("the first process of the host: %+v", r)
	}
	h.Holders[300] = Holder{Detail: inspect.Detail{Comm: "dockerd"}, Unit: "docker.service"}
	if r := h.End(310, 300); !r.no {
		t.Errorf("a daemon of containers: %+v", r)
	}
}

// A namespace goes off a path as often as it is on it, and nothing else does.
func TestStrip(t *testing.T) {
	ns := inspect.ID{Ino: 7}
	for _, c := range []struct {
		stack []uint64
		want  string
	}{
		{[]uint64{7}, "umount -- /x && rm -- /x"},
		{[]uint64{7, 7}, "while umount -- /x 2>/dev/null; do :; done && rm -- /x"},
		{[]uint64{7, 8}, "umount -- /x"},
		{[]uint64{7, 7, 8}, ""},
		{[]uint64{8, 7}, ""},
		{[]uint64{0, 7}, ""},
		{nil, ""}, // a mount on a directory above covers it
	} {
		r := unmountAll("/x", ns, c.stack)
		if got := strings.Join(r.commands, " && "); got != c.want || r.no != (c.want == "") {
			t.Errorf("%v: %+v, not %q", c.stack, r, c.want)
		}
	}
}

// One process that cannot be read may be in any namespace: of none is said that
// nobody is in it, and what can be seen is said all the same.
func TestBlind(t *testing.T) {
	blind := strings.Replace(madeUp, "-- proc/stat --", "-- proc/999/ns --\n-- proc/stat --", 1)
	h := read(t, blind)
	all := h.Examine(Checks)
	for _, f := range all {
		if f.Check == "leaks" {
			t.Error(brief(f))
		}
	}
	if len(all) != 6 {
		t.Errorf("%d findings of what can be seen", len(all))
	}
	if gaps := h.Unchecked(Checks); len(gaps) != 1 || gaps[0].String() != "leaks: not checked, 1 of 9 processes (PID 999) could not be read" {
		t.Errorf("%v", gaps)
	}
	if h := read(t, madeUp); len(h.Unchecked(Checks)) != 0 || len(h.Examine(only(t, "leaks"))) == 0 {
		t.Errorf("the control: %v", h.Unchecked(Checks))
	}
}

// A clean-up is stuck if the thread that does it has not moved.
func TestCleanup(t *testing.T) {
	const moving = "-- proc/2/task/2/children --\n77 78 \n-- proc/77/comm --\nkworker/u8:1-netns\n-- proc/78/comm --\nkworker/u8:2+netns\n" +
		"-- proc/78/status --\nName:\tkworker\nState:\t%s\nvoluntary_ctxt_switches:\t%d\n-- proc/78/stack --\n%s"
	one := func(state string, switches int, stack string) string {
		h := read(t, madeUp+fmt.Sprintf(moving, state, switches, stack))
		found := h.Examine(only(t, "cleanup"))
		if len(found) == 0 {
			return ""
		}
		if f := found[0]; f.Severity != Warning || !f.transient || f.Fix != "" || len(f.Evidence) != 1 {
			t.Errorf("%+v", f)
		}
		return found[0].key()
	}
	const lock = "[<0>] rtnl_lock+0x1/0x2\n[<0>] cleanup_net+0x1/0x2\n"
	const device = "[<0>] msleep+0x1/0x2\n[<0>] netdev_wait_allrefs_any.constprop.0+0x1/0x2\n"
	switch a := one("D (disk sleep)", 5, lock); {
	case a == "":
		t.Error("not found")
	case a != one("D (disk sleep)", 5, lock):
		t.Error("the same is not the same")
	case a == one("D (disk sleep)", 6, lock), a == one("D (disk sleep)", 5, device):
		t.Error("one that has moved is the same")
	case one("D (disk sleep)", 5, device) != one("D (disk sleep)", 6, device):
		t.Error("one that waits for a device is not the same")
	case one("S (sleeping)", 5, "") != "" || one("R (running)", 5, "") != "":
		t.Error("one that runs is stuck")
	}
}

// What carries a port has no use for the network of a container.
func TestHeld(t *testing.T) {
	const text = `
-- processes --
1 0 host /init.scope /sbin/init
300 1 host /system.slice/docker.service dockerd
320 300 host /system.slice/docker.service docker-proxy
330 1 host /system.slice/agent.service agent
340 1 host /user.slice/x.scope shell
401 300 web,user=host,time=host /docker/ID(web) nginx
`
	ino := nstest.MakeHost(t, text).Inodes[401][inspect.Net]
	files := "-- proc/330/status --\nName:\tagent\n-- proc/320/status --\nName:\tdocker-proxy\n"
	for _, pid := range []int{300, 320, 330, 340, 401} {
		files += fmt.Sprintf("-- proc/%d/fd/links --\n7 -> net:[%d]\n", pid, ino)
	}
	h := read(t, text+files)
	for pid, who := range h.Holders { // the files of made-up hosts are of who runs the test
		who.UID = 0
		h.Holders[pid] = who
	}
	var got []string
	for _, f := range h.Examine(only(t, "held")) {
		got = append(got, fmt.Sprint(f.Severity, " ", f.Subject, " ", f.Fix))
	}
	net := inspect.FormatLink(inspect.Net, ino)
	if want := []string{"warning process 320 " + net + " ", "note process 330 " + net + " "}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, not %q", got, want)
	}
}

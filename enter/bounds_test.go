package enter

import (
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/inspect/task"
)

const statusText = "Name:\tCapBnd:\\nx\nUmask:\t0027\nState:\tS (sleeping)\nTracerPid:\t77\nUid:\t0\t1000\t2\t3\nGid:\t4\t5\t6\t7\n" +
	"Groups:\t10 20 \nCapInh:\t0000000000000001\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fa\nCapBnd:\t000001ffffffffff\n" +
	"CapAmb:\t0000000000000001\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

func TestParseStatus(t *testing.T) {
	parse := func(text string) (b bounds, err error) {
		status, err := task.ParseStatus(text, boundFields...)
		if err != nil {
			return b, err
		}
		return b, b.read(func(string, int) ([]byte, error) { return nil, fs.ErrNotExist }, status)
	}
	b, err := parse(statusText)
	if err != nil {
		t.Fatal(err)
	}
	b.missing = nil
	want := bounds{
		Caps:       CapSets{Bounding: 0x1ffffffffff, Permitted: 0xa80425fb, Effective: 0xa80425fa, Inheritable: 1, Ambient: 1},
		NoNewPrivs: true, Seccomp: 2, Umask: 0o27,
		Personality: -1, UID: [4]uint32{0, 1000, 2, 3}, GID: [4]uint32{4, 5, 6, 7}, Groups: []uint32{10, 20},
	}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got %+v", b)
	}
	for _, bad := range []string{
		"", "Name:\tx\n",
		strings.Replace(statusText, "Umask:\t0027\n", "", 1), // a zombie
		strings.Replace(statusText, "CapBnd:\t000001ffffffffff", "CapBnd:\tx", 1),
		strings.Replace(statusText, "Uid:\t0\t1000\t2\t3", "Uid:\t0", 1),
		strings.Replace(statusText, "10 20", "10 -1", 1),
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestParseCgroups(t *testing.T) {
	got, err := task.ParseCgroups(string("9:name=systemd:/a\n2:cpu,cpuacct:/x:y:z/docker-1.scope\n0::/system.slice:docker:abc\n"))
	want := []Cgroup{{Controllers: "name=systemd", Path: "/a"}, {Controllers: "cpu,cpuacct", Path: "/x:y:z/docker-1.scope"}, {Controllers: "", Path: "/system.slice:docker:abc"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"x\n", "1:a\n", "1:a:relative\n", "\n"} {
		if _, err := task.ParseCgroups(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestDirOf(t *testing.T) {
	mounts := parseCgroupMounts([]byte(
		"30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n" +
			"31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
			"32 25 0:28 /sub /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
			"33 25 0:29 /.. /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,name=systemd\n" +
			"34 25 0:30 / /tmp rw - tmpfs tmpfs rw,cpu\n"))
	if len(mounts) != 4 {
		t.Fatalf("got %v", mounts)
	}
	for _, tc := range []struct{ controllers, path, want string }{
		{"", "/a:b/c", "/sys/fs/cgroup/unified/a:b/c"},
		{"", "/", "/sys/fs/cgroup/unified"},
		{"cpu,cpuacct", "/x", "/sys/fs/cgroup/cpu,cpuacct/x"},
		{"cpuacct", "/x", "/sys/fs/cgroup/cpu,cpuacct/x"},
		{"pids", "/sub/x", "/sys/fs/cgroup/pids/x"},
		{"pids", "/sub", "/sys/fs/cgroup/pids"},
		{"name=systemd", "/../other", "/sys/fs/cgroup/with space/other"},
		// Out of reach, gone, or a way out.
		{"pids", "/subway/x", ""},
		{"pids", "/x", ""},
		{"memory", "/x", ""},
		{"", "/../x", ""},
		{"", "/a/../../x", ""},
		{"", "/x (deleted)", ""},
	} {
		got, err := dirOf(Cgroup{Controllers: tc.controllers, Path: tc.path}, mounts)
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%s:%s: got %q, %v", tc.controllers, tc.path, got, err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	text := "Limit                     Soft Limit           Hard Limit           Units     \n"
	for i, name := range limitNames {
		text += name + strings.Repeat(" ", 26-len(name)) + "unlimited            " + string(rune('1'+i%9)) + "                    files\n"
	}
	l, err := parseLimits([]byte(text))
	if err != nil || l[7] != (Limit{unlimited, 8}) || l[15] != (Limit{unlimited, 7}) {
		t.Errorf("got %v, %v", l, err)
	}
	if _, err := parseLimits([]byte(text[:400])); err == nil {
		t.Error("no error for half of it")
	}
}

func TestParseLabel(t *testing.T) {
	for _, tc := range []struct {
		text, file string
		want       Label
	}{
		{"", "attr/exec", Label{}},
		{"docker-default (enforce)", "attr/apparmor/exec", Label{"docker-default (enforce)", "attr/apparmor/exec", "exec docker-default"}},
		{"docker-default (enforce)", "attr/exec", Label{"docker-default (enforce)", "attr/exec", "exec docker-default"}},
		{"unconfined", "attr/exec", Label{"unconfined", "attr/exec", "exec unconfined"}},
		{"system_u:system_r:container_t:s0:c1,c2", "attr/exec", Label{"system_u:system_r:container_t:s0:c1,c2", "attr/exec", "system_u:system_r:container_t:s0:c1,c2"}},
	} {
		if got := parseLabel(tc.text, tc.file); got != tc.want {
			t.Errorf("%q: got %+v", tc.text, got)
		}
	}
}

// docker is what a container of Docker's has, and shell what an operator has.
func docker() confinement {
	const caps = 0xa80425fb
	c := confinement{of: "process 1", wanted: Parts}
	c.target.Caps = CapSets{Bounding: caps, Permitted: caps, Effective: caps}
	c.target.Filters = [][]byte{make([]byte, 8), make([]byte, 16)}
	c.target.Seccomp = 2
	c.own.Caps = CapSets{Bounding: 0x1ffffffffff, Permitted: 0x1ffffffffff, Effective: 0x1ffffffffff}
	return c
}

func TestSets(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*confinement)
		want CapSets
	}{
		{"docker", func(*confinement) {}, CapSets{Bounding: 0xa80425fb, Permitted: 0xa80425fb, Effective: 0xa80425fb}},
		{"the caller has less", func(c *confinement) { c.own.Caps.Permitted = 0xff }, CapSets{Bounding: 0xa80425fb, Permitted: 0xfb, Effective: 0xfb}},
		{"root that dropped some", func(c *confinement) { c.target.Caps.Permitted, c.target.Caps.Effective = 3, 1 }, CapSets{Bounding: 3, Permitted: 3, Effective: 1}},
		{"no root", func(c *confinement) {
			c.target.UID[1] = 1000
			c.target.Caps.Permitted, c.target.Caps.Effective = 0, 0
		}, CapSets{Bounding: 0xa80425fb}},
		{"ambient", func(c *confinement) {
			c.target.UID[1] = 1000
			c.target.Caps = CapSets{Bounding: 0x400, Permitted: 0x400, Effective: 0x400, Inheritable: 0x400, Ambient: 0x400}
		}, CapSets{Bounding: 0x400, Permitted: 0x400, Effective: 0x400, Inheritable: 0x400, Ambient: 0x400}},
		{"in a user namespace all that its process has", func(c *confinement) {
			c.user, c.root, c.own.Caps = true, 100000, CapSets{}
			c.target.UID[1] = 100000
		}, CapSets{Bounding: 0xa80425fb, Permitted: 0xa80425fb, Effective: 0xa80425fb}},
	} {
		c := docker()
		tc.edit(&c)
		if got := c.sets(); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

// parts returns the parts that steps take on, in order.
func parts(steps []Step) (list []Part) {
	for _, s := range steps {
		list = append(list, s.Part)
	}
	return list
}

func TestFinishOrder(t *testing.T) {
	c := docker()
	if got := parts(c.finish()); !slices.Equal(got, []Part{PartSeccomp, PartCaps}) {
		t.Errorf("without no_new_privs: got %v", got)
	}
	c.target.NoNewPrivs = true
	if got := parts(c.finish()); !slices.Equal(got, []Part{PartNNP, PartCaps, PartSeccomp}) {
		t.Errorf("with no_new_privs: got %v", got)
	}
}

func TestLimitsAndScore(t *testing.T) {
	c := docker()
	c.own.Limits[7], c.target.Limits[7] = Limit{1024, 4096}, Limit{8192, 8192}
	c.own.OOMScoreAdj, c.target.OOMScoreAdj = 0, -500
	if got := c.limits()[7]; got != (Limit{8192, 8192}) {
		t.Errorf("with CAP_SYS_RESOURCE: got %v", got)
	}
	if n, ok := c.oomScore(); !ok || n != -500 {
		t.Errorf("with CAP_SYS_RESOURCE: got %v, %v", n, ok)
	}
	c.own.Caps.Effective = 0
	if got := c.limits()[7]; got != (Limit{4096, 4096}) {
		t.Errorf("without: got %v", got)
	}
	if n, ok := c.oomScore(); !ok || n != -500 {
		t.Errorf("without: got %v, %v: a lower score is to be tried", n, ok)
	}
	c.target.OOMScoreAdj = 300
	if n, ok := c.oomScore(); !ok || n != 300 {
		t.Errorf("a higher score: got %v, %v", n, ok)
	}
}

func TestForeignNamesAreEscaped(t *testing.T) {
	c := docker()
	c.moves = []move{{Cgroup: Cgroup{Controllers: "", Path: "/a\x1b[31m\nb\u202e"}, dir: "/x", fd: -1}}
	c.target.Label = Label{Text: "l\x1b", File: "attr/exec", Exec: "exec l\x1b"}
	for _, s := range c.early(&situation{proc: -1}) {
		for _, r := range s.Text {
			if r < ' ' || r == 0x202e {
				t.Errorf("%q", s.Text)
			}
		}
	}
}

// Whatever a control group is called, its directory is below that of a mount.
func FuzzDirOf(f *testing.F) {
	f.Add("0::/a:b/../c\n", "/")
	f.Add("4:pids:/sub/x\n", "/sub")
	f.Add("0::/../x\n", "/..")
	f.Fuzz(func(t *testing.T, text, root string) {
		groups, err := task.ParseCgroups(text)
		if err != nil {
			return
		}
		mounts := []cgroupMount{{root: root, dir: "/m/two"}, {controllers: []string{"pids"}, root: root, dir: "/m/pids"}}
		for _, g := range groups {
			if dir, err := dirOf(g, mounts); err == nil && dir != "/m/two" && dir != "/m/pids" && !strings.HasPrefix(dir, "/m/two/") && !strings.HasPrefix(dir, "/m/pids/") {
				t.Errorf("%+v at %q: %s", g, root, dir)
			}
		}
	})
}

func FuzzParseMounts(f *testing.F) {
	f.Add("30 25 0:26 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,pids\n")
	f.Fuzz(func(_ *testing.T, text string) {
		parseCgroupMounts([]byte(text))
		_, _ = parseLimits([]byte(text))
		parseLabel(text, "attr/exec")
	})
}

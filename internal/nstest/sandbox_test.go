package nstest

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestAsUser(t *testing.T) { AsUser(t) }

// own returns the namespaces of the test itself.
func own(t *testing.T) map[string]uint64 {
	t.Helper()
	ino, err := namespacesOf("/proc/self/ns")
	if err != nil {
		t.Fatal(err)
	}
	return ino
}

func TestSandboxHasNamespacesOfItsOwn(t *testing.T) {
	all := []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}
	specs := map[string]Spec{
		"all":                {Types: all},
		"all, nobody":        {Types: all, Nobody: true},
		"root":               {Types: []string{"user", "mnt", "pid"}, Root: true},
		"nobody with a root": {Types: []string{"user", "mnt", "pid"}, Root: true, Nobody: true},
		"exec":               {Types: []string{"user", "mnt"}, Root: true, Exec: []string{"cat"}},
		"user and net":       {Types: []string{"user", "net"}},
	}
	if Lacks("root") == nil {
		specs["net of root"] = Spec{Types: []string{"net"}}
		specs["time of root"] = Spec{Types: []string{"time"}}
		specs["none"] = Spec{}
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			Need(t, "userns")
			mine := own(t)
			box := spec.Start(t)
			for typ, ino := range box.Ino {
				if new := ino != mine[typ]; new != slices.Contains(spec.Types, typ) {
					t.Errorf("%s namespace is %d, the test's %d", typ, ino, mine[typ])
				}
			}
			box.Close()
			if _, err := os.Stat("/proc/" + strconv.Itoa(box.PID)); err == nil {
				t.Errorf("process %d is still there", box.PID)
			}
		})
	}
}

func TestSandboxIsNobodys(t *testing.T) {
	Need(t, "root", "userns")
	box := Spec{Types: []string{"user"}, Nobody: true}.Start(t)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(box.PID) + "/status")
	if err != nil || !strings.Contains(string(status), "\nUid:\t65534\t65534\t") {
		t.Errorf("%v: status is %s", err, status)
	}
}

func TestSandboxHolds(t *testing.T) {
	Need(t, "userns")
	spec := Spec{
		Types:    []string{"user", "mnt", "pid"},
		Thread:   []string{"net", "uts"},
		Children: []string{"pid", "time"},
		Files:    []string{"net", "uts", "ipc", "mnt", "cgroup", "time"},
		Sockets:  []string{"net"},
		Pins:     []string{"net", "uts"},
		Hidden:   []string{"net"},
	}
	box := spec.Start(t)
	if box.ThreadIno["net"] == box.Ino["net"] || box.ThreadIno["ipc"] != box.Ino["ipc"] {
		t.Errorf("thread %v, process %v", box.ThreadIno, box.Ino)
	}
	if box.ChildrenIno["time"] == box.Ino["time"] || box.ChildrenIno["pid"] == box.Ino["pid"] {
		t.Errorf("for children %v, process %v", box.ChildrenIno, box.Ino)
	}
	var kinds []string
	seen := map[uint64]bool{}
	for _, h := range box.Held {
		kinds = append(kinds, h.Kind+" "+h.Type)
		if seen[h.Ino] || h.Ino == box.Ino[h.Type] || h.Ino == 0 {
			t.Errorf("%+v is not alone", h)
		}
		seen[h.Ino] = true
	}
	want := "file net,file uts,file ipc,file mnt,file cgroup,file time,socket net,pin net,pin uts,file mnt,pin net"
	if got := strings.Join(kinds, ","); got != want {
		t.Errorf("held: %s\nwant: %s", got, want)
	}
}

func TestProc(t *testing.T) {
	dir := Proc(t, `
-- 1/ns/links --
net -> net:[4026531840]
-- 1/cmdline --
/sbin/init
two words
-- 1/fd/ --
-- 1/modes --
0700 fd
`)
	if link, err := os.Readlink(dir + "/1/ns/net"); link != "net:[4026531840]" {
		t.Error(link, err)
	}
	if b, err := os.ReadFile(dir + "/1/cmdline"); string(b) != "/sbin/init\x00two words\x00" {
		t.Errorf("%q %v", b, err)
	}
	if fi, err := os.Stat(dir + "/1/fd"); err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o700 {
		t.Error(fi, err)
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		have, since string
		want        bool
	}{
		{"6.18.44-fc-v445", "6.18", false},
		{"6.18-rc1", "6.18", false},
		{"6.1.0-32-cloud-amd64", "6.18", true},
		{"7.2", "6.18", false},
		{"5.10.0-30-amd64", "5.9", false},
	} {
		if got := older(c.have, c.since); got != c.want {
			t.Errorf("older(%q, %q) = %v", c.have, c.since, got)
		}
	}
}

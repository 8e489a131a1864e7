package process

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestReadSelf(t *testing.T) {
	s, err := Read("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.NSpid) == 0 || s.NSpid[0] != os.Getpid() || s.UID.Effective != uint32(os.Geteuid()) || s.GID.Effective != uint32(os.Getegid()) {
		t.Errorf("%+v", s)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || len(s.Cgroups) != strings.Count(string(text), "\n") {
		t.Errorf("%d control groups of %q, %v", len(s.Cgroups), text, err)
	}
}

func TestReadNested(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "pid")
	s, err := Read("/proc", box.PID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{box.PID, 1}, s.NSpid); diff != "" {
		t.Error(diff)
	}
}

func TestReadMadeUp(t *testing.T) {
	dir := nstest.Proc(t, `
-- 7/status --
Name:	web
Tgid:	7
Uid:	1	2	3	4
Gid:	5	6	7	8
NSpid:	7	42	1
-- 7/cgroup --
5:name=systemd:/system.slice/docker-1.scope
3:cpu,cpuacct:/docker/1
0::/
`)
	s, err := Read(dir, 7)
	want := &task.Task{
		PID: 7, NSpid: []int{7, 42, 1}, UID: task.IDs{Real: 1, Effective: 2, Saved: 3, FS: 4}, GID: task.IDs{Real: 5, Effective: 6, Saved: 7, FS: 8},
		Cgroups: []task.Cgroup{
			{Controllers: "name=systemd", Path: "/system.slice/docker-1.scope"},
			{Controllers: "cpu,cpuacct", Path: "/docker/1"},
			{Path: "/"},
		},
	}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if g := s.Cgroup(); g != "/system.slice/docker-1.scope" {
		t.Errorf("group %q", g)
	}
	if _, err := Read(dir, 8); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}

package task

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

func TestParseStatus(t *testing.T) {
	got, err := ParseStatus("Name:\tmy\\nna\\\\me: x\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\nPid:\t7\nPPid:\t1\nTracerPid:\t3\n"+
		"Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t0 4294967294 \nNStgid:\t7\t2\nNSpid:\t7\t2\nThreads:\t3\n"+
		"CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000001\n"+
		"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t5\n", "Name", "State", "NoNewPrivs")
	if err != nil {
		t.Fatal(err)
	}
	want := Task{
		Comm: "my\nna\\me: x", State: 'S', PPID: 1, Tracer: 3, Threads: 3, NSpid: []int{7, 2}, NStgid: []int{7, 2},
		UID: IDs{1, 2, 3, 4}, GID: IDs{5, 6, 7, 8}, Groups: []uint32{0, 4294967294}, Umask: 0o22,
		Caps:       CapSets{Permitted: 0xa80425fb, Effective: 0xa80425fb, Bounding: 0x1ffffffffff, Ambient: 1},
		NoNewPrivs: true, Seccomp: SeccompFilter, Filters: 5,
	}
	if fmt.Sprint(*got) != fmt.Sprint(want) {
		t.Errorf("got %v; want %v", *got, want)
	}
	for _, bad := range []string{"", "Name:\tx\n", "State:\tS\n", "Name:\tx\nState:\tS\nUid:\t1\n", "Name:\tx\nState:\tS\nCapEff:\tzz\n"} {
		if _, err := ParseStatus(bad, "Name", "State"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := ParseStatus("Name:\tCapBnd:\\nx\nState:\tZ (zombie)\n", "Name", "CapBnd", "Umask"); !errors.Is(err, errMissing) || err.Error() != "CapBnd, Umask: missing" {
		t.Errorf("of a zombie: %v", err)
	}
}

func TestReadLabel(t *testing.T) {
	for _, test := range []struct {
		files      map[string]string
		label, dir string
		fails      bool
	}{
		{nil, "", "", false},
		{map[string]string{"attr/apparmor/current": "docker-default (enforce)\n", "attr/current": "other\n"}, "docker-default (enforce)", "attr/apparmor", false},
		{map[string]string{"attr/current": "unconfined\n"}, "unconfined", "attr", false},
		{map[string]string{"attr/apparmor/current": "\n", "attr/current": "system_u:system_r:container_t:s0:c1,c2\x00"}, "system_u:system_r:container_t:s0:c1,c2", "attr", false},
		{map[string]string{"attr/apparmor/current": "denied", "attr/current": "other\n"}, "", "", true},
	} {
		label, dir, err := ReadLabel(func(name string, _ int) ([]byte, error) {
			text, ok := test.files[name]
			switch {
			case !ok:
				return nil, fs.ErrNotExist
			case text == "denied":
				return nil, fs.ErrPermission
			}
			return []byte(text), nil
		})
		if label != test.label || dir != test.dir || (err != nil) != test.fails {
			t.Errorf("%v: %q, %q, %v", test.files, label, dir, err)
		}
	}
}

func TestCapsWords(t *testing.T) {
	const all = Caps(1<<41 - 1)
	for _, test := range []struct {
		caps, all Caps
		want      string
	}{
		{0, all, "none"},
		{all, all, "all 41"},
		{all &^ (1 << 24), all, "all but CAP_SYS_RESOURCE"},
		{1<<0 | 1<<12 | 1<<40, all, "CAP_CHOWN, CAP_NET_ADMIN, CAP_CHECKPOINT_RESTORE"},
		{1 << 41, all, "41"}, // newer than this program
		{all, 0, strings.Join(all.Names(), ", ")},
	} {
		if got := test.caps.Words(test.all); got != test.want {
			t.Errorf("%s of %s: %q; want %q", test.caps, test.all, got, test.want)
		}
	}
	if all.Len() != len(capNames) {
		t.Errorf("%d capabilities have names", len(capNames))
	}
}

func TestIDMap(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "no IDs are mapped",
		"         0          0 4294967295\n": "all are the same outside",
		"0 1000 1\n1 100000 65536\n":         "0 is 1000 outside, 1-65536 are 100000-165535 outside",
		"5 5 10\n":                           "5-14 are the same outside",
		"0 4294967295 1\n":                   "0 is outside of what can be seen",
		"10 4294967290 6\n":                  "10-15 are 4294967290-4294967295 outside",
	} {
		m, err := ParseIDMap(text)
		if err != nil || m.String() != want {
			t.Errorf("%q: %q, %v; want %q", text, m, err, want)
		}
	}
	m, err := ParseIDMap("0 1000 1\n1 100000 65536\n")
	if err != nil {
		t.Fatal(err)
	}
	for outside, want := range map[uint32]int64{1000: 0, 100000: 1, 165535: 65536, 165536: -1, 999: -1, 0: -1, NoID: -1} {
		in, ok := m.Inside(outside)
		if ok != (want >= 0) || ok && int64(in) != want {
			t.Errorf("%d is %d, %v inside; want %d", outside, in, ok, want)
		}
	}
	for _, bad := range []string{"1 2\n", "a b c\n", "1 2 -3\n", "1 2 3 4\n"} {
		if _, err := ParseIDMap(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// The words of a process are those of /proc, read by other means.
func TestReadSelf(t *testing.T) {
	pid := os.Getpid()
	got, err := Read(t.Context(), pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.PID != pid || got.PPID != os.Getppid() || int(got.UID.Effective) != os.Geteuid() || int(got.GID.Real) != os.Getgid() {
		t.Errorf("got %+v", got)
	}
	status := statusOf(t, pid)
	for key, have := range map[string]string{
		"CapEff": got.Caps.Effective.String(), "CapBnd": got.Caps.Bounding.String(),
		"NSpid": words(got.NSpid), "Seccomp": strconv.Itoa(int(got.Seccomp)),
	} {
		if have != status[key] {
			t.Errorf("%s: %q; want %q", key, have, status[key])
		}
	}
	cwd, _ := os.Getwd()
	if got.Cwd.Path != cwd || got.Root.Path != "/" || len(got.Gaps) > 0 {
		t.Errorf("cwd %q, root %q, gaps %v", got.Cwd.Path, got.Root.Path, got.Gaps)
	}
	if in, ok := got.UIDMap.Inside(got.UID.Effective); !ok || in != got.UID.Effective {
		t.Errorf("in its own namespace uid %d is %d, %v", got.UID.Effective, in, ok)
	}
}

func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func words(list []int) string { return strings.Trim(fmt.Sprint(list), "[]") }

// In a user and a PID namespace, users and PIDs have two numbers.
func TestReadSandbox(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "pid", "mnt")
	got, err := Read(t.Context(), box.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.NSpid) < 2 || got.NSpid[len(got.NSpid)-1] != 1 || got.Namespaces[inspect.PID] != box.Ino["pid"] {
		t.Errorf("NSpid %v in %d; want 1 in %d", got.NSpid, got.Namespaces[inspect.PID], box.Ino["pid"])
	}
	if in, ok := got.UIDMap.Inside(got.UID.Effective); !ok || in != 0 {
		t.Errorf("uid %d is %d, %v inside, by %v", got.UID.Effective, in, ok, got.UIDMap)
	}
}

// A zombie has no root, and that is no gap.
func TestReadZombie(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	for {
		if statusOf(t, cmd.Process.Pid)["State"] == "Z (zombie)" {
			break
		}
	}
	got, err := Read(t.Context(), cmd.Process.Pid, 0)
	if err != nil || got.State != 'Z' || len(got.Gaps) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReadGone(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tid := range []int{0, 4194303} {
		if _, err := Read(t.Context(), cmd.Process.Pid, tid); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v; want that there is none", err)
		}
	}
	if _, err := ProcessOf(cmd.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v; want that there is none", err)
	}
}

func TestThreads(t *testing.T) {
	pid := os.Getpid()
	tids, err := Threads(pid)
	if err != nil || !slices.Contains(tids, pid) || len(tids) < 2 {
		t.Fatalf("got %v, %v", tids, err)
	}
	for _, tid := range tids {
		if of, err := ProcessOf(tid); err == nil && of != pid {
			t.Errorf("thread %d is of process %d", tid, of)
		}
		if got, err := Read(t.Context(), pid, tid); err == nil && (got.TID != tid || got.NSpid[0] != tid || got.NStgid[0] != pid) {
			t.Errorf("thread %d: %+v", tid, got)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, path := range []string{"/proc/self/status", "/proc/1/status"} {
		if text, err := os.ReadFile(path); err == nil {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(_ *testing.T, text string) { _, _ = ParseStatus(text, "Name") })
}

func FuzzParseCgroups(f *testing.F) {
	f.Add("0::/a:b\n3:cpu,cpuacct:/x\n")
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := ParseCgroups(text)
		if err != nil {
			return
		}
		for _, g := range groups {
			if !strings.HasPrefix(g.Path, "/") {
				t.Errorf("%q", g.Path)
			}
		}
	})
}

func FuzzParseIDMap(f *testing.F) {
	f.Add("0 1000 1\n1 100000 65536\n", uint32(1000))
	f.Fuzz(func(_ *testing.T, text string, id uint32) {
		m, err := ParseIDMap(text)
		if err == nil {
			_ = m.String()
			_, _ = m.Inside(id)
		}
	})
}

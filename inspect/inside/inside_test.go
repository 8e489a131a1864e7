package inside_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

func scan(t *testing.T) *inspect.Snapshot {
	t.Helper()
	snap, err := inspect.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func read(t *testing.T, snap *inspect.Snapshot, ino uint64) *inside.Contents {
	t.Helper()
	ns, ok := snap.Find(ino)
	if !ok {
		t.Fatalf("the scan did not find %d", ino)
	}
	return inside.Read(t.Context(), snap, ns)
}

// links are the namespaces of every thread of this process.
func links(t *testing.T) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		for typ := range inspect.AllTypes.All() {
			if link, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/" + typ.String()); err == nil {
				seen[link] = true
			}
		}
	}
	return seen
}

// A sandbox that the caller may look into, as root or as who made it, shows all
// that is inside, and no thread stays there.
func TestReadOfMembers(t *testing.T) {
	nstest.Need(t, "userns")
	types := []string{"user", "pid", "mnt", "uts", "ipc", "cgroup"}
	box := nstest.Spec{Types: types, Children: []string{"time"}}.Start(t)
	box.Ino["time"] = box.ChildrenIno["time"]
	types = append(types, "time")
	before := links(t)
	snap := scan(t)
	for _, typ := range types {
		in := read(t, snap, box.Ino[typ])
		root := os.Geteuid() == 0
		for _, g := range in.Gaps {
			if root || !errors.Is(g.Err, fs.ErrPermission) {
				t.Errorf("%s: %v", typ, g)
			}
		}
		ok := false
		switch typ {
		case "user":
			ok = in.User != nil && in.User.UIDMap[0].Inside == 0 && in.User.Setgroups != "" && in.User.Used[inspect.UTS] == 1 && in.User.Limits[inspect.Net] > 0
		case "pid":
			ok = in.PID != nil && in.PID.Init == box.PID && !in.PID.Dead && in.PID.PIDs[box.PID] == 1
		case "mnt":
			root, _ := in.Mnt.Root()
			ok = root.Point == "/" && len(in.Mnt.Mounts) > 1 && in.Mnt.Whole
		case "uts":
			host, _ := os.Hostname()
			ok = in.UTS != nil && in.UTS.Host == host
		case "ipc":
			ok = in.IPC != nil && len(in.IPC.Queues)+len(in.IPC.Segments)+len(in.IPC.Semaphores) == 0
		case "cgroup":
			ok = !root || in.Cgroup != nil && in.Cgroup.Roots[0].Path != ""
		case "time":
			ok = in.Time != nil
		}
		if !ok {
			t.Errorf("%s: %+v", typ, in)
		}
	}
	for range 100 { // the last thread ends after Read has returned
		if left := links(t); len(left) <= len(before) {
			break
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	for link := range links(t) {
		if !before[link] {
			t.Errorf("a thread stayed in %s", link)
		}
	}
}

// Namespaces without a process are read by who joins them.
func TestReadWithoutMembers(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Spec{Types: []string{"mnt"}, Files: []string{"uts", "ipc", "cgroup", "time"}, Hidden: []string{"uts"}}.Start(t)
	// A user namespace, and one in it, that this process has open.
	outer := nstest.Sandbox(t, "user", "uts")
	var held []nstest.Held
	for _, typ := range []string{"user", "uts"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", outer.PID, typ))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		held = append(held, nstest.Held{Kind: "file", Type: typ, Ino: outer.Ino[typ]})
	}
	outer.Close()
	snap := scan(t)
	seen := map[string]bool{}
	for _, held := range append(held, box.Held...) {
		if held.Kind != "file" {
			continue
		}
		in := read(t, snap, held.Ino)
		if len(in.Gaps) > 0 {
			t.Errorf("%s: %v", held.Type, in.Gaps)
		}
		seen[held.Type] = in.UTS != nil && in.UTS.Host != "" || in.IPC != nil || in.Time != nil ||
			in.User != nil && in.User.UIDMap.String() == "0-65535 are 100000-165535 outside" && in.User.Limits[inspect.UTS] > 0 || in.Cgroup != nil ||
			in.Mnt != nil && len(in.Mnt.Mounts) > 0
		if !seen[held.Type] {
			t.Errorf("%s: %+v", held.Type, in)
		}
	}
	if len(seen) != 6 {
		t.Errorf("saw %v", seen)
	}
}

// The host name is that of hostname(1), the clocks those that were set.
func TestReadWhatWasSet(t *testing.T) {
	nstest.Need(t, "root", "unshare", "nsenter")
	cmd := exec.Command("unshare", "--uts", "--time", "--monotonic", "1000", "--boottime", "-5", "sh", "-c",
		`printf 'a\033[31mb' >/proc/sys/kernel/hostname || exit 1; echo ready; read x`)
	nstest.StartReady(t, cmd)
	ino := func(typ string) uint64 {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", cmd.Process.Pid, typ))
		if err != nil {
			t.Fatal(err)
		}
		_, n, _ := inspect.ParseLink(link)
		return n
	}
	snap := scan(t)
	if got := read(t, snap, ino("uts")).UTS; got == nil || got.Host != "a\033[31mb" {
		t.Errorf("host %+v", got)
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time_for_children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, n, _ := inspect.ParseLink(link)
	if got := read(t, snap, n).Time; got == nil || got.Monotonic != 1000*time.Second || got.Boottime != -5*time.Second {
		t.Errorf("clocks %+v", got)
	}
}

// Queues, semaphores and memory are those that ipcs(1) lists inside.
func TestReadIPC(t *testing.T) {
	nstest.Need(t, "root", "ipcmk", "nsenter")
	box := nstest.Sandbox(t, "ipc")
	file := fmt.Sprintf("--ipc=/proc/%d/ns/ipc", box.PID)
	for _, args := range [][]string{{"-M", "8192"}, {"-S", "3"}, {"-Q"}, {"-Q"}} {
		if out, err := exec.Command("nsenter", append([]string{file, "ipcmk"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ipcmk: %v: %s", err, out)
		}
	}
	snap := scan(t)
	ns, _ := snap.Find(box.Ino["ipc"])
	f, err := snap.Open(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = sys.InNamespace(int(f.Fd()), inspect.IPC.Flag(), func() error {
		name, _ := syscall.BytePtrFromString("blue")
		fd, _, e := syscall.Syscall6(syscall.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), syscall.O_CREAT|syscall.O_RDWR, 0o600, 0, 0, 0)
		if e != 0 {
			return e
		}
		defer syscall.Close(int(fd))
		if _, _, e := syscall.Syscall6(syscall.SYS_MQ_TIMEDSEND, fd, uintptr(unsafe.Pointer(name)), 4, 0, 0, 0); e != 0 {
			return e
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, snap, box.Ino["ipc"]).IPC
	if in == nil || len(in.Queues) != 2 || len(in.Semaphores) != 1 || in.Semaphores[0].Count != 3 ||
		len(in.Segments) != 1 || in.Segments[0].Bytes != 8192 || in.PosixErr != nil || len(in.Posix) != 1 || in.Posix[0].Name != "/blue" || in.Posix[0].Bytes != 4 {
		t.Fatalf("got %+v", in)
	}
	out, err := exec.Command("nsenter", file, "ipcs", "-m", "-s", "-q").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{in.Segments[0].ID, in.Semaphores[0].ID, in.Queues[1].ID} {
		if !slices.Contains(strings.Fields(string(out)), strconv.Itoa(id)) {
			t.Errorf("ipcs has no %d: %s", id, out)
		}
	}
	// Those of the caller are others.
	self, _ := snap.Process(snap.Self())
	own, _ := snap.Of(self, inspect.IPC)
	if got := inside.Read(t.Context(), snap, own).IPC; got == nil || slices.ContainsFunc(got.Posix, func(q inside.PosixQueue) bool { return q.Name == "/blue" }) {
		t.Errorf("the caller has %+v", got)
	}
}

// A user namespace in another: the numbers outside are the caller's, and the
// limits its own.
func TestReadLimits(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Sandbox(t, "user", "net")
	// A limit is set by a thread of the namespace: by nsenter(1).
	nstest.Need(t, "nsenter")
	out, err := exec.Command("nsenter", "-U", "-S", "0", "-G", "0", "-t", fmt.Sprint(box.PID), "sh", "-c", "echo 7 >/proc/sys/user/max_net_namespaces").CombinedOutput()
	if err != nil {
		t.Fatalf("nsenter: %v: %s", err, out)
	}
	in := read(t, scan(t), box.Ino["user"]).User
	if in == nil || in.Limits[inspect.Net] != 7 || in.Used[inspect.Net] != 1 || in.UIDMap.String() != (task.IDMap{{Inside: 0, Outside: 100000, Count: 65536}}).String() {
		t.Errorf("got %+v", in)
	}
}

// A PID namespace without its first process is dead.
func TestReadDead(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Spec{Types: []string{"user", "mnt"}, Children: []string{"pid"}}.Start(t)
	in := read(t, scan(t), box.ChildrenIno["pid"]).PID
	if in == nil || in.Init != 0 || in.Level < 0 && os.Geteuid() == 0 {
		t.Fatalf("got %+v", in)
	}
	if !in.Dead && os.Geteuid() == 0 {
		t.Errorf("got %+v", in)
	}
}

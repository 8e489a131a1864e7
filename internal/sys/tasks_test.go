package sys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needIterators skips the test unless they work here, or must.
func needIterators(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip(err)
	}
	if err := canIter(); errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		t.Skip(err)
	}
}

func TestReadTasks(t *testing.T) {
	needIterators(t)
	bpfLog = make([]byte, 1<<20)
	defer func() { bpfLog = nil }()
	all, err := ReadTasks(false, false)
	if err != nil {
		said, _, _ := bytes.Cut(bpfLog, []byte{0})
		t.Fatalf("%v\n%s", err, said[max(0, len(said)-4000):])
	}
	var self Task
	for _, p := range all.Processes {
		if int(p.TID) == os.Getpid() {
			self = p
		}
	}
	if all.Files != nil || all.PinnedKnown {
		t.Error("files were told that nobody asked for")
	}
	if int(self.PID) != os.Getpid() || self.Threads < 2 {
		t.Fatalf("of the test itself: %+v", self)
	}
	for i, link := range []string{"cgroup", "ipc", "net", "mnt", "time", "uts", "pid", "user"} {
		var st unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+link, &st); err != nil || st.Ino != uint64(self.NS[i]) {
			t.Errorf("%s is %d, %v, and was told to be %d", link, st.Ino, err, self.NS[i])
		}
	}
}

func TestReadTasksFiles(t *testing.T) {
	needIterators(t)
	ns, err := os.Open("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	ask := func(sockets bool) (own []TaskFile) {
		all, err := ReadTasks(true, sockets)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all.Files {
			if int(f.PID) == os.Getpid() {
				own = append(own, f)
			}
		}
		return own
	}
	id, err := Fstat(int(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	pid := int32(os.Getpid())
	want := TaskFile{TID: pid, PID: pid, FD: int32(ns.Fd()), Flag: CLONE_NEWUTS, Ino: uint32(id.Ino)}
	// A socket of our own namespace is told only if all are asked for.
	if own := ask(false); len(own) != 1 || own[0] != want {
		t.Errorf("%+v, want %+v alone", own, want)
	}
	own := ask(true)
	if !slices.Contains(own, want) {
		t.Errorf("%+v, want %+v", own, want)
	}
	sock, err := Fstat(int(socket.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	netns, err := OwnNetns()
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Close()
	if id, err = Fstat(int(netns.Fd())); err != nil {
		t.Fatal(err)
	}
	want = TaskFile{TID: pid, PID: pid, FD: int32(socket.Fd()), Ino: uint32(id.Ino), Socket: uint32(sock.Ino)}
	if !slices.Contains(own, want) {
		t.Errorf("%+v, want %+v", own, want)
	}
}

// Nothing of it is left: no descriptor, and no program.
// What keeps a network namespace that it is not in is told of every descriptor that
// does, and of none that only looks like it.
func TestReadTasksFilesThatKeepANetwork(t *testing.T) {
	needIterators(t)
	var id FileID
	files := make(map[string]int)
	err := OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(ns)
		if id, err = Fstat(ns); err != nil {
			return err
		}
		for name, flags := range map[string]int{
			"/dev/net/tun": unix.O_RDWR, "/dev/null": unix.O_RDWR,
			"net/tcp": 0, "net/snmp": 0, "net/netfilter": 0, "net": 0, "net/softnet_stat": 0, "net/unix": unix.O_PATH,
		} {
			path := name
			if name[0] != '/' {
				path = "/proc/thread-self/" + name
			}
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
			if err == unix.ENOENT {
				continue // the kernel has none
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			files[name] = fd
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range files {
		defer unix.Close(fd)
	}
	all, err := ReadTasks(true, false)
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[int]TaskFile)
	for _, f := range all.Files {
		if int(f.PID) == os.Getpid() {
			told[int(f.FD)] = f
		}
	}
	for name, fd := range files {
		want := map[string]uint32{"/dev/net/tun": TaskDevice, "net/tcp": TaskProcFile, "net/snmp": TaskProcFile}[name]
		f, ok := told[fd]
		if ok != (want != 0) || f.Flag != want || ok && uint64(f.Ino) != id.Ino {
			t.Errorf("%s: %+v, want flag %d and %d", name, f, want, id.Ino)
		}
	}
}

func TestReadTasksLeavesNothing(t *testing.T) {
	needIterators(t)
	files := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(to, "bpf") || strings.Contains(to, "btf") {
				n++
			}
		}
		return n
	}
	before := lastProgram()
	if _, err := ReadTasks(true, true); err != nil {
		t.Fatal(err)
	}
	last := lastProgram() // others may run and load theirs, but above this
	if n := files(); n != 0 {
		t.Errorf("%d descriptors are left", n)
	}
	// The kernel frees programs a moment later.
	var left []string
	for range 100 {
		if left = programsBetween(before, last); len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("programs are left: %v", left)
}

type progID struct{ id, next, flags, _ uint32 }

func lastProgram() (last uint32) {
	for {
		a := progID{id: last}
		if _, err := bpf("BPF_PROG_GET_NEXT_ID", unix.BPF_PROG_GET_NEXT_ID, unsafe.Pointer(&a), unsafe.Sizeof(a)); err != nil {
			return last
		}
		last = a.next
	}
}

// programsBetween describes the tracing programs with a number above id and up
// to last.
func programsBetween(id, last uint32) (names []string) {
	for id < last {
		a := progID{id: id}
		if _, err := bpf("BPF_PROG_GET_NEXT_ID", unix.BPF_PROG_GET_NEXT_ID, unsafe.Pointer(&a), unsafe.Sizeof(a)); err != nil {
			return names
		}
		id = a.next
		a = progID{id: id}
		fd, err := bpf("BPF_PROG_GET_FD_BY_ID", unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&a), unsafe.Sizeof(a))
		if err != nil {
			continue
		}
		info, _ := os.ReadFile("/proc/self/fdinfo/" + itoa(fd))
		unix.Close(fd)
		if strings.Contains(string(info), "prog_type:\t26") { // tracing
			names = append(names, string(info))
		}
	}
	return names
}

func itoa(n int) string { return AppendName(nil, n, "").String() }

// Of an ordinary user the kernel wants nothing to do with it, and says so first.
func TestReadTasksUnprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may")
	}
	if _, err := ReadTasks(true, true); !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func BenchmarkReadTasks(b *testing.B) {
	for b.Loop() {
		if _, err := ReadTasks(true, true); err != nil {
			b.Skip(err)
		}
	}
}

func BenchmarkKernelBTF(b *testing.B) {
	for b.Loop() {
		if err := kernelBTF([]btfRoot{{btfFunc, "bpf_iter_task"}}, func(*btf) error { return nil }); err != nil {
			b.Skip(err)
		}
	}
}

// Bind mounts of namespaces are told by the mount namespace that they are in.
func TestReadTasksPinned(t *testing.T) {
	needIterators(t)
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var told []bool // before there is a bind mount, with it, and without it again
	ask := func(ns uint64) error {
		all, err := ReadTasks(true, true)
		if err == nil && !all.PinnedKnown {
			err = fmt.Errorf("not known: %d mounts were told", len(all.Pinned))
		}
		if err == nil {
			told = append(told, slices.Contains(all.Pinned, uint32(ns)))
		}
		return err
	}
	err := OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat("/proc/thread-self/ns/mnt", &st); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		// What was copied from the namespace we come from.
		mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, " - nsfs ") {
				unix.Unmount(strings.Fields(line)[4], unix.MNT_DETACH)
			}
		}
		if err := ask(st.Ino); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/uts", file, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if err := ask(st.Ino); err != nil {
			return err
		}
		if err := unix.Unmount(file, 0); err != nil {
			return err
		}
		return ask(st.Ino)
	})
	if err != nil && strings.HasPrefix(err.Error(), "not known") {
		t.Skip(err) // there are too many on this host
	}
	if err != nil || !slices.Equal(told, []bool{false, true, false}) {
		t.Errorf("told %v, %v", told, err)
	}
}

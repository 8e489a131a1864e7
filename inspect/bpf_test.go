package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// withIterators uses them however few processes there are.
func withIterators() Option { return func(o *options) { o.bpfFrom = 0 } }

// scanByIterators fails the test if iterators were not used where they must work.
func scanByIterators(t *testing.T, opts ...Option) *Snapshot {
	t.Helper()
	nstest.Need(t, "root", "bpf")
	s := scan(t, append(opts, withIterators())...)
	if s.bpfErr != nil {
		t.Fatalf("iterators were not used: %v", s.bpfErr)
	}
	return s
}

// oddVar has the test binary be a process with a thread that has descriptors of
// its own, and is itself in one network namespace, with a socket of another and
// a file that is a third. Of "zombie" the first thread has exited.
const oddVar = "INSPECT_TEST_ODD"

func init() {
	if os.Getenv(oddVar) != "" {
		runtime.LockOSThread() // main is the first thread
	}
}

func beOdd(how string) {
	go func() {
		runtime.LockOSThread()
		must := func(err error) {
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		var inos []uint64
		newNet := func() {
			must(syscall.Unshare(syscall.CLONE_NEWNET))
			text, err := os.Readlink("/proc/thread-self/ns/net")
			must(err)
			_, ino, _ := ParseLink(text)
			inos = append(inos, ino)
		}
		must(syscall.Unshare(syscall.CLONE_FILES))
		newNet()
		_, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
		must(err)
		newNet()
		_, err = syscall.Open("/proc/thread-self/ns/net", syscall.O_RDONLY, 0)
		must(err)
		newNet()
		fmt.Println(syscall.Gettid(), inos[0], inos[1], inos[2])
		syscall.Read(0, make([]byte, 1))
		os.Exit(0)
	}()
	if how == "zombie" {
		syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // not raw: the only processor may go with it
	}
	select {}
}

// An odd process, see beOdd.
type odd struct {
	pid, tid           int
	socket, file, self uint64 // network namespaces
}

func startOdd(t *testing.T, how string) (o odd) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), oddVar+"="+how)
	out := nstest.Start(t, cmd)
	if _, err := fmt.Fscan(out, &o.tid, &o.socket, &o.file, &o.self); err != nil {
		rest, _ := io.ReadAll(out)
		t.Fatalf("%v: %s", err, rest)
	}
	o.pid = cmd.Process.Pid
	return o
}

// disagreements compares what a scan by iterators found with what those of /proc
// before and after it both did. Descriptors come and go quickly: what holds a
// namespace is compared for the processes in ours alone.
func disagreements(before, by, after *Snapshot, ours []int) (d []string) {
	say := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)) }
	for p := range before.Processes() {
		later, ok := after.Process(p.PID)
		if !ok || later.links != p.links {
			continue
		}
		byBPF, ok := by.Process(p.PID)
		if !ok {
			say("process %d is missing", p.PID)
			continue
		}
		if byBPF.links != p.links && p.links != (links{}) { // which /proc could not read
			say("process %d: %+v, by /proc %+v", p.PID, byBPF.links, p.links)
		}
		if byBPF.Threads != p.Threads && later.Threads == p.Threads {
			say("process %d has %d threads, by /proc %d", p.PID, byBPF.Threads, p.Threads)
		}
	}
	for ns := range before.Namespaces() {
		later, ok := after.Namespace(ns.ID)
		if !ok || later.Type != ns.Type || later.NSID != ns.NSID {
			continue
		}
		byBPF, ok := by.Namespace(ns.ID)
		if !ok || byBPF.Type != ns.Type {
			say("%v is missing", ns)
			continue
		}
		type facts struct {
			owner, parent ID
			creator       int64
			nsid          uint64
			netnsid       int
		}
		factsOf := func(ns *Namespace) facts {
			return facts{ns.Owner.ID, ns.Parent.ID, ns.Creator, ns.NSID, ns.NetNSID}
		}
		if factsOf(byBPF) != factsOf(ns) && factsOf(later) == factsOf(ns) && ns.Owner.Err == nil {
			say("%v: %+v, by /proc %+v", ns, factsOf(byBPF), factsOf(ns))
		}
		for _, h := range ns.holders {
			if slices.Contains(ours, h.PID) && slices.Contains(later.holders, h) && !slices.Contains(byBPF.holders, h) {
				say("%v is not held by %+v, only by %+v", ns, h, byBPF.holders)
			}
		}
		// The other way round. /proc has no descriptors of threads, so there may be more holders.
		for _, h := range byBPF.holders {
			if h.TID == 0 && !slices.Contains(ns.holders, h) && !slices.Contains(later.holders, h) {
				// Holders that only iterators know are gaps by /proc.
				if slices.Contains(ours, h.PID) && !(h.Kind == ByProcFile && unsure(before, h.PID)) {
					say("%v is held by %+v, by /proc only by %+v", ns, h, ns.holders)
				}
			}
		}
	}
	return d
}

// unsure reports whether a scan says that a process may keep something that it does not know.
func unsure(s *Snapshot, pid int) bool {
	return slices.ContainsFunc(s.Gaps(), func(g Gap) bool { return g.PID == pid && errors.Is(g.Err, errKept) })
}

func TestIteratorsAgreeWithProc(t *testing.T) {
	nstest.Need(t, "root", "bpf")
	ours := []int{
		hidden.Start(t).PID,
		nstest.Sandbox(t, "user", "uts", "cgroup", "ipc").PID,
		startOdd(t, "zombie").pid,
		startOdd(t, "thread").pid,
	}
	if _, err := os.Stat("/dev/net/tun"); err == nil {
		ours = append(ours, tun.Start(t).PID)
	}
	for name, opts := range map[string][]Option{
		"all":       nil,
		"net":       {WithTypes(TypesOf(Net))},
		"pid, time": {WithTypes(TypesOf(PID, Time)), WithoutMounts()},
		"uts":       {WithTypes(TypesOf(UTS)), WithoutMounts()},
		"no tasks":  {WithoutTasks()},
		"no files":  {WithoutFDs()},
	} {
		t.Run(name, func(t *testing.T) {
			// Other processes change things meanwhile, so one of some tries must agree.
			var d []string
			for range 8 {
				before := scan(t, append(opts, WithoutBPF())...)
				by := scanByIterators(t, opts...)
				if d = disagreements(before, by, scan(t, append(opts, WithoutBPF())...), ours); d == nil {
					return
				}
			}
			t.Errorf("%s", strings.Join(d, "\n"))
		})
	}
}

// The descriptors of sockets are the same by both, and the first one is what made the socket.
func TestSocketsOfDescriptors(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := syscall.Dup(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(twice)
	child := exec.Command("cat")
	child.Stderr = os.NewFile(uintptr(fds[1]), "socket") // inherited
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		child.Wait()
		child.Stderr.(*os.File).Close()
		syscall.Close(fds[0])
		syscall.Close(twice)
	})
	ino := func(fd int) uint64 {
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	check := func(t *testing.T, s *Snapshot) {
		self := os.Getpid()
		for fd, want := range map[int][]Holder{
			fds[0]: {{Kind: BySocket, PID: self, FD: fds[0]}, {Kind: BySocket, PID: self, FD: twice}},
			fds[1]: {{Kind: BySocket, PID: self, FD: fds[1]}, {Kind: BySocket, PID: child.Process.Pid, FD: 2}},
		} {
			// The child has the lower number where numbers have begun again.
			slices.SortStableFunc(want, func(a, b Holder) int { return a.PID - b.PID })
			if got := slices.Collect(s.Sockets(ino(fd))); !slices.Equal(got, want) {
				t.Errorf("socket %d: %+v, want %+v", fd, got, want)
			}
		}
		if got := slices.Collect(s.Sockets(1)); got != nil {
			t.Errorf("no socket: %+v", got)
		}
	}
	t.Run("proc", func(t *testing.T) {
		s := scan(t, WithSockets(), WithoutBPF())
		check(t, s)
		if got := slices.Collect(scan(t).Sockets(ino(fds[0]))); got != nil {
			t.Errorf("not asked for: %+v", got)
		}
	})
	t.Run("iterators", func(t *testing.T) { check(t, scanByIterators(t, WithSockets())) })
}

func TestIteratorsFindEveryKindOfHolder(t *testing.T) {
	nstest.Need(t, "root", "bpf")
	everyKindOfHolder(t, func() *Snapshot { return scanByIterators(t) })
}

// What a thread with a table of its own has open /proc shows only if its process
// is a zombie, and sockets never.
func TestIteratorsSeeTheTablesOfThreads(t *testing.T) {
	for _, how := range []string{"thread", "zombie"} {
		t.Run(how, func(t *testing.T) {
			nstest.Need(t, "root", "bpf")
			o := startOdd(t, how)
			s := scanByIterators(t)
			kinds := []struct {
				kind HolderKind
				ino  uint64
			}{{ByFD, o.file}, {BySocket, o.socket}, {ByTask, o.self}}
			// The first thread that lives stands for a process that has lost its own.
			p, ok := s.Process(o.pid)
			id, member := p.Namespace(Net)
			if !ok || !member || (p.Heir() != 0) != (how == "zombie") {
				t.Errorf("process %+v is in %v", p, id)
			}
			if p.Heir() == o.tid {
				kinds = kinds[:2]
			}
			for _, want := range kinds {
				hs := holder(t, s, want.ino, "net", want.kind)
				if len(hs) != 1 || hs[0].PID != o.pid || hs[0].TID != o.tid {
					t.Errorf("by %v: %+v, want %+v", want.kind, hs, o)
				}
			}
			for _, ino := range []uint64{o.self, o.file} {
				if ns, ok := s.Find(ino); ok && !ns.Owner.Known() {
					t.Errorf("owner of %v: %+v", ns, ns.Owner)
				}
			}
			if s := scanByIterators(t, WithoutTasks()); s != nil {
				if ns, ok := s.Find(o.file); ok {
					t.Errorf("without threads: %+v", ns)
				}
			}
		})
	}
}

// A namespace that only a socket leads to can be asked about.
func TestIteratorsAskThroughSockets(t *testing.T) {
	nstest.Need(t, "root", "bpf")
	box := nstest.Spec{Types: []string{"user"}, Sockets: []string{"net"}}.Start(t)
	s := scanByIterators(t)
	ns, ok := s.Find(box.Held[0].Ino)
	if !ok || ns.Owner.ID.Ino != box.Ino["user"] {
		t.Errorf("%+v, whose owner should be %d", ns, box.Ino["user"])
	}
}

// Threads count, too: to read one takes as long as to read a process.
func TestIteratorsForManyThreads(t *testing.T) {
	nstest.Need(t, "root", "bpf")
	done := make(chan struct{})
	var ready, ended sync.WaitGroup
	for range 100 {
		ready.Add(1)
		ended.Go(func() {
			runtime.LockOSThread() // and its thread ends with it
			ready.Done()
			<-done
		})
	}
	ready.Wait()
	defer ended.Wait()
	defer close(done)
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	s := scan(t, func(o *options) { o.bpfFrom = len(pids) + 50 })
	if s.bpfErr != nil {
		t.Errorf("%d processes and a hundred threads: %v", len(pids), s.bpfErr)
	}
}

// For whatever reason iterators are not used, the scan is one of /proc.
func TestIteratorsFallBack(t *testing.T) {
	t.Run("few processes", func(t *testing.T) {
		s := scan(t, func(o *options) { o.bpfFrom = 1 << 30 })
		if !errors.Is(s.bpfErr, ErrNotAsked) || len(s.processes) == 0 {
			t.Errorf("%v, %d processes, %v", s.bpfErr, len(s.processes), s.gaps)
		}
	})
	t.Run("another proc", func(t *testing.T) {
		s := scan(t, withIterators(), WithProc("/proc/."))
		if !errors.Is(s.bpfErr, ErrNotAsked) || len(s.processes) == 0 {
			t.Errorf("%v, %d processes, %v", s.bpfErr, len(s.processes), s.gaps)
		}
	})
	t.Run("ordinary user", func(t *testing.T) {
		nstest.Need(t, "user")
		s := scan(t, withIterators())
		if _, ok := s.Process(os.Getpid()); !errors.Is(s.bpfErr, fs.ErrPermission) || !ok {
			t.Errorf("%v, %d processes, %v", s.bpfErr, len(s.processes), s.gaps)
		}
	})
}

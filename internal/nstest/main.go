package nstest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// markVar is in the environment of every process that a test starts, with the
// PID of the test binary.
const markVar = "NSTEST_MARK"

// ready is set by Checked: a sandbox that re-executes a test binary that does
// not call it would run the tests again.
var ready bool

// Main is what TestMain calls. It runs the tests and exits, with a failure if
// the tests left something behind.
func Main(m *testing.M) { os.Exit(Checked(m).Run()) }

// Checked is [Main] for a TestMain that has something else to do. It returns m
// with the leak checks around its Run. Call it first: in the process of a sandbox
// it does not return.
func Checked(m interface{ Run() int }) interface{ Run() int } {
	if verb := os.Getenv(childVar); verb != "" {
		child(verb)
	}
	ready = true
	// Parallel tests wait for engines and for the kernel more than they compute.
	if f := flag.Lookup("test.parallel"); f != nil {
		_ = f.Value.Set(strconv.Itoa(3 * runtime.NumCPU()))
	}
	return checked{m}
}

type checked struct{ m interface{ Run() int } }

func (c checked) Run() int {
	// Our orphans become our children, so that each is found.
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, 36 /* PR_SET_CHILD_SUBREAPER */, 1, 0); errno != 0 {
		fmt.Fprintln(os.Stderr, "nstest: PR_SET_CHILD_SUBREAPER:", errno)
		return 1
	}
	os.Setenv(markVar, strconv.Itoa(os.Getpid()))
	tmp, err := os.MkdirTemp("", "nstest")
	if err == nil {
		err = os.Chmod(tmp, 0o755) //nolint:gosec // ordinary users are to enter it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
		return 1
	}
	os.Setenv("TMPDIR", tmp)

	before := openFiles()
	status := c.m.Run()
	if left := leaks(tmp, before); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "nstest: the tests left behind:\n  %s\n", strings.Join(left, "\n  "))
		status = max(status, 1)
	} else if err := os.RemoveAll(tmp); err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
		status = max(status, 1)
	}
	if s := skips(); s != "" {
		fmt.Fprintln(os.Stderr, "nstest: skipped for want of:", s)
	}
	return status
}

// leaks returns what is still there two seconds after the tests.
func leaks(tmp string, before map[string]int) (left []string) {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		runtime.GC() // closes what finalizers close
		left = slices.Concat(processes(), mountsUnder(tmp), newFiles(before), goroutines())
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// processes returns what is left of the processes that the tests started:
// descendants, and those that bear our mark. Zombies are reaped first.
func processes() (left []string) {
	for {
		var ws syscall.WaitStatus
		if pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil); err != nil || pid <= 0 {
			break
		}
	}
	self := os.Getpid()
	parent := map[int]int{}
	for _, pid := range pids() {
		parent[pid] = ppid(pid)
	}
	mark := []byte(markVar + "=" + strconv.Itoa(self) + "\x00")
	for _, pid := range pids() {
		if pid == self {
			continue
		}
		ours := false
		for p, hops := pid, 0; p > 1 && hops < 1000; p, hops = parent[p], hops+1 {
			ours = ours || parent[p] == self
		}
		if !ours {
			env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			ours = bytes.Contains(append([]byte{0}, env...), append([]byte{0}, mark...))
		}
		if ours {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			left = append(left, fmt.Sprintf("process %d of parent %d: %q", pid, parent[pid], cmdline))
		}
	}
	return left
}

func pids() (list []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// ppid returns the parent of a process, or 0.
func ppid(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// mountsUnder returns the mounts in dir, where all that tests mount should be.
func mountsUnder(dir string) (left []string) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			left = append(left, "mount "+f[4])
		}
	}
	return left
}

// openFiles counts our descriptors by what they are open on.
func openFiles() map[string]int {
	count := map[string]int{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil && !strings.HasPrefix(link, "anon_inode:[event") { // the runtime's
			count[link]++
		}
	}
	return count
}

func newFiles(before map[string]int) (left []string) {
	for link, n := range openFiles() {
		if n > before[link] && !strings.HasPrefix(link, fmt.Sprintf("/proc/%d/fd", os.Getpid())) {
			left = append(left, fmt.Sprintf("descriptor on %s", link))
		}
	}
	slices.Sort(left)
	return left
}

// goroutines returns those that are neither the caller's nor the runtime's and
// the standard library's.
func goroutines() (left []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for i, g := range strings.Split(string(buf), "\n\n") {
		switch {
		case i == 0:
		case strings.Contains(g, "os/signal.loop"):
		case strings.Contains(g, "testing.(*M).startAlarm"), strings.Contains(g, "created by runtime"):
		default:
			left = append(left, strings.ReplaceAll(g, "\n", "\n    "))
		}
	}
	return left
}

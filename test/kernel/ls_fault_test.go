package kernel_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// faults are the system calls of a listing, each with errors it may come to.
var faults = []struct{ call, errors string }{
	{"openat", "ENOMEM EMFILE EIO EACCES ESRCH"},
	{"readlinkat", "ENOMEM EIO EACCES ESRCH"},
	{"getdents64", "ENOMEM EIO ENOENT"},
	{"newfstatat", "ENOMEM EIO ESRCH"},
	{"read", "ENOMEM EIO ESRCH EINTR"},
	{"ioctl", "ENOMEM EIO EPERM ENOTTY"},
	{"fstat", "ENOMEM EIO"},
	{"fstatfs", "ENOMEM EIO EINTR"},
	{"openat2", "ENOMEM EIO EAGAIN ENOSYS"},
	{"pidfd_open", "ENOMEM EMFILE EINVAL ENOSYS ESRCH"},
	{"pidfd_getfd", "EMFILE EPERM ENOSYS ESRCH"},
	{"socket", "ENOMEM EMFILE EPERM EAFNOSUPPORT"},
	{"sendto", "ENOBUFS EPERM EINTR"},
	{"recvfrom", "ENOBUFS EINTR ENOMEM"},
	{"getsockopt", "ENOMEM EPERM ENOPROTOOPT"},
	{"setns", "ENOMEM EPERM EINVAL"},
	{"unshare", "ENOMEM EPERM"},
	{"write", "EIO ENOSPC EINTR"},
}

// ofRunTime matches a fault in the eventfd(2) by which Go's run time wakes itself,
// which it cannot do without.
var ofRunTime = regexp.MustCompile(`(?m)^.*(?:read|write)\(\d+, .*, 8\) .*\(INJECTED\)$`)

// goneSelf matches the caller's own directory of /proc having no process.
var goneSelf = regexp.MustCompile(`(?m)"(?:/proc/)?(?:thread-)?self/.*ESRCH .*\(INJECTED\)$`)

// TestLsFaults lets each system call of a listing fail in turn. What cannot be
// read then is missing, and said to be; the listing comes, or one line that says
// why not. It runs in PID and mount namespaces of its own, so that there is
// little to list.
func TestLsFaults(t *testing.T) {
	nstest.Need(t, "root", "strace", "nsenter")
	exe := program(t)
	cmd := verb("stage", nstest.Dir(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	ready, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	var held map[string]uint64
	if err := json.NewDecoder(ready).Decode(&held); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	traced := func(options ...string) (run, string, error) {
		args := append([]string{"-t", fmt.Sprint(cmd.Process.Pid), "-m", "-p", "strace", "-f", "-qq", "-o", log}, options...)
		cmd := exec.Command("nsenter", append(args, exe, "ls", "--json")...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
		r, hung := within(enough, cmd)
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(text), hung
	}
	facts := func(r run) map[float64]map[string]any {
		var l struct{ Namespaces []map[string]any }
		if err := json.Unmarshal([]byte(r.out), &l); err != nil {
			t.Fatalf("%v in %q", err, r.out)
		}
		byIno := make(map[float64]map[string]any)
		for _, ns := range l.Namespaces {
			for _, key := range []string{"nthreads", "nprocs", "started", "netnsid"} {
				delete(ns, key) // strace is there too; the caller has its own numbers
			}
			byIno[ns["ns"].(float64)] = ns
		}
		return byIno
	}
	calls := make([]string, len(faults))
	for i, f := range faults {
		calls[i] = f.call
	}
	plain, text, err := traced("-e", "trace="+strings.Join(calls, ","))
	if err != nil || plain.status != 0 {
		t.Fatalf("status %d: %s", plain.status, plain.err)
	}
	want := facts(plain)
	for kind, ino := range held {
		if want[float64(ino)] == nil {
			t.Fatalf("what %s holds is not listed: %d", kind, ino)
		}
	}
	spots := 3
	if testing.Short() {
		spots = 1
	}
	done := 0
	for _, f := range faults {
		n := strings.Count(text, " "+f.call+"(")
		if n == 0 {
			t.Errorf("%s is not called: the test tests nothing", f.call)
			continue
		}
		for i, name := range strings.Fields(f.errors) {
			for spot := range min(spots, n) {
				// Spread over the calls, and other ones for each error.
				when := 1 + (n*spot/spots+i*7)%n
				inject := fmt.Sprintf("inject=%s:error=%s:when=%d", f.call, name, when)
				r, log, hung := traced("-e", "trace="+f.call, "-e", inject)
				if !strings.Contains(log, "(INJECTED)") || ofRunTime.MatchString(log) || goneSelf.MatchString(log) {
					continue
				}
				done++
				complain := func(format string, args ...any) {
					lines := strings.Split(log, "\n")
					var hit []string
					for _, l := range lines {
						if strings.Contains(l, "(INJECTED)") {
							hit = append(hit, l)
						}
					}
					t.Errorf("%s of %d: %s\n%s\n%s", inject, n, fmt.Sprintf(format, args...), strings.Join(hit, "\n"), r.err)
				}
				if hung != nil {
					complain("%v", hung)
					continue
				}
				if strings.Contains(r.err, "goroutine ") || strings.Contains(r.err, "panic") {
					complain("panic")
					continue
				}
				if strings.Contains(log, "write(2, ") {
					continue // the message itself: another thread wrote it, and each has its calls counted
				}
				if r.status != 0 {
					if r.status != 1 || !strings.HasPrefix(r.err, "nstool: ls: ") || strings.Count(r.err, "\n") != 1 {
						complain("status %d and not one line", r.status)
					}
					continue
				}
				var l listing
				if err := json.Unmarshal([]byte(r.out), &l); err != nil {
					complain("%v", err)
					continue
				}
				if !l.Complete {
					continue
				}
				got := facts(r)
				for ino, ns := range want {
					if got[ino] == nil {
						complain("%v:[%.0f] is lost without a word", ns["type"], ino)
						continue
					}
					for key, v := range ns {
						if ofRun[key] || (key == "nsid" || key == "creator") && f.call == "ioctl" || // EPERM and ENOTTY say that there is none
							key == "user" && f.call != "readlinkat" && got[ino][key] == fmt.Sprint(ns["uid"]) || reflect.DeepEqual(v, got[ino][key]) {
							continue
						}
						if unknown, _ := got[ino]["unknown"].([]any); slices.Contains(unknown, any(key)) {
							continue
						}
						complain("%v:[%.0f] had %s %v and has %v, without a word", ns["type"], ino, key, v, got[ino][key])
					}
				}
			}
		}
	}
	t.Logf("%d faults", done)
	if !testing.Short() && done < 75 {
		t.Errorf("only %d faults", done)
	}
}

// ofRun are the facts that change from one listing to the next, the lister being
// itself a process, and those of which there are several that are right.
var ofRun = map[string]bool{"holders": true, "path": true, "unknown": true}

func init() {
	verbs["stage"] = func(args []string) int { return said(stage(args[0])) }
}

// stage makes, as process 1 of a PID namespace, namespaces that are held in
// various ways, writes their numbers, and waits.
func stage(dir string) error {
	runtime.LockOSThread()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	// What others have mounted comes and goes.
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		if f := strings.Fields(line); strings.Contains(line, " - nsfs ") {
			if err := syscall.Unmount(f[4], syscall.MNT_DETACH); err != nil {
				return err
			}
		}
	}
	held := make(map[string]uint64)
	left := make(chan error)
	// On a thread that is not the process: it comes back to where it was.
	go func() {
		runtime.LockOSThread()
		left <- func() error {
			if err := syscall.Unshare(syscall.CLONE_FS); err != nil {
				return err
			}
			away := func(flag int, typ string, f func(link string) error) error {
				link := "/proc/thread-self/ns/" + typ
				home, err := syscall.Open(link, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer syscall.Close(home)
				if err := syscall.Unshare(flag); err != nil {
					return err
				}
				if err := f(link); err != nil {
					return err
				}
				if _, _, errno := syscall.RawSyscall(sysSetns, uintptr(home), uintptr(flag), 0); errno != 0 {
					return errno
				}
				return nil
			}
			number := func(kind, link string) error {
				var st syscall.Stat_t
				err := syscall.Stat(link, &st)
				held[kind] = st.Ino
				return err
			}
			pinned := func(kind string) func(link string) error {
				return func(link string) error {
					pin := filepath.Join(dir, kind)
					if err := os.WriteFile(pin, nil, 0o600); err != nil {
						return err
					}
					if err := syscall.Mount(link, pin, "", syscall.MS_BIND, ""); err != nil {
						return err
					}
					return number(kind, link)
				}
			}
			for flag, typ := range map[int]string{syscall.CLONE_NEWIPC: "ipc", syscall.CLONE_NEWCGROUP: "cgroup", syscall.CLONE_NEWNS: "mnt"} {
				if err := away(flag, typ, func(link string) error {
					if _, err := syscall.Open(link, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
						return err
					}
					if typ == "mnt" { // what is pinned in there takes a thread that joins it
						if err := away(syscall.CLONE_NEWUTS, "uts", pinned("pin inside")); err != nil {
							return err
						}
					}
					return number("fd "+typ, link)
				}); err != nil {
					return err
				}
			}
			if err := away(syscall.CLONE_NEWNET, "net", func(link string) error {
				if _, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0); err != nil {
					return err
				}
				return number("socket", link)
			}); err != nil {
				return err
			}
			return away(syscall.CLONE_NEWUTS, "uts", pinned("pin"))
		}()
		select {} // the thread stays, where it came back to
	}()
	if err := <-left; err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	child := exec.Command("cat")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS}
	if _, err := child.StdinPipe(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	for _, typ := range []string{"user", "net", "pid", "uts"} {
		var st syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d/ns/%s", child.Process.Pid, typ), &st); err != nil {
			return err
		}
		held["process "+typ] = st.Ino
	}
	if err := json.NewEncoder(os.Stdout).Encode(held); err != nil {
		return err
	}
	_, err := new(bytes.Buffer).ReadFrom(os.Stdin)
	return err // process 1 takes the others along
}

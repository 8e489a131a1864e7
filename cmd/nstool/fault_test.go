package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// Every system call of an entry is made to fail in turn. The program then does
// not run, and somebody says why; or it was not needed, and the program is
// where it should be in every respect.
func TestEnterFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs the command some hundred times")
	}
	nstest.Need(t, "userns", "strace")
	nstool := asNstool(t)
	box := nstest.Sandbox(t, "user", "ipc", "net", "uts", "pid", "mnt")
	adopt(t)
	const show = `echo RAN $(readlink /proc/self/ns/ipc /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/pid /proc/self/ns/mnt /proc/self/ns/user) $(id -u)`
	want := fmt.Sprintf("RAN ipc:[%d] net:[%d] uts:[%d] pid:[%d] mnt:[%d] user:[%d] 0\n",
		box.Ino["ipc"], box.Ino["net"], box.Ino["uts"], box.Ino["pid"], box.Ino["mnt"], box.Ino["user"])
	args := []string{"enter", "-p", strconv.Itoa(box.PID), "--wd", "/bin/sh", "-c", show}

	run := func(t *testing.T, strace ...string) (stdout, stderr, log string, code int) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "log")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "strace", append(append(append([]string{"-f", "-qq", "-o", file}, strace...), nstool), args...)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		if ctx.Err() != nil {
			t.Errorf("%v: it hangs", strace)
		}
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			code = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), string(b), code
	}

	out, errs, log, code := run(t)
	if out != want || code != 0 {
		t.Fatalf("without a fault: %q, %q, status %d; want %q", out, errs, code, want)
	}
	// How often each process makes each call: strace counts for each of them.
	most := map[string]int{}
	count := map[[2]string]int{}
	for _, m := range regexp.MustCompile(`(?m)^(\d+) +([a-z0-9_]+)\(`).FindAllStringSubmatch(log, -1) {
		count[[2]string{m[1], m[2]}]++
		most[m[2]] = max(most[m[2]], count[[2]string{m[1], m[2]}])
	}
	// Calls of the Go run time, which ends the program if it cannot have them,
	// and of the shell that is run.
	for _, name := range []string{
		"mmap", "munmap", "brk", "futex", "rt_sigprocmask", "rt_sigaction", "sigaltstack", "nanosleep", "sched_yield", "sched_getaffinity",
		"arch_prctl", "set_tid_address", "set_robust_list", "rseq", "mprotect", "madvise", "exit", "exit_group", "gettid", "getpid", "tgkill", "rt_sigreturn",
		// The kernel closes whatever it says. The shell's readlink is not ours.
		"close", "readlink",
		"getuid", "geteuid", "getgid", "getegid", "getppid", "clone", "clone3", "vfork", "newfstatat", "pread64", "access", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2",
	} {
		delete(most, name)
	}
	var runs, ran atomic.Int32
	t.Run("faults", func(t *testing.T) {
		for name, n := range most {
			first := 1
			if name == "execve" {
				first = 2 // the first is that of nstool
			}
			for when := first; when <= min(n, 20); when++ {
				t.Run(fmt.Sprint(name, " ", when), func(t *testing.T) {
					t.Parallel()
					runs.Add(1)
					out, errs, _, code := run(t, "-e", "trace="+name, "-e", fmt.Sprintf("inject=%s:error=EPERM:when=%d", name, when))
					switch {
					case strings.HasPrefix(out, "RAN"):
						ran.Add(1)
						// If the output is not complete, the shell or its readlink had the
						// fault. Even then the program is in the right place.
						if out != want && !strings.HasPrefix(want, strings.TrimSpace(out)) && !fault(errs) {
							t.Errorf("the program ran: %q, %q", out, errs)
						}
					case code == 0 && out == "" && name != "write":
						t.Errorf("status 0, and nothing was done: %q", errs)
					case code != 0 && errs == "" && name != "write":
						t.Errorf("status %d without a word", code)
					}
				})
			}
		}
	})
	t.Logf("%d faults; in spite of %d the program ran", runs.Load(), ran.Load())
}

// adopt makes this process the parent of what a fault leaves behind, and reaps
// it at the end: a PID namespace does not end before all its processes are.
func adopt(t *testing.T) {
	t.Helper()
	const setChildSubreaper = 36
	set := func(on uintptr) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, on, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	set(1)
	t.Cleanup(func() {
		set(0)
		for range 20 {
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
					break
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// fault reports whether the program itself has met the fault.
func fault(stderr string) bool {
	return strings.Contains(stderr, "readlink") || strings.Contains(stderr, "sh:") || strings.Contains(stderr, "id:") || strings.Contains(stderr, "error while loading")
}

// asNstool returns a path by which this test binary is nstool.
func asNstool(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nstool")
	if err := os.Symlink(exe, path); err != nil {
		t.Fatal(err)
	}
	return path
}

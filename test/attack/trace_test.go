package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// trace runs nstool enter under strace(1) and returns the calls of each
// process, in order.
func trace(t *testing.T, c *cage, flags []string, words ...string) map[int][]string {
	t.Helper()
	nstest.Need(t, "root", "strace", "gcc", "busybox")
	file := filepath.Join(t.TempDir(), "trace")
	cmd := command(t, append(append(append([]string{program(t, "strace"), "-ff", "-qq", "-v", "-s", "200", "-o", file, program(t, "nstool"), "enter", "-p", strconv.Itoa(c.pid)}, flags...), "--"), words...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, out)
	}
	// One file a process: in one for all a call may be in two pieces.
	files, err := filepath.Glob(file + ".*")
	if err != nil {
		t.Fatal(err)
	}
	calls := map[int][]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimPrefix(name, file+"."))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			calls[pid] = append(calls[pid], strings.TrimSpace(line))
		}
	}
	return calls
}

// pathCalls are the system calls that look at a path. execve(2) is the one
// that is to do so.
var pathCalls = regexp.MustCompile(`^(open|openat|openat2|stat|lstat|newfstatat|statx|access|faccessat2?|readlink|readlinkat|chdir|chroot|mount|umount2|unlink|unlinkat|rename\w*|mkdir\w*|link\w*|symlink\w*|connect|bind|statfs|truncate|creat|chmod|fchmodat2?|chown|fchownat|inotify_add_watch|getxattr|open_tree|move_mount|name_to_handle_at|utimensat|mknod\w*|quotactl|swapon)\(`)

// Between joining the mount namespace and the program no path is looked at: it
// would be the container's. That the namespaces read back are the right ones is
// looked up below a descriptor of the host's procfs.
func TestNoPathIsOpened(t *testing.T) {
	for name, flags := range map[string][]string{
		"all":       {"-a"},
		"mnt":       {"-m"},
		"mnt,pid":   {"-m", "--pid"},
		"follow":    {"-a", "-S", "follow", "-G", "follow"},
		"privilege": {"-a", "--privileged"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCage(t, hostile(t), []string{"-c", capsDefault, "-n", "-s"}, "/bin/attack", "sleep")
			calls := trace(t, c, flags, "/bin/busybox", "true")
			joined, executed := 0, 0
			for pid, list := range calls {
				inside := false
				for _, call := range list {
					switch {
					case strings.HasPrefix(call, "setns(") && strings.Contains(call, "CLONE_NEWNS") && strings.HasSuffix(call, "= 0"):
						inside = true
						joined++
					case inside && pathCalls.MatchString(call):
						host := regexp.MustCompile(`^readlinkat\(\d+, "thread-self/ns/`).MatchString(call)
						root := regexp.MustCompile(`^chroot\("\."\)`).MatchString(call)
						if !host && !root {
							t.Errorf("process %d: %s", pid, call)
						}
					}
					if strings.HasPrefix(call, `execve("/bin/busybox"`) {
						executed++
						inside = false
					}
				}
			}
			if joined == 0 || executed != 1 {
				t.Errorf("joined %d times and executed %d times: the trace is not what it should be", joined, executed)
			}
			// Whoever executed the program looked at nothing before, if it is
			// the child that was born inside.
			for pid, list := range calls {
				at := -1
				for i, call := range list {
					if strings.HasPrefix(call, `execve("/bin/busybox"`) {
						at = i
					}
				}
				born := at >= 0 && !strings.Contains(strings.Join(list[:at], "\n"), "execve(")
				for i := 0; born && i < at; i++ {
					if pathCalls.MatchString(list[i]) {
						t.Errorf("process %d: %s", pid, list[i])
					}
				}
			}
		})
	}
}

// The file of the program on the host is opened for reading at most, and what
// runs inside is not that file.
func TestBinaryIsNotTouched(t *testing.T) {
	c := quiet(t)
	exe := program(t, "nstool")
	before, err := os.Stat(exe)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range trace(t, c, []string{"-a"}, "/bin/busybox", "true") {
		for i, call := range list {
			if strings.Contains(call, strconv.Quote(exe)) && !(i == 0 && strings.HasPrefix(call, "execve(")) {
				t.Errorf("%s", call)
			}
			if strings.HasPrefix(call, "openat(") && strings.Contains(call, "exe") && !strings.Contains(call, "O_RDONLY") {
				t.Errorf("%s", call)
			}
		}
	}
	if after, err := os.Stat(exe); err != nil || !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		t.Errorf("%v, %v", after, err)
	}
}

// Every system call of the child is made to fail, one after the other: each
// time that is said, or made good, and no half of an entry runs the program.
// What tells is what the program sees.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	nstest.Need(t, "root", "strace", "gcc", "busybox")
	c := newCage(t, nil, []string{"-u", "rooted", "-n", "-s", "-l", "512"}, "/bin/attack", "sleep")
	good := facts(t, nstool, c)
	if len(good) == 0 {
		t.Fatal("no facts")
	}
	// What the kernel numbers anew, and what may differ, is left out.
	same := func(text, except string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			if except != "" && strings.HasPrefix(line, except) {
				continue
			}
			for _, key := range []string{"Cap", "NoNewPrivs", "Seccomp", "Sig", "umask", "ids", "groups", "nofile", "session", "cwd", "env", "Uid", "Gid", "fd 3", "host"} {
				if strings.HasPrefix(line, key) && !strings.HasPrefix(line, "SigQ") {
					b.WriteString(line)
				}
			}
		}
		return b.String()
	}
	// The program asks for its umask and limits by the calls that are made to
	// fail, so what it tells of those is no evidence.
	own := map[string]string{"prlimit64": "nofile", "umask": "umask"}
	for _, fault := range []string{
		"setns:error=EPERM", "clone:error=EAGAIN", "setsid:error=EPERM", "capset:error=EPERM", "seccomp:error=EINVAL", "setresuid:error=EAGAIN", "setresgid:error=EPERM",
		"setgroups:error=EPERM", "close_range:error=EPERM", "umask:error=EPERM", "keyctl:error=EDQUOT", "prlimit64:error=EPERM", "ppoll:error=EINVAL",
		"prctl:error=EPERM", "pidfd_open:error=EMFILE", "pidfd_send_signal:error=ESRCH", "memfd_create:error=ENFILE", "ptrace:error=EPERM", "pipe2:error=EMFILE", "waitid:error=ECHILD",
		"execve:error=EACCES:when=2+", "readlinkat:error=ENOENT", "pwrite64:error=ENOSPC",
	} {
		call, _, _ := strings.Cut(fault, ":")
		for when := 1; when <= times(120)/10; when++ {
			inject := fault
			if !strings.Contains(fault, "when=") {
				inject = fmt.Sprintf("%s:when=%d", fault, when)
			}
			trace := filepath.Join(t.TempDir(), "trace")
			words := append([]string{program(t, "strace"), "-f", "-qq", "-o", trace, "-e", "trace=" + call, "-e", "inject=" + inject}, nstool.expand(t, c, "/bin/attack", "facts")...)
			cmd := command(t, words...)
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			text, rerr := os.ReadFile(trace)
			if rerr != nil {
				t.Fatal(rerr)
			}
			injected := strings.Contains(string(text), "(INJECTED)")
			whole := strings.Contains(string(out), "\nSeccomp:") // else it was killed meanwhile
			if whole && injected && same(string(out), own[call]) != same(good, own[call]) {
				t.Errorf("%s: the program ran half-way in:\n%s\nnot\n%s", inject, same(string(out), own[call]), same(good, own[call]))
			}
			if err != nil && injected && len(out) == 0 && !strings.Contains(errs.String(), "nstool") {
				t.Errorf("%s: it ended without a word: %v: %q", inject, err, errs.String())
			}
			if !injected || strings.Contains(fault, "when=") {
				break
			}
		}
	}
	if left := c.members(); len(left) > 0 {
		t.Errorf("left inside: %v", left)
	}
}

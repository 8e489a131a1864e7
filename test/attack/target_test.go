package attack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// inside is what the container alone has.
var inside = []string{"/bin/busybox", "ls", "/etc/inside"}

// Odd numbers are no PIDs, nor are those that overflow one.
func TestPIDParse(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := quiet(t)
		pid := uint64(c.pid)
		for _, odd := range []string{
			strconv.FormatUint(1<<32+pid, 10), strconv.FormatUint(1<<33+pid, 10), fmt.Sprintf("+%d", pid), fmt.Sprintf("%d ", pid), fmt.Sprintf(" %d", pid),
			fmt.Sprintf("0%d", pid), fmt.Sprintf("%#x", pid), fmt.Sprintf("%d\n", pid), fmt.Sprintf("%d.0", pid), fmt.Sprintf("-%d", pid), "0", "-1", "", fmt.Sprintf("%d/../1", pid), "self/../1",
		} {
			words := by.expand(t, c, inside...)
			for i := range words {
				if words[i] == strconv.Itoa(c.pid) {
					words[i] = odd
				}
			}
			if out, err := command(t, words...).CombinedOutput(); err == nil {
				return fmt.Sprintf("%q was taken for a PID: %s", odd, out)
			}
		}
		return ""
	}}.run(t)
}

// Where /proc is that of another PID namespace a number means another process.
func TestForeignProcfs(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := quiet(t)
		// In the container 1 is its init; the caller, outside, means another.
		words := by.expand(t, c, "/bin/busybox", "hostname")
		for i := range words {
			switch words[i] {
			case strconv.Itoa(c.pid):
				words[i] = "1"
			case "-a": // asks /proc/self, which is not there
				words[i] = "-u"
			}
		}
		line := fmt.Sprintf(`mount --make-rprivate / && nsenter -t %d -p mount -t proc proc /proc && exec "$@"`, c.pid)
		out, err := command(t, append([]string{"unshare", "-m", "sh", "-c", line, "sh"}, words...)...).CombinedOutput()
		if err == nil && string(out) == "cage\n" {
			return "entered the container, whose process 1 was not meant"
		}
		if err == nil {
			return "entered something: " + string(out)
		}
		if by.name == nstool.name && !strings.Contains(string(out), "/proc") {
			t.Errorf("it does not say what is wrong: %s", out)
		}
		return ""
	}}.run(t)
}

// What says it is a namespace may be a FIFO, or one of another type.
func TestNamespaceFileTypes(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		dir := t.TempDir()
		mustFIFO(t, filepath.Join(dir, "fifo"))
		mustWrite(t, filepath.Join(dir, "file"), "", 0o600)
		for _, tc := range []struct{ name, path string }{
			{"a FIFO", filepath.Join(dir, "fifo")},
			{"a file", filepath.Join(dir, "file")},
			{"a directory", dir},
			{"a device", "/dev/zero"},
			{"a namespace of another type", "/proc/self/ns/uts"},
			{"a file of procfs", "/proc/self/status"},
		} {
			words := []string{program(t, by.words[0]), "--net=" + tc.path, "/bin/true"}
			if by.name == nstool.name {
				words = []string{program(t, "nstool"), "enter", "--net=" + tc.path, "/bin/true"}
			}
			start := time.Now()
			cmd := exec.Command(words[0], words[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			over := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() }) //nolint:errcheck // it has ended
			err := cmd.Wait()
			over.Stop()
			if err == nil {
				return tc.name + " was joined"
			}
			if time.Since(start) > 2*time.Second {
				return tc.name + " was waited for"
			}
		}
		return ""
	}}.run(t)
}

// Whatever a container has for a shell, and for a list of users that names it,
// nobody waits for it, and it has no more rights than the container.
func TestHostileShell(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "mknod")
	sh := ""
	write := func(text string, mode os.FileMode) func(t *testing.T) {
		return func(t *testing.T) { mustWrite(t, sh, text, mode) }
	}
	link := func(to string) func(t *testing.T) {
		return func(t *testing.T) {
			if err := os.Symlink(to, sh); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		make   func(t *testing.T)
		status int
		says   string
	}{
		{name: "FIFO", make: func(t *testing.T) { mustFIFO(t, sh) }, status: 126, says: "permission denied"},
		{name: "directory", make: func(t *testing.T) {
			if err := os.Mkdir(sh, 0o700); err != nil {
				t.Fatal(err)
			}
		}, status: 126, says: "permission denied"},
		{name: "device", make: func(t *testing.T) {
			if out, err := exec.Command("mknod", "-m", "755", sh, "c", "1", "3").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, status: 126, says: "permission denied"},
		{name: "program of the host", make: write("#!"+program(t, "nstool")+"\n", 0o755), status: 126, says: "its interpreter or dynamic loader is not"},
		{name: "itself", make: link("sh"), status: 126, says: "too many levels of symbolic links"},
		{name: "link to a FIFO", make: func(t *testing.T) { mustFIFO(t, sh+".fifo"); link("sh.fifo")(t) }, status: 126, says: "permission denied"},
		{name: "own interpreter", make: write("#!/bin/sh\n", 0o755), status: 126},
		{name: "nothing in it", make: write("", 0o755), status: 126, says: "it is no program for this machine"},
		{name: "zeroes", make: write(strings.Repeat("\x00", 100000), 0o755), status: 126, says: "it is no program for this machine"},
		{name: "half a program", make: write("\x7fELF", 0o755), status: 126, says: "it is no program for this machine"},
		{name: "set-user-ID", make: func(t *testing.T) {
			copyFile(t, filepath.Join(filepath.Dir(sh), "busybox"), sh)
			if err := os.Chmod(sh, 0o755|os.ModeSetuid); err != nil {
				t.Fatal(err)
			}
		}, says: "CapEff:\t00000000" + capsDefault + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCage(t, func(root string) {
				sh = filepath.Join(root, "bin/sh")
				for _, name := range []string{"sh", "bash", "ash"} {
					_ = os.Remove(filepath.Join(root, "bin", name)) //nolint:errcheck // it may not be there
				}
				tc.make(t)
				mustFIFO(t, filepath.Join(root, "etc/passwd"))
			}, []string{"-c", capsDefault, "-n", "-s"}, "/bin/attack", "sleep")
			for _, words := range [][]string{{"sh", "-c", "grep CapEff /proc/self/status"}, {}} {
				cmd := command(t, nstool.expand(t, c, words...)...)
				cmd.Stdin = strings.NewReader("grep CapEff /proc/self/status\n")
				out, err := cmd.CombinedOutput()
				status := 0
				if e, ok := errors.AsType[*exec.ExitError](err); ok {
					status = e.ExitCode()
				}
				want := tc.status
				if len(words) == 0 && tc.name == "itself" {
					want = 127 // as if there were none
				}
				if status != want || want == tc.status && !strings.Contains(string(out), tc.says) || strings.Count(string(out), "\n") > 2 {
					t.Errorf("%v: status %d, not %d: %s", words, status, want, out)
				}
			}
		})
	}
}

// A target that may do next to nothing is entered all the same, and its visitor
// may do no more.
func TestTargetLimits(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "prlimit")
	for _, limit := range []string{"nofile", "nproc", "fsize", "memlock", "sigpending", "msgqueue", "locks", "core"} {
		t.Run(limit, func(t *testing.T) {
			c := quiet(t)
			if out, err := exec.Command("prlimit", "--pid", strconv.Itoa(c.pid), "--"+limit+"=0:0").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, flags := range [][]string{nil, {"--tools=" + nstest.Busybox(t)}} {
				by := entrant{name: "nstool", words: slices.Concat([]string{"nstool", "enter", "-p", "PID"}, flags, []string{"--"})}
				out, err := command(t, by.expand(t, c, "/bin/sh", "-c", "echo in")...).CombinedOutput()
				if err != nil || string(out) != "in\n" {
					t.Errorf("%v: %v: %s", flags, err, out)
				}
			}
		})
	}
}

// The root directory of a process that was chrooted is not that of its mount
// namespace.
func TestChrootTarget(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault, "-C"}, "/bin/attack", "sleep")
		out, err := command(t, by.expand(t, c, inside...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "/etc/inside") {
			return fmt.Sprintf("it is not the container's root: %v: %s", err, out)
		}
		// The way up is the way out.
		out, err = command(t, by.expand(t, c, "/bin/busybox", "ls", "../../../../etc/inside")...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("it is not closed: %v: %s", err, out)
		}
		return ""
	}}.run(t)
}

// A root file system of FIFOs and worse: whatever is opened by path waits for
// ever. The control looks a user up inside, as tools do that want to know a
// home directory.
func TestHostileRootfs(t *testing.T) {
	attack{plain("-p"), func(t *testing.T, by entrant) string {
		c := newCage(t, hostile(t), []string{"-c", capsDefault, "-n", "-s"}, "/bin/attack", "sleep")
		for _, words := range [][]string{{"/bin/busybox", "echo", "inside"}, nil} {
			if words == nil && by.name != nstool.name {
				continue
			}
			cmd := exec.Command(by.expand(t, c, words...)[0], by.expand(t, c, words...)[1:]...)
			if words == nil {
				cmd.Stdin = strings.NewReader("echo inside\n")
			}
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.WaitDelay = 100 * time.Millisecond
			over := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() }) //nolint:errcheck // it has ended
			err := cmd.Run()
			over.Stop()
			if err != nil || !strings.Contains(out.String(), "inside") {
				return fmt.Sprintf("did not get in: %v: %s", err, out.String())
			}
		}
		return ""
	}}.run(t)
}

// hostile puts a FIFO where a C library, Go's run time or a careless tool might
// look.
func hostile(t *testing.T) func(root string) {
	return func(root string) {
		for _, name := range []string{
			"etc/passwd", "etc/group", "etc/shadow", "etc/nsswitch.conf", "etc/localtime", "etc/ld.so.cache", "etc/ld.so.preload", "etc/hosts", "etc/resolv.conf", "etc/profile.d/x.sh",
			"etc/mtab", "etc/selinux/config", "etc/login.defs", "etc/shells", "etc/hostname", "etc/os-release", "etc/environment", "etc/inputrc", "etc/terminfo/x/xterm",
			"usr/lib/locale/locale-archive", "usr/share/locale/locale.alias", "usr/share/zoneinfo/UTC", "usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "lib/x86_64-linux-gnu/libc.so.6", "lib64/libc.so.6",
			"sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "sys/fs/cgroup/cgroup.procs", "run/nstool/x", "root/.bashrc", "var/run/nscd/socket", "bin/true.d/x", "usr/bin/env",
		} {
			mustFIFO(t, filepath.Join(root, name))
		}
	}
}

// While one tool opens the namespaces of a process one after the other, the
// process ends and another takes its number: some are of the one and some of
// the other. strace(1) makes the opens slow; the number is had anew by
// ns_last_pid.
func TestPIDReuse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	nstest.Need(t, "root", "strace", "unshare")
	attack{nsenter, func(t *testing.T, by entrant) string {
		// Everything happens in a PID namespace of its own, where numbers are
		// not used up by others: each swap is a script that prints what the
		// entered program saw, and what the two processes were.
		tool := strings.Join(by.words, " ")
		tool = strings.Replace(tool, by.words[0], program(t, by.words[0]), 1)
		tool = strings.ReplaceAll(tool, " --", "")
		types := "-u -i -n"
		tool = strings.Replace(tool, "-a", types, 1)
		calls := "openat"
		script := fmt.Sprintf(`mount -t proc proc /proc
tmp=$(mktemp -d)
one() { echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid; unshare -u -i -n /bin/busybox sleep 60 & last=$!; }
export LC_ALL=C
for delay; do
	one 1000; a=$last; sleep 0.2
	A=$(readlink /proc/$a/ns/uts)/$(readlink /proc/$a/ns/ipc)/$(readlink /proc/$a/ns/net)
	strace -f -qq -o /dev/null -e trace=%s -e inject=%s:delay_enter=60000 %s /bin/sh -c 'echo saw $(readlink /proc/self/ns/uts)/$(readlink /proc/self/ns/ipc)/$(readlink /proc/self/ns/net)' >$tmp/out 2>$tmp/err &
	tool=$!
	sleep 0.$delay
	kill -9 $a; wait $a 2>/dev/null
	one $a; b=$last; sleep 0.2
	B=$(readlink /proc/$b/ns/uts)/$(readlink /proc/$b/ns/ipc)/$(readlink /proc/$b/ns/net)
	wait $tool
	saw=$(sed -n 's/^saw //p' $tmp/out)
	[ $a = $b ] && echo "swap $saw first $A second $B"
	kill -9 $b; wait $b 2>/dev/null
done
rm -r $tmp
`, calls, calls, strings.ReplaceAll(tool, "PID", "$a"))
		// They wait most of the time, so three go at once.
		var all sync.WaitGroup
		outs := make([][]byte, 3)
		for i, delays := range [][]string{{"250", "300", "350"}, {"400", "450", "500"}, {"550", "600", "650"}} {
			all.Go(func() {
				cmd := exec.Command("unshare", append([]string{"-p", "-m", "-f", "bash", "-c", script, "bash"}, delays...)...)
				over := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() }) //nolint:errcheck // it has ended
				defer over.Stop()
				var err error
				if outs[i], err = cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, outs[i])
				}
			})
		}
		all.Wait()
		swaps, entered := 0, 0
		out := bytes.Join(outs, nil)
		for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
			var saw, first, second string
			line := strings.Replace(sc.Text(), "swap  first", "swap - first", 1)
			if n, _ := fmt.Sscanf(line, "swap %s first %s second %s", &saw, &first, &second); n != 3 { //nolint:errcheck // n says it
				continue
			}
			swaps++
			switch saw {
			case "-":
			case first, second:
				entered++
			default:
				return fmt.Sprintf("mixed: %s of %s and %s", saw, first, second)
			}
		}
		if swaps < 3 {
			t.Fatalf("only %d swaps: %s", swaps, out)
		}
		t.Logf("%d swaps, %d entered", swaps, entered)
		return ""
	}}.run(t)
}

package attack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// begin starts a program inside and waits for its first line.
func begin(t *testing.T, by entrant, c *cage, words ...string) (cmd *exec.Cmd, out io.ReadCloser) {
	t.Helper()
	cmd = exec.Command(by.expand(t, c, words...)[0], by.expand(t, c, words...)[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) //nolint:errcheck // it has ended
	t.Cleanup(func() { over.Stop() })
	if _, err := out.Read(make([]byte, 64)); err != nil {
		_ = cmd.Wait() //nolint:errcheck // it failed
		t.Fatalf("%v said nothing: %s", cmd, errs.String())
	}
	return cmd, out
}

// Whatever ends the tool ends the program.
func TestOrphanOnSignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			attack{nsenter, func(t *testing.T, by entrant) string {
				c := quiet(t)
				cmd, _ := begin(t, by, c, "/bin/sh", "-c", "echo ready; while :; do sleep 1; done")
				if len(c.members()) == 0 {
					t.Fatal("the program is not in the container")
				}
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() //nolint:errcheck // it was killed
				if !eventually(time.Second, func() bool { return len(c.members()) == 0 }) {
					// A "sleep 1" of the shell's may live on, for a second.
					if eventually(time.Second, func() bool { return len(c.members()) == 0 }) {
						return ""
					}
					return fmt.Sprintf("%v still run", c.members())
				}
				return ""
			}}.run(t)
		})
	}
}

// Killed at any moment, nstool leaves nobody inside.
func TestOrphanAtAnyTime(t *testing.T) {
	c := quiet(t)
	n := 100
	if testing.Short() {
		n = 20
	}
	words := nstool.expand(t, c, "/bin/attack", "sleep")
	for i := range n {
		cmd := exec.Command(words[0], words[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i*97%12000) * time.Microsecond)
		_ = cmd.Process.Kill() //nolint:errcheck // it has ended
		_ = cmd.Wait()         //nolint:errcheck // it was killed
	}
	if !eventually(time.Second, func() bool { return len(c.members()) == 0 }) {
		t.Errorf("%v still run", c.members())
	}
}

func TestExitCodes(t *testing.T) {
	attack{plain("-e"), func(t *testing.T, by entrant) string {
		c := newCage(t, func(root string) {
			mustWrite(t, filepath.Join(root, "bin/data"), "no program", 0o644)
		}, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		for _, tc := range []struct {
			want  int
			words []string
		}{
			{0, []string{"/bin/sh", "-c", "exit 0"}},
			{1, []string{"/bin/sh", "-c", "exit 1"}},
			{125, []string{"/bin/sh", "-c", "exit 125"}},
			{255, []string{"/bin/sh", "-c", "exit 255"}},
			{128 + 15, []string{"/bin/sh", "-c", "kill -TERM $$"}},
			{128 + 9, []string{"/bin/sh", "-c", "kill -KILL $$"}},
			{128 + 11, []string{"/bin/sh", "-c", "kill -SEGV $$"}},
			{127, []string{"/bin/nothing"}},
			{127, []string{"nothing"}},
			{126, []string{"/bin/data"}},
			{126, []string{"/bin"}},
		} {
			err := command(t, by.expand(t, c, tc.words...)...).Run()
			code := 0
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				code = e.ExitCode()
			}
			if code != tc.want {
				return fmt.Sprintf("%v ended with %d, not %d", tc.words, code, tc.want)
			}
		}
		return ""
	}}.run(t)
}

// A process of the host that dumps core inside writes its memory there.
func TestCoreDump(t *testing.T) {
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err != nil || strings.HasPrefix(string(pattern), "|") || strings.HasPrefix(string(pattern), "/") {
		t.Skipf("core_pattern is %q: cores go elsewhere here", pattern)
	}
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		words := append([]string{"/bin/busybox", "sh", "-c", `ulimit -c unlimited; exec "$@"`, "sh"}, by.expand(t, c, "/bin/sh", "-c", "echo ready; sleep 1")...)
		cmd := command(t, words...)
		cmd.Dir = t.TempDir()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGSEGV); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() //nolint:errcheck // it was killed
		cores, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/core*", c.pid))
		if err != nil {
			t.Fatal(err)
		}
		if len(cores) > 0 {
			return fmt.Sprint(cores)
		}
		return ""
	}}.run(t)
}

// The tool ends with the program, though somebody inside keeps its descriptors.
// nsenter does, as it has nothing in between; a proxy that waits for the end of
// the pipe does not, and is the control.
func TestBackgroundHolder(t *testing.T) {
	naive := entrant{name: "naive", words: []string{"/bin/busybox", "sh", "-c", `/usr/bin/nsenter -t "$0" -a -- "$@" | cat`, "PID"}}
	attack{naive, func(t *testing.T, by entrant) string {
		c := quiet(t)
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd := command(t, by.expand(t, c, "/bin/attack", "background")...)
		cmd.Stdout = file
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := func() bool {
			b, err := os.ReadFile(file.Name())
			return err == nil && string(b) == "done\n"
		}
		if !eventually(patience, done) {
			t.Fatal("the program said nothing")
		}
		start := time.Now()
		over := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() }) //nolint:errcheck // it has ended
		defer over.Stop()
		_ = cmd.Wait() //nolint:errcheck // it may be killed
		// 200 ms are promised; the machine may be busy.
		if d := time.Since(start); d > 700*time.Millisecond {
			return fmt.Sprintf("ended after %v", d)
		}
		return ""
	}}.run(t)
}

// When the container ends so does the program, and the tool says so. One who
// stays out of the PID namespace does not notice.
func TestTargetDies(t *testing.T) {
	attack{plain("-k"), func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		cmd, _ := begin(t, by, c, "/bin/sh", "-c", "echo ready; sleep 3")
		if err := syscall.Kill(c.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 128+9 {
				t.Errorf("got %v", err)
			}
			return ""
		case <-time.After(time.Second):
			<-ended
			return "still runs after a second"
		}
	}}.run(t)
}

// Bytes arrive, as they are, in both directions at once, through redirected
// files and through pipes. The control is a proxy that writes all before it
// reads anything.
func TestStdioIntegrity(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + i>>8 + i>>16)
	}
	want := sha256.Sum256(data)
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c := quiet(t)
	words := nstool.expand(t, c, "/bin/cat")

	t.Run("control", func(t *testing.T) {
		cmd := exec.Command(program(t, "nsenter"), "-t", strconv.Itoa(c.pid), "-a", "/bin/cat")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cmd.StdoutPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written := make(chan struct{})
		go func() { _, _ = stdin.Write(data); close(written) }() //nolint:errcheck // it is cut off
		select {
		case <-written:
			t.Error("the naive proxy got through: the size proves nothing")
		case <-time.After(time.Second):
		}
		_ = cmd.Process.Kill() //nolint:errcheck // it has ended
		_ = cmd.Wait()         //nolint:errcheck // it was killed
		<-written
	})
	t.Run("files", func(t *testing.T) {
		out := filepath.Join(dir, "out")
		cmd := command(t, append([]string{"/bin/busybox", "sh", "-c", `"$@" <` + in + ` >` + out, "sh"}, words...)...)
		start := time.Now()
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		took := time.Since(start)
		got, err := os.ReadFile(out)
		if err != nil || sha256.Sum256(got) != want {
			t.Errorf("%d of %d bytes, or others: %v", len(got), size, err)
		}
		t.Logf("%.0f MB/s", float64(size)/took.Seconds()/1e6)
	})
	t.Run("pipes", func(t *testing.T) {
		cmd := command(t, words...)
		cmd.Stdin = bytes.NewReader(data)
		cmd.WaitDelay = patience // 64 MB may still be in the way on a busy machine
		got, err := cmd.Output()
		if err != nil || sha256.Sum256(got) != want {
			t.Errorf("%d of %d bytes, or others: %v", len(got), size, err)
		}
	})
	t.Run("append", func(t *testing.T) {
		out := filepath.Join(dir, "appended")
		mustWrite(t, out, "first\n", 0o600)
		line := `"$@" -c "echo out; echo err >&2; echo out" >>` + out + ` 2>&1`
		if text, err := command(t, append([]string{"/bin/busybox", "sh", "-c", line, "sh"}, nstool.expand(t, c, "/bin/sh")...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if got, err := os.ReadFile(out); err != nil || string(got) != "first\nout\nerr\nout\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// A quick exit loses nothing.
func TestQuickExit(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 30
	}
	c := quiet(t)
	words := nstool.expand(t, c, "/bin/busybox", "printf", "%01000d", "7")
	out := filepath.Join(t.TempDir(), "out")
	for i := range n {
		f, err := os.Create(out)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdout = f
		err = cmd.Run()
		f.Close()
		if b, rerr := os.ReadFile(out); err != nil || rerr != nil || len(b) != 1000 {
			t.Fatalf("run %d: %d bytes, %v, %v", i, len(b), err, rerr)
		}
	}
}

// What is closed stays closed, and what the program has not read of a file is
// there for the next one.
func TestStdioOdd(t *testing.T) {
	c := quiet(t)
	host := program(t, "attack")
	for _, tc := range []struct{ closed, want string }{
		{"0", "fd 1 pipe"}, {"2", "fd 1 pipe"}, {"02", "fd 1 pipe"},
	} {
		words := append([]string{host, "closed", tc.closed}, nstool.expand(t, c, "/bin/attack", "facts")...)
		out, err := command(t, words...).Output()
		if err != nil {
			t.Errorf("without %s: %v", tc.closed, err)
		}
		for _, fd := range tc.closed {
			if strings.Contains(string(out), fmt.Sprintf("\nfd %c ", fd)) || strings.HasPrefix(string(out), fmt.Sprintf("fd %c ", fd)) {
				t.Errorf("without %s: descriptor %c is open: %q", tc.closed, fd, strings.SplitN(string(out), "cwd", 2)[0])
			}
		}
	}

	in := filepath.Join(t.TempDir(), "lines")
	mustWrite(t, in, "one\ntwo\nthree\n", 0o600)
	f, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := command(t, nstool.expand(t, c, "/bin/busybox", "true")...)
	cmd.Stdin = f
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(f); err != nil || string(rest) != "one\ntwo\nthree\n" {
		t.Errorf("a program that reads nothing left %q, %v", rest, err)
	}
}

// The program that is stopped stops the tool, and both go on together; signals
// are passed on.
func TestSignals(t *testing.T) {
	tools := entrant{name: "nstool", words: []string{"nstool", "enter", "-p", "PID", "--tools=" + nstest.Busybox(t), "--"}}
	t.Run("plain", func(t *testing.T) { testSignals(t, nstool) })
	t.Run("tools", func(t *testing.T) { testSignals(t, tools) })
}

func testSignals(t *testing.T, by entrant) {
	c := quiet(t)
	cmd, out := begin(t, by, c, "/bin/attack", "signals")
	buf := make([]byte, 256)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGWINCH} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		n, err := out.Read(buf)
		if got, want := string(buf[:n]), fmt.Sprintf("signal %d\n", s); err != nil || got != want {
			t.Fatalf("got %q, not %q: %v: %v: %s", got, want, err, cmd.Wait(), cmd.Stderr)
		}
	}
	members := slices.DeleteFunc(c.members(), func(pid int) bool {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(comm) == "nstool-keeper\n"
	})
	if len(members) != 1 {
		t.Fatalf("members: %v", members)
	}
	if err := syscall.Kill(members[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return stateOf(cmd.Process.Pid) == "T" }) {
		t.Error("the program was stopped, and the tool was not")
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return stateOf(members[0]) == "S" }) {
		t.Error("the tool was continued, and the program was not")
	}
	if err := cmd.Process.Signal(syscall.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return stateOf(members[0]) == "T" && stateOf(cmd.Process.Pid) == "T" }) {
		t.Error("SIGTSTP did not stop both")
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// What is meant for a whole job reaches all of it: the program and its children.
func TestSignalsOfGroup(t *testing.T) {
	for name, flags := range map[string][]string{"plain": nil, "tools": {"--tools=" + nstest.Busybox(t)}} {
		t.Run(name, func(t *testing.T) {
			c := quiet(t)
			by := entrant{name: "nstool", words: slices.Concat([]string{"nstool", "enter", "-p", "PID"}, flags, []string{"--"})}
			cmd, _ := begin(t, by, c, "/bin/sh", "-c", `sleep 77 & echo ready; wait; echo "<$?>"`)
			sleeper := func() int {
				for _, pid := range c.members() {
					if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(text) == "sleep\x0077\x00" {
						return pid
					}
				}
				return 0
			}
			if !eventually(patience, func() bool { return sleeper() != 0 }) {
				t.Fatal("the program has no child")
			}
			child := sleeper()
			for _, s := range []struct {
				signal syscall.Signal
				state  string
			}{{syscall.SIGTSTP, "T"}, {syscall.SIGCONT, "S"}, {syscall.SIGTSTP, "T"}, {syscall.SIGCONT, "S"}, {syscall.SIGHUP, ""}} {
				if err := cmd.Process.Signal(s.signal); err != nil {
					t.Fatal(err)
				}
				if !eventually(patience, func() bool { return stateOf(child) == s.state || s.state == "" && stateOf(child) == "Z" }) {
					t.Fatalf("%v: the child of the program is in state %q, not %q", s.signal, stateOf(child), s.state)
				}
				if s.state == "T" && !eventually(patience, func() bool { return stateOf(cmd.Process.Pid) == "T" }) {
					t.Fatalf("%v: nstool is in state %q", s.signal, stateOf(cmd.Process.Pid))
				}
			}
			_ = cmd.Wait() //nolint:errcheck // it was ended
		})
	}
}

// Who reads no more ends the program by SIGPIPE, as in a shell.
func TestBrokenPipe(t *testing.T) {
	c := quiet(t)
	out, err := command(t, append([]string{"/bin/busybox", "sh", "-c", `{ "$@"; echo "<$?>" >&2; } | head -c 2`, "sh"}, nstool.expand(t, c, "/bin/busybox", "yes")...)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "<141>") {
		t.Errorf("got %q, %v", out, err)
	}
	// A file that cannot be written to is said.
	out, err = command(t, append([]string{"/bin/busybox", "sh", "-c", `"$@" >/dev/full`, "sh"}, nstool.expand(t, c, "/bin/busybox", "echo", "x")...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no space left") {
		t.Errorf("/dev/full: got %q, %v", out, err)
	}
}

// Whatever the process that joins waits for, whoever entered can end it.
func TestInterrupted(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "strace")
	c := quiet(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		words := append([]string{program(t, "strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=setns", "-e", "inject=setns:signal=SIGSTOP:when=1"}, nstool.expand(t, c, "/bin/attack", "sleep")...)
		cmd := command(t, words...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		start := time.Now()
		if err := syscall.Kill(entrantOf(t, cmd.Process.Pid), signal); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 125 {
			t.Errorf("%v: got %v", signal, err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%v: ended after %v", signal, d)
		}
	}
	if left := c.members(); len(left) > 0 {
		t.Errorf("left inside: %v", left)
	}
}

// A container that is frozen while it is joined holds up nobody who has enough of
// it: of cgroup version 1 not even a killed process ends before it is thawed.
func TestFrozenMidway(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "strace")
	var group string
	for _, procs := range cgroups(t, fmt.Sprintf("nstool-frozen:%d", os.Getpid())) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(procs), "freezer.state")); err == nil {
			group = filepath.Dir(procs)
		}
	}
	if group == "" {
		t.Skip("no freezer of cgroup version 1 is mounted")
	}
	procs := filepath.Join(group, "cgroup.procs")
	c := newCage(t, nil, []string{"-c", capsDefault, "-g", procs}, "/bin/attack", "sleep")
	set := func(state string) {
		if err := os.WriteFile(filepath.Join(group, "freezer.state"), []byte(state), 0); err != nil {
			t.Fatal(err)
		}
	}
	members := func() int {
		b, err := os.ReadFile(procs)
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.Fields(string(b)))
	}
	before := members()
	defer set("THAWED")
	words := append([]string{program(t, "strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=setns", "-e", "inject=setns:delay_enter=1000000:when=1"}, nstool.expand(t, c, "/bin/attack", "sleep")...)
	cmd := command(t, words...)
	var says strings.Builder
	cmd.Stderr = &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return members() > before }) {
		t.Fatal("nobody joins")
	}
	set("FROZEN")
	pid := entrantOf(t, cmd.Process.Pid)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience/2, func() bool { return strings.Trim(stateOf(pid), "Z") == "" }) {
		t.Errorf("nstool is in state %s", stateOf(pid))
	}
	set("THAWED")
	err := cmd.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 125 || !strings.Contains(says.String(), "frozen") {
		t.Errorf("%v: %s", err, says.String())
	}
	if !eventually(patience, func() bool { return len(c.members()) == 0 && members() == before }) {
		t.Errorf("%v still run", c.members())
	}
}

// Where somebody traces the first process, another with as many filters shows them.
func TestTracedTwin(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "strace")
	c := quiet(t)
	twin, _ := begin(t, nstool, c, "/bin/sh", "-c", "echo ready; while :; do sleep 1; done")
	defer func() {
		_ = twin.Process.Kill() //nolint:errcheck // it is to end
		_ = twin.Wait()         //nolint:errcheck // it was ended
	}()
	tracer := exec.Command(program(t, "strace"), "-qq", "-o", "/dev/null", "-p", strconv.Itoa(c.pid))
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = tracer.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it has ended
		_ = tracer.Wait()                          //nolint:errcheck // it was ended
	}()
	status := func() string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid)) //nolint:errcheck // then it is empty
		return string(b)
	}
	if !eventually(patience, func() bool { return status() != "" && !strings.Contains(status(), "TracerPid:\t0\n") }) {
		t.Fatal("it is not traced")
	}
	out, err := command(t, nstool.expand(t, c, "/bin/busybox", "grep", "Seccomp", "/proc/self/status")...).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "Seccomp:\t2\n") || !strings.Contains(status(), string(out)) {
		t.Errorf("%v: %s", err, out)
	}
}

// A target that somebody else traces, and one that is stopped.
func TestTracedAndStopped(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "strace")
	c := quiet(t)
	tracer := exec.Command(program(t, "strace"), "-qq", "-o", "/dev/null", "-p", strconv.Itoa(c.pid))
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	traced := func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
		return err == nil && !strings.Contains(string(status), "TracerPid:\t0\n")
	}
	if !eventually(patience, traced) {
		t.Fatal("it is not traced")
	}
	out, err := command(t, nstool.expand(t, c, "/bin/busybox", "echo", "inside")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "traces it") {
		t.Errorf("traced: %v: %s", err, out)
	}
	_ = tracer.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it has ended
	_ = tracer.Wait()                          //nolint:errcheck // it was ended

	if err := syscall.Kill(c.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(patience, func() bool { return stateOf(c.pid) == "T" })
	if out, err := command(t, nstool.expand(t, c, "/bin/busybox", "echo", "inside")...).CombinedOutput(); err != nil || string(out) != "inside\n" {
		t.Errorf("stopped: %v: %s", err, out)
	}
	if state := stateOf(c.pid); state != "T" {
		t.Errorf("it was stopped, and is %s", state)
	}
	if err := syscall.Kill(c.pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { return stateOf(c.pid) == "S" }) {
		t.Errorf("continued, it is %s", stateOf(c.pid))
	}
}

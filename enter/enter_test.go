package enter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
)

// output runs cmd and returns what it writes.
func output(t testing.TB, cmd *enter.Cmd) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	done := make(chan error, 1)
	go func() {
		done <- cmd.Run(t.Context())
		w.Close()
	}()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), <-done
}

func open(t testing.TB, pid int) *enter.Target {
	t.Helper()
	target, err := enter.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// showNamespaces is a command that prints the namespaces it is in.
const showNamespaces = `for t in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$t; done`

// subsets yields the types alone, in pairs, and all at once.
func subsets(types []string) (list [][]string) {
	for i, a := range types {
		list = append(list, []string{a})
		if testing.Short() {
			continue // one by one, and all at once
		}
		for _, b := range types[i+1:] {
			list = append(list, []string{a, b})
		}
	}
	return append(list, types)
}

func TestJoin(t *testing.T) {
	t.Run("privileged", func(t *testing.T) {
		nstest.Need(t, "root")
		if !testing.Short() {
			testJoin(t, []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "uts"}, nil)
		}
		testJoin(t, []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}, nil)
	})
	t.Run("own user namespace", func(t *testing.T) {
		nstest.Need(t, "userns")
		testJoin(t, []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "uts"}, []string{"user"})
	})
}

// testJoin joins subsets of types of a sandbox, always with others.
func testJoin(t *testing.T, types, always []string) {
	box := nstest.Sandbox(t, append(slices.Clone(types), always...)...)
	for _, subset := range subsets(types) {
		joined := append(slices.Clone(subset), always...)
		if slices.Contains(joined, "mnt") && !slices.Contains(joined, "pid") {
			joined = append(joined, "pid") // whose procfs is in there
		}
		t.Run(strings.Join(joined, ","), func(t *testing.T) {
			cmd := enter.Command(open(t, box.PID), "sh", "-c", showNamespaces)
			// What a process may do in a user namespace is nothing outside.
			cmd.Privileged = slices.Contains(types, "user") && !slices.Contains(joined, "user")
			var flags []string
			for _, name := range joined {
				typ, err := inspect.ParseType(name)
				if err != nil {
					t.Fatal(err)
				}
				cmd.Types = cmd.Types.With(typ)
				flags = append(flags, map[string]string{"mnt": "--mount"}[name])
				if name != "mnt" {
					flags[len(flags)-1] = "--" + name
				}
			}
			got, err := output(t, cmd)
			if err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			var want strings.Builder
			for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
				typ, _ := inspect.ParseType(name)
				ino := box.Ino[name]
				if !cmd.Types.Has(typ) {
					ino = ownIno(t, typ)
				}
				fmt.Fprintf(&want, "%s:[%d]\n", name, ino)
			}
			if got != want.String() {
				t.Errorf("got\n%swant\n%s", got, want.String())
			}
			if path, err := exec.LookPath("nsenter"); err == nil {
				args := append([]string{"-t", strconv.Itoa(box.PID)}, flags...)
				out, err := exec.Command(path, append(args, "sh", "-c", showNamespaces)...).Output()
				if err == nil && string(out) != got {
					t.Errorf("nsenter %v has\n%swe have\n%s", args, out, got)
				}
			}
		})
	}
}

func ownIno(t testing.TB, typ inspect.Type) uint64 {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/" + typ.String())
	if err != nil {
		t.Fatal(err)
	}
	_, ino, _ := inspect.ParseLink(link)
	return ino
}

func TestExit(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "pid")
	for _, tc := range []struct {
		script string
		want   enter.ExitError
	}{
		{"exit 7", enter.ExitError{Code: 7}},
		{"exit 255", enter.ExitError{Code: 255}},
		{"kill -9 $$", enter.ExitError{Code: -1, Signal: syscall.SIGKILL}},
		{"kill -SEGV $$", enter.ExitError{Code: -1, Signal: syscall.SIGSEGV}},
	} {
		cmd := enter.Command(open(t, box.PID), "sh", "-c", "ulimit -c 0; "+tc.script)
		cmd.Types = inspect.TypesOf(inspect.User, inspect.PID)
		_, err := output(t, cmd)
		e, ok := errors.AsType[*enter.ExitError](err)
		if !ok || *e != tc.want {
			t.Errorf("%s: %v; want %v", tc.script, err, &tc.want)
		}
	}
}

// A program that was not there is told apart from one that could not be
// executed and from a step that failed before.
func TestNoProgram(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "pid")
	for _, tc := range []struct {
		name string
		want error
	}{
		{"nstool-no-such-program", fs.ErrNotExist},
		{"/nonexistent/program", fs.ErrNotExist},
		{"/etc/passwd", fs.ErrPermission},
		{"/etc", fs.ErrPermission},
	} {
		cmd := enter.Command(open(t, box.PID), tc.name)
		cmd.Types = inspect.TypesOf(inspect.User, inspect.PID)
		_, err := output(t, cmd)
		e, ok := errors.AsType[*enter.StepError](err)
		if !ok || e.Step.Op != enter.Exec || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v; want %v of the last step", tc.name, err, tc.want)
		}
	}
}

// No namespace of the target is left half-way: the first process of its PID
// namespace is dead, so nothing can be started.
func TestDeadPIDNamespace(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Spec{Types: []string{"user"}, Children: []string{"pid"}}.Start(t)
	f := openOf(t, box, "user")[0]
	pidns, err := enter.OpenFile(fmt.Sprintf("/proc/%d/ns/pid_for_children", box.PID), inspect.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer pidns.Close()
	cmd := enter.Command(nil, "echo", "in")
	cmd.Files = map[inspect.Type]*os.File{inspect.User: f, inspect.PID: pidns}
	out, err := output(t, cmd)
	e, ok := errors.AsType[*enter.StepError](err)
	if !ok || !e.Dead() || !strings.Contains(err.Error(), "is dead") || out != "" {
		t.Errorf("got %q, %v", out, err)
	}
}

// The target of `unshare --pid` is not in the namespace that it made: what it
// starts is, and so is what is started by us (util-linux 935).
func TestForChildren(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Spec{Types: []string{"user"}, Children: []string{"time"}}.Start(t)
	cmd := enter.Command(open(t, box.PID), "readlink", "/proc/self/ns/time")
	cmd.Types = inspect.AllTypes
	out, err := output(t, cmd)
	if want := fmt.Sprintf("time:[%d]\n", box.ChildrenIno["time"]); err != nil || out != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

// A namespace shared with the caller is not joined again: that would need
// rights over its owner (util-linux: "-a from inside a user namespace").
func TestSharedIsSkipped(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "uts")
	cmd := enter.Command(open(t, box.PID), "true")
	cmd.Types = inspect.AllTypes
	steps, err := cmd.Plan()
	if err != nil {
		t.Fatal(err)
	}
	var joined []string
	for _, s := range steps {
		if s.Op == enter.Join {
			joined = append(joined, s.Type.String())
		}
	}
	slices.Sort(joined)
	if !slices.Equal(joined, []string{"user", "uts"}) {
		t.Errorf("joined %v", joined)
	}
	if out, err := output(t, cmd); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestThreadTarget(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Spec{Thread: []string{"net"}}.Start(t)
	target, err := enter.OpenThread(box.PID, box.TID)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	cmd := enter.Command(target, "readlink", "/proc/self/ns/net")
	cmd.Types = inspect.TypesOf(inspect.Net)
	out, err := output(t, cmd)
	if want := fmt.Sprintf("net:[%d]\n", box.ThreadIno["net"]); err != nil || out != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func TestTargets(t *testing.T) {
	if _, err := enter.Open(1 << 22); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a PID that cannot be: %v", err)
	}
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait() //nolint:errcheck // it is the point that nobody has waited yet
	waitFor(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", zombie.Process.Pid))
		return err == nil && bytes.Contains(b, []byte(") Z "))
	})
	cmd := enter.Command(open(t, zombie.Process.Pid), "true")
	cmd.Types = inspect.TypesOf(inspect.Net)
	if _, err := cmd.Plan(); err == nil || !strings.Contains(err.Error(), "zombie") {
		t.Errorf("a zombie: %v", err)
	}
	self := open(t, os.Getpid())
	if err := self.Check(1); err == nil {
		t.Error("a pidfd has inode 1")
	} else if errors.Is(err, errors.ErrUnsupported) {
		t.Log(err)
	}
}

func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it did not happen in 5 s")
}

// Nothing is opened that is no namespace, and a FIFO hangs nobody.
func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	fifo := dir + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]string{fifo: "a FIFO", os.DevNull: "a device", dir: "a directory", "/etc/passwd": "a regular file"} {
		if _, err := enter.OpenFile(path, 0); !errors.Is(err, enter.ErrNotNamespace) || !strings.Contains(err.Error(), "it is "+kind) {
			t.Errorf("%s: %v", path, err)
		}
	}
	dangling := dir + "/dangling"
	if err := os.Symlink("/nonexistent", dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := enter.OpenFile(dangling, 0); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "it is a link to /nonexistent, which leads nowhere") {
		t.Errorf("got %v", err)
	}
	if _, err := enter.OpenFile(dir+"/none", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	_, err := enter.OpenFile("/proc/self/ns/net", inspect.UTS)
	if e, ok := errors.AsType[*enter.TypeError](err); !ok || e.Got != inspect.Net || e.Want != inspect.UTS {
		t.Errorf("got %v", err)
	}
}

// The credentials of a user namespace: its root, or who the caller was.
func TestCredentials(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user")
	uid := func(n uint32) *uint32 { return &n }
	for _, tc := range []struct {
		name string
		set  func(*enter.Cmd)
		want string
	}{
		{"root", func(*enter.Cmd) {}, "0 0"},
		{"follow", func(c *enter.Cmd) { c.FollowUID, c.FollowGID = true, true }, "0 0"},
		{"uid", func(c *enter.Cmd) { c.UID, c.GID = uid(0), uid(0) }, "0 0"},
	} {
		cmd := enter.Command(open(t, box.PID), "sh", "-c", "echo $(id -u) $(id -g)")
		cmd.Types = inspect.TypesOf(inspect.User)
		tc.set(cmd)
		out, err := output(t, cmd)
		if err != nil || tc.want != "" && strings.TrimSpace(out) != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, out, err, tc.want)
		}
	}
	cmd := enter.Command(open(t, box.PID), "true")
	cmd.Types = inspect.TypesOf(inspect.User)
	cmd.PreserveCredentials = true
	if out, err := output(t, cmd); os.Geteuid() == 0 && (err == nil || !strings.Contains(err.Error(), "is not in the user namespace to join")) {
		t.Errorf("root stays who it is where it does not exist: %q, %v", out, err)
	} else if os.Geteuid() != 0 && err != nil {
		t.Error(err)
	}
	cmd = enter.Command(open(t, box.PID), "true")
	cmd.Types = inspect.TypesOf(inspect.User)
	cmd.UID = uid(4000000000)
	if _, err := output(t, cmd); err == nil || !strings.Contains(err.Error(), "does not exist in the user namespace") {
		t.Errorf("a user that is not mapped: %v", err)
	}
}

// Nothing of the caller's descriptors reaches the program, whatever their
// flags.
func TestDescriptors(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "pid")
	fd, err := syscall.Open("/", syscall.O_RDONLY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	for _, types := range []inspect.Types{inspect.TypesOf(inspect.User), inspect.TypesOf(inspect.User, inspect.PID)} {
		cmd := enter.Command(open(t, box.PID), "sh", "-c", "ls /proc/self/fd")
		cmd.Types = types
		out, err := output(t, cmd)
		// 3 is the directory that ls reads.
		if err != nil || out != "0\n1\n2\n3\n" {
			t.Errorf("%s: %q, %v", types, out, err)
		}
	}
}

// A step that fails ends it before the program runs.
func TestDenied(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("nothing is denied to root")
	}
	cmd := enter.Command(open(t, os.Getpid()), "echo", "in")
	ns, err := enter.OpenFile("/proc/self/ns/net", inspect.Net)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	box := nstest.Sandbox(t, "user", "net")
	f := openOf(t, box, "net")[0]
	cmd.Files = map[inspect.Type]*os.File{inspect.Net: f}
	out, err := output(t, cmd)
	e, ok := errors.AsType[*enter.StepError](err)
	if !ok || e.Denial == nil || e.Denial.Owner != box.Ino["user"] || !errors.Is(err, fs.ErrPermission) || out != "" {
		t.Errorf("got %q, %v", out, err)
	}
}

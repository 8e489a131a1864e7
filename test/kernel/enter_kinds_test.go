package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// tryEnter runs nstool and returns its status and what it wrote.
func tryEnter(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out, err := exec.Command(program(t), args...).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	if ok {
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

// A process that has ended, and one that never was a program, are told so,
// whatever is asked of them.
func TestEnterZombieAndKernelThread(t *testing.T) {
	nstest.Need(t, "root")
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait() //nolint:errcheck // it is the point that nobody has waited yet
	pid := fmt.Sprint(zombie.Process.Pid)
	until(t, "it has ended", func() bool { return strings.Contains(read("/proc/"+pid+"/stat"), ") Z ") })
	for _, flags := range []string{"--all", "--net", "--mnt", "--user --root", "--user --wd", "--user --env", "--user --join-cgroup"} {
		args := append([]string{"enter", "-p", pid}, append(strings.Fields(flags), "true")...)
		if status, out := tryEnter(t, args...); status != 125 || !strings.Contains(out, "it is a zombie and has none any more") || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
	if !strings.HasPrefix(read("/proc/2/stat"), "2 (kthreadd)") {
		t.Skip("the kernel's threads are not to be seen")
	}
	for _, flags := range []string{"--net --env"} {
		args := append([]string{"enter", "-p", "2"}, append(strings.Fields(flags), "true")...)
		if status, out := tryEnter(t, args...); status != 125 || !strings.Contains(out, "it is a thread of the kernel and has none") || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
	// It is in the namespaces of the host, as nsenter has it.
	if status, out := tryEnter(t, "enter", "-p", "2", "--net", "--uts", "readlink", "/proc/self/ns/net"); status != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("status %d: %s", status, out)
	}
}

// silent is how a target is given up; on a busy machine it is given longer.
var silent = regexp.MustCompile(` has not answered for \d+s(, \d+s of it for want of a processor on this busy machine)?: it is in an execve`)

// A target that answers nothing, for it is in an execve(2) that does not end,
// is given up with a line that says so.
func TestEnterLockedExec(t *testing.T) {
	nstest.Need(t, "root", "gcc")
	if testing.Short() {
		t.Skip("waits for long")
	}
	program(t)
	exe := filepath.Join(t.TempDir(), "hangexec")
	if out, err := exec.Command("gcc", "-static", "-pthread", "-O1", "-Wall", "-Werror", "-o", exe, "testdata/hangexec.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	procs := hung(t, 1, func(args ...string) *exec.Cmd { return exec.Command(exe, args...) })
	child := 0
	until(t, "the child waits in execve", func() bool {
		_, err := fmt.Sscan(read(fmt.Sprintf("/proc/%d/task/%[1]d/children", procs[0].Process.Pid)), &child)
		return err == nil
	})
	time.Sleep(300 * time.Millisecond)
	hangs(t, "cat", fmt.Sprintf("/proc/%d/environ", child))
	type answer struct {
		args   []string
		status int
		out    string
		took   time.Duration
	}
	pid := fmt.Sprint(child)
	all := [][]string{
		{"enter", "-p", pid, "true"},
		{"enter", "-p", pid, "--net", "--env", "true"},
		{"enter", "-p", pid, "--net-socket", "4", "true"},
		{"enter", "--net=" + pid, "true"},
		{"enter", "-p", pid, "--dry-run", "--mnt", "--env", "true"},
		{"run", "--uts", "--join", "net=" + pid, "true"},
		{"pin", "add", "nstool-locked-test", "-p", pid, "--net"},
	}
	answers := make(chan answer)
	for _, args := range all {
		go func() {
			began := time.Now()
			status, out := tryEnter(t, args...)
			answers <- answer{args, status, out, time.Since(began)}
		}()
	}
	for range all {
		a := <-answers
		t.Logf("%v: status %d after %v: %s", a.args, a.status, a.took, a.out)
		if a.took > 2*time.Minute {
			t.Errorf("%v took %v", a.args, a.took)
		}
		if a.took > 5*time.Second && !silent.MatchString(a.out) {
			t.Errorf("%v: %s", a.args, a.out)
		}
		if want := map[bool]int{true: 1, false: 125}[a.args[0] == "pin"]; a.status != want && a.status != 0 {
			t.Errorf("%v: status %d", a.args, a.status)
		}
	}
	_ = exec.Command(program(t), "pin", "rm", "nstool-locked-test").Run() // on a kernel where it could be had
}

// A container with as many processes as it may have takes one more from outside:
// the kernel limits fork(2) alone. It is in the control group from its first
// instruction on.
func TestEnterFull(t *testing.T) {
	nstest.Need(t, "root", "unshare", "sleep", "sh")
	dir := pidsGroup(t)
	target := exec.Command("unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sleep", "10000")
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = target.Process.Kill() //nolint:errcheck // it is to end
		_ = target.Wait()         //nolint:errcheck // it was killed
		until(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
	}()
	pid := 0
	until(t, "it has a child", func() bool {
		_, err := fmt.Sscan(read(fmt.Sprintf("/proc/%d/task/%[1]d/children", target.Process.Pid)), &pid)
		return err == nil && strings.Contains(read(fmt.Sprintf("/proc/%d/cmdline", pid)), "10000")
	})
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write("cgroup.procs", fmt.Sprint(pid))
	for most := 1; most <= 5; most++ {
		write("pids.max", fmt.Sprint(most))
		for _, flags := range [][]string{nil, {"--tools"}, {"--as", "root"}, {"--allow-missing", "cgroup"}} {
			args := append(append([]string{"enter", "-p", fmt.Sprint(pid)}, flags...), "cat", "/proc/self/cgroup")
			status, out := tryEnter(t, args...)
			if status != 0 || !strings.Contains(out, "/"+filepath.Base(dir)+"\n") {
				t.Errorf("at most %d: %v: status %d: %s", most, args, status, out)
			}
		}
		if status, out := tryEnter(t, "enter", "-p", fmt.Sprint(pid), "sh", "-c", "exit 42"); status != 42 {
			t.Errorf("at most %d: status %d: %s", most, status, out)
		}
		until(t, "nobody is left", func() bool { return read(filepath.Join(dir, "pids.current")) == "1\n" })
	}
	// Who is there may not start another.
	write("pids.max", "2")
	if status, out := tryEnter(t, "enter", "-p", fmt.Sprint(pid), "sh", "-c", "sleep 0; :"); status == 0 {
		t.Errorf("it could fork: %s", out)
	}
}

// pidsGroup makes a control group that limits the number of processes, of
// whichever version.
func pidsGroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("nstool-full-%d", os.Getpid())
	if _, err := os.Stat("/sys/fs/cgroup/pids/tasks"); err == nil {
		dir := filepath.Join("/sys/fs/cgroup/pids", name)
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // of a cgroup
			t.Fatal(err)
		}
		return dir
	}
	if !slices.Contains(strings.Fields(read("/sys/fs/cgroup/cgroup.controllers")), "pids") {
		t.Skip("no pids controller where it is looked for")
	}
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids"), 0); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/sys/fs/cgroup", name)
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // of a cgroup
		t.Fatal(err)
	}
	return dir
}

// A name of ip-netns(8) that is in the mount namespace of process 1 alone is told by
// a path that leads there.
func TestEnterNetnsElsewhere(t *testing.T) {
	nstest.Need(t, "root", "unshare", "ip", "sh", "mount")
	name := fmt.Sprintf("nstool-elsewhere-%d", os.Getpid())
	script := `ip netns add ` + name + ` && unshare -m sh -c 'mount -t tmpfs tmpfs /run && exec "$@"' sh "$@"; status=$?; ip netns del ` + name + `; exit $status`
	in := func(args ...string) (int, string) {
		cmd := exec.Command("unshare", append([]string{"-pfm", "--mount-proc", "sh", "-c", script, "sh", program(t), "enter"}, args...)...)
		out, _ := cmd.CombinedOutput() //nolint:errcheck // the status says it
		return cmd.ProcessState.ExitCode(), string(out)
	}
	file := "/proc/1/root/run/netns/" + name
	if status, out := in("--net=netns:"+name, "true"); status != 125 || !strings.Contains(out, "nstool is in another mount namespace than process 1, where it is --net="+file+"\n") {
		t.Errorf("status %d: %s", status, out)
	}
	if status, out := in("--net="+file, "true"); status != 0 {
		t.Errorf("what the hint proposes: status %d: %s", status, out)
	}
}

// The table in nstool-enter(1) of what a program has from the target, where a shell
// can tell: what is taken is the target's, and what is left is the caller's.
func TestEnterTakes(t *testing.T) {
	nstest.Need(t, "root", "unshare", "sh", "sleep", "nice", "cat", "grep")
	nice, err := exec.Command("nice").Output()
	if err != nil {
		t.Fatal(err)
	}
	const odd = `umask 027; ulimit -n 100; ulimit -c 0; echo 500 >/proc/self/oom_score_adj
		echo 0x7f >/proc/self/coredump_filter; trap "" USR1; exec nice -n 5 sleep 10000`
	target := exec.Command("unshare", "-pm", "--fork", "--kill-child", "--mount-proc", "sh", "-c", odd)
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = target.Process.Kill() //nolint:errcheck // it is to end
		_ = target.Wait()         //nolint:errcheck // it was killed
	}()
	pid := 0
	until(t, "it has a child", func() bool {
		_, err := fmt.Sscan(read(fmt.Sprintf("/proc/%d/task/%[1]d/children", target.Process.Pid)), &pid)
		return err == nil && strings.Contains(read(fmt.Sprintf("/proc/%d/cmdline", pid)), "sleep\x0010000")
	})
	for _, c := range []struct{ what, script, want string }{
		{"umask", "umask", "0027"},
		{"resource limits", "ulimit -n; ulimit -c", "100\n0"},
		{"OOM score", "cat /proc/self/oom_score_adj", "500"},
		{"core dump filter", "cat /proc/self/coredump_filter", strings.TrimSpace(read("/proc/self/coredump_filter"))},
		{"priority", "nice", strings.TrimSpace(string(nice))},
		{"signal actions", "grep SigIgn /proc/$$/status", "SigIgn:\t0000000000000000"},
		{"directory", "pwd", "/"},
	} {
		status, out := tryEnter(t, "enter", "-p", fmt.Sprint(pid), "sh", "-c", c.script)
		if got := strings.TrimSpace(out); status != 0 || got != c.want {
			t.Errorf("%s: status %d: %q, not %q", c.what, status, got, c.want)
		}
	}
}

package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A command of the container's that has the operator's capabilities is the
// operator.
func TestCapsKept(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		text := facts(t, by, quiet(t))
		for _, set := range []string{"CapPrm:", "CapEff:", "CapBnd:", "CapInh:", "CapAmb:"} {
			got, err := strconv.ParseUint(fact(t, text, set), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got&^0xa80425fb != 0 {
				return fmt.Sprintf("%s %x", set, got)
			}
		}
		return ""
	}}.run(t)
}

func TestSeccompAndNoNewPrivs(t *testing.T) {
	for name, options := range map[string][]string{
		"both":    {"-c", capsDefault, "-n", "-s"},
		"seccomp": {"-c", capsDefault, "-s"},
		"nnp":     {"-c", capsDefault, "-n"},
		"user":    {"-u", "rooted", "-n", "-s"},
	} {
		t.Run(name, func(t *testing.T) {
			attack{nsenter, func(t *testing.T, by entrant) string {
				c := newCage(t, nil, options, "/bin/attack", "sleep")
				want, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
				if err != nil {
					t.Fatal(err)
				}
				text := facts(t, by, c)
				for _, key := range []string{"Seccomp:", "Seccomp_filters:", "NoNewPrivs:"} {
					if got, want := fact(t, text, key), fact(t, string(want), key); got != want {
						return fmt.Sprintf("%s %s, and that of the container %s", key, got, want)
					}
				}
				return ""
			}}.run(t)
		})
	}
}

// cgroups makes a control group in every hierarchy that is mounted where the
// distributions do, and returns their cgroup.procs files.
func cgroups(t *testing.T, name string) (procs []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		before, after, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(after, "cgroup ") && !strings.HasPrefix(after, "cgroup2 ") || strings.Contains(after, "cpuset") {
			continue // an empty cpuset takes nobody
		}
		_ = before
		dir := filepath.Join(f[4], name)
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // of a cgroup
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if !eventually(patience, func() bool { return os.Remove(dir) == nil }) {
				t.Errorf("%s could not be removed", dir)
			}
		})
		procs = append(procs, filepath.Join(dir, "cgroup.procs"))
	}
	if len(procs) == 0 {
		t.Fatal("no cgroup file system is mounted")
	}
	return procs
}

// Outside the container's control groups its limits do not hold, and who ends
// the container does not end what is outside. The name has colons in it, which
// /proc/PID/cgroup has too.
func TestCgroupEscape(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		options := []string{"-c", capsDefault, "-n", "-s"}
		procs := cgroups(t, fmt.Sprintf("nstool-attack:%s:%d", by.name, os.Getpid()))
		for _, p := range procs {
			options = append(options, "-g", p)
		}
		c := newCage(t, nil, options, "/bin/attack", "sleep")
		cmd := command(t, by.expand(t, c, "/bin/attack", "signals")...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait() //nolint:errcheck // it is killed
		defer cmd.Process.Kill()
		if _, err := out.Read(make([]byte, 64)); err != nil {
			t.Fatalf("%v said nothing: %v", cmd, err)
		}
		want, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.pid))
		if err != nil {
			t.Fatal(err)
		}
		members := c.members()
		if len(members) == 0 {
			t.Fatal("the program is not in the container")
		}
		for _, pid := range members {
			got, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				return fmt.Sprintf("in %q, and the container in %q", got, want)
			}
		}
		return ""
	}}.run(t)
}

// With CAP_SYS_ADMIN the host's sysctls are a remount away: core_pattern is a
// program that the kernel runs as root on the host.
func TestFullEscape(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		out := output(t, command(t, by.expand(t, newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep"), "/bin/attack", "remount")...))
		if strings.Contains(out, "writable") {
			return out
		}
		return ""
	}}.run(t)
}

// In a user namespace without root there is still somebody to be.
func TestUsernsEntry(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-u", "rootless"}, "/bin/attack", "sleep")
		cmd := command(t, by.expand(t, c, "/bin/attack", "facts")...)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if len(out) == 0 {
			return fmt.Sprintf("cannot be entered: %v: %s", err, errs.String())
		}
		if ids := fact(t, string(out), "ids "); ids != "1000 1000 1000 1000" {
			return "ids " + ids
		}
		if caps := fact(t, string(out), "CapEff:"); caps != "0000000000000000" {
			return "CapEff " + caps
		}
		return ""
	}}.run(t)
}

// What cannot be taken over stops the entry, names the switch that waives it,
// and is waived by it.
func TestNothingMissing(t *testing.T) {
	c := newCage(t, nil, []string{"-u", "rooted", "-s", "-n"}, "/bin/attack", "sleep")
	nstoolPath := program(t, "nstool")
	pid := strconv.Itoa(c.pid)
	for _, tc := range []struct {
		part, says string
		flags      []string // of nstool
		fault      string   // for strace to inject
	}{
		{part: "caps", flags: []string{"-m"}, says: "--user"},
		{part: "seccomp", flags: []string{"-a"}, fault: "ptrace:error=EPERM", says: "--allow-missing=seccomp"},
		{part: "caps", flags: []string{"-a"}, fault: "capset:error=EPERM:when=2+", says: "--allow-missing=caps"},
	} {
		t.Run(tc.part, func(t *testing.T) {
			run := func(flags ...string) (string, error) {
				var words []string
				if tc.fault != "" {
					nstest.Need(t, "strace")
					name, _, _ := strings.Cut(tc.fault, ":")
					words = []string{program(t, "strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + name, "-e", "inject=" + tc.fault}
				}
				words = append(append(append(words, nstoolPath, "enter", "-p", pid), tc.flags...), flags...)
				out, err := command(t, append(words, "/bin/busybox", "echo", "inside")...).CombinedOutput()
				return string(out), err
			}
			out, err := run()
			if err == nil || strings.Contains(out, "inside") {
				t.Fatalf("the program was run: %v: %s", err, out)
			}
			if !strings.Contains(out, tc.says) {
				t.Errorf("it does not say how to do without: %s", out)
			}
			if out, err = run("--allow-missing=" + tc.part); err != nil || !strings.Contains(out, "inside") {
				t.Errorf("it was not done without: %v: %s", err, out)
			}
		})
	}
}

// All of a program ends in the control groups of the target: also where nstool
// itself becomes the program, which has several threads and of which the one that
// joins is to be what is left.
func TestJoinCgroup(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox")
	var options []string
	groups := cgroups(t, fmt.Sprintf("nstool-join:%d", os.Getpid()))
	for _, p := range groups {
		options = append(options, "-g", p)
	}
	c := newCage(t, nil, options, "/bin/attack", "sleep")
	want, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.pid))
	if err != nil {
		t.Fatal(err)
	}
	before := map[string][]string{}
	for _, group := range groups {
		procs, err := os.ReadFile(group)
		if err != nil {
			t.Fatal(err)
		}
		before[group] = strings.Fields(string(procs))
	}
	for name, flags := range map[string][]string{"here": {"--uts"}, "child": {"--uts", "--kill-child"}, "inside": {"--all"}} {
		t.Run(name, func(t *testing.T) {
			by := entrant{name: "nstool", words: slices.Concat([]string{"nstool", "enter", "-p", "PID", "--join-cgroup"}, flags, []string{"--"})}
			cmd, _ := begin(t, by, c, "/bin/busybox", "sh", "-c", "echo ready; exec /bin/busybox sleep 60")
			defer cmd.Wait()         //nolint:errcheck // it is killed
			defer cmd.Process.Kill() //nolint:errcheck // it has not ended
			pid := cmd.Process.Pid
			if name != "here" {
				pid = childOf(t, pid)
			}
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/cgroup", pid))
			if err != nil || len(tasks) != 1 {
				t.Fatalf("%v, %v", tasks, err)
			}
			if got, err := os.ReadFile(tasks[0]); err != nil || string(got) != string(want) {
				t.Errorf("in %q, and the target in %q: %v", got, want, err)
			}
			// Nobody else has come along: nstool stays where it is.
			for _, group := range groups {
				procs, err := os.ReadFile(group)
				if err != nil {
					t.Fatal(err)
				}
				got := slices.DeleteFunc(strings.Fields(string(procs)), func(p string) bool { return slices.Contains(before[group], p) })
				if want := []string{strconv.Itoa(pid)}; !slices.Equal(got, want) {
					t.Errorf("%s has %v too, not %v", group, got, want)
				}
			}
		})
	}
}

// childOf returns the child of a process that has one.
func childOf(t *testing.T, pid int) (child int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil && child == 0 {
			_, _ = fmt.Sscan(string(text), &child) //nolint:errcheck // a thread may have none
		}
	}
	if child == 0 {
		t.Fatalf("process %d has no child", pid)
	}
	return child
}

// Who delegates a control group of version 1 may give away its cgroup.procs alone.
func TestJoinDelegatedCgroup(t *testing.T) {
	nstest.Need(t, "root", "userns", "gcc", "busybox")
	const user = 65534
	groups := slices.DeleteFunc(cgroups(t, fmt.Sprintf("nstool-delegated:%d", os.Getpid())), func(procs string) bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(procs), "tasks"))
		return err != nil
	})
	if len(groups) == 0 {
		t.Skip("no cgroup file system of version 1 is mounted")
	}
	as := func(words ...string) *exec.Cmd {
		cmd := command(t, words...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		cmd.Dir = "/"
		return cmd
	}
	target := as(program(t, "nstool"), "run", "--rootless", "--uts", "/bin/busybox", "sh", "-c", "echo ready; exec /bin/busybox sleep 60")
	said, err := target.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer target.Wait()         //nolint:errcheck // it is killed
	defer target.Process.Kill() //nolint:errcheck // it has not ended
	if _, err := said.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	pid := childOf(t, target.Process.Pid)
	for _, group := range groups {
		if err := os.Chown(group, user, user); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(group, []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := as(program(t, "nstool"), "enter", "-p", strconv.Itoa(pid), "--user", "--uts", "--join-cgroup", "/bin/busybox", "cat", "/proc/self/cgroup").CombinedOutput(); err != nil || string(out) != string(want) {
		t.Errorf("%v: in %q, and the target in %q", err, out, want)
	}
}

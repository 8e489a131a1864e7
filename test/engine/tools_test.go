package engine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// startServer starts the container that tools are for: no shell, a root file
// system that cannot be written to, an ordinary user, and no /tmp.
func startServer(t *testing.T, e engine.Engine) *engine.Container {
	t.Helper()
	o := engine.Options{Server: true}
	switch e {
	case engine.Docker:
		o.Args = []string{"--read-only", "--env", "GREETING=world", "--tmpfs", "/data:uid=65532"}
	case engine.Podman:
		o.Args = []string{"--read-only", "--read-only-tmpfs=false", "--env", "GREETING=world", "--tmpfs", "/data:rw,mode=1777"}
	case engine.Containerd:
		o.Args = []string{"--read-only", "--env", "GREETING=world"}
	}
	c := engine.Start(t, e, o)
	// It answers when it listens.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", c.PID))
		if err == nil && bytes.Contains(b, []byte("0100007F:1F90 00000000:0000 0A")) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the server does not listen: %v: %s", err, b)
		}
	}
	if e == engine.Containerd { // ctr gives it a network in which nothing is up
		nstest.Need(t, "ip")
		task{args: []string{"--net", "ip", "link", "set", "lo", "up"}}.do(t, "-p", fmt.Sprint(c.PID))
	}
	return c
}

// A state is what a container is, byte for byte: its files, mounts, processes
// and control groups, and what the host has mounted for nstool. Of LXC the
// host's libraries are left out, and another proc and sys.
type state map[string]string

func stateOf(t *testing.T, c *engine.Container) state {
	t.Helper()
	ofHost := []string{"file /lib", "file /lib64", "file /usr", "file /dev/.lxc"}
	s := state{}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	proc := fmt.Sprintf("/proc/%d/", c.PID)
	s["mounts"] = read(proc + "mountinfo")
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		if strings.Contains(line, " nstool ") && !strings.Contains(line, "/run/nstool") || strings.Contains(line, ".nstool") {
			s["host "+line] = "mounted"
		}
	}
	link, err := os.Readlink(proc + "ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pids {
		if l, err := os.Readlink(p + "/ns/pid"); err == nil && l == link {
			stat, _ := os.ReadFile(p + "/stat") // it may have gone
			_, rest, _ := strings.Cut(string(stat), " ")
			name, rest, _ := strings.Cut(rest, ") ")
			state, _, _ := strings.Cut(rest, " ")
			s["process "+p] = name + ")" + map[bool]string{true: " which nobody reaped"}[state == "Z"]
		}
	}
	for line := range strings.Lines(read(proc + "cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		dir := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(f[1], "name="), f[2])
		list, err := filepath.Glob(dir + "/*/cgroup.procs")
		if err != nil {
			t.Fatal(err)
		}
		if procs, err := os.ReadFile(dir + "/cgroup.procs"); err == nil {
			s["cgroup "+line] = fmt.Sprint(string(procs), list)
		}
	}
	err = filepath.WalkDir(proc+"root/", func(path string, d fs.DirEntry, err error) error {
		name := "file /" + strings.TrimPrefix(path, proc+"root/")
		if name == "file /dev/pts/ptmx" {
			return nil // a terminal that is made by it changes its times
		}
		if name == "file /proc" || name == "file /sys" || c.Engine == engine.LXC && slices.Contains(ofHost, name) {
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("no stat")
		}
		text := fmt.Sprint(info.Mode(), st.Uid, st.Gid, st.Nlink, st.Mtim, st.Ctim, st.Ino)
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		s[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantSame waits until a container is as it was: what nstool has killed at its
// end may take a moment to be gone.
func wantSame(t *testing.T, c *engine.Container, before state) {
	t.Helper()
	var diff []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		after := stateOf(t, c)
		diff = nil
		for _, key := range slices.Sorted(maps.Keys(before)) {
			if after[key] != before[key] {
				diff = append(diff, fmt.Sprintf("%s: %q, and it was %q", key, after[key], before[key]))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(after)) {
			if _, ok := before[key]; !ok {
				diff = append(diff, fmt.Sprintf("%s: %q is new", key, after[key]))
			}
		}
		if len(diff) == 0 {
			return
		}
	}
	t.Errorf("the container is not as it was:\n%s", strings.Join(diff, "\n"))
}

// A task is one that people have with a container that has no tools.
type task struct {
	name   string
	needs  []string
	args   []string      // of nstool enter, after the target; the program follows "--"
	but    engine.Engine // has not what it takes
	status int
	want   string // what it says, as a regular expression
}

var tasks = []task{
	{name: "list its processes", needs: []string{"ps"}, args: []string{"--tools", "ps", "-eo", "pid,args"}, want: `(?m)^ +1 /server$`},
	{name: "read its settings", args: []string{"--tools", "cat", "/etc/app.yaml"}, want: `^port: 8080\n$`},
	{name: "have none of its environment", args: []string{"--tools", "sh", "-c", "env; echo GREETING=$GREETING"}, want: `(?s)HOME=.*GREETING=\n$`},
	{name: "and as it was started", args: []string{"--tools", "--as", "target", "cat", "/proc/1/environ"}, want: `GREETING=world\x00`},
	{name: "see its sockets", needs: []string{"ss"}, args: []string{"--tools", "ss", "-Hltn"}, want: `^LISTEN .* 127\.0\.0\.1:8080 `},
	{name: "connect to it", needs: []string{"curl"}, args: []string{"--tools", "curl", "-sS", "http://127.0.0.1:8080/"}, want: `^hello from world\n$`},
	{name: "resolve a name", but: engine.Containerd, needs: []string{"getent"}, args: []string{"--tools", "sh", "-c", "getent ahosts localhost && test /etc/resolv.conf -ef /.nstool/target/etc/resolv.conf && echo same"}, want: `(?s)127\.0\.0\.1.*\nsame\n$`},
	{name: "list its root directory", args: []string{"--tools", "ls", "-A", "/"}, want: `(?s)\n?data\n.*\nserver\n`},
	{name: "start in its root directory", args: []string{"--tools", "sh", "-c", "pwd; cat etc/app.yaml"}, want: `^/\nport: 8080\n$`},
	{name: "the same with the tools first", args: []string{"--tools", "--view=tools", "sh", "-c", "pwd; cat etc/app.yaml; readlink -f /.nstool/tools/bin/sh"}, want: `^/.nstool/target\nport: 8080\n/`},
	{name: "who one is", args: []string{"--tools", "id", "-u"}, want: `^65532\n$`},
	{name: "who its root is", args: []string{"--tools", "--as=root", "id", "-u"}, want: `^0\n$`},
	{name: "who it is", args: []string{"--tools", "--as=target", "sh", "-c", "id -u; id -g; grep CapEff /proc/self/status"}, want: `^65532\n65532\nCapEff:\t0000000000000000\n$`},
	{name: "write where it cannot", args: []string{"--tools", "sh", "-c", "echo x > /etc/app.yaml"}, status: 2, want: `Read-only file system`},
	{name: "write to the tools", args: []string{"--tools", "--privileged", "sh", "-c", "echo x > /usr/bin/evil; mount -o remount,rw /usr; echo x > /usr/bin/evil"}, status: 2, want: `(?s)Read-only file system.*Read-only file system`},
	{name: "a pipe and a child", args: []string{"--tools", "bash", "-c", "ls /etc | grep -c app; cat <<<here"}, want: `^1\nhere\n$`},
	{name: "somewhere to write", args: []string{"--tools", "sh", "-c", "echo x > /tmp/y && cat /tmp/y"}, want: `^x\n$`},
	{name: "a script of the tools", needs: []string{"perl"}, args: []string{"--tools", "perl", "-MPOSIX", "-e", "print floor(4.5), qq(\\n)"}, want: `^4\n$`},
	{name: "an interpreter", needs: []string{"python3"}, args: []string{"--tools", "python3", "-c", "import json, ssl; print(json.dumps([1]))"}, want: `^\[1\]\n$`},
	{name: "an editor", needs: []string{"vi"}, args: []string{"--tools", "vi", "--version"}, want: `VIM`},
	{name: "what is not there", args: []string{"--tools", "nosuchprogram"}, status: 127, want: `nosuchprogram`},
	{name: "its status", args: []string{"--tools", "sh", "-c", "exit 42"}, status: 42},
	{name: "trace it", needs: []string{"strace"}, args: []string{"--tools", "--privileged", "timeout", "1", "strace", "-f", "-p", "1"}, status: 124, want: `strace: Process 1 attached`},
	{name: "trace it by a capability", needs: []string{"strace"}, args: []string{"--tools", "--cap-add", "SYS_PTRACE", "timeout", "1", "strace", "-f", "-p", "1"}, status: 124, want: `strace: Process 1 attached`},
	{name: "trace it as who it is", needs: []string{"strace"}, args: []string{"--tools", "timeout", "1", "strace", "-f", "-p", "1"}, status: 124, want: `strace: Process 1 attached`},
	{name: "debug it", needs: []string{"gdb"}, args: []string{"--tools", "--privileged", "gdb", "-batch", "-p", "1", "-ex", "print 6*7"}, want: `(?m)^\$1 = 42$`},
	{name: "debug it by a capability", needs: []string{"gdb"}, args: []string{"--tools", "--cap-add=CAP_SYS_PTRACE", "gdb", "-batch", "-p", "1", "-ex", "print 6*7"}, want: `(?m)^\$1 = 42$`},
	{name: "what is left behind", args: []string{"--tools", "sh", "-c", "sleep 1000 & setsid sleep 1001 & exit 3"}, status: 3},
	{name: "nothing but what is there", args: []string{"sh"}, status: 127, want: `^nstool: enter: there is no sh in .*\nhint: nstool enter .* --tools sh `},
}

// TestTools does these tasks in such a container of each engine, which is what
// it was after each.
func TestTools(t *testing.T) {
	for _, e := range []engine.Engine{engine.Docker, engine.Podman, engine.Containerd} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := startServer(t, e)
			before := stateOf(t, c)
			for _, k := range tasks {
				if k.but == e {
					continue
				}
				t.Run(k.name, func(t *testing.T) {
					nstest.Need(t, k.needs...)
					k.do(t, "-p", string(e)+":"+c.Name)
					wantSame(t, c, before)
				})
			}
		})
	}
}

func (k task) do(t *testing.T, target ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, nstest.Nstool(t), slices.Concat([]string{"enter"}, target, k.args)...)
	out, err := cmd.CombinedOutput()
	status := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if status != k.status || !regexp.MustCompile(k.want).Match(out) {
		t.Errorf("%v: status %d, not %d: %s", k.args, status, k.status, out)
	}
}

// TestToolsBeside brings tools to containers that have a shell and more of their
// own: of the engines without a daemon, and of a pod of CRI.
func TestToolsBeside(t *testing.T) {
	list := []task{
		{args: []string{"--tools", "sh", "-c", "command -v ps; ps -o pid= -o args= -p 1; pwd"}, want: `^/\.nstool/tools/.*/ps\n +1 \S.*\n/\n$`},
		{args: []string{"--tools", "--view=tools", "sh", "-c", "command -v ps; ps -o pid= -o args= -p 1; pwd"}, want: `^/usr/bin/ps\n +1 \S.*\n/\.nstool/target\n$`},
		{args: []string{"--tools", "bash", "-c", "cat <<<here; ls /.nstool/target/bin/busybox"}, want: `^here\n/\.nstool/target/bin/busybox\n$`},
		{args: []string{"--tools", "--as=target", "sh", "-c", "id -u; echo x >/tmp/y && rm /tmp/y"}, want: `^0\n$`},
		{needs: []string{"python3"}, args: []string{"--tools", "python3", "-c", "import json; print(json.dumps([1]))"}, want: `^\[1\]\n$`},
		{needs: []string{"strace"}, args: []string{"--tools", "--privileged", "timeout", "1", "strace", "-f", "-p", "1"}, status: 124, want: `strace: Process 1 attached`},
		{args: []string{"--tools", "sh", "-c", "sleep 1000 & setsid sleep 1001 & exit 3"}, status: 3},
	}
	try := func(t *testing.T, c *engine.Container, target ...string) {
		before := stateOf(t, c)
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); { // it may still be starting
			time.Sleep(300 * time.Millisecond)
			now := stateOf(t, c)
			same := slices.Equal(slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(before)))
			if before = now; same {
				break
			}
		}
		for _, k := range list {
			nstest.Need(t, k.needs...)
			k.do(t, target...)
		}
		// What it writes in the meantime is its own.
		after := stateOf(t, c)
		for key := range after {
			if _, ok := before[key]; !ok && !strings.HasPrefix(key, "file /var/") {
				t.Errorf("%s: %q is new", key, after[key])
			}
		}
		if before["mounts"] != after["mounts"] {
			t.Errorf("its mounts were\n%s\nand are\n%s", before["mounts"], after["mounts"])
		}
	}
	for _, e := range []engine.Engine{engine.LXC, engine.Nspawn} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{})
			try(t, c, "-p", string(e)+":"+c.Name)
		})
	}
	t.Run("pod", func(t *testing.T) {
		t.Parallel()
		p := engine.StartPod(t, false, "web")
		try(t, &engine.Container{PID: p.Containers[0].PID}, "--pod", p.Namespace+"/"+p.Name+"/web")
	})
}

// TestToolsCapture has the host's tcpdump see the traffic of a container.
func TestToolsCapture(t *testing.T) {
	nstest.Need(t, "tcpdump", "curl")
	c := startServer(t, engine.Docker)
	before := stateOf(t, c)
	for _, rights := range []string{"--privileged", "--cap-add=NET_RAW"} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, nstest.Nstool(t), "enter", "-c", c.Name, "--tools", rights, "tcpdump", "-c", "3", "-nli", "lo", "tcp", "port", "8080")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := ""
		for b := make([]byte, 4096); !strings.Contains(said, "listening on lo"); {
			n, err := stderr.Read(b)
			if said += string(b[:n]); err != nil {
				t.Fatalf("%s: %v: %s", rights, err, said)
			}
		}
		task{args: []string{"--tools", "curl", "-sS", "127.0.0.1:8080"}, want: "^hello"}.do(t, "-c", c.Name)
		if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "127.0.0.1.8080: Flags [S]") {
			t.Errorf("%s: %v: %s", rights, err, out.String())
		}
	}
	wantSame(t, c, before)
}

// TestToolsSources brings tools of every kind of place.
func TestToolsSources(t *testing.T) {
	nstest.Need(t, "docker", "tar")
	c := startServer(t, engine.Docker)
	before := stateOf(t, c)
	other := engine.Start(t, engine.Docker, engine.Options{})
	busybox := nstest.Busybox(t)
	dir := t.TempDir()
	run := func(program string, args ...string) {
		t.Helper()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s", program, args, err, out)
		}
	}
	plain, packed, saved := filepath.Join(dir, "root.tar"), filepath.Join(dir, "root.tgz"), filepath.Join(dir, "image.tar")
	run("tar", "-C", busybox, "-cf", plain, ".")
	run("tar", "-C", busybox, "-czf", packed, ".")
	run("docker", "save", "-o", saved, other.Image)
	for _, source := range []string{busybox, filepath.Join(busybox, "bin"), plain, packed, saved, "docker:" + other.Name, fmt.Sprint(other.PID)} {
		for _, view := range []string{"target", "tools"} {
			task{args: []string{"--tools=" + source, "--view", view, "sh", "-c", "cat /.nstool/target/etc/app.yaml; ps -o args | grep server"}, want: `(?s)^port: 8080\n.*/server`}.do(t, "-c", c.Name)
		}
	}
	for source, want := range map[string]string{
		"/nonexistent":                 `no such file`,
		"nosuchcontainer":              `nosuchcontainer`,
		"static":                       `(?m)^nstool: enter: no static tools|^port`,
		"/etc/passwd":                  `not a tar archive`,
		"/dev/null":                    `neither a directory nor a regular file`,
		filepath.Join(busybox, "etc/"): `cannot run cat`,
	} {
		status := 125
		if strings.HasSuffix(want, "cat") {
			status = 127
		}
		task{args: []string{"--tools=" + source, "cat", "/etc/app.yaml"}, status: status, want: want}.do(t, "-c", c.Name)
	}
	wantSame(t, c, before)
}

// TestToolsKilled kills nstool at some time or other: before it has started
// anything, on the way, or when a program runs that has children.
func TestToolsKilled(t *testing.T) {
	c := startServer(t, engine.Docker)
	before := stateOf(t, c)
	for i := range 25 {
		cmd := exec.Command(nstest.Nstool(t), "enter", "-c", c.Name, "--tools", "sh", "-c", "setsid sleep 1000 & sleep 1001 & wait")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.IntN(60)) * time.Millisecond
		if i%5 == 0 {
			after = 300 * time.Millisecond
		}
		time.Sleep(after)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() //nolint:errcheck // it was killed
	}
	// Those whose parent was killed are this process's, which takes in orphans.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if reapOrphans(t) == 0 && len(stateOf(t, c)) == len(before) {
			break
		}
	}
	wantSame(t, c, before)
}

// reapOrphans reaps what nstool leaves to its parent when it is killed, and
// returns how many there were. They may have got no name yet. No child of the
// test's own is waited for meanwhile.
func reapOrphans(t *testing.T) (n int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var pid, ppid int
		var comm, state string
		if _, err := fmt.Sscan(string(b), &pid, &comm, &state, &ppid); err == nil && ppid == os.Getpid() && state == "Z" {
			if _, err := syscall.Wait4(pid, nil, 0, nil); err == nil {
				n++
			}
		}
	}
	return n
}

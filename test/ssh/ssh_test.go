// Package ssh tests "nstool -H" against the real sshd(8), in network namespaces of the test's
// own that are its hosts.
package ssh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// A fleet is some hosts, and a caller who reaches them by ssh.
type fleet struct {
	t      *testing.T
	dir    string
	caller int // a process in the caller's network
	hosts  map[string]*host
}

// A host is a network and a mount namespace with an sshd.
type host struct {
	pid  int // a process of it
	addr string
	sshd map[string]*exec.Cmd
}

const weakUID = 70001

// must runs a command, and returns its output.
func must(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func write(t testing.TB, path, text string, perm os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
	return path
}

// newFleet starts the hosts web1 and web2, where nstool is; old, with another version; none,
// without nstool; weak, who is an ordinary user of web1; and hang, which accepts and says nothing.
func newFleet(t *testing.T) *fleet {
	nstest.Need(t, "root", "ssh", "/usr/sbin/sshd", "sudo", "ip", "unshare", "nsenter", "python3")
	f := &fleet{t: t, dir: nstest.Dir(t), hosts: map[string]*host{}}
	if err := os.Chmod(f.dir, 0o755); err != nil { //nolint:gosec // for ordinary users
		t.Fatal(err)
	}
	bins := map[string]string{}
	for _, name := range []string{"with", "old", "none", "caller", "arm"} {
		bins[name] = filepath.Join(f.dir, name)
		if err := os.Mkdir(bins[name], 0o755); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	must(t, "cp", nstest.Nstool(t), bins["with"])
	write(t, bins["old"]+"/nstool", "#!/bin/sh\necho 'nstool v0.0.1 (go1.26, linux/amd64)'\n", 0o755)
	write(t, bins["arm"]+"/uname", "#!/bin/sh\necho riscv64\n", 0o755)
	write(t, bins["caller"]+"/ssh", "#!/bin/sh\nexec /usr/bin/ssh -F "+f.dir+"/config \"$@\"\n", 0o755)
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f.dir+"/key")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f.dir+"/hostkey")

	f.caller = f.space("ip link set lo up")
	config := "Host *\n BatchMode yes\n UserKnownHostsFile " + f.dir + "/known\n StrictHostKeyChecking accept-new\n IdentityFile " + f.dir + "/key\n IdentitiesOnly yes\n" +
		" ControlMaster no\n"
	for i, name := range []string{"web1", "web2"} {
		h := f.host(i+1, []string{"/bin/bash", "/bin/sh"}[i])
		f.hosts[name] = h
		f.serve(h, 22, bins["with"])
		config += fmt.Sprintf("Host %s\n HostName %s\n", name, h.addr)
	}
	web1, web2 := f.hosts["web1"], f.hosts["web2"]
	for port, name := range map[int]string{23: "old", 24: "none", 25: "arm"} {
		f.serve(web2, port, bins[name])
		config += fmt.Sprintf("Host %s\n HostName %s\n Port %d\n", name, web2.addr, port)
	}
	f.serve(web1, 24, bins["none"])
	config += fmt.Sprintf("Host weak\n HostName %s\n User weak\n", web1.addr)
	config += fmt.Sprintf("Host weaknone\n HostName %s\n Port 24\n User weak\n", web1.addr)
	config += fmt.Sprintf("Host hang\n HostName %s\n Port 99\n", web1.addr)
	config += "Host nosuch\n HostName 127.0.0.1\n Port 9\n"
	write(t, f.dir+"/config", config, 0o644)
	nstest.StartReady(t, exec.Command("nsenter", "-t", strconv.Itoa(web1.pid), "-n", "python3", "-c",
		"import socket,sys\ns=socket.create_server(('',99))\nprint('up',flush=True)\nsys.stdin.read()"))
	return f
}

// space starts a process in a network and a mount namespace of its own, once setup is done there.
func (f *fleet) space(setup string) (pid int) {
	f.t.Helper()
	cmd := exec.Command("unshare", "-n", "-m", "sh", "-ec", setup+"\necho ready\nexec cat")
	nstest.StartReady(f.t, cmd)
	return cmd.Process.Pid
}

// host makes host number n, where the shell of all users is this one.
func (f *fleet) host(n int, shell string) *host {
	f.t.Helper()
	passwd := write(f.t, fmt.Sprintf("%s/passwd%d", f.dir, n), fmt.Sprintf("root:x:0:0:root:/root:%s\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\nweak:x:%d:%[2]d::/:%[1]s\n", shell, weakUID), 0o644)
	shadow := write(f.t, fmt.Sprintf("%s/shadow%d", f.dir, n), "root:*:1::::::\nsshd:*:1::::::\nweak:*:1::::::\n", 0o600)
	sudoers := write(f.t, fmt.Sprintf("%s/sudoers%d", f.dir, n), "Defaults env_keep += PATH\nDefaults !secure_path\nweak ALL=(ALL) NOPASSWD: ALL\n", 0o440)
	h := &host{sshd: map[string]*exec.Cmd{}, addr: fmt.Sprintf("10.77.%d.2", n)}
	// Everything that --bring could leave is in file systems of the host's own.
	h.pid = f.space(fmt.Sprintf("mount -t tmpfs -o mode=755 run /run; mkdir /run/sshd; mount -t tmpfs root /root; chmod 700 /root\n"+
		"mount --bind %s /etc/passwd; mount --bind %s /etc/shadow; mount --bind %s /etc/sudoers; ip link set lo up", passwd, shadow, sudoers))
	in := func(pid int, args ...string) {
		must(f.t, "nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "ip"}, args...)...)
	}
	in(f.caller, "link", "add", fmt.Sprintf("v%d", n), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(h.pid))
	in(f.caller, "addr", "add", fmt.Sprintf("10.77.%d.1/24", n), "dev", fmt.Sprintf("v%d", n))
	in(f.caller, "link", "set", fmt.Sprintf("v%d", n), "up")
	in(h.pid, "addr", "add", h.addr+"/24", "dev", "eth0")
	in(h.pid, "link", "set", "eth0", "up")
	return h
}

// serve starts an sshd whose users have this directory before their PATH.
func (f *fleet) serve(h *host, port int, bin string) {
	f.t.Helper()
	config := write(f.t, fmt.Sprintf("%s/sshd%d-%d", f.dir, h.pid, port), fmt.Sprintf(`Port %d
HostKey %s/hostkey
AuthorizedKeysFile %[2]s/key.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
MaxStartups 100
SetEnv PATH=%s:/usr/sbin:/usr/bin:/sbin:/bin
`, port, f.dir, bin), 0o600)
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(h.pid), "-n", "-m", "/usr/sbin/sshd", "-D", "-e", "-f", config)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	h.sshd[strconv.Itoa(port)] = cmd
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if f.t.Failed() {
			f.t.Logf("sshd:\n%s", log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := exec.Command("nsenter", "-t", strconv.Itoa(f.caller), "-n", "python3", "-c",
			fmt.Sprintf("import socket;socket.create_connection((%q,%d),5)", h.addr, port)).Run(); err == nil {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("sshd does not answer:\n%s", log.String())
		}
	}
}

// command is nstool, in the caller's network.
func (f *fleet) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(f.caller), "-n", f.dir + "/with/nstool"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+f.dir+"/caller:"+os.Getenv("PATH"), "LC_ALL=C")
	return cmd
}

// run runs nstool, and fails the test unless it ends with this status.
func (f *fleet) run(status int, args ...string) (stdout, stderr string) {
	f.t.Helper()
	return f.runWith(status, nil, args...)
}

func (f *fleet) runWith(status int, in io.Reader, args ...string) (stdout, stderr string) {
	f.t.Helper()
	cmd := f.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	got := cmd.ProcessState.ExitCode()
	if got != status {
		f.t.Errorf("nstool %q: status %d, not %d (%v)\n%s%s", args, got, status, err, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// has fails the test unless text has all of these words.
func has(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

// files lists what --bring might have left on a host.
func (h *host) files(t testing.TB) string {
	t.Helper()
	return must(t, "nsenter", "-t", strconv.Itoa(h.pid), "-m", "sh", "-c", "ls -d /run/nstool-* /root/nstool-* 2>/dev/null || true")
}

func TestHosts(t *testing.T) {
	f := newFleet(t)
	sub := func(name string, test func(*testing.T, *fleet)) {
		t.Run(name, func(t *testing.T) {
			of := *f
			of.t = t
			test(t, &of)
		})
	}
	sub("Lists", testLists)
	sub("Silent", testSilent)
	sub("Signals", testSignals)
	sub("Words", testWords)
	sub("Statuses", testStatuses)
	sub("Terminal", testTerminal)
	sub("Copies", testCopies)
	sub("Forward", testForward)
	sub("Versions", testVersions)
	sub("Bring", testBring)
	sub("BringBroken", testBringBroken)
	sub("Rights", testRights)
	sub("User", testUser)
}

func testLists(t *testing.T, f *fleet) {
	out, _ := f.run(0, "-H", "web1,web2", "ls", "-t", "net", "-o", "NS,TYPE", "-Q", `type == "net"`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if fields := strings.Fields(lines[0]); !slices.Equal(fields, []string{"HOST", "NS", "TYPE"}) {
		t.Errorf("%q", out)
	}
	seen := map[string]bool{}
	for _, line := range lines[1:] {
		seen[strings.Fields(line)[0]] = true
	}
	if len(seen) != 2 || !seen["web1"] || !seen["web2"] {
		t.Errorf("%q", out)
	}
	out, _ = f.run(0, "ls", "--host=web1", "-r", "-n", "-t", "net", "-o", "TYPE")
	if !strings.HasPrefix(out, "web1 net\n") {
		t.Errorf("%q", out)
	}
	out, _ = f.run(0, "net", "--json", "--host", "web1,root@web2")
	var all struct {
		Complete   bool
		Schema     string
		Interfaces []struct{ Host string }
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || !strings.HasPrefix(all.Schema, "nstool/net/") || len(all.Interfaces) == 0 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, row := range all.Interfaces {
		if row.Host != "web1" && row.Host != "root@web2" {
			t.Errorf("%+v", row)
		}
	}
	out, _ = f.run(0, "-H", "web1,web2", "pid", "-q", strconv.Itoa(f.caller))
	if want := fmt.Sprintf("== web1\n%d\n\n== web2\n%[1]d\n", f.caller); out != want {
		t.Errorf("%q, not %q", out, want)
	}
	// What is here is not asked of a host.
	out, _ = f.run(0, "-H", "nosuch", "ls", "--help")
	has(t, out, "Usage:")
	out, _ = f.run(0, "-H", "nosuch", "ls", "-H")
	has(t, out, "NPROCS")
}

// Hosts that do not answer are named, the others are shown, and the status is not 0.
func testSilent(t *testing.T, f *fleet) {
	start := time.Now()
	out, errs := f.run(1, "-H", "web1,hang,nosuch,web2,none", "--timeout", "4s", "ls", "-t", "uts")
	has(t, out, "web1", "web2")
	has(t, errs, "hang", "nosuch: ", "Connection refused", "3 of 5 hosts did not answer: hang, nosuch, none\n")
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	out, errs = f.run(2, "-H", "web1,nosuch", "doctor", "--json", "--check", "names")
	var all struct {
		Complete bool
		Reasons  []string
		Gaps     []struct{ Host, What, Error string }
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || all.Complete || len(all.Gaps) == 0 || all.Gaps[len(all.Gaps)-1].Host != "nosuch" || !strings.Contains(all.Gaps[len(all.Gaps)-1].Error, "refused") {
		t.Errorf("%v\n%s", err, out)
	}
	has(t, errs, "1 of 2 hosts did not answer: nosuch\n")
	_, errs = f.run(1, "-H", "nosuch", "containers")
	has(t, errs, "nstool: nosuch: ssh: connect to host 127.0.0.1 port 9: Connection refused\n")
}

// Signals end it, whatever hosts are silent.
func testSignals(t *testing.T, f *fleet) {
	for _, words := range [][]string{{"-H", "web1,hang", "ls"}, {"-H", "hang", "--bring", "doctor"}, {"-H", "hang", "enter", "self", "id"}, {"-H", "hang", "cp", "self:/x", "."}} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			cmd := f.command(words...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // it may be anywhere by then
			start := time.Now()
			_ = cmd.Process.Signal(sig)
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != 128+int(sig) || time.Since(start) > 10*time.Second {
				t.Errorf("%q: status %d after %v", words, got, time.Since(start))
			}
		}
	}
	f.left(t)
}

// Words come to the program as they are, whatever the login shell.
func testWords(t *testing.T, f *fleet) {
	words := []string{"a b", "it's", "$(id)", "`id`", "a;b", "a\nb\n", "\n", "", "\xff\xfe", "ü", "*", "~", "!x", "-x", "\x1b[1m", `\`, "%s"}
	for _, host := range []string{"web1", "web2"} {
		out, _ := f.run(0, append([]string{"-H", host, "enter", "-p", strconv.Itoa(f.hosts["web1"].pid), "--uts", "--", "printf", `%s\0`}, words...)...)
		if want := strings.Join(words, "\x00") + "\x00"; out != want {
			t.Errorf("%s: %q, not %q", host, out, want)
		}
	}
}

func (f *fleet) enter(host string, script string) []string {
	return []string{"-H", host, "enter", "-p", strconv.Itoa(f.hosts["web1"].pid), "--uts", "--", "sh", "-c", script}
}

// breaks is a script that kills the sshd(8) whose connection it runs through.
const breaks = "p=$$; while [ $(cat /proc/$p/comm) != sshd ]; do p=$(awk '{print $4}' /proc/$p/stat); done; kill -9 $p; sleep 2"

// The statuses of programs are passed on, also 255. That ssh failed is another one.
func testStatuses(t *testing.T, f *fleet) {
	for _, status := range []int{0, 7, 125, 254, 255} {
		out, errs := f.run(status, f.enter("web1", fmt.Sprintf("echo out; echo err >&2; exit %d", status))...)
		if out != "out\n" || errs != "err\n" {
			t.Errorf("%q %q", out, errs)
		}
	}
	f.run(128+9, f.enter("web1", "kill -9 $$")...)
	f.run(128+2, f.enter("web1", "kill -2 $$")...)
	_, errs := f.run(125, f.enter("nosuch", "exit 0")...)
	has(t, errs, "Connection refused", "nosuch: no answer")
	_, errs = f.run(125, f.enter("web2", breaks)...)
	has(t, errs, "web2: no answer")
	if out, _ := f.runWith(0, strings.NewReader("hello"), f.enter("web2", "tr a-z A-Z")...); out != "HELLO" {
		t.Errorf("%q", out)
	}
	_, errs = f.run(2, "-H", "web1,web2", "enter", "web", "id")
	has(t, errs, "enter works with one host at a time, and 2 were given")
}

// On a terminal the program has one, and 255 is told from ssh's too.
func testTerminal(t *testing.T, f *fleet) {
	onTerminal := func(args ...string) (string, int) {
		var out bytes.Buffer
		cmd := f.command(args...)
		err := nstest.RunOnTerminal(cmd, 80, 24, strings.NewReader(""), &out)
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			return out.String(), e.ExitCode()
		} else if err != nil {
			t.Error(err)
		}
		return out.String(), 0
	}
	out, status := onTerminal(f.enter("web1", "tty; stty size; exit 255")...)
	if status != 255 {
		t.Errorf("status %d\n%s", status, out)
	}
	has(t, out, "/dev/pts/", "24 80")
	out, status = onTerminal(f.enter("nosuch", "exit 0")...)
	if status != 125 {
		t.Errorf("status %d\n%s", status, out)
	}
	has(t, out, "no answer")
	if out, status = onTerminal(f.enter("web1", breaks)...); status != 125 {
		t.Errorf("status %d\n%s", status, out)
	}
	out, status = onTerminal(f.enter("none", "exit 0")...)
	if status != 125 {
		t.Errorf("status %d\n%s", status, out)
	}
	has(t, out, "install it, or use --bring")
}

func testCopies(t *testing.T, f *fleet) {
	pid := strconv.Itoa(f.hosts["web2"].pid) + ":"
	dir := nstest.Dir(t)
	write(t, dir+"/a b", "one", 0o640)
	write(t, dir+"/c", "two", 0o755)
	f.run(0, "-H", "web2", "cp", dir+"/a b", dir+"/c", pid+"/root")
	f.run(0, "-H", "web2", "cp", dir+"/c", pid+"/root/new")
	f.run(1, "-H", "web2", "cp", dir+"/a b", dir+"/c", pid+"/root/new")
	f.run(1, "-H", "web2", "cp", dir+"/nosuch", pid+"/root/new")
	back := nstest.Dir(t)
	f.run(0, "-H", "web2", "cp", pid+"/root/a b", back)
	f.run(0, "-H", "web2", "cp", pid+"/root", back+"/all")
	f.run(0, "-H", "web2", "cp", "-a", pid+"/root/c", pid+"/root/new", back+"/all")
	f.run(1, "-H", "web2", "cp", pid+"/root/nosuch", back+"/x")
	if got, want := fmt.Sprint(nstest.Tree(t, back)), "map[a b:one all/: all/a b:one all/c:two all/new:two]"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if info, err := os.Stat(back + "/all/c"); err != nil || info.Mode().Perm() != 0o755 {
		t.Error(info, err)
	}
	if out, _ := f.run(0, "-H", "web2", "cp", pid+"/root/c", "-"); out != "two" {
		t.Errorf("%q", out)
	}
	f.runWith(0, strings.NewReader("three"), "-H", "web2", "cp", "-", pid+"/root/three")
	f.run(0, "-H", "web2", "cp", pid+"/root/three", pid+"/root/four")
	if out, _ := f.run(0, "-H", "web2", "cp", pid+"/root/four", "-"); out != "three" {
		t.Errorf("%q", out)
	}
	_, errs := f.run(2, "-H", "web1,web2", "cp", pid+"/root/four", back)
	has(t, errs, "cp works with one host at a time")
	_, errs = f.run(1, "-H", "nosuch", "cp", pid+"/root/four", back+"/four")
	has(t, errs, "Connection refused")
	if _, err := os.Lstat(back + "/four"); err == nil {
		t.Error("a copy was made of nothing")
	}
}

func testForward(t *testing.T, f *fleet) {
	web2 := f.hosts["web2"]
	server := nstest.StartReady(t, exec.Command("nsenter", "-t", strconv.Itoa(web2.pid), "-n", "python3", "-c",
		"import socket,threading,sys,os\ns=socket.create_server(('127.0.0.1',8000))\nprint('up',flush=True)\n"+
			"def serve(c):\n d=b''\n while True:\n  m=c.recv(9)\n  if not m: break\n  d+=m\n c.sendall(d.upper()); c.close()\n"+
			"def loop():\n while True: threading.Thread(target=serve,args=(s.accept()[0],),daemon=True).start()\n"+
			"threading.Thread(target=loop,daemon=True).start()\nsys.stdin.read()"))
	_ = server
	cmd := f.command("-H", "web1", "forward", strconv.Itoa(web2.pid), ":8000", ":1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var first, second int
	if _, err := fmt.Fscanf(out, "127.0.0.1:%d -> "+strconv.Itoa(web2.pid)+" 127.0.0.1:8000 on web1\n127.0.0.1:%d -> ", &first, &second); err != nil {
		t.Fatal(err)
	}
	talk := func(port int) string {
		return must(t, "nsenter", "-t", strconv.Itoa(f.caller), "-n", "python3", "-c",
			fmt.Sprintf("import socket\nc=socket.create_connection(('127.0.0.1',%d))\nc.sendall(b'hello'); c.shutdown(1)\ntry: print(c.recv(99).decode())\nexcept ConnectionResetError: print('reset')", port))
	}
	for range 3 {
		if got := talk(first); got != "HELLO\n" {
			t.Errorf("%q", got)
		}
	}
	if got := talk(second); got != "reset\n" {
		t.Errorf("%q", got)
	}
	// A connection that is open, and idle, does not keep it.
	idle := exec.Command("nsenter", "-t", strconv.Itoa(f.caller), "-n", "python3", "-c",
		fmt.Sprintf("import socket\nc=socket.create_connection(('127.0.0.1',%d))\nc.sendall(b'hello')\nprint('up',flush=True)\ntry: c.recv(9)\nexcept OSError: pass", first))
	nstest.StartReady(t, idle)
	start := time.Now()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if late.Stop(); cmd.ProcessState.ExitCode() != 0 || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", cmd.ProcessState, time.Since(start))
	}
	has(t, errs.String(), "web1: forward: 127.0.0.1:1 in "+strconv.Itoa(web2.pid)+": connection refused")
	f.left(t)
	_, said := f.run(2, "-H", "web1", "forward", "self", "53:53/udp")
	has(t, said, "UDP cannot be carried")
}

// left fails the test if a program that we started on a host has not ended.
func (f *fleet) left(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, _ := exec.Command("pgrep", "-af", f.dir+"/with/nstool|/nstool-[A-Za-z0-9]{12}/nstool").Output()
		if len(out) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("left: %s", out)
			return
		}
	}
}

func testVersions(t *testing.T, f *fleet) {
	_, errs := f.run(1, "-H", "old", "ls")
	has(t, errs, "nstool: old: nstool v0.0.1 (go1.26, linux/amd64) is there, and this is ", "install that, or use --bring")
	_, errs = f.run(2, "-H", "none", "doctor")
	has(t, errs, "nstool: none: nstool ", "cannot be run there (", "not found): install it, or use --bring")
}

func testBring(t *testing.T, f *fleet) {
	for _, host := range []string{"none", "old", "web2"} {
		out, errs := f.run(0, "-H", host, "--bring", "ls", "-r", "-t", "uts", "-o", "TYPE")
		if !strings.HasPrefix(out, "HOST TYPE\n"+host+" uts\n") {
			t.Errorf("%q %q", out, errs)
		}
	}
	out, _ := f.run(255, append([]string{"--bring"}, f.enter("none", "echo in; exit 255")...)...)
	has(t, out, "in\n")
	// While it runs there, it is root's alone.
	cmd := f.command(append([]string{"--bring"}, f.enter("none", "ls -ld /run/nstool-*/ /run/nstool-*/*; cat")...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	cmd.Stdout = &b
	cmd.Args = slices.Replace(cmd.Args, slices.Index(cmd.Args, "--uts"), slices.Index(cmd.Args, "--uts")+1, "--mount")
	cmd.Args[slices.Index(cmd.Args, "-p")+1] = strconv.Itoa(f.hosts["web2"].pid)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(3*time.Second, func() { in.Close() })
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	has(t, b.String(), "drwx------", "-rwx------", " root root ", "/nstool\n")
	// Where others may write, it is not put.
	for _, p := range []struct{ chmod, want string }{{"chmod 777 /run", "/root/nstool-"}, {"chmod 755 /run; chown 1 /run", "/root/nstool-"}, {"chmod 770 /root", ""}} {
		must(t, "nsenter", "-t", strconv.Itoa(f.hosts["web2"].pid), "-m", "sh", "-c", p.chmod)
		args := append([]string{"--bring"}, f.enter("none", "readlink /proc/$PPID/exe; ls -d /run/nstool-* /root/nstool-* 2>/dev/null; true")...)
		args[slices.Index(args, "--uts")] = "--mount"
		args[slices.Index(args, "-p")+1] = strconv.Itoa(f.hosts["web2"].pid)
		if p.want == "" {
			_, errs := f.run(125, args...)
			has(t, errs, "no program can be put into /run or /root there: install nstool")
		} else if out, _ := f.run(0, args...); !strings.Contains(out, p.want) || strings.Contains(out, "/run/") {
			t.Errorf("%s: %q", p.chmod, out)
		}
	}
	must(t, "nsenter", "-t", strconv.Itoa(f.hosts["web2"].pid), "-m", "sh", "-c", "chown 0 /run; chmod 755 /run; chmod 700 /root")
	_, errs := f.run(1, "-H", "arm", "--bring", "ls")
	has(t, errs, "nstool: arm: the machine is riscv64, and this nstool is for "+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH], "install nstool")
	_, errs = f.run(1, "-H", "weaknone", "--bring", "ls")
	has(t, errs, "--bring needs root there: root@HOST, or --sudo")
	out, errs = f.run(0, "-H", "weaknone", "--bring", "--sudo", "ls", "-n", "-t", "uts", "-o", "TYPE")
	has(t, out+errs, "weaknone  uts\n")
	for name, h := range f.hosts {
		if left := h.files(t); left != "" {
			t.Errorf("left on %s: %s", name, left)
		}
	}
	f.left(t)
}

// Whenever the caller or the connection ends, the program that was brought is removed.
func testBringBroken(t *testing.T, f *fleet) {
	web2 := f.hosts["web2"]
	gone := func(what string) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); web2.files(t) != ""; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%s: left: %s", what, web2.files(t))
				return
			}
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL} {
		cmd := f.command(append([]string{"--bring"}, f.enter("none", "echo up; cat")...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(out, new(string)); err != nil {
			t.Error(err)
		}
		if web2.files(t) == "" {
			t.Error("nothing was brought")
		}
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		in.Close()
		gone(sig.String())
	}
	f.run(125, append([]string{"--bring"}, f.enter("none", breaks)...)...)
	gone("a broken connection")
	// It is ended after each tenth of the time that it takes.
	for n := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*50*time.Millisecond)
		cmd := f.command(append([]string{"--bring"}, f.enter("none", "true")...)...)
		cmd2 := exec.CommandContext(ctx, cmd.Args[0], cmd.Args[1:]...)
		cmd2.Env = cmd.Env
		_ = cmd2.Run()
		cancel()
	}
	gone("SIGKILL")
	f.left(t)
}

// A user without rights sees what users see, and root's with sudo.
func testRights(t *testing.T, f *fleet) {
	_, errs := f.run(0, "-H", "weak", "ls", "-t", "net")
	has(t, errs, "nstool: weak: ", "could not be read")
	f.run(1, "-H", "weak", "ls", "--strict")
	out, _ := f.run(0, "-H", "weak", "--sudo", "enter", "-p", strconv.Itoa(f.hosts["web1"].pid), "--net", "--", "id", "-u")
	if out != "0\n" {
		t.Errorf("%q", out)
	}
	write(t, fmt.Sprintf("%s/sudoers1", f.dir), "root ALL=(ALL) ALL\n", 0o440)
	_, errs = f.run(1, "-H", "weak", "--sudo", "ls")
	has(t, errs, "sudo: a password is required")
}

// The caller may be an ordinary user.
func testUser(t *testing.T, f *fleet) {
	nstest.Need(t, "setpriv")
	home := nstest.Dir(t)
	must(t, "cp", f.dir+"/key", home+"/key")
	if err := errors.Join(os.Chown(home, 65534, 65534), os.Chown(home+"/key", 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	write(t, home+"/config", fmt.Sprintf("Host *\n User root\n HostName %s\n StrictHostKeyChecking accept-new\n UserKnownHostsFile %s/known\n IdentityFile %[2]s/key\n", f.hosts["web1"].addr, home), 0o644)
	must(t, "mkdir", home+"/bin")
	write(t, home+"/bin/ssh", "#!/bin/sh\nexec /usr/bin/ssh -F "+home+"/config \"$@\"\n", 0o755)
	cmd := f.command()
	cmd.Args = append(cmd.Args[:4], "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f.dir+"/with/nstool", "-H", "x", "enter", "-p", strconv.Itoa(f.hosts["web2"].pid), "--net", "id", "-u")
	cmd.Env = append(os.Environ(), "HOME="+home, "PATH="+home+"/bin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "0\n") {
		t.Errorf("%v %s", err, out)
	}
}

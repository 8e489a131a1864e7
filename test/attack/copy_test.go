package attack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// cp runs nstool cp and returns its status and what it said.
func cp(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(program(t, "nstool"), append([]string{"cp"}, args...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// ownerOf returns whose a file is.
func ownerOf(t *testing.T, path string) string {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := st.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
}

// A lair is a process of an ordinary user in a user and a mount namespace of his
// own, in which the files are the host's, and a directory of his with links and
// bind mounts that lead to what is root's.
type lair struct {
	pid  int
	dir  string // his
	root string // a file that root alone may read and write
}

func newLair(t *testing.T) *lair {
	t.Helper()
	nstest.Need(t, "root", "userns", "nsenter")
	l := &lair{dir: nstest.Dir(t), root: filepath.Join(nstest.Dir(t), "root")}
	mustWrite(t, l.root, "root's", 0o600)
	mustWrite(t, filepath.Join(l.dir, "mounted"), "", 0o666)
	mustWrite(t, filepath.Join(l.dir, "sysctl"), "", 0o666)
	if err := errors.Join(os.Symlink(l.root, filepath.Join(l.dir, "link")), os.Symlink("/proc/self/environ", filepath.Join(l.dir, "self"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "mounted", "sysctl", "link", "self"} {
		if err := os.Lchown(filepath.Join(l.dir, name), nstest.Nobody, nstest.Nobody); err != nil {
			t.Fatal(err)
		}
	}
	box := nstest.Spec{Types: []string{"user", "mnt"}, Nobody: true}.Start(t)
	l.pid = box.PID
	l.inside(t, "mount --bind "+l.root+" "+l.dir+"/mounted && mount --bind "+sysctl+" "+l.dir+"/sysctl")
	return l
}

// sysctl is a file that root may write without harm.
const sysctl = "/proc/sys/kernel/printk_ratelimit_burst"

// inside runs a line of shell in the lair, as its owner.
func (l *lair) inside(t *testing.T, line string) {
	t.Helper()
	cmd := nstest.Command(t, nstest.Nobody, "nsenter", "-t", fmt.Sprint(l.pid), "-U", "-m", "--preserve-credentials", "sh", "-c", line)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// at is a file of the lair as nstool has it.
func (l *lair) at(name string) string { return fmt.Sprintf("%d:%s/%s", l.pid, l.dir, name) }

// outside runs a program as root in the mount namespace of the lair: who copies
// there by paths.
func (l *lair) outside(words ...string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(l.pid), "-m"}, words...)...).Output()
	return string(out), err
}

// TestCopyIntoLair has root copy to and from where links and mounts of an
// ordinary user lead to what is root's.
func TestCopyIntoLair(t *testing.T) {
	l := newLair(t)
	mine := filepath.Join(nstest.Dir(t), "mine")
	mustWrite(t, mine, "PWND", 0o644)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := read(sysctl)

	for _, name := range []string{"link", "mounted", "sysctl"} {
		if status, out := cp(t, mine, l.at(name)); status != 1 || strings.Count(out, "\n") != 1 {
			t.Errorf("into %s: %d, %s", name, status, out)
		}
		if status, out := cp(t, l.at(name), "-"); name != "sysctl" && (status != 1 || strings.Contains(out, "root's")) {
			t.Errorf("out of %s: %d, %s", name, status, out)
		}
	}
	if read(l.root) != "root's" || read(sysctl) != before {
		t.Error("what is root's was written")
	}
	if status, out := cp(t, l.at("self"), "-"); status != 1 || !strings.Contains(out, "depends on who reads it") {
		t.Errorf("/proc/self: %d, %s", status, out)
	}
	// What is new belongs to him, as if he had made it.
	if status, out := cp(t, mine, l.at("new")); status != 0 || ownerOf(t, filepath.Join(l.dir, "new")) != fmt.Sprintf("%d:%d", nstest.Nobody, nstest.Nobody) {
		t.Errorf("a new file: %d, %s", status, out)
	}
	// Neither is root's read for another target, nor anybody else's written.
	other := newLair(t)
	for _, name := range []string{"link", "mounted"} {
		if status, out := cp(t, l.at(name), other.at("stolen")); status != 1 {
			t.Errorf("%s to another: %d, %s", name, status, out)
		}
		if _, err := os.Lstat(filepath.Join(other.dir, "stolen")); err == nil {
			t.Errorf("%s came to another", name)
		}
		if status, out := cp(t, l.at("new"), other.at(name)); status != 1 {
			t.Errorf("into %s of another: %d, %s", name, status, out)
		}
	}
	if status, out := cp(t, l.at("new"), other.at("got")); status != 0 {
		t.Errorf("from one to another: %d, %s", status, out)
	}

	// The attack is one: who copies by paths is led to it.
	for _, name := range []string{"link", "mounted"} {
		if out, err := l.outside("cat", filepath.Join(l.dir, name)); err != nil || out != "root's" {
			t.Errorf("not even cat reads %s: %v", name, err)
		}
	}
	if _, err := l.outside("cp", mine, filepath.Join(l.dir, "mounted")); err != nil || read(l.root) != "PWND" {
		t.Errorf("not even cp writes what is root's: %v", err)
	}
}

// TestCopyIntoService has root copy to and from a process of an ordinary user
// that is in no namespace of its own: root's rights are not lent to its links.
func TestCopyIntoService(t *testing.T) {
	nstest.Need(t, "root")
	dir, secret := nstest.Dir(t), filepath.Join(nstest.Dir(t), "root")
	mustWrite(t, secret, "root's", 0o600)
	if err := errors.Join(os.Symlink(secret, filepath.Join(dir, "link")), os.Chown(dir, nstest.Nobody, nstest.Nobody)); err != nil {
		t.Fatal(err)
	}
	cmd := nstest.Command(t, nstest.Nobody, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	link := fmt.Sprintf("%d:%s/link", cmd.Process.Pid, dir)
	mine := filepath.Join(nstest.Dir(t), "mine")
	mustWrite(t, mine, "PWND", 0o644)
	if status, out := cp(t, mine, link); status != 1 || !strings.Contains(out, "permission denied") {
		t.Errorf("into a link: %d, %s", status, out)
	}
	if status, out := cp(t, link, "-"); status != 1 || strings.Contains(out, "root's") {
		t.Errorf("out of a link: %d, %s", status, out)
	}
	// With root's rights, if they are asked for, it is as with cp(1).
	if status, out := cp(t, "--as", "root", link, "-"); status != 0 || out != "root's" {
		t.Errorf("with root's rights: %d, %s", status, out)
	}
}

// TestCopyIntoOwnRoot has root copy to and from a process of an ordinary user with a
// root directory of its own and no user namespace, as a service with RootDirectory=
// or a snap: where a directory of the host's is mounted in there, no more is done
// than the process could.
func TestCopyIntoOwnRoot(t *testing.T) {
	nstest.Need(t, "root", "unshare", "busybox")
	private := nstest.Dir(t)
	mustWrite(t, filepath.Join(private, "secret"), "root's", 0o600)
	root := nstest.Busybox(t)
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky); err != nil { //nolint:gosec // as /tmp has it
		t.Fatal(err)
	}
	script := `mount --bind "$1" "$1" && mkdir -p "$1/host" && mount --bind "$2" "$1/host" && exec chroot --userspec=65534:65534 "$1" /bin/sleep 1000`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", root, private)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if !eventually(10e9, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		return err == nil && strings.HasPrefix(string(text), "/bin/sleep")
	}) {
		t.Fatal("the process has not started")
	}
	at := fmt.Sprintf("%d:/host/", cmd.Process.Pid)
	mine := filepath.Join(nstest.Dir(t), "mine")
	mustWrite(t, mine, "PWND", 0o644)
	for _, to := range []string{"secret", "new"} {
		if status, out := cp(t, mine, at+to); status != 1 || !strings.Contains(out, "permission denied") {
			t.Errorf("to %s: %d, %s", to, status, out)
		}
	}
	if status, out := cp(t, at+"secret", "-"); status != 1 || strings.Contains(out, "root's") {
		t.Errorf("from it: %d, %s", status, out)
	}
	if text, err := os.ReadFile(filepath.Join(private, "secret")); err != nil || string(text) != "root's" {
		t.Errorf("the file has become %q, %v", text, err)
	}
	// What is its own it can have, and with root's rights it is as with cp(1).
	if status, out := cp(t, mine, fmt.Sprintf("%d:/tmp/mine", cmd.Process.Pid)); status != 0 {
		t.Errorf("to a directory of all: %d, %s", status, out)
	}
	if status, out := cp(t, "--as", "root", at+"secret", "-"); status != 0 || out != "root's" {
		t.Errorf("with root's rights: %d, %s", status, out)
	}
}

// TestCopyIsAlone looks at who acts in a container: it cannot be looked into by
// who is root there, sees nothing of the caller's, and ends with it.
func TestCopyIsAlone(t *testing.T) {
	nstest.Need(t, "root", "userns", "nsenter", "busybox")
	c := newCage(t, func(root string) {
		if err := exec.Command("chown", "-R", "100000:100000", root).Run(); err != nil {
			t.Fatal(err)
		}
	}, []string{"-u", "rooted"}, "/bin/attack", "sleep")
	cmd := exec.Command(program(t, "nstool"), "cp", "-", fmt.Sprintf("%d:/tmp/new", c.pid))
	cmd.Env = append(os.Environ(), "SECRET=of the caller")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var pid int
	found := eventually(10e9, func() bool {
		list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range list {
			if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "nstool-deputy\x00copy\x00") {
				if link, err := os.Readlink(filepath.Join(filepath.Dir(path), "ns/user")); err == nil && link == nsLink(t, c.pid, "user") {
					_, err := fmt.Sscanf(path, "/proc/%d/", &pid)
					return err == nil
				}
			}
		}
		return false
	})
	if !found {
		t.Fatal("nobody acts there")
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || len(env) != 0 {
		t.Errorf("it has the environment %q, %v", env, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), "\nUid:\t100000\t100000\t100000\t100000\n") || !strings.Contains(string(status), "\nNoNewPrivs:\t1\n") {
		t.Errorf("it is %s, %v", status, err)
	}
	for _, at := range []struct {
		pid  int
		want bool
	}{{pid, false}, {c.pid, true}} {
		out, err := exec.Command("nsenter", "-t", fmt.Sprint(c.pid), "-U", "-S", "0", "-G", "0", "ls", "-l", fmt.Sprintf("/proc/%d/root/", at.pid)).CombinedOutput()
		if (err == nil) != at.want {
			t.Errorf("root of the container in %d: %v: %s", at.pid, err, out)
		}
	}
	// Killed as hard as can be, it leaves nothing.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	if !eventually(10e9, func() bool { return stateOf(pid) == "" || stateOf(pid) == "Z" }) {
		t.Error("who acts there outlives the caller")
	}
	if !eventually(10e9, func() bool {
		list, err := os.ReadDir(filepath.Join(c.root, "tmp"))
		return err == nil && len(list) == 0
	}) {
		t.Error("something is left")
	}
}

// nsLink returns the link of a namespace of a process.
func nsLink(t *testing.T, pid int, name string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

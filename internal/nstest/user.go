package nstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// AsUser runs the tests of the package once more, as an ordinary user, if root
// runs them: the same binary, so what was built once is run twice. It is all
// that the test of a package does that calls it:
//
//	func TestAsUser(t *testing.T) { nstest.AsUser(t) }
//
// Of the things that [NeedVar] lists the user is held to those that do not
// take root.
func AsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is the ordinary user's run")
	}
	args := []string{"-test.v"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := Command(t, Nobody, exe, args...)
	cmd.Dir = reachable(t)
	cmd.Env = append(os.Environ(), "HOME=/", "USER=nobody", "TMPDIR=/tmp", "PATH="+usersPath(), NeedVar+"="+usersNeeds())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
		return
	}
	t.Logf("as an ordinary user:\n%s", out)
}

// reachable returns the directory of the package in a copy of the module that
// every user can enter: the files of tests are found there.
func reachable(t *testing.T) string {
	t.Helper()
	pkg, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root := pkg
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == "/" {
			t.Fatalf("%s is in no module", pkg)
		}
		root = filepath.Dir(root)
	}
	dir := Dir(t)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		from, to := filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())
		switch {
		case e.Name() == ".git":
			continue
		case e.IsDir():
			err = os.CopyFS(to, os.DirFS(from))
		default:
			var data []byte
			if data, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, data, 0o644) //nolint:gosec // to be read by all
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, strings.TrimPrefix(pkg, root))
}

// usersPath returns PATH without the directories that others than their owner
// cannot enter: a program that is not found would be one that is forbidden.
func usersPath() string {
	open := func(dir string) bool {
		for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm()&0o001 == 0 {
				return false
			}
		}
		return true
	}
	return strings.Join(slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool { return !open(dir) }), ":")
}

// usersNeeds returns what NeedVar lists, without what only root has, and with
// being an ordinary user if there is a list at all.
func usersNeeds() string {
	list := os.Getenv(NeedVar)
	if list == "" {
		return ""
	}
	needs := []string{"user"}
	for _, name := range strings.Split(list, ",") {
		switch name {
		case "root", "user", "docker", "containerd", "podman", "lxc", "nspawn", "fuse", "bpf":
		default:
			needs = append(needs, name)
		}
	}
	return strings.Join(needs, ",")
}

// Command returns a command that runs as the user, and group, uid, if that is
// another than the test's own. The user need not be able to reach the program:
// it is put where everybody can.
func Command(t testing.TB, uid int, program string, args ...string) *exec.Cmd {
	t.Helper()
	if uid == os.Geteuid() {
		return exec.Command(program, args...)
	}
	Need(t, "root")
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	reachable := filepath.Join(Dir(t), filepath.Base(program))
	if err := os.Link(path, reachable); err != nil { // another file system
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(reachable, data, 0o755) //nolint:gosec // a program
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(reachable, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}} //nolint:gosec // a small number
	return cmd
}

package attack

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// peers listens on a unix socket with this owner and mode, and returns where the
// user of each that connects comes in.
func peers(t *testing.T, path string, uid int, mode os.FileMode) <-chan string {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chown(path, uid, uid)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
	users := make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			raw, err := c.(*net.UnixConn).SyscallConn()
			if err == nil {
				_ = raw.Control(func(fd uintptr) {
					cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
					if err != nil {
						users <- err.Error()
						return
					}
					users <- fmt.Sprint("uid ", cred.Uid)
				})
			}
			fmt.Fprint(c, "welcome")
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return users
}

// A user makes a link, and a bind mount, of a socket that is root's alone, and
// has root forward to it: who connects then is not root.
func TestForwardUnix(t *testing.T) {
	nstest.Need(t, "root", "unshare", "userns", "mount")
	const uid = 54321
	hosts := nstest.Dir(t)
	secret := filepath.Join(hosts, "docker.sock")
	visits := peers(t, secret, 0, 0o600)
	dir := nstest.Dir(t)
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	own := peers(t, filepath.Join(dir, "own"), uid, 0o600)
	anybodys := peers(t, filepath.Join(hosts, "all"), 0, 0o666)

	box := exec.Command("unshare", "-Urm", "sh", "-ec", `
		ln -s "$SECRET" link
		ln -s "$ALL" all
		: >bound
		mount --bind "$SECRET" bound
		echo ready
		exec cat`)
	box.Dir = dir
	box.Env = append(os.Environ(), "SECRET="+secret, "ALL="+filepath.Join(hosts, "all"))
	box.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	nstest.StartReady(t, box)
	pid := box.Process.Pid

	// The control: root connects to what is there.
	for _, name := range []string{"link", "bound"} {
		c, err := net.Dial("unix", fmt.Sprintf("/proc/%d/root%s/%s", pid, dir, name))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := <-visits; got != "uid 0" {
			t.Fatalf("the control is %s", got)
		}
	}

	var complaints strings.Builder
	forward := exec.Command(program(t, "nstool"), "forward", strconv.Itoa(pid),
		":"+dir+"/link", ":"+dir+"/bound", ":"+dir+"/own", ":"+dir+"/all")
	forward.Stderr = &complaints
	out := nstest.Start(t, forward)
	connect := func() string {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err, complaints.String())
		}
		at, _, _ := strings.Cut(line, " ")
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	for _, name := range []string{"link", "bound"} {
		if got := connect(); got != "" {
			t.Errorf("%s: it says %q", name, got)
		}
		select {
		case who := <-visits:
			t.Errorf("%s: %s has connected", name, who)
		default:
		}
	}
	// What the user may connect to, root connects to as the user.
	for range 2 {
		if got := connect(); got != "welcome" {
			t.Errorf("it says %q: %s", got, complaints.String())
		}
	}
	for name, users := range map[string]<-chan string{"own": own, "all": anybodys} {
		select {
		case who := <-users:
			if who != "uid 54321" {
				t.Errorf("%s: %s has connected", name, who)
			}
		default:
			t.Errorf("%s: nobody has connected", name)
		}
	}
	if err := forward.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(out)
	if n := strings.Count(complaints.String(), "permission denied"); n < 2 {
		t.Errorf("it does not say why: %s", complaints.String())
	}
}

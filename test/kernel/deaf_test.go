package kernel_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// asking are commands that look at files of the host. PID is a process there.
var asking = [][]string{
	{"ls"},
	{"containers"},
	{"show", "PID"},
	{"doctor"},
	{"net", "PID"},
	{"pin", "ls"},
	{"enter", "-p", "PID", "BIN", "version"},
	{"enter", "-c", "nosuch", "BIN"},
	{"enter", "-p", "pin:nosuch", "BIN"},
	{"run", "-n", "BIN", "version"},
	{"__complete", "enter", ""},
	{"__complete", "enter", "-c", ""},
}

// A file system of the host that does not answer is waited for by no command for
// long, and told. An interrupt ends each at once.
func TestDeafHost(t *testing.T) {
	nstest.Need(t, "root", "fuse")
	bin := program(t)
	for dir, told := range map[string]string{ // by which command
		"/run/netns":      "doctor",
		"/run/nstool":     "pin ls",
		"/var/lib/docker": "containers",
		"/run/containerd": "",
		"/run/runc":       "",
		"/run/libpod":     "",
		"/run/docker":     "pin ls",
		"/etc":            "ls",
	} {
		t.Run(strings.ReplaceAll(dir[1:], "/", " "), func(t *testing.T) {
			t.Parallel() // it waits most of the time
			if told == "containers" {
				likeDocker(t)
			}
			f := newFuse(t)
			defer f.end()
			inPrivate(t, func() error {
				// What is mounted there is no matter: the directories are made anew.
				over, _ := filepath.Split(dir)
				if over != "/" {
					if err := syscall.Mount("nstool-test", over, "tmpfs", 0, "mode=755"); err != nil {
						return err
					}
					if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as they are
						return err
					}
				}
				if err := f.mount(dir); err != nil {
					return err
				}
				if _, err := os.Stat(dir); err != nil { // until the kernel knows it
					return err
				}
				f.deaf.Store(true)
				pid := start(t, exec.Command("cat")).Process.Pid
				for _, words := range asking {
					args := strings.Split(strings.NewReplacer("PID", fmt.Sprint(pid), "BIN", bin).Replace(strings.Join(words, "\x00")), "\x00")
					late := time.AfterFunc(enough, f.end) // or it could not even be killed
					asked := f.count(&f.left)
					begin := time.Now()
					r, err := within(enough, exec.Command(bin, args...))
					if !late.Stop() || err != nil {
						t.Errorf("%v: it waited for ever: %v", words, err)
						return nil
					}
					t.Logf("%v: status %d after %v, %d questions: %s", words, r.status, time.Since(begin), f.count(&f.left)-asked, r.err)
					if time.Since(begin) > soon/2 {
						t.Errorf("%v took %v", words, time.Since(begin))
					}
					if strings.Join(words, " ") == told && !strings.Contains(r.err, dir) {
						t.Errorf("%v does not tell: %s%s", words, r.out, r.err)
					}
					interrupted(t, bin, args)
				}
				return nil
			})
		})
	}
}

// likeDocker starts a process in a control group as Docker makes them.
func likeDocker(t *testing.T) {
	t.Helper()
	dir := fmt.Sprintf("/sys/fs/cgroup/pids/docker/%064x", os.Getpid())
	if _, err := os.Stat("/sys/fs/cgroup/pids"); err != nil {
		dir = strings.Replace(dir, "/pids", "", 1)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // of a cgroup
		t.Skip(err)
	}
	t.Cleanup(func() {
		until(t, dir+" is removed", func() bool { return os.Remove(dir) == nil })
		os.Remove(filepath.Dir(dir)) // which may be another's
	})
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	pid := start(t, cmd).Process.Pid
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(fmt.Sprint(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// Of what the caller names himself the same is so: a directory of the PATH, that of
// tools, the file of a namespace.
func TestDeafNames(t *testing.T) {
	nstest.Need(t, "root", "fuse")
	bin := program(t)
	dir := nstest.Dir(t)
	f := newFuse(t)
	defer f.end()
	inPrivate(t, func() error {
		if err := f.mount(dir); err != nil {
			return err
		}
		if _, err := os.Stat(dir); err != nil {
			return err
		}
		f.deaf.Store(true)
		target := exec.Command("cat")
		target.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		pid := fmt.Sprint(start(t, target).Process.Pid)
		type try struct {
			args   []string
			status int

			cmd   *exec.Cmd
			err   bytes.Buffer
			took  time.Duration
			ended chan struct{}
		}
		tries := []*try{
			{args: []string{"run", "-n", "true"}},
			{args: []string{"enter", "-n", "-p", pid, "true"}},
			{args: []string{"run", "-n", dir + "/true"}, status: 125},
			{args: []string{"enter", "--tools=" + dir, "-p", pid, "true"}, status: 125},
			{args: []string{"enter", "--net=" + dir + "/net", "true"}, status: 125},
			{args: []string{"ls", dir + "/net"}, status: 1},
			{args: []string{"pin", "rm", "--path", dir + "/net"}, status: 1},
			{args: []string{"cp", dir + "/file", pid + ":/tmp/"}, status: 1},
		}
		late := time.AfterFunc(enough, f.end)
		for _, c := range tries { // side by side: they only wait, and share nothing
			c.cmd, c.ended = exec.Command(bin, c.args...), make(chan struct{})
			c.cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			c.cmd.Stderr = &c.err
			begin := time.Now()
			if err := c.cmd.Start(); err != nil {
				return err
			}
			go func() {
				defer close(c.ended)
				_ = c.cmd.Wait() // its status is looked at
				c.took = time.Since(begin)
			}()
		}
		for _, c := range tries {
			<-c.ended
			status := c.cmd.ProcessState.ExitCode()
			t.Logf("%v: status %d after %v: %s", c.args, status, c.took, c.err.String())
			if c.took > soon/2 || status != c.status || !strings.Contains(c.err.String(), "answer") {
				t.Errorf("%v: status %d after %v: %s", c.args, status, c.took, c.err.String())
			}
		}
		if !late.Stop() {
			t.Error("one of them waited for ever")
			return nil
		}
		for _, c := range tries {
			interrupted(t, bin, c.args)
		}
		return nil
	})
}

// interrupted fails the test unless a command ends soon after an interrupt.
func interrupted(t *testing.T, bin string, args []string) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	select {
	case <-ended:
		return
	case <-time.After(200 * time.Millisecond):
	}
	_ = cmd.Process.Signal(os.Interrupt)
	select {
	case <-ended:
	case <-time.After(time.Second):
		t.Errorf("%v: it is not ended by an interrupt", args)
		_ = cmd.Process.Kill()
	}
}

package deputy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

// A look is what a deputy finds when it looks at itself.
type look struct {
	Status string
	Env    []string
	FDs    []string
	Cwd    string
	Sid    int
	Files  []byte
}

// init plays the part of a deputy that says who it is, when it is asked, with
// what is in the file that came with the question.
func init() {
	Serve("look", func(conn *Conn, _ []*os.File) {
		for {
			var question string
			with, err := conn.Receive(&question, 1)
			if err != nil {
				return
			}
			status, err := os.ReadFile("/proc/self/status")
			l := look{Status: fmt.Sprint(string(status), err), Env: os.Environ()}
			for fd := range 32 {
				if text, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
					l.FDs = append(l.FDs, fmt.Sprint(fd, " ", text))
				}
			}
			l.Cwd, _ = os.Getwd() //nolint:errcheck // what is wrong with it shows
			sid, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
			l.Sid = int(sid)
			l.Files = make([]byte, 100)
			for _, f := range with {
				n, _ := f.Read(l.Files) //nolint:errcheck // as above
				l.Files = l.Files[:n]
			}
			if conn.Send(l) != nil {
				return
			}
		}
	})
}

// ask starts a deputy for a process, with a file, and asks it.
func ask(t *testing.T, pid int, as As) (d *Deputy, l look) {
	t.Helper()
	target, err := enter.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	root, err := target.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r, err := RightsOf(target, root, as)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, err = Start(r, "look", root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(time.Second) })
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if _, err := write.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if err := d.Send("who are you?", read); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Receive(&l, 0); err != nil {
		t.Fatal(err)
	}
	return d, l
}

// A deputy has the rights of the target, and nothing of the caller's.
func TestRights(t *testing.T) {
	nstest.Need(t, "userns", "busybox")
	isRoot := os.Geteuid() == 0
	for _, c := range []struct {
		spec nstest.Spec
		as   As
		root bool // it acts as root of its user namespace, with file capabilities
		who  uint32
	}{
		{spec: nstest.Spec{Types: []string{"user", "mnt"}, Root: true}, root: true, who: 100000},
		{spec: nstest.Spec{Types: []string{"user", "mnt"}, Root: true}, as: AsTarget, root: true, who: 100000}, // which is root
		{spec: nstest.Spec{Types: []string{"user"}, Nobody: true}, root: true, who: nstest.Nobody},
		{spec: nstest.Spec{}, root: isRoot},
	} {
		box := c.spec.Start(t)
		d, l := ask(t, box.PID, c.as)
		if len(l.Env) != 0 || l.Cwd != "/" || l.Sid == 0 || string(l.Files) != "text" {
			t.Errorf("%v: %+v", c.spec, l)
		}
		// 0, 1 and 2 are nothing; conn and root; and what the run time has for itself.
		for _, fd := range l.FDs {
			_, text, _ := strings.Cut(fd, " ")
			if !slices.ContainsFunc([]string{"/dev/null", "socket:", "pipe:", "anon_inode:", "/sys/fs/cgroup/"}, func(p string) bool { return strings.HasPrefix(text, p) }) && text != "/" && !strings.HasPrefix(text, "/tmp/") {
				t.Errorf("%v: it holds %s", c.spec, fd)
			}
		}
		status, err := task.ParseStatus(l.Status)
		if err != nil {
			t.Fatal(err)
		}
		want := task.Caps(0)
		if c.root {
			want = task.AllCaps() &^ notOurs
			if _, have := sys.Capabilities(); len(c.spec.Types) == 0 {
				want &= task.Caps(have)
			}
		}
		if status.Caps.Permitted != want || status.Caps.Effective != want || status.Caps.Inheritable != 0 || status.Caps.Bounding&^want != 0 && isRoot || !status.NoNewPrivs {
			t.Errorf("%v: it has %+v", c.spec, status.Caps)
		}
		if len(c.spec.Types) > 0 && status.UID.All() != [4]uint32{} {
			t.Errorf("%v: it is %v inside", c.spec, status.UID)
		}
		// From outside it is who it is to be.
		outside, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", status.PID))
		if status.PID != 0 && err == nil {
			out, err := task.ParseStatus(string(outside))
			if err != nil || c.who != 0 && isRoot && out.UID.FS != c.who {
				t.Errorf("%v: outside it is %v: %v", c.spec, out.UID, err)
			}
		}
		d.Close(time.Second)
		select {
		case <-d.Gone():
		case <-time.After(10 * time.Second):
			t.Error("it does not end")
		}
	}
}

// Nobody of the target can look into a deputy: the file of its executable, or
// its memory, is not to be had even for root of the target's user namespace.
func TestNobodyLooksInto(t *testing.T) {
	nstest.Need(t, "userns", "busybox", "nsenter")
	box := nstest.Spec{Types: []string{"user", "mnt"}, Root: true}.Start(t)
	_, l := ask(t, box.PID, AsFits)
	var pid int
	for line := range strings.Lines(l.Status) {
		_, _ = fmt.Sscanf(line, "Pid: %d", &pid) //nolint:errcheck // most lines are others
	}
	for _, c := range []struct {
		pid  int
		what string
		want bool
	}{{pid, "exe", false}, {pid, "root", false}, {box.PID, "root", true}} {
		cmd := nstest.Command(t, os.Geteuid(), "nsenter", "-t", fmt.Sprint(box.PID), "-U", "--preserve-credentials", "readlink", fmt.Sprintf("/proc/%d/%s", c.pid, c.what))
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if os.Geteuid() == 0 {
			cmd = nstest.Command(t, os.Geteuid(), "nsenter", "-t", fmt.Sprint(box.PID), "-U", "-S", "0", "-G", "0", "readlink", fmt.Sprintf("/proc/%d/%s", c.pid, c.what))
		}
		out, err := cmd.CombinedOutput()
		if (err == nil) != c.want {
			t.Errorf("%s of %d: %s: %v", c.what, c.pid, out, err)
		}
	}
}

// One that cannot be is an error that says why.
func TestRefused(t *testing.T) {
	r := &Rights{Of: "process 1", User: os.Stdin, who: enter.UserIdentity(0, 0)}
	if _, err := Start(r, "look"); err == nil || !strings.Contains(err.Error(), "join the user namespace of process 1: setns: ") {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		return
	}
	r = &Rights{Of: "process 1", who: enter.UserIdentity(0, 0)}
	if _, err := Start(r, "look"); err == nil || !strings.Contains(err.Error(), "become user 0 and group 0 to act as process 1: setresgid: ") && !strings.Contains(err.Error(), "which cannot be left") {
		t.Error(err)
	}
}

// A message with too many files leaves none open.
func TestTooManyFiles(t *testing.T) {
	a, b, err := sys.MessagePair()
	if err != nil {
		t.Fatal(err)
	}
	from, to := newConn(a), newConn(b)
	defer from.Close()
	defer to.Close()
	if err := from.Send("text", os.Stdin, os.Stdout, os.Stderr); err != nil {
		t.Fatal(err)
	}
	var text string
	files, err := to.Receive(&text, 1)
	if err != nil || len(files) != 1 || text != "text" {
		t.Errorf("%d files, %q: %v", len(files), text, err)
	}
	for _, f := range files {
		f.Close()
	}
}

// A deputy that somebody stops is ended: a process of the target's user may send
// it signals, and who waits for its answer would wait for ever.
func TestStopped(t *testing.T) {
	nstest.Need(t, "userns", "busybox")
	box := nstest.Spec{Types: []string{"user", "mnt"}, Root: true}.Start(t)
	d, l := ask(t, box.PID, AsFits)
	var pid int
	for line := range strings.Lines(l.Status) {
		_, _ = fmt.Sscanf(line, "Pid: %d", &pid) //nolint:errcheck // most lines are others
	}
	if err := sys.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.Gone():
	case <-time.After(10 * time.Second):
		t.Fatal("it is there, and stopped")
	}
	if _, err := d.Receive(&l, 0); err == nil {
		t.Error("it has answered")
	}
}

package nstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Nobody is the ordinary user, and group, as which root runs what an ordinary
// user is to run.
const Nobody = 65534

// A Spec says what a sandbox is to have. The zero Spec is a process in the
// namespaces of the test.
type Spec struct {
	// Types are the namespaces of its own: "user", "net" and so on, the names
	// of the links under /proc/pid/ns. In a user namespace of root's making
	// root is 100000 outside; in another's, its maker.
	Types []string

	// Nobody has the sandbox started by an ordinary user, if the test is not
	// run by one already.
	Nobody bool

	// Root gives it a root file system of its own: busybox, and little else.
	// It needs a mount namespace of its own, as do the fields below that say
	// so.
	Root bool

	// Exec is the program that the process becomes when all else is done, such
	// as busybox's "cat", with PATH searched in its root. It should end when
	// its standard input does; it is killed if it does not.
	Exec []string

	// Thread has a thread leave for new namespaces of these types.
	Thread []string

	// Children gives the process a "pid" or "time" namespace for children. Its
	// PID namespace is a dead one, as otherwise there would be a child in it.
	Children []string

	// Files, Sockets and Pins are namespaces that one thing alone holds: an
	// open descriptor, a socket (which holds a network namespace, so each
	// entry is "net"), a bind mount in the mount namespace of the sandbox,
	// which needs one of its own.
	Files, Sockets, Pins []string

	// Odd are network namespaces that a descriptor holds whose link does not say
	// so: "named" was opened by the name of a bind mount that is still there,
	// "detached" by one that is not any more, "tun" is /dev/net/tun, "procfile" a
	// file of /proc/PID/net. The first two need a mount namespace of its own.
	Odd []string

	// Hidden are pins too, but in a mount namespace that has no process: an
	// open descriptor holds it.
	Hidden []string
}

// A Box is a running sandbox.
type Box struct {
	PID int               // of its process, in the PID namespace of the test
	Ino map[string]uint64 // its namespaces, by type
	TID int               // the thread that left, or 0; in the sandbox's PID namespace

	ThreadIno   map[string]uint64 // the namespaces of that thread, by type
	ChildrenIno map[string]uint64 // the namespaces for children, by type

	// Held are the namespaces of Files, Sockets, Pins, Odd and Hidden, in this
	// order, and for Hidden first the mount namespace, which is a file.
	Held []Held

	t      testing.TB
	stdin  io.Closer
	cmd    *exec.Cmd
	pids   []int
	closed bool
}

// Held is a namespace that one thing of the sandbox alone holds.
type Held struct {
	Kind string // "file", "socket", "pin", or a word of Odd
	Type string
	Ino  uint64
	FD   int    // of a file or socket
	Path string // of a pin, in its mount namespace
	Mnt  uint64 // the mount namespace of a pin
}

// Sandbox starts a process in new namespaces of these types, and returns when
// it is there. It ends with the test.
func Sandbox(t testing.TB, types ...string) *Box {
	t.Helper()
	return Spec{Types: types}.Start(t)
}

// Start starts a sandbox and returns when all of it is there. It ends with the
// test.
func (s Spec) Start(t testing.TB) *Box {
	t.Helper()
	if !ready {
		t.Fatal("nstest: a sandbox needs a TestMain that calls nstest.Main")
	}
	if err := s.check(); err != nil {
		t.Fatal("nstest: ", err)
	}
	root := ""
	if s.Root {
		root = Busybox(t)
	}
	report, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	cmd, err := s.plan(root).command()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatalf("nstest: sandbox of %v: %v", s.Types, err)
	}
	box := &Box{t: t, stdin: stdin, cmd: cmd, pids: []int{cmd.Process.Pid}}
	t.Cleanup(box.Close)

	// Each process of the chain reports which one it started, and the last what it has.
	for dec := json.NewDecoder(report); ; {
		var m message
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("nstest: sandbox of %v: %v", s.Types, err)
		}
		if m.Error != "" {
			t.Fatalf("nstest: sandbox of %v: %s", s.Types, m.Error)
		}
		if m.Started != 0 {
			box.pids = append(box.pids, m.Started)
		}
		if m.Ready {
			box.TID, box.ThreadIno, box.ChildrenIno, box.Held = m.TID, m.ThreadIno, m.ChildrenIno, m.Held
		}
	}
	box.PID = box.pids[len(box.pids)-1]
	if box.Ino, err = namespacesOf(fmt.Sprintf("/proc/%d/ns", box.PID)); err != nil {
		t.Fatalf("nstest: sandbox of %v: %v", s.Types, err)
	}
	return box
}

func (s Spec) check() error {
	for _, list := range [][]string{s.Types, s.Thread, s.Children, s.Files, s.Sockets, s.Pins, s.Hidden} {
		for _, name := range list {
			if _, ok := flags[name]; !ok {
				return fmt.Errorf("no namespace type %q", name)
			}
		}
	}
	own := func(name string) bool { return slices.Contains(s.Types, name) }
	switch {
	case (s.Root || len(s.Pins) > 0) && !own("mnt"):
		return errors.New("a Root and Pins need a mnt namespace")
	case own("pid") && !own("mnt") && len(s.Thread)+len(s.Children)+len(s.Files)+len(s.Sockets)+len(s.Hidden) > 0:
		return errors.New("in a pid namespace, without a mnt namespace for its /proc, nothing can be seen")
	case len(s.Exec) > 0 && len(s.Thread) > 0:
		return errors.New("an Exec would end the Thread")
	}
	return nil
}

// Close ends the sandbox. It ends with the test too; closing twice is no error.
func (b *Box) Close() {
	if b.closed {
		return
	}
	b.closed = true
	b.stdin.Close()
	over := time.AfterFunc(5*time.Second, func() {
		for _, pid := range b.pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	defer over.Stop()
	// Nobody else waits for them, so a PID is theirs until it is waited for.
	b.cmd.Wait()
	for _, pid := range b.pids[1:] {
		for {
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
				break
			}
		}
	}
}

// namespacesOf reads the links of a directory such as /proc/1/ns.
func namespacesOf(dir string) (map[string]uint64, error) {
	ino := map[string]uint64{}
	for name := range flags {
		n, err := inode(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ino[name] = n
	}
	return ino, nil
}

// inode returns the number in a link such as "net:[4026531840]".
func inode(link string) (uint64, error) {
	text, err := os.Readlink(link)
	if err != nil {
		return 0, err
	}
	_, number, ok := strings.Cut(strings.TrimSuffix(text, "]"), ":[")
	if !ok {
		return 0, fmt.Errorf("%s: %q is no namespace", link, text)
	}
	return strconv.ParseUint(number, 10, 64)
}

// Busybox makes a root file system with busybox in it, which every user can
// enter, and returns its directory. The test is skipped if there is no busybox.
func Busybox(t testing.TB) string {
	t.Helper()
	Need(t, "busybox")
	dir := Dir(t)
	exe, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp", "root", "usr", "mnt", "old"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{"bin/busybox": string(program), "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	applets, err := exec.Command(exe, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

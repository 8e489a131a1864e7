// Package kernel_test holds the built program against the kernel: real
// processes, real mounts, and what hostile ones do with them.
package kernel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) {
	if verb := os.Getenv(verbVar); verb != "" {
		os.Exit(verbs[verb](os.Args[1:]))
	}
	nstest.Main(m)
}

// verbVar makes the test binary, run again, do one hostile thing.
const verbVar = "NSTOOL_TEST_VERB"

// verb returns a command that is the test binary as that verb.
func verb(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), verbVar+"="+name)
	return cmd
}

func program(t testing.TB) string { return nstest.Nstool(t) }

// A run is what a program said.
type run struct {
	out, err string
	status   int // 128+N if it died of signal N
	took     time.Duration
}

// enough is more than any listing may take, however busy the machine is.
const enough = 15 * time.Second

// soon is how long a listing may take that meets things which never answer. It
// gives up on each after tenths of a second; the rest is for slow machines.
const soon = 8 * time.Second

// finish runs cmd to its end, which must come.
func finish(t testing.TB, cmd *exec.Cmd) run {
	t.Helper()
	r, err := within(enough, cmd)
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, r.err)
	}
	return r
}

// within runs cmd for at most so long; a longer run is killed, and an error.
func within(limit time.Duration, cmd *exec.Cmd) (r run, err error) {
	var out, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return r, err
	}
	late := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	err = cmd.Wait()
	if !late.Stop() {
		return run{out: out.String(), err: stderr.String()}, fmt.Errorf("%w: it ran for %v", context.DeadlineExceeded, limit)
	}
	r = run{out: out.String(), err: stderr.String(), took: time.Since(start)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.status = exit.ExitCode()
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			r.status = 128 + int(ws.Signal())
		}
		err = nil
	}
	return r, err
}

// ls runs `nstool ls` with those arguments, and fails the test unless it ends
// well, with nothing on its standard output that no terminal should get.
func ls(t testing.TB, args ...string) run {
	t.Helper()
	r := finish(t, exec.Command(program(t), append([]string{"ls"}, args...)...))
	if r.status != 0 {
		t.Fatalf("ls %q: status %d\n%s%s", args, r.status, r.out, r.err)
	}
	printable(t, r)
	return r
}

// printable fails the test unless all that was written is printable UTF-8 in lines.
func printable(t testing.TB, r run) {
	t.Helper()
	for _, s := range []string{r.out, r.err} {
		if !utf8.ValidString(s) {
			t.Errorf("no UTF-8: %q", s)
		}
		for i, c := range s {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%q in %q", c, s[max(0, i-40):min(len(s), i+40)])
			}
		}
	}
}

// A listing is what --json says.
type listing struct {
	Schema     string      `json:"schema"`
	Complete   bool        `json:"complete"`
	Reasons    []string    `json:"reasons"`
	Namespaces []namespace `json:"namespaces"`
	Processes  []process   `json:"processes"`
	Gaps       []gap       `json:"gaps"`
}

type namespace struct {
	NS        uint64   `json:"ns"`
	Type      string   `json:"type"`
	NProcs    int      `json:"nprocs"`
	PID       int      `json:"pid"`
	PPID      *int     `json:"ppid"`
	Command   *string  `json:"command"`
	Command64 []byte   `json:"command_base64"`
	UID       *int     `json:"uid"`
	User      *string  `json:"user"`
	ONS       *uint64  `json:"ons"`
	PNS       *uint64  `json:"pns"`
	NSFS      []string `json:"nsfs"`
	NSFS64    [][]byte `json:"nsfs_base64"`
	Holders   []holder `json:"holders"`
	Started   *string  `json:"started"`
}

// command returns the command as it was, invalid UTF-8 included.
func (n namespace) command() string {
	if n.Command64 != nil {
		return string(n.Command64)
	}
	if n.Command == nil {
		return ""
	}
	return *n.Command
}

type holder struct {
	Kind   string `json:"kind"`
	PID    int    `json:"pid"`
	Comm   string `json:"comm"`
	Path   string `json:"path"`
	Path64 []byte `json:"path_base64"`
}

type process struct {
	PID       int    `json:"pid"`
	Comm      string `json:"comm"`
	Comm64    []byte `json:"comm_base64"`
	Command   string `json:"command"`
	Command64 []byte `json:"command_base64"`
	User      string `json:"user"`
	UID       int    `json:"uid"`
}

type gap struct {
	PID   int    `json:"pid"`
	What  string `json:"what"`
	Error string `json:"error"`
}

// lsJSON runs `nstool ls --json`, which must be true JSON.
func lsJSON(t testing.TB, args ...string) listing {
	t.Helper()
	return decode(t, ls(t, append([]string{"--json"}, args...)...))
}

func decode(t testing.TB, r run) (l listing) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), &l); err != nil {
		t.Fatalf("%v in:\n%s\n%s", err, r.out, r.err)
	}
	if l.Schema == "" || l.Complete != (len(l.Gaps) == 0) || l.Complete != (len(l.Reasons) == 0) {
		t.Errorf("schema %q, complete %t with %d gaps for %q", l.Schema, l.Complete, len(l.Gaps), l.Reasons)
	}
	return l
}

// find returns the namespace with that inode number.
func (l listing) find(t testing.TB, ino uint64) namespace {
	t.Helper()
	for _, ns := range l.Namespaces {
		if ns.NS == ino {
			return ns
		}
	}
	t.Fatalf("no namespace %d among %d; gaps: %v", ino, len(l.Namespaces), l.Gaps)
	return namespace{}
}

// rows returns the lines of out by the number that each begins with, after the
// lines of a tree.
func rows(out string) map[uint64][]string {
	m := make(map[uint64][]string)
	for line := range strings.Lines(out) {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\n"), "├─└│ ")
		word, _, _ := strings.Cut(line, " ")
		if n, err := strconv.ParseUint(word, 10, 64); err == nil {
			m[n] = append(m[n], line)
		}
	}
	return m
}

// shell returns a command for sh, in new namespaces with those flags; with a
// mount namespace nothing that it mounts gets out. $NSTOOL is the program.
func shell(t testing.TB, flags uintptr, script string, args ...string) *exec.Cmd {
	t.Helper()
	if flags&syscall.CLONE_NEWNS != 0 {
		script = "mount --make-rprivate / && " + script
	}
	cmd := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "NSTOOL="+program(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd
}

// start starts a program that runs until its standard input ends.
func start(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		late := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		cmd.Wait()
	})
	return cmd
}

// inPrivate calls f on a thread with a mount namespace of its own, in which
// the processes that f starts are too. It ends with them.
func inPrivate(t testing.TB, f func() error) {
	t.Helper()
	nstest.Need(t, "root")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with f
		var err error
		defer func() { done <- err }() // also if f fails the test
		err = syscall.Unshare(syscall.CLONE_NEWNS | syscall.CLONE_FS)
		if err == nil {
			err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		}
		if err == nil {
			err = f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// until waits until f is true, which it must come to be.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// ino returns the inode number of a namespace of a process.
func ino(t testing.TB, pid int, typ string) uint64 {
	t.Helper()
	text, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, typ))
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	if _, err := fmt.Sscanf(text, typ+":[%d]", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Package attack tries on `nstool enter` what a hostile container can try on
// whoever enters it, and what an operator's carelessness hands it.
//
// Every attack is run twice: against a control, nsenter(1) or the plainest of
// setns-and-exec programs, where it must succeed, and against nstool, where it
// must fail. An attack that does not succeed against its control proves
// nothing, so that is a failure too.
package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// The capability sets of cages: Docker's default, and that with CAP_SYS_PTRACE
// or CAP_SYS_ADMIN.
const (
	capsDefault  = "a80425fb"
	capsPtrace   = "a80c25fb"
	capsSysAdmin = "a82425fb"
)

// An entrant is a way into a cage: words to put before the program.
type entrant struct {
	name  string
	words []string // PID stands for the process of the cage
	exe   string   // the program, if it is not the first word's
}

var (
	nsenter = entrant{name: "nsenter", words: []string{"nsenter", "-t", "PID", "-a", "--"}}
	nstool  = entrant{name: "nstool", words: []string{"nstool", "enter", "-p", "PID", "-a", "--"}}
)

// plain is an entrant by testdata/plain.c.
func plain(options ...string) entrant {
	return entrant{name: "plain", words: append(append([]string{"plain"}, options...), "PID")}
}

// An attack tries something. won says what it has won, "" is nothing; that it
// could not even be tried is a failure of the test.
type attack struct {
	control entrant
	try     func(t *testing.T, by entrant) (won string)
}

// run runs an attack against its control and against nstool.
func (a attack) run(t *testing.T) {
	nstest.Need(t, "root", "gcc", "busybox", "nsenter")
	t.Run("control", func(t *testing.T) {
		if testing.Short() {
			t.Skip("with -short nothing is proven, only held")
		}
		won := a.try(t, a.control)
		if won == "" {
			t.Errorf("%s withstood the attack: it proves nothing", a.control.name)
		}
		t.Logf("against %s: %s", a.control.name, won)
	})
	t.Run("nstool", func(t *testing.T) {
		if won := a.try(t, nstool); won != "" {
			t.Errorf("the attack succeeded: %s", won)
		}
	})
}

// ---- programs

var programs struct {
	sync.Mutex
	path map[string]string
	dir  string
}

// program returns the path of a program of testdata or of nstool, built once.
func program(t *testing.T, name string) string {
	t.Helper()
	if filepath.IsAbs(name) {
		return name
	}
	programs.Lock()
	defer programs.Unlock()
	if path := programs.path[name]; path != "" {
		return path
	}
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "attack") // nstest.Main removes it
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		programs.dir = dir
		programs.path = map[string]string{}
	}
	path := filepath.Join(programs.dir, name)
	var cmd *exec.Cmd
	switch name {
	case "nsenter", "strace":
		found, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		path = found
	case "nstool":
		path = nstest.Nstool(t)
	case "loader":
		cmd = exec.Command("gcc", "-static", "-nostdlib", "-nostartfiles", "-fno-stack-protector", "-O1", "-o", path, "testdata/loader.c")
	default:
		cmd = exec.Command("gcc", "-static", "-O1", "-Wall", "-Werror", "-o", path, "testdata/"+name+".c")
	}
	if cmd != nil {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	programs.path[name] = path
	return path
}

// copyFile copies a program, for those who mean to overwrite it.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
}

// ---- cages

// A cage is a running container.
type cage struct {
	pid  int
	root string // its root file system, as the test sees it
}

// newCage runs a program in a container; see testdata/cage.c for the options.
// prepare, if not nil, changes the root file system first.
func newCage(t *testing.T, prepare func(root string), options []string, words ...string) *cage {
	t.Helper()
	root := nstest.Busybox(t)
	copyFile(t, program(t, "attack"), filepath.Join(root, "bin/attack"))
	if err := os.WriteFile(filepath.Join(root, "etc/inside"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(root)
	}
	cmd := exec.Command(program(t, "cage"), append(append(options, root), words...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() //nolint:errcheck // it has been killed
			close(ended)
		}()
		// What an entrant left in the container is a child of ours now, and
		// the kernel does not let go of a PID namespace before it is reaped.
		for {
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
				reapOrphans(cmd.Process.Pid)
			}
		}
	})
	line := make([]byte, 32)
	n, err := stdout.Read(line)
	if err != nil {
		stdin.Close()
		_ = cmd.Wait() //nolint:errcheck // it failed
		t.Fatalf("cage %v: %v: %s", options, err, stderr.String())
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	return &cage{pid, root}
}

// reapOrphans reaps children that have ended, except one.
func reapOrphans(except int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		var pid, ppid int
		var state string
		end := bytes.LastIndexByte(text, ')')
		if _, err := fmt.Sscan(string(text), &pid); err != nil || end < 0 {
			continue
		}
		if _, err := fmt.Sscan(string(text[end+1:]), &state, &ppid); err == nil && state == "Z" && ppid == os.Getpid() && pid != except {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) //nolint:errcheck // it may be gone
		}
	}
}

// quiet is a container that does nothing, with Docker's default confinement.
func quiet(t *testing.T) *cage {
	return newCage(t, nil, []string{"-c", capsDefault, "-n", "-s"}, "/bin/attack", "sleep")
}

// loot returns what attackers in the cage have won so far.
func (c *cage) loot() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/tmp/loot", c.pid))
	if err != nil {
		return ""
	}
	return string(b)
}

// stateOf returns the state of a process, one letter, or "" if there is none.
func stateOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	end := bytes.LastIndexByte(text, ')')
	if err != nil || end < 0 || end+2 >= len(text) {
		return ""
	}
	return string(text[end+2])
}

// members returns the processes of the cage's PID namespace except its init
// and the dead.
func (c *cage) members() (list []int) {
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.pid))
	if err != nil {
		return nil
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		link, lerr := os.Readlink(dir + "/ns/pid")
		if err != nil || lerr != nil || link != want || pid == c.pid {
			continue
		}
		if state := stateOf(pid); state != "" && state != "Z" {
			list = append(list, pid)
		}
	}
	return list
}

// expand returns the words of the entrant for a cage, with the paths of
// programs, and the program after them.
func (e entrant) expand(t *testing.T, c *cage, words ...string) []string {
	t.Helper()
	var list []string
	for i, w := range e.words {
		switch {
		case i == 0 && e.exe != "":
			w = e.exe
		case i == 0:
			w = program(t, w)
		case w == "PID":
			w = strconv.Itoa(c.pid)
		}
		list = append(list, w)
	}
	return append(list, words...)
}

// at returns the same entrant with its program in another place.
func (e entrant) at(exe string) entrant {
	e.exe = exe
	return e
}

const patience = 10 * time.Second

// command is exec.Command with an end.
func command(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 6*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a program and returns what it wrote, which must be something.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if len(out) == 0 {
		t.Fatalf("%v: the program said nothing: %v: %s", cmd, err, errs.String())
	}
	return string(out)
}

// facts enters a cage and returns what is found there, line by line. before
// are words to put before the entrant.
func facts(t *testing.T, by entrant, c *cage, before ...string) string {
	t.Helper()
	return output(t, command(t, append(before, by.expand(t, c, "/bin/attack", "facts")...)...))
}

// fact returns the value of a line of facts.
func fact(t *testing.T, facts, key string) string {
	t.Helper()
	for line := range strings.Lines(facts) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %q in:\n%s", key, facts)
	return ""
}

// eventually waits for a condition.
func eventually(limit time.Duration, condition func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return condition()
}

// loaderPath is where a dynamic program of this machine looks for its ELF
// interpreter.
func loaderPath() string {
	if runtime.GOARCH == "arm64" {
		return "lib/ld-linux-aarch64.so.1"
	}
	return "lib64/ld-linux-x86-64.so.2"
}

func mustWrite(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // of a root file system
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func mustFIFO(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // of a root file system
		t.Fatal(err)
	}
	_ = os.Remove(path) //nolint:errcheck // it may not be there
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
}

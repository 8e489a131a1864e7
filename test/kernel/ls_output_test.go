package kernel_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// forms are the ways to write a listing.
var forms = [][]string{{"ls"}, {"ls", "--json"}, {"ls", "--raw"}, {"ls", "--tree"}, {"ls", "-H"}, {"ls", "self"}}

// A full disk is an error, of one line.
func TestLsFullDisk(t *testing.T) {
	exe := program(t)
	for _, args := range forms {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, args...)
		cmd.Stdout = full
		r := finish(t, cmd)
		full.Close()
		if r.status != 1 || !strings.Contains(r.err, "no space left on device") || strings.Contains(r.err, "goroutine") {
			t.Errorf("%v: status %d: %q", args, r.status, r.err)
		}
	}
}

// A pipe that nobody reads ends the program as it ends any.
func TestLsClosedPipe(t *testing.T) {
	exe := program(t)
	for _, args := range forms {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, args...)
		cmd.Stdout = w
		r.Close()
		got := finish(t, cmd)
		w.Close()
		if got.status != 128+int(syscall.SIGPIPE) || strings.Contains(got.err, "goroutine") || strings.Contains(got.err, "pipe") {
			t.Errorf("%v: status %d: %q", args, got.status, got.err)
		}
	}
}

// A closed standard error does no harm. A closed standard output is an error: data
// were to go there.
func TestLsClosedFiles(t *testing.T) {
	nstest.Need(t, "sh")
	for script, want := range map[string]int{
		`exec "$NSTOOL" ls >&-`: 1, `exec "$NSTOOL" ls 2>&- >/dev/null`: 0, `exec "$NSTOOL" ls <&- >&- 2>&-`: 1, `exec "$NSTOOL" ls -t none 2>/dev/full`: 2,
	} {
		if r := finish(t, shell(t, 0, script)); r.status != want || strings.Contains(r.err, "goroutine") {
			t.Errorf("%s: status %d: %q", script, r.status, r.err)
		}
	}
}

// A reader that is late gets all, and one that leaves early is no error.
func TestLsSlowReader(t *testing.T) {
	exe := program(t)
	cmd := exec.Command(exe, "ls", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	text, err := io.ReadAll(bufio.NewReaderSize(out, 16))
	if err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if l := decode(t, run{out: string(text)}); len(l.Namespaces) == 0 {
		t.Error("nothing")
	}
}

// On a terminal of 40 columns the command is cut and nothing else; in a pipe
// nothing is.
func TestLsNarrowTerminal(t *testing.T) {
	nstest.Need(t, "userns", "sh")
	exe := program(t)
	long := strings.Repeat("long ", 60) + "end"
	cmd := exec.Command("sh", "-c", "read x", long)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWUTS}
	start(t, cmd)
	n := ino(t, cmd.Process.Pid, "uts")
	for _, args := range [][]string{{"ls", "-t", "uts", "-o", "NS,TYPE,PID,COMMAND"}, {"ls", "-t", "uts", "-o", "NS,TYPE,PID,COMMAND", "--notruncate"}} {
		terminal := exec.Command(exe, args...)
		terminal.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=1")
		var b strings.Builder
		if err := nstest.RunOnTerminal(terminal, 40, 20, nil, &b); err != nil {
			t.Fatal(err)
		}
		lines := rows(strings.ReplaceAll(b.String(), "\r\n", "\n"))[n]
		if len(lines) != 1 {
			t.Fatalf("%d lines:\n%s", len(lines), b.String())
		}
		cut := len(args) == 5
		if got := len([]rune(lines[0])); cut != (got <= 40) || cut != strings.HasSuffix(lines[0], "…") || cut == strings.HasSuffix(lines[0], "end") {
			t.Errorf("%v: %d columns: %q", args, got, lines[0])
		}
		f := strings.Fields(lines[0])
		if f[1] != "uts" || f[3] != "sh" {
			t.Errorf("%q", lines[0])
		}
	}
	if line := rows(ls(t).out)[n]; len(line) != 1 || !strings.HasSuffix(line[0], "end") {
		t.Errorf("in a pipe: %q", line)
	}
}

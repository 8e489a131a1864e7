package attack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A terminal is one with a shell of the operator's on it.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd

	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

// onTerminal runs a line of busybox's shell on a terminal of its own. "$@" are
// words.
func onTerminal(t *testing.T, line string, words ...string) *terminal {
	t.Helper()
	master, slave, err := sys.OpenPty()
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.SetNonblock(master); err != nil { // so that Close ends a Read
		t.Fatal(err)
	}
	tty := os.NewFile(uintptr(slave), "tty")
	defer tty.Close()
	x := &terminal{t: t, master: os.NewFile(uintptr(master), "ptmx"), done: make(chan struct{})}
	x.cmd = exec.Command("/bin/busybox", append([]string{"sh", "-c", line, "sh"}, words...)...)
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = tty, tty, tty
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.done)
		buf := make([]byte, 4096)
		for {
			n, err := x.master.Read(buf)
			x.mu.Lock()
			x.text.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(x.close)
	return x
}

// seen returns what is on the screen so far.
func (x *terminal) seen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

// wait waits until text is on the screen.
func (x *terminal) wait(text string) {
	x.t.Helper()
	if !eventually(patience, func() bool { return strings.Contains(x.seen(), text) }) {
		x.t.Fatalf("%q did not appear on the terminal; what did: %q", text, x.seen())
	}
}

// typing types text.
func (x *terminal) typing(text string) {
	if _, err := x.master.WriteString(text); err != nil {
		x.t.Error(err)
	}
}

func (x *terminal) close() {
	_ = x.cmd.Process.Kill() //nolint:errcheck // it has ended
	_ = x.cmd.Wait()         //nolint:errcheck // it was waited for
	x.master.Close()
	<-x.done
}

// injected is what a line that was typed into the operator's shell looks like.
const readLine = `; IFS= read -r -t 1 line; echo "<got:$line>"`

// CVE-2016-2779: what has the terminal can type into the shell.
func TestTiocsti(t *testing.T) {
	for name, tc := range map[string]struct{ line, arg string }{
		"stdin": {`"$@"` + readLine, ""},
		// All three are redirected, but the session is still the operator's.
		"ctty": {`"$@" </dev/null >/dev/null 2>&1` + readLine, "/dev/tty"},
	} {
		t.Run(name, func(t *testing.T) {
			attack{nsenter, func(t *testing.T, by entrant) string {
				c := quiet(t)
				words := by.expand(t, c, "/bin/attack", "tiocsti")
				if tc.arg != "" {
					words = append(words, tc.arg)
				}
				x := onTerminal(t, tc.line, words...)
				if tc.arg != "" && by.name == nsenter.name {
					t.Log("legacy_tiocsti does not matter: nsenter keeps CAP_SYS_ADMIN")
				}
				x.wait("<got:")
				if strings.Contains(x.seen(), "<got:PWND") {
					return x.seen()
				}
				if tc.arg == "" && !strings.Contains(x.seen(), "injected") && !strings.Contains(x.seen(), "Operation not permitted") {
					t.Errorf("it was not tried: %q", x.seen())
				}
				return ""
			}}.run(t)
		})
	}
}

// Who stays behind reads what is typed into the terminal next.
func TestTTYSteal(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := quiet(t)
		x := onTerminal(t, `"$@"; echo "<back>"; sleep 1; stty -echo; IFS= read -r -t 2 line; echo "<got:$line>"`, by.expand(t, c, "/bin/attack", "steal")...)
		x.wait("<back>")
		time.Sleep(600 * time.Millisecond)
		x.typing("hunter2-secret\n")
		x.wait("<got:")
		if loot := c.loot(); strings.Contains(loot, "hunter2") {
			return loot
		}
		if !strings.Contains(x.seen(), "<got:hunter2-secret>") {
			t.Errorf("the shell did not get it either: %q", x.seen())
		}
		return ""
	}}.run(t)
}

// What a terminal is to be: of the right size, resized, raw while the program
// has it, and as it was afterwards; ^C ends the program, and nobody else.
func TestTTYBehaviour(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := quiet(t)
		x := onTerminal(t, `trap : INT; stty rows 33 cols 111; before=$(stty -g); "$@"; echo "<status:$?>"; test "$before" = "$(stty -g)" && echo "<restored>"`,
			by.expand(t, c, "/bin/sh", "-c", `stty size; echo ready; trap "" INT; sleep 1; trap "echo got-int; exit 7" INT; while :; do sleep 0.05; done`)...)
		x.wait("ready")
		if !strings.Contains(x.seen(), "33 111") {
			return "the size is wrong: " + x.seen()
		}
		x.typing("\x03") // ignored by the program: nobody may die of it
		time.Sleep(300 * time.Millisecond)
		if strings.Contains(x.seen(), "<status:") {
			return "a ^C that the program ignores ended the entrant: " + x.seen()
		}
		time.Sleep(time.Second)
		x.typing("\x03")
		x.wait("<status:")
		x.wait("<restored>")
		if !strings.Contains(x.seen(), "got-int") || !strings.Contains(x.seen(), "<status:7>") {
			return "^C did not reach the program: " + x.seen()
		}
		return ""
	}}.run(t)
}

// The program is told when the terminal changes its size.
func TestTTYResize(t *testing.T) {
	c := quiet(t)
	x := onTerminal(t, `"$@"`, nstool.expand(t, c, "/bin/sh", "-c", `trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done`)...)
	x.wait("ready")
	if err := exec.Command("/bin/busybox", "sh", "-c", fmt.Sprintf("stty rows 44 cols 99 </proc/%d/fd/0", x.cmd.Process.Pid)).Run(); err != nil {
		t.Fatal(err)
	}
	x.wait("44 99")
}

// What is on the terminal after the program has ended is all it wrote, however
// quickly it ended, and nothing that was typed is lost inside a shell.
func TestTTYLastByte(t *testing.T) {
	c := quiet(t)
	n := 200
	if testing.Short() {
		n = 20
	}
	x := onTerminal(t, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do "$@" "$i"; i=$((i+1)); done; echo "<end>"`, n),
		nstool.expand(t, c, "/bin/sh", "-c", `printf "<%s>" "$0"`)...)
	if !eventually(60*time.Second, func() bool { return strings.Contains(x.seen(), "<end>") }) {
		t.Fatalf("not done: %q", x.seen())
	}
	for i := range n {
		if !strings.Contains(x.seen(), fmt.Sprintf("<%d>", i)) {
			t.Errorf("the output of run %d is not there", i)
		}
	}
}

// A shell inside has job control: ^Z stops its job, and not nstool.
func TestTTYJobControl(t *testing.T) {
	c := quiet(t)
	x := onTerminal(t, `"$@"; echo "<status:$?>"`, nstool.expand(t, c, "/bin/sh", "-i")...)
	x.typing("PS1='% '\nsleep 77\n")
	x.wait("sleep 77")
	time.Sleep(200 * time.Millisecond)
	x.typing("\x1a")
	x.wait("Stopped")
	x.typing("echo al''ive\nkill -9 %1\nexit 5\n")
	time.Sleep(300 * time.Millisecond)
	x.typing("exit 5\n") // for a shell that asks twice
	x.wait("alive")
	x.wait("<status:5>")
}

// However nstool is ended, the terminal is as it was.
func TestTTYRestored(t *testing.T) {
	for _, signal := range []string{"TERM", "INT", "HUP", "QUIT"} {
		t.Run(signal, func(t *testing.T) {
			c := quiet(t)
			x := onTerminal(t, `trap : `+signal+`; before=$(stty -g); "$@"; echo "<status:$?>"; test "$before" = "$(stty -g)" && echo "<restored>"`,
				nstool.expand(t, c, "/bin/sh", "-c", "echo ready; exec sleep 50")...)
			x.wait("ready")
			pid := entrantOf(t, x.cmd.Process.Pid)
			if err := exec.Command("kill", "-"+signal, fmt.Sprint(pid)).Run(); err != nil {
				t.Fatal(err)
			}
			x.wait("<restored>")
		})
	}
}

// entrantOf returns the only child of a shell.
func entrantOf(t *testing.T, shell int) (pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", shell, shell))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return pid
}

// A pager at the end of a pipeline reads the keys, not nstool; without one the
// program does.
func TestTTYPipeline(t *testing.T) {
	c := quiet(t)
	x := onTerminal(t, `"$@" | { IFS= read -r line; echo "<first:$line>"; IFS= read -r key </dev/tty; echo "<key:$key>"; }; echo "<end>"`,
		nstool.expand(t, c, "/bin/sh", "-c", "echo one; sleep 2")...)
	x.wait("<first:one>")
	time.Sleep(100 * time.Millisecond)
	x.typing("space\n")
	x.wait("<key:space>")
	x.wait("<end>")

	x = onTerminal(t, `"$@" | cat; echo "<end>"`, nstool.expand(t, c, "/bin/sh", "-c", `IFS= read -r line; echo "<inside:$line>"`)...)
	time.Sleep(300 * time.Millisecond)
	x.typing("hello\n")
	x.wait("<inside:hello>")
	x.wait("<end>")
}

// A program with no more rights than the container has a terminal of the
// container's, which has a name there. One with more has ours: whoever is root in
// there could open the other, and type.
func TestTTYName(t *testing.T) {
	c := quiet(t)
	with := func(flags ...string) entrant {
		return entrant{name: "nstool", words: append(append([]string{"nstool", "enter", "-p", "PID"}, flags...), "--")}
	}
	for _, tc := range []struct {
		by    entrant
		named bool
	}{{with(), true}, {with("--cap-add", "NET_ADMIN"), false}, {with("--privileged"), false}} {
		x := onTerminal(t, `"$@"; echo "<end>"`, tc.by.expand(t, c, "/bin/sh", "-c", "tty; ls -1 /dev/pts; readlink /proc/self/fd/0")...)
		x.wait("<end>")
		if named := strings.Contains(x.seen(), "/dev/pts/0\r\n0\r\nptmx\r\n/dev/pts/0\r\n"); named != tc.named || !named && !strings.HasPrefix(x.seen(), "not a tty\r\nptmx\r\n") {
			t.Errorf("%v: %q", tc.by.words, x.seen())
		}
	}
}

// What is called as that which makes terminals, and is not that, is left alone.
func TestTTYTrap(t *testing.T) {
	c := newCage(t, nil, []string{"-c", capsSysAdmin}, "/bin/sh", "-c",
		"mount -t tmpfs none /dev/pts; mkfifo /dev/pts/ptmx; rm -f /dev/ptmx; ln -s /proc/1/fd/0 /dev/ptmx; touch /tmp/set; exec /bin/attack sleep")
	if !eventually(patience, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/set", c.pid))
		return err == nil
	}) {
		t.Fatal("the trap is not set")
	}
	x := onTerminal(t, `"$@"; echo "<end>"`, nstool.expand(t, c, "/bin/sh", "-c", "tty; [ -t 0 ] && echo terminal")...)
	x.wait("<end>")
	if !strings.Contains(x.seen(), "not a tty\r\nterminal\r\n") {
		t.Errorf("what the program said: %q", x.seen())
	}
}

package engine_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// A screen is a terminal that somebody sits at, by tmux.
type screen struct {
	t      *testing.T
	socket string
}

func (s screen) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-L", s.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// keys types: text as it is, or names of keys such as C-c and Enter.
func (s screen) keys(keys ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys", "-t", "0"}, keys...)...)
}

// line types a line.
func (s screen) line(text string) {
	s.t.Helper()
	s.tmux("send-keys", "-t", "0", "-l", text)
	s.keys("Enter")
}

// await waits until the screen shows what is wanted.
func (s screen) await(want string) {
	s.t.Helper()
	re, shows := regexp.MustCompile(want), ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if shows = s.tmux("capture-pane", "-p", "-t", "0"); re.MatchString(shows) {
			return
		}
	}
	s.t.Fatalf("the screen never shows %q, but:\n%s", want, shows)
}

// TestToolsOnTerminal works in a container as a person would: job control, ^C,
// ^Z, another size of the window, an editor, and the terminal afterwards.
func TestToolsOnTerminal(t *testing.T) {
	nstest.Need(t, "tmux", "vi", "stty")
	c := startServer(t, engine.Docker)
	before := stateOf(t, c)
	s := screen{t, "nstool-" + c.Name}
	s.tmux("new-session", "-d", "-x", "90", "-y", "24", "env PS1='outside> ' sh")
	defer exec.Command("tmux", "-L", s.socket, "kill-server").Run()
	s.await(`outside> $|outside>\s*$`)
	const prompt = `bash-[\d.]+\$` // the container is an ordinary user's
	for _, view := range []string{"target", "tools"} {
		s.line(fmt.Sprintf("clear; %s enter -c %s --tools --view=%s bash --norc", nstest.Nstool(t), c.Name, view))
		s.await(prompt + `\s*$`)
		s.line("clear; stty size; cat /.nstool/target/etc/app.yaml")
		s.await(`(?m)^24 90\nport: 8080$`)
		s.tmux("resize-window", "-t", "0", "-x", "100", "-y", "30")
		s.line("clear; stty size")
		s.await(`(?m)^30 100$`)
		s.tmux("resize-window", "-t", "0", "-x", "90", "-y", "24")

		s.line("clear; echo go; sleep 1000")
		s.await(`(?m)^go$`)
		s.keys("C-z")
		s.await(`Stopped +sleep 1000`)
		s.line("clear; jobs; bg; jobs")
		s.await(`Running +sleep 1000`)
		s.line("clear; fg")
		s.await(`(?m)^sleep 1000$`)
		s.keys("C-c")
		s.await(`\^C\n` + prompt + `\s*$`)
		s.line("echo after $?")
		s.await(`(?m)^after 130$`)

		s.line("clear; vi /tmp/note")
		s.await(`(?m)^~$`)
		s.keys("i", "written", "Escape")
		s.keys("C-z")
		s.await(`Stopped +vi /tmp/note`)
		s.line("fg")
		s.await(`(?s)written.*~`)
		s.keys(":wq", "Enter")
		s.await(prompt + `\s*$`)
		s.line("clear; cat /tmp/note; sleep 1001 & exit 7")
		s.await(`(?s)written.*outside>`)
		s.line("echo status $?")
		s.await(`(?m)^status 7$`)
	}
	// The terminal is as it was.
	s.line("clear; stty -a | grep -c ' echo '")
	s.await(`(?m)^1$`)
	s.line("exit")
	if out, err := exec.Command("tmux", "-L", s.socket, "kill-server").CombinedOutput(); err != nil && !strings.Contains(string(out), "no server") {
		t.Logf("%v: %s", err, out)
	}
	wantSame(t, c, before)
}

package nstest

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestRunOnTerminal(t *testing.T) {
	Need(t, "stty")
	var out strings.Builder
	cmd := exec.Command("sh", "-c", "stty size; test -t 0 && test -t 1 && test -t 2 && read x && echo got $x; exit 3")
	err := RunOnTerminal(cmd, 90, 33, strings.NewReader("typed\n"), &out)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit: %v", err)
	}
	// The echo of what is typed comes when it likes.
	if got := out.String(); !strings.Contains(got, "33 90\r\n") || !strings.HasSuffix(got, "got typed\r\n") {
		t.Errorf("output %q", got)
	}
}

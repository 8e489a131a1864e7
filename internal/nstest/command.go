package nstest

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Start starts a command and returns its output. Its input ends with the test, and
// then the command must end; else it is killed.
func Start(t testing.TB, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait() // how it ends is not asked for
	})
	return bufio.NewReader(out)
}

// StartReady is [Start] for a command that says in a line of its own when it has
// done what the test needs.
func StartReady(t testing.TB, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	out := Start(t, cmd)
	if line, err := out.ReadString('\n'); err != nil {
		t.Fatalf("%v: %q, %v", cmd, line, err)
	}
	return out
}

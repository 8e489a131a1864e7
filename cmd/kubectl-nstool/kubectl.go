package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// kubectl returns a call of kubectl with the flags for it. It ends as a terminal would end it,
// so that it can restore that.
func (o *options) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "kubectl", append(append([]string{}, o.passed...), args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

// A failure is a call of kubectl that failed, and what it said.
type failure struct {
	text string
	err  error
}

func (e *failure) Error() string {
	if e.text == "" {
		return "kubectl: " + e.err.Error()
	}
	return "kubectl: " + e.text
}
func (e *failure) Unwrap() error { return e.err }

// ask returns what kubectl answers, as JSON in answer, which may be nil.
func (o *options) ask(ctx context.Context, answer any, args ...string) error {
	cmd := o.kubectl(ctx, args...)
	if onTerminal(os.Stdin) {
		cmd.Stdin = os.Stdin // a login may ask
	}
	out, err := answerOf(cmd)
	if err == nil && answer != nil {
		err = json.Unmarshal(out, answer)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tell has kubectl change something. No signal interrupts it.
func (o *options) tell(in io.Reader, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := o.kubectl(ctx, args...)
	cmd.Stdin = in
	apart(cmd)
	_, err := answerOf(cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("kubectl %s has no answer after %v", args[0], patience)
	}
	return err
}

// patience is the longest time that a change of the cluster takes.
const patience = 20 * time.Second

func answerOf(cmd *exec.Cmd) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, failed(err, errs.String())
	}
	return out.Bytes(), nil
}

// failed returns the failure of a call, with the line by which kubectl explained it: the last
// one.
func failed(err error, said string) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no kubectl in the PATH")
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return &failure{strings.TrimPrefix(lines[len(lines)-1], "error: "), err}
}

// onTerminal reports whether all files are terminals. The shell knows, on any system.
func onTerminal(files ...*os.File) bool {
	for _, f := range files {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return false
		}
		test := exec.Command("sh", "-c", "[ -t 0 ]")
		test.Stdin = f
		if test.Run() != nil {
			return false
		}
	}
	return true
}

// A remote writer writes the standard error of a program that kubectl runs. It keeps back what
// kubectl may have said of the program's end, which is the last line.
type remote struct {
	w      io.Writer
	held   []byte // a line of kubectl's, or the beginning of one
	middle bool   // of another line
}

const terminated = "command terminated with exit code "

// ofKubectl are beginnings of the last line of kubectl exec.
var ofKubectl = []string{terminated, "Error from server", "error: Internal error", "error: unable to ", "error: lost connection", "error: error reading", "error: websocket"}

func (r *remote) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !r.middle {
			if bytes.HasSuffix(r.held, []byte("\n")) && !r.flush() { // it was not the last one
				return 0, io.ErrShortWrite
			}
			r.held = append(r.held, line...)
			if r.mine() {
				continue
			}
			line = nil
		}
		r.held = append(r.held, line...)
		whole := bytes.HasSuffix(r.held, []byte("\n"))
		if !r.flush() {
			return 0, io.ErrShortWrite
		}
		r.middle = !whole
	}
	return len(p), nil
}

func (r *remote) flush() bool {
	_, err := r.w.Write(r.held)
	r.held = nil
	return err == nil
}

// mine reports whether the held line is kubectl's, as far as it is there.
func (r *remote) mine() bool {
	for _, prefix := range ofKubectl {
		n := min(len(prefix), len(r.held))
		if prefix[:n] == string(r.held[:n]) {
			return true
		}
	}
	return false
}

// end returns how the program ended: nil, its exit status, or a [failure] if kubectl did not tell.
func (r *remote) end(err error) error {
	said := strings.TrimSpace(string(r.held))
	e, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ok && said == fmt.Sprint(terminated, e.ExitCode()):
		return exit(e.ExitCode())
	case err == nil:
		r.flush()
		return nil
	}
	return failed(err, said)
}

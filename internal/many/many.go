// Package many runs one command of nstool in many places beside each other, and makes one
// answer of all: of hosts behind ssh(1), or of the nodes of a cluster. It runs on any system.
//
// It needs nothing but what nstool writes anyway: rows come as --raw, whose cells are those of the
// table, and are aligned here; an object of --json has its rows in lists, and each row gets one more
// key. So no place needs to know that it is one of many. A place is a stranger: its text is bounded,
// and cleaned where it is shown.
package many

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/text"
)

// A Place is where the command runs.
type Place struct {
	Name string
	// Do runs it, and returns its exit status. The error says that it could not be run there.
	Do func(ctx context.Context, stdout, stderr io.Writer) (status int, err error)
}

// Options say how places are asked.
type Options struct {
	AtOnce  int           // places at a time; 0 is 16
	Timeout time.Duration // for each place; 0 is no limit
	// Progress, if not nil, is a terminal that shows after a second how many have answered.
	Progress io.Writer
}

// An Answer is what one place said.
type Answer struct {
	Name   string
	Out    []byte
	Err    []byte
	Status int
	Failed error // it was not asked, or did not answer
}

// ErrSilent is the error of a place that has not answered. Its standard error may say why.
var ErrSilent = errors.New("no answer")

// why returns in one line why a place has not answered.
func (a *Answer) why() string {
	last := strings.TrimSpace(string(a.Err))
	last = last[strings.LastIndexByte(last, '\n')+1:]
	if last == "" || a.Failed != nil && !errors.Is(a.Failed, ErrSilent) {
		last = cmp.Or(a.Failed, ErrSilent).Error()
	}
	return text.CleanText(strings.TrimPrefix(last, "nstool: "))
}

// most is the most bytes that one place may answer.
const most = 64 << 20

// Ask runs the command in all places, and returns the answers in the order of the places. Every
// place that was begun is awaited, also when ctx is done.
func Ask(ctx context.Context, places []Place, o Options) []Answer {
	answers := make([]Answer, len(places))
	free := make(chan struct{}, cmp.Or(o.AtOnce, 16))
	var mu sync.Mutex
	var asked []string
	done := 0
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			free <- struct{}{}
			mu.Lock()
			asked = append(asked, p.Name)
			mu.Unlock()
			answers[i] = ask(ctx, p, o.Timeout)
			mu.Lock()
			asked = slices.DeleteFunc(asked, func(name string) bool { return name == p.Name })
			done++
			mu.Unlock()
			<-free
		})
	}
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	for said := false; ; {
		select {
		case <-all:
			if said {
				fmt.Fprint(o.Progress, "\r\x1b[K")
			}
			return answers
		case <-time.After(time.Second):
			if said = o.Progress != nil; said {
				mu.Lock()
				fmt.Fprintf(o.Progress, "\r%d of %d have answered, waiting for %s ...\x1b[K", done, len(places), some(asked))
				mu.Unlock()
			}
		}
	}
}

// some returns the first names of a list.
func some(names []string) string {
	more := ""
	if len(names) > 3 {
		more = fmt.Sprintf(" and %d more", len(names)-3)
		names = names[:3]
	}
	return text.Clean(strings.Join(names, ", ")) + more
}

func ask(ctx context.Context, p Place, limit time.Duration) Answer {
	if ctx.Err() != nil {
		return Answer{Name: p.Name, Failed: context.Cause(ctx)}
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
		defer cancel()
	}
	var out, stderr bounded
	a := Answer{Name: p.Name}
	a.Status, a.Failed = p.Do(ctx, &out, &stderr)
	a.Out, a.Err = out.b.Bytes(), stderr.b.Bytes()
	switch {
	case ctx.Err() != nil:
		a.Failed = context.Cause(ctx)
	case a.Failed == nil && (out.full || stderr.full):
		a.Failed = fmt.Errorf("the answer is longer than %s", text.Size(most))
	}
	return a
}

// A bounded buffer keeps no more than the most bytes.
type bounded struct {
	b    bytes.Buffer
	full bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > most {
		w.full = true
		return 0, errors.New("too long")
	}
	return w.b.Write(p)
}

// Run runs a command until ctx is done, and returns its exit status.
func Run(ctx context.Context, cmd *exec.Cmd) (status int, err error) {
	cmd.WaitDelay = time.Second // what it has started may keep its output open
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	err = cmd.Wait()
	if n := cmd.ProcessState.ExitCode(); n >= 0 {
		return n, nil
	}
	return 0, err
}

// Failed returns the names of the places that did not answer.
func Failed(answers []Answer) (names []string) {
	for _, a := range answers {
		if a.Failed != nil {
			names = append(names, a.Name)
		}
	}
	return names
}

// Worst returns the worst exit status of answers. A place that did not answer counts as failed.
func Worst(answers []Answer, failed int) (status int) {
	for _, a := range answers {
		status = max(status, a.Status)
		if a.Failed != nil {
			status = max(status, failed)
		}
	}
	return status
}

// Say writes what places said to standard error, each line with the name of the place, and why
// those failed that did.
func Say(w io.Writer, answers []Answer) {
	for _, a := range answers {
		for line := range strings.Lines(string(a.Err)) {
			Line(w, a.Name, line)
		}
		if a.Failed != nil {
			Line(w, a.Name, a.Failed.Error())
		}
	}
}

// Line writes one line of standard error of a place, with its name.
func Line(w io.Writer, name, line string) {
	line = strings.TrimPrefix(strings.TrimRight(line, "\r\n"), "nstool: ")
	fmt.Fprintf(w, "nstool: %s: %s\n", text.Clean(name), text.CleanText(line))
}

package enter

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/nstool/nstool/internal/sys"
)

// A child is the process that carries out a plan, or became the program.
type child struct {
	plan   *plan
	script *sys.Script
	pid    int
	report int // reading end of its pipe
	forks  bool

	signals chan os.Signal
}

// forwarded are the signals that go on to the program.
var forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGTSTP,
}

// start starts the process that carries out the plan.
func (p *plan) start(c *Cmd, s *situation) (*child, error) {
	r, w, err := sys.Pipe()
	if err != nil {
		return nil, err
	}
	defer sys.CloseAll(w)
	null := -1
	stdio := func(f *os.File) int {
		if f != nil {
			return int(f.Fd())
		}
		if null < 0 {
			null, err = sys.OpenNull()
		}
		return null
	}
	in, out, errs := stdio(c.Stdin), stdio(c.Stdout), stdio(c.Stderr)
	defer func() { sys.CloseAll(null) }()
	if err != nil {
		sys.CloseAll(r)
		return nil, err
	}

	x := sys.NewScript()
	x.Stdio(in, out, errs)
	report := x.File(w)
	x.Step(-1)
	x.CloseOnExec(report)
	x.DieWithParent(syscall.SIGKILL, report)
	x.Undumpable()
	p.script(x, report)
	x.Report(report, 125)

	ch := &child{plan: p, script: x, report: r, forks: p.forks, signals: make(chan os.Signal, 32)}
	signal.Notify(ch.signals, forwarded...)
	if ch.pid, err = x.Start(); err != nil {
		signal.Stop(ch.signals)
		sys.CloseAll(r)
		return nil, err
	}
	return ch, nil
}

// wait waits for the program.
func (ch *child) wait(ctx context.Context) error {
	defer signal.Stop(ch.signals)
	defer sys.CloseAll(ch.report)
	if ch.forks {
		// Whoever reports here has not been seen by the other side yet.
		r, ok := sys.ReadReport(ch.report)
		change, err := sys.WaitChange(ch.pid)
		if err != nil {
			return err
		}
		if err := sys.Reap(ch.pid); err != nil {
			return err
		}
		if !ok || r.Err != nil {
			return ch.failed(r, ok, change)
		}
		ch.pid = r.Started
	}

	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case s := <-ch.signals:
				_ = sys.Kill(ch.pid, s.(syscall.Signal)) //nolint:forcetypeassert // os/signal sends no others
			case <-ctx.Done():
				_ = sys.Kill(ch.pid, syscall.SIGKILL)
				ctx = context.Background()
			case <-done:
				return
			}
		}
	}()
	change, err := ch.follow()
	close(done)
	<-stopped // nothing signals the PID once it is reaped
	if err != nil {
		return err
	}
	if err := sys.Reap(ch.pid); err != nil {
		return err
	}
	// A failure is told before the exit, so it is in the pipe by now.
	if err := sys.SetNonblock(ch.report); err != nil {
		return err
	}
	if r, ok := sys.ReadReport(ch.report); ok && r.Err != nil {
		return ch.failed(r, true, change)
	}
	switch {
	case change.Signal != 0:
		return &ExitError{Code: -1, Signal: change.Signal}
	case change.Status != 0:
		return &ExitError{Code: change.Status}
	}
	return nil
}

// follow waits until the program ends. When it is stopped, so is the caller:
// whoever continues the caller continues it.
func (ch *child) follow() (sys.Change, error) {
	for {
		change, err := sys.WaitChange(ch.pid)
		if err != nil || !change.Stopped {
			return change, err
		}
		_ = sys.Kill(os.Getpid(), syscall.SIGSTOP)
		_ = sys.Kill(ch.pid, syscall.SIGCONT)
	}
}

// failed says why the program was not run.
func (ch *child) failed(r sys.Report, told bool, change sys.Change) error {
	if told {
		return ch.plan.failed(ch.script, r.Failed, r.Err)
	}
	if change.Signal != 0 {
		return &StepError{Call: "the process that joins", Err: errors.New("ended by signal " + change.Signal.String())}
	}
	return &StepError{Call: "the process that joins", Err: errors.New("ended without a word")}
}

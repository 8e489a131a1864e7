package enter

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/nstool/nstool/internal/sys"
)

// A child is the process that takes the steps of a plan, or has become the program.
type child struct {
	plan    *plan
	script  *sys.Script
	pid     int
	report  int // reading end of its report pipe
	forks   bool
	started sys.Report      // about the process that the first one forked, if it was read
	failure sys.Report      // about a call that failed, if it was read
	stopped bool            // the program was stopped, says its parent
	ended   bool            // the program has ended, says its parent
	inTools *toolsProcesses // processes in a tools mount, or nil
	stdio   *stdio
	signals *signals
	// last: the caller exits when the program does, and needs no signals any more.
	last bool
}

// files returns the descriptors of Stdin, Stdout and Stderr: -1 for one that was closed when
// this process was started, and null for one that is not set.
func (c *Cmd) files(null int) (fds [3]int) {
	closed := sys.WereClosed()
	for i, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		switch {
		case f == nil:
			fds[i] = null
		case int(f.Fd()) == i && closed[i]:
			fds[i] = -1
		default:
			fds[i] = int(f.Fd())
		}
	}
	return fds
}

// errKeepFDs is the error if [Cmd.KeepFDs] is not possible.
var errKeepFDs = sys.ErrorOf(errors.ErrUnsupported, "keep descriptors open: the program gets a process of its own here, and none but 0, 1 and 2")

// start starts the process that takes the steps of the plan.
func (p *plan) start(c *Cmd, s *situation) (ch *child, err error) {
	ch = &child{plan: p, report: -1, forks: p.forks}
	if c.KeepFDs {
		return ch, errKeepFDs
	}
	defer func() {
		if err != nil {
			ch.close()
		}
	}()
	if ch.inTools, err = p.makeToolsMount(c, s); err != nil {
		return ch, err
	}
	if ch.stdio, err = newStdio(s.stdio, !s.proxied, s.user.outside, s.ptmx); err != nil {
		return ch, err
	}
	var w int
	if ch.report, w, err = sys.Pipe(); err != nil {
		return ch, err
	}
	defer sys.CloseAll(w)
	if p.parent() {
		// The parent must not wait for a reader that is stopped.
		if err = sys.SetNonblock(w); err != nil {
			return ch, err
		}
	}
	gate, open := -1, -1
	if p.waits() {
		if gate, open, err = sys.Pipe(); err != nil {
			return ch, err
		}
		defer sys.CloseAll(gate, open)
	}

	hold, goOn, err := sys.Pipe()
	if err != nil {
		return ch, err
	}
	defer sys.CloseAll(hold, goOn)

	x := sys.NewScript()
	x.Stdio(ch.stdio.child[0], ch.stdio.child[1], ch.stdio.child[2])
	if gate >= 0 {
		p.gate = x.File(gate)
	}
	report := x.File(w)
	p.hold = x.File(hold)
	x.Step(-1)
	x.CloseOnExec(report)
	x.CloseOnExec(p.hold)
	if gate >= 0 {
		x.CloseOnExec(p.gate)
	}
	x.DieWithParent(syscall.SIGKILL, report)
	x.Undumpable()
	p.script(x, report)
	x.Report(report, 125)
	ch.script = x

	// Catching signals takes as long as starting the child, so both are done at once. No
	// program is started before signals are caught, so that none is lost.
	caught := make(chan *signals, 1)
	go func() { caught <- catchSignals() }()
	ch.pid, err = x.Start()
	ch.signals = <-caught
	if err != nil {
		return ch, err
	}
	if err := sys.WriteByte(goOn); err != nil {
		ch.abandon()
		return ch, err
	}
	if err = ch.runCallerSteps(open); err != nil {
		ch.abandon()
	}
	return ch, err
}

// close releases everything but the process.
func (ch *child) close() {
	if !ch.last {
		ch.signals.stop()
	}
	ch.inTools.end()
	sys.CloseAll(ch.report)
	if ch.stdio != nil {
		ch.stdio.close()
	}
}

// wait waits for the program.
func (ch *child) wait(ctx context.Context) error {
	defer ch.close()
	if ch.forks {
		stuck, stop := ch.interruptible(ctx)
		change, err := ch.joined(stuck)
		came := stop() // before the process is reaped, and its PID used again
		if err == nil {
			err = ch.follow(change)
		}
		if err != nil {
			return err
		}
		for _, s := range came {
			ch.passSignal(s)
		}
	}
	ch.stdio.start()
	change, err := ch.supervise(ctx, ch.stops())
	if ch.plan.keeper && err == nil && change.Signal == 0 {
		ch.inTools.gone = true
	}
	ch.inTools.end()
	if err != nil {
		return err
	}
	err = ch.stdio.finish()
	if err := sys.Reap(ch.pid); err != nil {
		return err
	}
	// A failure is reported before the exit, so it is in the pipe by now.
	if err := sys.SetNonblock(ch.report); err != nil {
		return err
	}
	r, ok := ch.failure, ch.failure.Err != nil
	if !ok {
		r, ok = sys.ReadReport(ch.report)
	}
	if ok && r.Err != nil {
		return ch.failed(r, true, change)
	}
	exit := &ExitError{Code: change.Status, Signal: change.Signal, Lacked: ch.plan.lacks, Nameless: ch.plan.ttyUnnamed}
	if change.Signal != 0 {
		exit.Code = -1
	}
	switch {
	case err != nil:
		return &StdioError{Exit: *exit, Err: err}
	case exit.Code != 0:
		return exit
	}
	return nil
}

// joined waits until the process that joins has exited. If it does not exit after SIGKILL it is
// left behind.
func (ch *child) joined(stuck *atomic.Bool) (change sys.Change, err error) {
	if joiner, err := sys.OpenPidfd(ch.pid); err == nil {
		defer joiner.Close()
		for !sys.WaitReadable(250, int(joiner))[0] {
			if stuck.Load() {
				return change, &StepError{Call: "the process that joins", Err: errors.New("was killed and does not end: it is frozen, or waits for a file system")}
			}
		}
	}
	change, err = sys.WaitChange(ch.pid)
	for err == nil && change.Stopped {
		change, err = sys.WaitChange(ch.pid)
	}
	return change, err
}

// follow makes ch the process that becomes the program, which the process that joins started
// before it exited.
func (ch *child) follow(change sys.Change) error {
	if err := sys.Reap(ch.pid); err != nil {
		return err
	}
	// The new process may report a failure before its parent reports the start.
	for r := ch.started; ; {
		switch {
		case r.Started != 0:
			// Processes of the target may have the pipe once they see the process: a PID that
			// is no child of ours must not be signalled.
			if !sys.IsChild(r.Started) {
				return &StepError{Call: "the process that joins", Err: errors.New("reported a process that is not ours")}
			}
			ch.pid = r.Started
			return ch.moveAndRelease()
		case r.Err != nil:
			ch.failure = r
		case r.Stopped:
			ch.stopped = true // reported already by the program's parent
		case r.Over:
			ch.ended = true
		}
		var ok bool
		if change != (sys.Change{}) && ch.failure.Err != nil {
			return ch.failed(ch.failure, true, change)
		}
		// All reports of the exited process are there. The other process may never send one.
		if ok = sys.Ready(ch.report); ok {
			r, ok = sys.ReadReport(ch.report)
		}
		if !ok {
			return ch.failed(ch.failure, ch.failure.Err != nil, change)
		}
	}
}

// moveAndRelease moves the process that becomes the program, which is held, to its cgroups, and
// lets it run.
func (ch *child) moveAndRelease() (err error) {
	if len(ch.plan.movesLater) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			ch.abandon()
		}
	}()
	if held, err := sys.WaitHeld(ch.pid); err != nil || !held {
		return err
	}
	for _, step := range ch.plan.movesLater {
		if _, err := sys.Write(step.move.fd, []byte(strconv.Itoa(ch.pid))); err != nil && !step.move.may {
			return &StepError{Step: step, Call: "write", Err: err}
		}
	}
	return sys.Release(ch.pid)
}

// failed returns why the program was not run.
func (ch *child) failed(r sys.Report, reported bool, change sys.Change) error {
	if reported {
		return ch.plan.failed(ch.script, r.Failed, r.Err)
	}
	if change.Signal != 0 {
		return &StepError{Call: "the process that joins", Err: errors.New("ended by signal " + change.Signal.String())}
	}
	return &StepError{Call: "the process that joins", Err: errors.New("ended without a word")}
}

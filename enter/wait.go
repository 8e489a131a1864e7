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

// A child is the process that carries out a plan, or became the program.
type child struct {
	plan    *plan
	script  *sys.Script
	pid     int
	report  int // reading end of its pipe
	forks   bool
	started sys.Report      // of the process that the first one forked, if it was read
	failure sys.Report      // of a call that failed, if it was read
	stopped bool            // the parent of the program has told that it was stopped
	ended   bool            // or that it has ended
	inTools *toolsProcesses // who is in a tools mount, or nil
	stdio   *stdio
	signals *signals
	// last says that the caller ends when the program does: it need not get
	// its signals back, which takes its time.
	last bool
}

// files returns the descriptors of Stdin, Stdout and Stderr: -1 for what was
// closed when the program was started, and null for what is not set.
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

// errKeepFDs is that of [Cmd.KeepFDs] where it cannot be had.
var errKeepFDs = sys.ErrorOf(errors.ErrUnsupported, "keep descriptors open: the program gets a process of its own here, and none but 0, 1 and 2")

// start starts the process that carries out the plan.
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
		// It is not to wait for a reader who is stopped.
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

	// To catch signals takes its time, which the start of the child takes too.
	// No program is started before it is done: whoever sees one may send some,
	// and none is to get lost.
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

// close lets go of everything but the process.
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
		came := stop() // before it is reaped, and its PID another's
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
	// A failure is told before the exit, so it is in the pipe by now.
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

// joined waits until the process that joins has ended. One that is stuck is left
// behind: it has been killed.
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

// follow has the child be the one that becomes the program, which the process
// that joins has started before it ended.
func (ch *child) follow(change sys.Change) error {
	if err := sys.Reap(ch.pid); err != nil {
		return err
	}
	// What was started may fail, and tell, before the other has told of it.
	for r := ch.started; ; {
		switch {
		case r.Started != 0:
			// Once it is seen, others may have got hold of the pipe: a PID
			// that is none of our children's is not theirs to have us signal.
			if !sys.IsChild(r.Started) {
				return &StepError{Call: "the process that joins", Err: errors.New("reported a process that is not ours")}
			}
			ch.pid = r.Started
			return ch.moveAndRelease()
		case r.Err != nil:
			ch.failure = r
		case r.Stopped:
			ch.stopped = true // the program is quicker still
		case r.Over:
			ch.ended = true
		}
		var ok bool
		if change != (sys.Change{}) && ch.failure.Err != nil {
			return ch.failed(ch.failure, true, change)
		}
		// All that the one has told is there. The other may never tell anything.
		if ok = sys.Ready(ch.report); ok {
			r, ok = sys.ReadReport(ch.report)
		}
		if !ok {
			return ch.failed(ch.failure, ch.failure.Err != nil, change)
		}
	}
}

// moveAndRelease moves the process that becomes the program, and is held, to the cgroups
// that it is to be in, and lets it go.
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

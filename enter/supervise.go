package enter

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// signals are the signals to pass on to the program.
type signals struct{ c chan os.Signal }

// caught are the signals that are passed on. With group they go to the whole process group of
// the program, which is in a session of its own: a terminal, or a shell, sends them to all
// processes of a job.
var caught = []struct {
	signal os.Signal
	group  bool
}{
	{syscall.SIGINT, true},
	{syscall.SIGQUIT, true},
	{syscall.SIGHUP, true},
	{syscall.SIGTSTP, true},
	{syscall.SIGCONT, true},
	{syscall.SIGWINCH, true},
	{syscall.SIGTERM, false},
	{syscall.SIGUSR1, false},
	{syscall.SIGUSR2, false},
}

// catchSignals begins to catch them, but for those that the caller ignores, as with nohup(1).
func catchSignals() *signals {
	s := &signals{make(chan os.Signal, 64)}
	for _, c := range caught {
		if !signal.Ignored(c.signal) {
			signal.Notify(s.c, c.signal)
		}
	}
	return s
}

func (s *signals) stop() {
	if s != nil {
		signal.Stop(s.c)
	}
}

// maxReports is how many reports a pipe can hold.
const maxReports = 1 << 16 / 16

// stops reads the reports of the parent of the program, if that is an init or a keeper. The
// channel gets a value each time the program was stopped, and is closed when the parent has
// ended. The end of the pipe is not waited for, since other processes may have it.
func (ch *child) stops() <-chan struct{} {
	if !ch.plan.parent() {
		return nil
	}
	parent, _ := sys.OpenPidfd(ch.pid) //nolint:errcheck // then the end of the pipe is waited for
	c := make(chan struct{})
	go func() {
		defer close(c)
		defer parent.Close()
		left := maxReports
		for r, ok := (sys.Report{Stopped: ch.stopped, Over: ch.ended}), true; ok && left > 0; r, ok = sys.ReadReport(ch.report) {
			switch {
			case r.Err != nil:
				ch.failure = r
			case r.Over:
				ch.inTools.clear(ch.pid)
			case r.Stopped && sys.HasStoppedChild(ch.pid): // else it was continued since
				c <- struct{}{}
			}
			if ready := sys.WaitReadable(-1, ch.report, int(parent)); ready[1] {
				if left--; !ready[0] {
					return
				}
			}
		}
		// The reports make no sense, so the end of the program would be missed.
		if ch.plan.keeper {
			_ = sys.Kill(ch.pid, syscall.SIGKILL) //nolint:errcheck // then it has ended
		}
	}()
	return c
}

// supervise waits until the program ends, and does not reap it. Meanwhile it passes signals on,
// stops the caller when the program is stopped, and kills the program when ctx is done.
func (ch *child) supervise(ctx context.Context, stops <-chan struct{}) (sys.Change, error) {
	type event struct {
		sys.Change
		err error
	}
	changes, next := make(chan event), make(chan struct{})
	defer close(next)
	go func() {
		for {
			c, err := sys.WaitChange(ch.pid)
			changes <- event{c, err}
			if _, more := <-next; !more {
				return
			}
		}
	}()
	done := ctx.Done()
	for {
		select {
		case s := <-ch.signals.c:
			ch.passSignal(s.(syscall.Signal)) //nolint:forcetypeassert // os/signal sends no others
		case <-done:
			done = nil
			_ = sys.Kill(ch.pid, syscall.SIGKILL) //nolint:errcheck // then it has ended
		case _, more := <-stops:
			if !more {
				stops = nil
				continue
			}
			ch.suspend()
		case e := <-changes:
			if e.err != nil || !e.Stopped {
				for more := stops != nil; more; { // until all reports are read
					_, more = <-stops
				}
				return e.Change, e.err
			}
			ch.suspend()
			next <- struct{}{}
		}
	}
}

// passSignal passes a signal on to the program.
func (ch *child) passSignal(s syscall.Signal) {
	switch s {
	case syscall.SIGINT, syscall.SIGQUIT:
		if ch.stdio.shared() {
			return // it was typed, and the kernel sent it to the program too
		}
	case syscall.SIGWINCH:
		if ch.stdio.hasTerminal() {
			ch.stdio.resize() // the kernel sends the signal there
			return
		}
	case syscall.SIGTSTP:
		// The kernel ignores SIGTSTP in a session without a shell of ours, since nobody would
		// continue it. An init or keeper does the same as this, and must not be stopped itself.
		if !ch.plan.parent() {
			s = syscall.SIGSTOP
		}
	case syscall.SIGCONT:
		ch.stdio.resume()
	}
	ch.kill(s)
}

// kill signals the program, or its whole process group.
func (ch *child) kill(s syscall.Signal) {
	group := s == syscall.SIGSTOP
	for _, c := range caught {
		group = group || c.signal == s && c.group
	}
	// The program leads no group before its session is started, or if it shares the caller's
	// session.
	if group && sys.Kill(-ch.pid, s) == nil {
		return
	}
	_ = sys.Kill(ch.pid, s) //nolint:errcheck // then it has ended
}

// suspend stops the caller, as the program was stopped, and continues the program when the
// caller is continued.
func (ch *child) suspend() {
	ch.stdio.restore()
	sys.StopSelf()
	// The SIGCONT that continued us is caught too. Passing it on later could continue a program
	// that has stopped again. The first process of a PID namespace was not stopped at all, and
	// gets no SIGCONT.
	over := time.After(100 * time.Millisecond)
	for woken := signal.Ignored(syscall.SIGCONT); !woken; {
		select {
		case s := <-ch.signals.c:
			if woken = s == syscall.SIGCONT; !woken {
				ch.passSignal(s.(syscall.Signal)) //nolint:forcetypeassert // os/signal sends no others
			}
		case <-over:
			woken = true
		}
	}
	ch.stdio.resume()
	ch.kill(syscall.SIGCONT)
}

// interruptible kills the process that joins on a signal that would end the caller, until stop
// is called: the process may be blocked by a frozen cgroup, or by a file system that does not
// answer. stop returns the signals that came, which are for the program. stuck becomes true if
// the process has not ended a second after it was killed, without waiting for a processor: for
// example if it is frozen by a cgroup of version 1.
func (ch *child) interruptible(ctx context.Context) (stuck *atomic.Bool, stop func() []syscall.Signal) {
	over, held := make(chan struct{}), make(chan []syscall.Signal)
	stuck = new(atomic.Bool)
	pid, done := ch.pid, ctx.Done() // ch.pid changes later
	go func() {
		var came []syscall.Signal
		var patience *wait.Patience
		var out <-chan time.Time // when the patience may be over
		end := func() {
			_ = sys.Kill(pid, syscall.SIGKILL) //nolint:errcheck // then it has ended
			if patience == nil {
				patience = wait.NewPatience(time.Second, pid)
				out = time.After(time.Second)
			}
		}
		for {
			select {
			case s := <-ch.signals.c:
				came = append(came, s.(syscall.Signal)) //nolint:forcetypeassert // os/signal sends no others
				switch s {
				case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
					end()
				}
			case <-done:
				done = nil
				end()
			case <-out:
				if left := patience.Left(); left > 0 {
					out = time.After(left)
				} else {
					stuck.Store(true)
				}
			case <-over:
				held <- came
				return
			}
		}
	}()
	return stuck, func() []syscall.Signal {
		close(over)
		return <-held
	}
}

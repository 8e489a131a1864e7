package enter

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// signals are those that go on to the program.
type signals struct{ c chan os.Signal }

// caught are the signals that are passed on. A terminal, or a shell that means
// a whole job, would send those of the group to all the processes of the
// program, who are in a session of their own.
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

// catchSignals begins to catch them. What the caller was told to ignore, as by
// nohup(1), it goes on to ignore.
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

// stops hears what the parent of the program tells, where that is an init or a
// keeper, and yields that the program was stopped. It is closed when the parent
// has ended: others may have got hold of the pipe, so its end is not waited for.
func (ch *child) stops() <-chan struct{} {
	if !ch.plan.parent() {
		return nil
	}
	parent, _ := sys.OpenPidfd(ch.pid) //nolint:errcheck // then the end of the pipe is
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
			case r.Stopped && sys.HasStoppedChild(ch.pid): // else it has been continued since
				c <- struct{}{}
			}
			if ready := sys.WaitReadable(-1, ch.report, int(parent)); ready[1] {
				if left--; !ready[0] {
					return
				}
			}
		}
		// What is told makes no sense: it is not known when the program ends.
		if ch.plan.keeper {
			_ = sys.Kill(ch.pid, syscall.SIGKILL) //nolint:errcheck // then it has ended
		}
	}()
	return c
}

// supervise waits until the program ends, but does not reap it. Meanwhile it
// passes signals on, stops the caller when the program is stopped, and kills
// the program when ctx is done.
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
				for more := stops != nil; more; { // until all that it told is known
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
			return // it was typed, and the kernel has told the program too
		}
	case syscall.SIGWINCH:
		if ch.stdio.hasTerminal() {
			ch.stdio.resize() // the kernel signals it there
			return
		}
	case syscall.SIGTSTP:
		// A session without a shell of ours in it has nobody who would
		// continue it, so the kernel ignores SIGTSTP there. Who stands between
		// us and the program knows that too, and is not to be stopped itself.
		if !ch.plan.parent() {
			s = syscall.SIGSTOP
		}
	case syscall.SIGCONT:
		ch.stdio.resume()
	}
	ch.kill(s)
}

// kill signals the program, and where its whole group is meant, that.
func (ch *child) kill(s syscall.Signal) {
	group := s == syscall.SIGSTOP
	for _, c := range caught {
		group = group || c.signal == s && c.group
	}
	// There is no such group before the program leads one, or if it never
	// does, since it shares the caller's session.
	if group && sys.Kill(-ch.pid, s) == nil {
		return
	}
	_ = sys.Kill(ch.pid, s) //nolint:errcheck // then it has ended
}

// suspend stops the caller, as the program was. Whoever continues the caller
// continues the program.
func (ch *child) suspend() {
	ch.stdio.restore()
	sys.StopSelf()
	// What continued us was a SIGCONT, which is caught too: to pass it on once
	// more, later, could continue a program that has stopped again by then. As
	// the first process of a PID namespace we were not stopped at all.
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

// interruptible has the process that joins killed by whatever would end the
// caller, until stop is called: it may wait for something that never comes, in
// a cgroup that has just been frozen or for a file system that does not answer.
// stop returns the signals that came, which are for the program. stuck becomes
// true when the process has not ended a second after it was killed, in which it did
// not wait to run: as one that is frozen by a cgroup of version 1.
func (ch *child) interruptible(ctx context.Context) (stuck *atomic.Bool, stop func() []syscall.Signal) {
	over, held := make(chan struct{}), make(chan []syscall.Signal)
	stuck = new(atomic.Bool)
	pid, done := ch.pid, ctx.Done() // the PID becomes another one
	go func() {
		var came []syscall.Signal
		var patience *sys.Patience
		var out <-chan time.Time // when the patience may be
		end := func() {
			_ = sys.Kill(pid, syscall.SIGKILL) //nolint:errcheck // then it has ended
			if patience == nil {
				patience = sys.NewPatience(time.Second, pid)
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

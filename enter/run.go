package enter

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// Plan returns the steps that Run would take, in order. It changes nothing. It opens the
// namespaces of the target, so the caller needs ptrace access to it (PTRACE_MODE_READ_FSCREDS).
func (c *Cmd) Plan() (steps []Step, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = c.with(func(p *plan, _ *situation) error {
		steps = p.steps
		return nil
	})
	return steps, err
}

// with calls f with a plan and its situation, and closes the situation afterwards.
func (c *Cmd) with(f func(*plan, *situation) error) error {
	s, err := c.look()
	if err != nil {
		return err
	}
	defer s.close()
	p, err := c.plan(s)
	if err != nil {
		return err
	}
	return f(p, s)
}

// Run takes the steps of the plan, runs the program and waits for it. If the program ran and
// its status was not 0, the error is an [*ExitError]. If it did not run, the error is a
// [*StepError], or is about what could not be read.
//
// Signals to the caller are passed on to the program, which does not outlive the caller. When
// ctx is done the program is killed.
func (c *Cmd) Run(ctx context.Context) error {
	// The child is killed when the thread that started it ends (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return c.with(func(p *plan, s *situation) error { return p.run(ctx, c, s, false) })
}

// RunOrExec becomes the program where the plan needs no process of its own, and else does as Run.
// It is for a caller that does nothing but run c. The caller has locked its thread and does not
// use it after an error, since the thread may be in some of the namespaces.
func (c *Cmd) RunOrExec(ctx context.Context) error {
	return c.with(func(p *plan, s *situation) error {
		if p.inPlace {
			return p.exec(c)
		}
		return p.run(ctx, c, s, true)
	})
}

// run takes the steps of the plan in a process of its own, and waits for the program. last says
// that the caller exits when the program does.
func (p *plan) run(ctx context.Context, c *Cmd, s *situation, last bool) error {
	err := p.once(ctx, c, s, last)
	if s.full || !p.isFull(s, err) {
		return err
	}
	s.full = true
	s.toolsMount.close()
	if p, err = c.plan(s); err != nil {
		return err
	}
	if s.toolsMount != nil && c.Note != nil {
		c.Note("as many processes run in there as may: nobody reaps what the tools leave behind")
	}
	return p.once(ctx, c, s, last)
}

func (p *plan) once(ctx context.Context, c *Cmd, s *situation, last bool) error {
	child, err := p.start(c, s)
	if err != nil {
		return err
	}
	child.last = last
	return child.wait(ctx)
}

// isFull reports whether err is about a limit of processes that another plan can avoid, by
// taking the limit after the last fork. The limits of cgroups count at fork(2) alone
// (Documentation/admin-guide/cgroup-v2.rst of the kernel, PID), and so does RLIMIT_NPROC,
// except for a change of user (getrlimit(2)).
func (p *plan) isFull(s *situation, err error) bool {
	e, ok := errors.AsType[*StepError](err)
	return ok && e.crowded() && !p.forksFirst &&
		(s.nproc != nil || slices.ContainsFunc(p.steps, func(s Step) bool { return s.move != nil }))
}

// exec takes the steps of the plan on the calling thread.
func (p *plan) exec(c *Cmd) error {
	if !c.KeepFDs {
		if err := sys.CloseOnExecFrom(3); err != nil {
			return err
		}
	}
	x := sys.NewScript()
	x.Here()
	for fd, closed := range sys.WereClosed() {
		if closed {
			x.CloseOnExec(fd) // the runtime has put something in its place
		}
	}
	// Only a thread that shares no directories can join a mount namespace. Without such a join
	// the call is left out, since the filter of a container may deny it.
	if slices.ContainsFunc(p.steps, func(s Step) bool { return s.Op == Join && s.Type == inspect.Mnt }) {
		x.Unshare(sys.CloneFS)
	}
	p.script(x, -1)
	i, err := x.RunHere()
	return p.failed(x, i, err)
}

// failed returns the error of call i of the script.
func (p *plan) failed(x *sys.Script, i sys.Index, err error) error {
	n, call := x.Failed(i)
	e := &StepError{Call: call, Err: err}
	if n >= 0 && n < len(p.steps) {
		e.Step = p.steps[n]
	}
	e.Toolless = p.noTools && e.Step.Op == Exec
	if errors.Is(err, fs.ErrPermission) && e.Step.denied != nil {
		e.Denial = e.Step.denied()
	}
	return e
}

// script appends the calls of all steps. report is the child's end of the pipe for its reports,
// or -1.
func (p *plan) script(x *sys.Script, report int) {
	closed, held := report < 0, report < 0
	var verify []func()
	for n := 0; n < len(p.steps); n++ {
		step := p.steps[n]
		x.Step(n)
		if step.Op != Join && verify != nil {
			for _, f := range verify {
				f()
			}
			verify = nil
			x.Step(n)
		}
		if step.Op >= Confine && step.Op <= Exec && !held {
			x.Await(p.hold)
			held = true
		}
		// From here on processes of the target may see this one: it keeps nothing of ours open
		// but the pipe, which has the last number.
		early := step.Op == Fork && p.forksFirst
		if step.Op >= Confine && step.Op <= Exec && !early && !closed {
			x.CloseFrom(report + 1)
			closed = true
		}
		switch {
		case step.caller != nil:
			x.Wait(report, p.gate)
		case step.Op == Join:
			end := n + 1
			if step.pidfd > 0 {
				for end < len(p.steps) && p.steps[end].pidfd == step.pidfd {
					end++
				}
			}
			p.join(x, n, end)
			for ; n < end; n++ {
				at, f := n, p.steps[n].verify
				verify = append(verify, func() { x.Step(at); f(x) })
			}
			n--
		case step.Op == Fork:
			x.Fork(sys.CloneParent, func(pid sys.Addr) {
				x.Started(report, pid)
				x.Exit(0)
			})
			x.DieWithParent(p.kill, report)
		case step.Op == Init:
			x.Init(report)
		case step.Op == Keep:
			x.Keeper(report)
		default:
			if step.Op == Exec && (!p.forks || p.forksFirst && !p.init || p.keeper) && report >= 0 {
				x.DieWithParent(p.kill, report)
			}
			step.calls(x)
		}
	}
}

// join appends the calls that join the namespaces of steps[from:to]. Several are joined at once
// by the pidfd (Linux 5.8). If that fails they are joined one by one, which older kernels can
// do, and which shows the one that fails.
func (p *plan) join(x *sys.Script, from, to int) {
	if to-from == 1 {
		p.steps[from].calls(x)
		return
	}
	var types inspect.Types
	for _, s := range p.steps[from:to] {
		types = types.With(s.Type)
	}
	all := x.Setns(x.File(p.steps[from].pidfd), types.Flags())
	x.IgnoreAll(all)
	x.Else(all, func() {
		for n := from; n < to; n++ {
			x.Step(n)
			p.steps[n].calls(x)
		}
	})
}

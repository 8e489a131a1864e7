package enter

import (
	"errors"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

// toolsProcesses are the processes in a tools mount. None of them stays when the program or
// this process has ended, for whatever reason.
type toolsProcesses struct {
	proc       int         // the root of procfs
	toolsMount *toolsMount // holds the mount namespace, so that its inode number is not used again

	gone        bool // the keeper has exited, so there are none any more
	sweeperPipe int  // read by the sweeper: a byte means that it need not run
	sweeper     int  // PID of the process that runs Sweeper if this one is killed
}

// makeToolsMount makes the tools mount of a plan, if there is one.
func (p *plan) makeToolsMount(c *Cmd, s *situation) (g *toolsProcesses, err error) {
	for _, step := range p.steps {
		if step.toolsMount == nil {
			continue
		}
		if err := step.toolsMount.build(); err != nil {
			return nil, &StepError{Step: step, Call: "mount", Err: err}
		}
		g = &toolsProcesses{proc: s.proc, toolsMount: step.toolsMount, sweeperPipe: -1}
		if len(c.Tools.Sweeper) > 0 {
			r, w, err := sys.Pipe()
			if err != nil {
				return g, err
			}
			defer sys.CloseAll(r)
			g.sweeperPipe = w
			if g.sweeper, err = sys.Watch(r, step.toolsMount.ns, "/proc/self/exe", c.Tools.Sweeper); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// clear kills all of them but their keeper, when the program has ended. It also kills those
// that have made a mount namespace of their own: they are children of the keeper now.
func (g *toolsProcesses) clear(keeper int) {
	if g == nil {
		return
	}
	sys.KillIn(g.proc, g.toolsMount.ns, "mnt", keeper)
	if keeper != 0 {
		sys.KillChildren(g.proc, keeper)
	}
}

// end kills all that are left, when no more can come.
func (g *toolsProcesses) end() {
	if g == nil {
		return
	}
	if !g.gone {
		g.clear(0)
		g.gone = true
	}
	if g.sweeperPipe >= 0 {
		_ = sys.WriteByte(g.sweeperPipe) //nolint:errcheck // then the sweeper is dead
		sys.CloseAll(g.sweeperPipe)
		g.sweeperPipe = -1
	}
	if g.sweeper != 0 {
		_ = sys.Reap(g.sweeper) //nolint:errcheck // it is our child
		g.sweeper = 0
	}
}

// errNotToolsMount reports that the argument of Sweep is no mount namespace made for tools.
var errNotToolsMount = errors.New("not a mount namespace other than the caller's")

// Sweep kills the members of toolsMount, a mount namespace that was made for tools: see
// [Tools.Sweeper]. It refuses the caller's own.
func Sweep(toolsMount *os.File) error {
	self, err := Self()
	if err != nil {
		return err
	}
	defer self.Close()
	ns := int(toolsMount.Fd())
	own, err := self.proc.OpenNamespace("mnt")
	if err != nil {
		return err
	}
	defer sys.CloseAll(own)
	here, err := sys.Fstat(own)
	if err != nil {
		return err
	}
	if id, err := sys.Fstat(ns); err != nil || id == here || id.Dev != here.Dev {
		return errors.Join(errNotToolsMount, err)
	}
	sys.SweepIn(self.proc.Proc, ns, "mnt")
	return nil
}

package enter

import (
	"errors"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

// toolsProcesses are the processes in a tools mount. None of them stays when the program has
// ended, or this process, however that comes about.
type toolsProcesses struct {
	proc       int         // the root of procfs
	toolsMount *toolsMount // it holds its mount namespace, so that no other has its number

	gone        bool // the keeper has ended by itself: there are none any more
	sweeperPipe int  // what the watchman reads: a byte is that all is well
	sweeper     int  // PID of the process that sees to it if this one is killed
}

// makeToolsMount makes the tools mount of a plan, if it has one.
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

// clear ends all of them but their keeper, when the program has ended: also those
// who have gone on into a mount namespace of their own, and are the keeper's now.
func (g *toolsProcesses) clear(keeper int) {
	if g == nil {
		return
	}
	sys.KillIn(g.proc, g.toolsMount.ns, "mnt", keeper)
	if keeper != 0 {
		sys.KillChildren(g.proc, keeper)
	}
}

// end is called when nobody will come any more, and ends those who are there.
func (g *toolsProcesses) end() {
	if g == nil {
		return
	}
	if !g.gone {
		g.clear(0)
		g.gone = true
	}
	if g.sweeperPipe >= 0 {
		_ = sys.WriteByte(g.sweeperPipe) //nolint:errcheck // then the watchman is dead
		sys.CloseAll(g.sweeperPipe)
		g.sweeperPipe = -1
	}
	if g.sweeper != 0 {
		_ = sys.Reap(g.sweeper) //nolint:errcheck // it is our child
		g.sweeper = 0
	}
}

// errNotToolsMount means that Sweep was not given a mount namespace made for tools.
var errNotToolsMount = errors.New("not a mount namespace other than the caller's")

// Sweep ends those who are in the mount namespace that was made for tools, which
// is open as room: see [Tools.Sweeper]. It refuses the caller's own.
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

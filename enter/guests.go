package enter

import (
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// guests are the processes in a room. None of them stays when the program has
// ended, or this process, however that comes about.
type guests struct {
	proc int    // the root of procfs
	link string // of the room, in /proc/pid/ns/mnt

	gone     bool // the keeper has ended by itself: there are none any more
	alarm    int  // what the watchman reads: a byte is that all is well
	watchman int  // PID of the process that sees to it if this one is killed
}

// makeRoom makes the room of a plan, if it has one.
func (p *plan) makeRoom(c *Cmd, s *situation) (g *guests, err error) {
	for _, step := range p.steps {
		if step.room == nil {
			continue
		}
		if err := step.room.build(); err != nil {
			return nil, &StepError{Step: step, Call: "mount", Err: err}
		}
		g = &guests{proc: s.proc, link: inspect.FormatLink(inspect.Mnt, step.room.id.Ino), alarm: -1}
		if len(c.Tools.Sweeper) > 0 {
			r, w, err := sys.Pipe()
			if err != nil {
				return g, err
			}
			defer sys.CloseAll(r)
			g.alarm = w
			words := append(c.Tools.Sweeper[:len(c.Tools.Sweeper):len(c.Tools.Sweeper)], g.link)
			if g.watchman, err = sys.Watch(r, "/proc/self/exe", words); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// clear ends all of them but their keeper, when the program has ended: also those
// who have gone on into a mount namespace of their own, and are the keeper's now.
func (g *guests) clear(keeper int) {
	if g == nil {
		return
	}
	sys.KillIn(g.proc, "mnt", g.link, keeper)
	if keeper != 0 {
		sys.KillChildren(g.proc, keeper)
	}
}

// end is called when nobody will come any more, and ends those who are there.
func (g *guests) end() {
	if g == nil {
		return
	}
	if !g.gone {
		g.clear(0)
		g.gone = true
	}
	if g.alarm >= 0 {
		_ = sys.WriteByte(g.alarm) //nolint:errcheck // then the watchman is dead
		sys.CloseAll(g.alarm)
		g.alarm = -1
	}
	if g.watchman != 0 {
		_ = sys.Reap(g.watchman) //nolint:errcheck // it is our child
		g.watchman = 0
	}
}

// Sweep ends those who are in the mount namespace that was made for tools, of
// which link is the text in /proc/pid/ns/mnt: see [Tools.Sweeper].
func Sweep(link string) error {
	self, err := Self()
	if err != nil {
		return err
	}
	defer self.Close()
	sys.SweepIn(self.proc.Proc, "mnt", link)
	return nil
}

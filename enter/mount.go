package enter

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// lookAtMounts finds what to mount for a network namespace.
func (s *situation) lookAtMounts(c *Cmd, p *sys.Process) error {
	if !c.NetnsFiles {
		return nil
	}
	b, err := p.ReadOwn("mountinfo", 16<<20)
	if err != nil {
		return err
	}
	s.sysMounts = outermost("/sys", b)
	if c.NetnsName == "" {
		return nil
	}
	entries, err := sys.ReadDir(path.Join("/etc/netns", c.NetnsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		// As ip-netns(8) does: only a file that exists can be covered.
		from, to := path.Join("/etc/netns", c.NetnsName, e.Name), path.Join("/etc", e.Name)
		if why := unbindable(from, to); why != nil {
			s.notes = append(s.notes, fmt.Sprintf("%s is left out: %v", printable(from), why))
			continue
		}
		s.etcFiles = append(s.etcFiles, e.Name)
	}
	return nil
}

// unbindable returns why a file cannot be mounted on another, or nil.
func unbindable(from, to string) error {
	what, err := sys.StatPath(from, true)
	if err != nil {
		return pathCause(err)
	}
	on, err := sys.StatPath(to, true)
	if err != nil {
		return fmt.Errorf("%s: %w", printable(to), pathCause(err))
	}
	switch {
	case what.IsDir() && !on.IsDir():
		return fmt.Errorf("a directory cannot be mounted on %s, which is none", printable(to))
	case on.IsDir() && !what.IsDir():
		return fmt.Errorf("it cannot be mounted on %s, which is a directory", printable(to))
	}
	return nil
}

// outermost returns the mount points below dir, without those below other mount points.
func outermost(dir string, mountinfo []byte) (points []string) {
	for m := range procfile.Mounts(mountinfo) {
		if strings.HasPrefix(m.Point, dir+"/") {
			points = append(points, m.Point)
		}
	}
	slices.Sort(points)
	seen := map[string]bool{}
	return slices.DeleteFunc(points, func(p string) bool {
		above := p
		for above != dir && !seen[above] {
			above = path.Dir(above)
		}
		seen[p] = true
		return above != dir
	})
}

// mountSteps returns the mounts that only the program sees, in a mount namespace of its own
// without propagation.
func (s *situation) mountSteps(c *Cmd, joined inspect.Types) (steps []Step) {
	if !c.MountProc && !c.NetnsFiles {
		return nil
	}
	if !c.New.Types.Has(inspect.Mnt) {
		steps = append(steps, Step{Op: Make, Type: inspect.Mnt, Text: "make a mount namespace of its own", calls: func(x *sys.Script) {
			x.Unshare(inspect.Mnt.Flag())
			x.MakePrivate("/")
		}})
	}
	if c.MountProc {
		forks := joined.Has(inspect.PID) && !c.New.Types.Has(inspect.PID)
		dir := cmp.Or(c.ProcDir, "/proc")
		steps = append(steps, Step{Op: Mount, Text: "mount a procfs on " + dir, calls: func(x *sys.Script) {
			mount := func() { x.MountProc(dir) }
			if !forks {
				mount()
				return
			}
			// A procfs shows the PID namespace of the process that mounts it. The process that
			// joins is not in it itself.
			x.Spawn(0, func() { mount(); x.Exit(0) })
		}})
	}
	if c.NetnsFiles {
		submounts := s.sysMounts
		steps = append(steps, Step{Op: Mount, Text: "mount a sysfs on /sys, with what is mounted below it", calls: func(x *sys.Script) { x.MountSysfs("/sys", submounts) }})
		for _, name := range s.etcFiles {
			from, to := path.Join("/etc/netns", c.NetnsName, name), path.Join("/etc", name)
			steps = append(steps, Step{Op: Mount, Text: fmt.Sprintf("mount %s on %s", from, to), calls: func(x *sys.Script) { x.Bind(from, to) }})
		}
	}
	return steps
}

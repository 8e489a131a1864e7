package enter

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// Tools are programs to bring along into the mount namespace of a target, which
// need not have any: not even a shell. They stand, with what they need of their
// own, in a mount namespace that only the program and its children are in,
// beside the files of the target. Nothing is written into the target, and all
// is gone when the program has ended.
//
// Of a directory only the system's parts are taken: /usr, /bin, /sbin, /lib*,
// /nix and /gnu, and of /etc what programs cannot do without. Nobody can write
// to them. Who looks into the program's processes from inside can read them.
//
// The zero Tools are those of the caller's own root directory.
type Tools struct {
	// Dir is the root directory of the tools, as the caller sees it; "" is the
	// caller's own. If it has none of the directories above it is itself the
	// directory of programs.
	Dir string
	// Of is a process whose root directory it is in place of Dir.
	Of *Target
	// Unpack writes the tools into an empty directory in place of both. What is
	// written there stays in memory, and only while the program runs.
	Unpack func(dir string) error
	// From says in messages where they are from; "" is told from the others.
	From string
	// Sweeper are words by which the program that calls this package can be run
	// to call [Sweep] with its standard input. A process of a few kilobytes waits to
	// do so if the caller is killed; without it, what the program itself has
	// started may stay then.
	Sweeper []string
	// View is what the program has as its root directory.
	View View
}

// A View says what has the root directory, of a target and of tools.
type View uint8

const (
	// ViewDefault is ViewTarget for a program with no more rights than the
	// target, which may then look for its files among the target's, and
	// ViewTools for one with more.
	ViewDefault View = iota
	// ViewTarget shows each file of the target where the target has it, and
	// the tools in [ToolsDir]. What the tools want to find in a fixed place,
	// such as a shell and their dynamic loader, are links to there, where the
	// target has nothing of that name.
	ViewTarget
	// ViewTools shows the tools where they are at home, and the files of the
	// target in [TargetDir]: with its /proc, /sys, /etc/hosts, /etc/hostname and
	// /etc/resolv.conf also in their places.
	ViewTools
)

// Where the two are in either view.
const (
	ToolsDir      = "/" + toolsMountDir + "/tools"
	TargetDir     = "/" + toolsMountDir + "/target"
	toolsMountDir = ".nstool"
)

// ErrTools says that tools cannot be brought along to what was asked for.
var ErrTools = errors.New("tools")

// A tools mount is the mount namespace in which target and tools are together.
type toolsMount struct {
	tools *Tools
	view  View
	of    string // "process 4242"

	mnt, root  int    // of the target
	pid        int    // its PID namespace, or -1
	mounts     []byte // its mountinfo
	toolsMnt   int    // of the process that tools.Of is
	toolsRoot  int
	ns         int // the tools mount, once it is there
	id         inspect.ID
	path, libs []string // where programs and libraries of the tools are
}

// from says where the tools are from.
func (t *Tools) from() string {
	switch {
	case t.From != "":
		return t.From
	case t.Of != nil:
		return t.Of.String()
	case t.Dir != "":
		return t.Dir
	}
	return "this host"
}

// lookAtTools opens what the tools mount is made of, and puts it in the place of the
// mount namespace of the target.
func (s *situation) lookAtTools(c *Cmd, p *sys.Process) (err error) {
	if c.Tools == nil {
		return nil
	}
	switch {
	case c.Target == nil:
		return fmt.Errorf("%w go with a process as target, whose files they are to stand beside", ErrTools)
	case c.Root || c.RootDir != "" || c.Dir || c.DirPath != "":
		return fmt.Errorf("%w have a root directory of their own making, and no directory of another place can be entered", ErrTools)
	}
	r := &toolsMount{tools: c.Tools, view: c.Tools.View, of: s.target, mnt: -1, root: -1, pid: -1, toolsMnt: -1, toolsRoot: -1, ns: -1}
	if r.view == ViewDefault {
		r.view = s.terms.view
	}
	if r.mnt, r.root, err = s.filesOf(p, s.target); err != nil {
		return err
	}
	if r.mounts, err = p.ReadFile("mountinfo", 16<<20); err != nil {
		return fmt.Errorf("read the mounts of %s: %w", s.target, pathCause(err))
	}
	for _, j := range s.joins {
		if j.typ == inspect.PID {
			r.pid = j.fd
		}
	}
	if of := c.Tools.Of; of != nil {
		if r.toolsMnt, r.toolsRoot, err = s.filesOf(of.proc, of.String()); err != nil {
			return err
		}
	}
	own, err := ownNamespace(p, inspect.Mnt, 0)
	if err != nil {
		return err
	}
	s.toolsMount = r
	s.joins = slices.DeleteFunc(s.joins, func(j joinable) bool { return j.typ == inspect.Mnt })
	s.joins = append(s.joins, joinable{typ: inspect.Mnt, fd: -1, own: own, toolsMount: r})
	return nil
}

// filesOf opens the mount namespace and the root directory of a process.
func (s *situation) filesOf(p *sys.Process, name string) (mnt, root int, err error) {
	if mnt, err = p.OpenNamespace("mnt"); err != nil {
		return -1, -1, s.noNamespace(p, inspect.Mnt, err)
	}
	s.keep(mnt)
	if root, err = p.Open("root"); err != nil {
		return -1, -1, fmt.Errorf("open the root directory of %s: %w", name, pathCause(err))
	}
	return mnt, s.keep(root), nil
}

// steps returns the step that makes the tools mount.
func (r *toolsMount) steps() []Step {
	if r == nil {
		return nil
	}
	text := fmt.Sprintf("make a mount namespace with the files of %s, and with the tools of %s in %s", r.of, r.tools.from(), ToolsDir)
	if r.view == ViewTools {
		text = fmt.Sprintf("make a mount namespace with the tools of %s, and with the files of %s in %s", r.tools.from(), r.of, TargetDir)
	}
	return []Step{{Op: Mount, Type: inspect.Mnt, Text: text, toolsMount: r, calls: func(*sys.Script) {}}}
}

// joinToolsMount returns the step into the tools mount.
func (s *situation) joinToolsMount(r *toolsMount) Step {
	return Step{
		Op: Join, Type: inspect.Mnt, Text: "join that mount namespace",
		calls: func(x *sys.Script) { x.Setns(x.File(r.ns), inspect.Mnt.Flag()) },
		verify: func(x *sys.Script) {
			x.Verify(x.File(s.proc), "thread-self/ns/mnt", inspect.FormatLink(inspect.Mnt, r.id.Ino))
		},
	}
}

// programs returns what to try to execute: a path as it is in the tools mount, or of
// the tools; a name where the tools have programs, and then the target.
func (r *toolsMount) programs(c *Cmd, s *situation, env []string) []sys.Program {
	if c.Path == "" {
		var list []sys.Program
		shells := []string{"bash", "ash", "sh"}
		if s.account.shell != "" {
			shells = slices.Insert(shells, 0, path.Base(s.account.shell))
		}
		for _, shell := range shells {
			places, _ := search(shell, []string{shell}, strings.Join(r.path, ":"))
			list = append(list, places...)
		}
		return list
	}
	args := c.Args
	if len(args) == 0 {
		args = []string{c.Path}
	}
	list, _ := search(c.Path, args, pathOf(env))
	if strings.HasPrefix(c.Path, "/") && r.view == ViewTarget {
		list = append(list, sys.Program{Path: ToolsDir + c.Path, Argv: args})
	}
	return scripts(list)
}

// environ returns the environment of a program: nothing of the target's, and the
// tools first in PATH.
func (r *toolsMount) environ(c *Cmd, s *situation) []string {
	if c.Env != nil {
		return c.Env
	}
	env, search := s.environ(c), strings.Join(r.path, ":")
	if r.view == ViewTarget {
		search += ":" + defaultPath
		env = setenv(env, "LD_LIBRARY_PATH", strings.Join(r.libs, ":"))
	}
	return s.keepEnv(c, setenv(env, "PATH", search))
}

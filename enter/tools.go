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

// Tools are programs to bring into the mount namespace of a target, which may have none, not
// even a shell. They are, with the files that they need, beside the files of the target in a
// new mount namespace that has only the program and its children as members. Nothing is written
// into the target, and everything is gone when the program has ended.
//
// Of a root directory only the system's parts are taken: /usr, /bin, /sbin, /lib*, /nix and
// /gnu, and the files of /etc that programs need. They are read-only. A process inside that has
// ptrace access to the program can read them.
//
// The zero Tools are those of the caller's own root directory.
type Tools struct {
	// Dir is the root directory of the tools, as the caller sees it; "" is the caller's own. A
	// directory that has none of the parts above is itself the directory of programs.
	Dir string
	// Of is a process whose root directory is used in place of Dir.
	Of *Target
	// Unpack writes the tools into an empty directory, in place of both. The directory is in
	// memory, and is freed when the program ends.
	Unpack func(dir string) error
	// From says in messages where the tools are from; "" is made from the other fields.
	From string
	// Sweeper is a command, of the program that calls this package, that calls [Sweep] with its
	// standard input. A process of a few kilobytes waits to run it if the caller is killed.
	// Without it, processes that the program started may stay in that case.
	Sweeper []string
	// View is what the program has as its root directory.
	View View
}

// A View says whose root directory the program has: the target's, or that of the tools.
type View uint8

const (
	// ViewDefault is ViewTarget for a program with no more rights than the
	// target, which may then look for its files among the target's, and
	// ViewTools for one with more.
	ViewDefault View = iota
	// ViewTarget shows each file of the target in its place, and the tools in [ToolsDir]. Files
	// that the tools need in a fixed place, such as a shell and their dynamic loader, are links
	// to there if the target has no file of that name.
	ViewTarget
	// ViewTools shows each file of the tools in its place, and the files of the target in
	// [TargetDir]. /proc, /sys, /etc/hosts, /etc/hostname and /etc/resolv.conf of the target
	// are also in their places.
	ViewTools
)

// Where the two are in either view.
const (
	ToolsDir      = "/" + toolsMountDir + "/tools"
	TargetDir     = "/" + toolsMountDir + "/target"
	toolsMountDir = ".nstool"
)

// errTools reports that tools do not go with something else that was asked for.
var errTools = errors.New("tools")

// A toolsMount is the mount namespace that has the files of the target and of the tools.
type toolsMount struct {
	tools *Tools
	view  View
	of    string // "process 4242"

	mnt, root  int    // of the target
	pid        int    // its PID namespace, or -1
	mounts     []byte // its mountinfo
	toolsMnt   int    // of the process that tools.Of is
	toolsRoot  int
	ns         int // the mount namespace, once it is made
	id         inspect.ID
	path, libs []string // where programs and libraries of the tools are
}

// from returns the origin of the tools, for messages.
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

// lookAtTools opens what the tools mount is made of, and joins it in place of the mount
// namespace of the target.
func (s *situation) lookAtTools(c *Cmd, p *sys.Process) (err error) {
	if c.Tools == nil {
		return nil
	}
	switch {
	case c.Target == nil:
		return fmt.Errorf("%w go with a process as target, whose files they are to stand beside", errTools)
	case c.Root || c.RootDir != "" || c.Dir || c.DirPath != "":
		return fmt.Errorf("%w have a root directory of their own making, and no directory of another place can be entered", errTools)
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

// programs returns the paths to try to execute. A path is tried as it is, and then among the
// tools; a name in the directories of the tools, and then in those of the target.
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

// environ returns the environment of a program: nothing of the target's, with the tools first
// in PATH.
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

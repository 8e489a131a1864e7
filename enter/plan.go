package enter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A plan is a list of steps, in order, and how to take them.
type plan struct {
	steps []Step
	// inPlace: the calling thread can take all steps and then become the program, since no
	// process of the target can see it until then.
	inPlace bool
	// forks: a child of the process that joins runs the program.
	forks bool
	// forksFirst: it forks before it does anything else inside. In a new PID namespace there is
	// no other process that could see it.
	forksFirst bool
	// init: this child reaps, and the program is its child.
	init bool
	// kill is the signal to the program when the caller ends.
	kill syscall.Signal
	// keeper: the program has a parent inside that reaps its orphans.
	keeper bool
	// noTools: tools could be brought along, and are not.
	noTools bool
	// lacks are the capabilities that the program cannot have.
	lacks Caps
	// ttyUnnamed: the terminal of the program has no name where it runs.
	ttyUnnamed bool
	// gate is the descriptor by which the caller lets the process go on.
	gate int
	// movesLater are moves to cgroups that the caller makes for the process after it has been
	// forked: see [Cmd.plan].
	movesLater []Step
	// hold is the descriptor that keeps the process from starting a program before the caller
	// catches signals, or -1.
	hold int
}

// plan makes the plan. It reads nothing but c and s.
func (c *Cmd) plan(s *situation) (*plan, error) {
	p := &plan{kill: cmp.Or(c.KillChild, syscall.SIGKILL), lacks: s.lacks, ttyUnnamed: s.ttyUnnamed()}
	joins := s.joinSteps()
	joined := s.differing()
	target := s.terms.standing > asOtherUser
	p.noTools = s.terms.file == targetsFile && c.Target != nil
	p.forksFirst = c.New.forks(c.NoFork)
	p.forks = joined.Has(inspect.PID) && !c.NoFork || p.forksFirst
	// A program of the target gets no process of ours as a parent: that process would keep all
	// rights that the program loses. If a limit of processes is reached, none can be started,
	// but one that was started elsewhere can still be moved to the cgroup and take the limit.
	full := s.full && p.forks && !p.forksFirst
	p.keeper = s.toolsMount != nil && p.forks && !p.forksFirst && !full
	p.init = p.forksFirst && c.New.Init && c.New.Types.Has(inspect.PID) && !target

	p.add(s.toolsMount.steps()...)
	for _, step := range s.first {
		if full && step.move != nil {
			p.movesLater = append(p.movesLater, step)
		} else {
			p.add(step)
		}
	}
	if len(p.movesLater) > 0 {
		p.add(Step{Op: Prepare, Text: "have the process that is started held until it is in the cgroups", calls: func(x *sys.Script) { x.Held() }})
	}
	who := s.user.steps(c, s)
	if s.user.beforeJoins {
		p.add(who...)
		who = nil
	}
	p.add(joins...)
	p.add(s.makeSteps(&c.New, len(joins) > 0)...)
	if p.forksFirst {
		p.add(c.New.forkSteps(p.init)...)
	}
	p.add(c.New.pinSteps()...)
	// A directory that was opened before is not in a new mount namespace: it is looked up again
	// there, and mounts are made below it.
	mounts, again := s.mountSteps(c, joined), c.RootDir != "" && c.New.Types.Has(inspect.Mnt) && !joined.Has(inspect.Mnt)
	if !again {
		p.add(mounts...)
	}
	if s.root >= 0 {
		root := s.root
		p.add(Step{Op: Chroot, Text: "change the root directory to " + s.rootOf, calls: func(x *sys.Script) {
			if again {
				x.Chdir(c.RootDir)
			} else {
				x.Fchdir(x.File(root))
			}
			x.Chroot(".")
		}})
	}
	if again {
		p.add(mounts...)
	}
	dir, err := s.dirStep(c)
	if err != nil {
		return nil, err
	}
	// A path is entered with the program's own rights, a descriptor while it is still open.
	if s.dir >= 0 || !s.terms.changesDirItself() {
		p.add(dir...)
		dir = nil
	}
	p.add(s.lower...)
	p.add(who...)
	if c.New.Types.Has(inspect.User) {
		who, err := s.newUserSteps(c)
		if err != nil {
			return nil, err
		}
		p.add(who...)
	}
	p.add(dir...)
	if c.KeepCaps && joined.Has(inspect.User) && !c.New.Types.Has(inspect.User) && len(s.confine) == 0 {
		p.add(s.keepCapsStep())
	}
	p.add(s.confine...)
	if p.forks && !p.forksFirst {
		p.add(Step{Op: Fork, Type: inspect.PID, Text: "start a process in the PID namespace " + s.inode(inspect.PID)})
	}
	if full && s.nproc != nil {
		p.add(*s.nproc)
	}
	if p.keeper {
		p.add(Step{
			Op: Keep, Type: inspect.PID, Text: "start another, and have the first one reap what that leaves behind",
		})
	}
	p.add(s.session...)

	env := s.environ(c)
	programs, more := s.programs(c, env)
	if s.terms.file == callersFile && s.toolsMount == nil {
		var err error
		if programs, err = s.answering(c, programs); err != nil {
			return nil, err
		}
	}
	p.add(Step{Op: Exec, Text: "run " + describe(c, programs, more), calls: func(x *sys.Script) {
		if s.toolsMount != nil { // the paths of its programs are known now
			env = s.toolsMount.environ(c, s)
			programs = s.toolsMount.programs(c, s, env)
		}
		x.Exec(programs, env)
	}})

	p.inPlace = s.terms.standing == asCaller && !p.forks && !joined.Has(inspect.Time) &&
		len(s.confine) == 0 && len(s.session) == 0 && c.KillChild == 0 &&
		!c.New.Types.Has(inspect.User) && c.New.Pin == nil
	return p, nil
}

// parent reports whether the program is the child of an init or a keeper, and
// not of the caller.
func (p *plan) parent() bool { return p.init || p.keeper }

func (p *plan) add(steps ...Step) { p.steps = append(p.steps, steps...) }

// inode returns the inode number of the namespace of type t that is joined.
func (s *situation) inode(t inspect.Type) string {
	for _, j := range s.joins {
		if j.typ == t {
			return strconv.FormatUint(j.id.Ino, 10)
		}
	}
	return "?"
}

// joinSteps returns the joins in an order that the kernel accepts.
//
// Joining a namespace needs CAP_SYS_ADMIN both in the user namespace that owns it and in the
// caller's own (setns(2)). A caller that has it in its own user namespace joins the user
// namespace last, since it loses it there over what others own. A caller that does not have it
// joins the user namespace first, to gain it.
func (s *situation) joinSteps() (steps []Step) {
	joins := slices.DeleteFunc(slices.Clone(s.joins), func(p joinable) bool { return p.id == p.own })
	rank := func(p joinable) int {
		switch {
		case p.typ == inspect.User && s.capable:
			return 3
		case p.toolsMount != nil:
			return 2
		case p.typ == inspect.User:
			return 0
		}
		return 1
	}
	sort.SliceStable(joins, func(i, j int) bool { return rank(joins[i]) < rank(joins[j]) })
	for _, j := range joins {
		if j.toolsMount != nil {
			steps = append(steps, s.joinToolsMount(j.toolsMount))
			continue
		}
		step := Step{
			Op: Join, Type: j.typ, ID: j.id,
			Text:  "join the " + j.String(),
			calls: func(x *sys.Script) { x.Setns(x.File(j.fd), j.typ.Flag()) },
		}
		step.denied = func() *Denial { return s.denial(j) }
		if j.byTarget && s.pidfd >= 0 {
			step.pidfd = s.pidfd
		}
		// setns(2) sets the PID namespace of children, never that of the caller.
		name := j.typ.String()
		if j.typ == inspect.PID {
			name = j.typ.ForChildren()
		}
		step.verify = func(x *sys.Script) {
			x.Verify(x.File(s.proc), "thread-self/ns/"+name, inspect.FormatLink(j.typ, j.id.Ino))
		}
		steps = append(steps, step)
	}
	return steps
}

func decimal(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// String returns "net namespace 4026532281 of process 4242".
func (p joinable) String() string {
	return p.typ.String() + " namespace " + strconv.FormatUint(p.id.Ino, 10) + p.of
}

// confinement returns the part of a [Denial] that is about the caller.
func (s *situation) confinement() *Denial {
	_ = s.lookAtCaller() // on an error the old values stay
	return &Denial{NoAdmin: !s.capable, Bounded: !s.bounding, Seccomp: s.filtered}
}

// denial finds out why j cannot be joined.
func (s *situation) denial(j joinable) *Denial {
	d := s.confinement()
	owner, err := sys.Owner(j.fd)
	if j.typ == inspect.User {
		owner, err = sys.Dup(j.fd), nil
	}
	if err != nil {
		return d
	}
	defer sys.CloseAll(owner)
	if id, err := sys.Fstat(owner); err == nil {
		d.Owner = id.Ino
	}
	if d.OwnerUID, err = sys.CreatorUID(owner); err != nil {
		d.Owner = 0
	}
	return d
}

// dirStep returns the change of the working directory. If only the root directory changes, it
// is the new root.
func (s *situation) dirStep(c *Cmd) ([]Step, error) {
	one := func(text string, calls func(x *sys.Script)) ([]Step, error) {
		return []Step{{Op: Chdir, Text: "change the working directory to " + text, calls: calls}}, nil
	}
	switch {
	case c.InnerDir != "" && (s.dir >= 0 || c.DirPath != ""):
		return nil, errors.New("two working directories were asked for")
	case c.InnerDir != "":
		dir := c.InnerDir
		return one(dir+" inside", func(x *sys.Script) { x.ChdirPlain(dir) })
	case s.terms.changesDirItself() && s.dir < 0:
		dir := s.dirPath
		if c.DirPath != "" {
			return one(dir, func(x *sys.Script) { x.Chdir(dir) })
		}
		return one(dir+", or / if it may not go there", func(x *sys.Script) {
			x.Chdir("/")
			x.IgnoreAll(x.Chdir(dir))
		})
	case s.dir >= 0:
		if s.terms.file != callersFile && c.DirPath != "" && !c.Privileged {
			return nil, &HostDirError{Path: c.DirPath}
		}
		fd := s.dir
		return one(s.dirOf, func(x *sys.Script) { x.Fchdir(x.File(fd)) })
	case s.toolsMount != nil && s.toolsMount.view == ViewTools:
		return one(TargetDir, func(x *sys.Script) { x.ChdirPlain(TargetDir) })
	case s.root >= 0:
		return one("/", func(x *sys.Script) { x.Chdir("/") })
	}
	return nil, nil
}

// A HostDirError reports that a program of the target would start in a directory of the caller,
// from which it could reach any file.
type HostDirError struct{ Path string }

func (e *HostDirError) Error() string {
	return fmt.Sprintf("%s is a directory outside: a program of the target could go anywhere from there", e.Path)
}

// keepCapsStep returns the step that passes the capabilities in a user namespace on to a
// program that does not run as its root.
func (s *situation) keepCapsStep() Step {
	last := s.lastCap
	return Step{Op: Credential, Text: "keep the capabilities of the user namespace", calls: func(x *sys.Script) {
		all := uint64(1)<<(last+1) - 1
		x.Capset(all, all, all)
		x.RaiseAmbient(last)
	}}
}

// describe returns the name of the program for a message.
func describe(c *Cmd, programs []sys.Program, more bool) string {
	if c.Path == "" {
		return "a shell"
	}
	if len(programs) == 0 {
		return c.Path
	}
	if len(programs) == 1 && programs[0].Path == c.Path {
		return c.Path
	}
	if more {
		return fmt.Sprintf("%s from the first %d directories of the PATH, which has more", c.Path, len(programs))
	}
	return c.Path + " from the PATH"
}

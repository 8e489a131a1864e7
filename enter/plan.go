package enter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A plan is what to do, in order, and how.
type plan struct {
	steps []Step
	// inPlace says that the calling thread can do it all and then become the
	// program: nothing on the other side can see it until then.
	inPlace bool
	// forks says that the program is run by a child of the process that joins.
	forks bool
	// forksFirst says that it does so before anything else is done inside: in a PID
	// namespace that was made nobody else is there to see it.
	forksFirst bool
	// init says that this child reaps, and the program is a child of its own.
	init bool
	// kill is what the program gets when the caller ends.
	kill syscall.Signal
	// keeper says that the program has a parent inside that reaps what it leaves
	// behind.
	keeper bool
	// noTools says that tools could be brought along, and are not.
	noTools bool
	// lacks are the capabilities that the program cannot have.
	lacks Caps
	// ttyUnnamed says that its terminal has no name where it runs.
	ttyUnnamed bool
	// gate is the descriptor by which the caller lets it go on.
	gate int
	// movesLater are the steps that move to cgroups, where the caller takes them for a
	// process that is forked held: see [Cmd.plan].
	movesLater []Step
	// hold is the one that keeps it from starting anything before the caller
	// is there for it, or -1.
	hold int
}

// plan decides what to do. It looks at nothing but c and s.
func (c *Cmd) plan(s *situation) (*plan, error) {
	p := &plan{kill: cmp.Or(c.KillChild, syscall.SIGKILL), lacks: s.lacks, ttyUnnamed: s.ttyUnnamed()}
	joins := s.joinSteps()
	joined := s.differing()
	target := s.terms.standing > asOtherUser
	p.noTools = s.terms.file == targetsFile && c.Target != nil
	p.forksFirst = c.New.forks(c.NoFork)
	p.forks = joined.Has(inspect.PID) && !c.NoFork || p.forksFirst
	// A program of the target has no process of ours beside it, which would have
	// all that is taken from the program.
	// Where there are as many processes as may be nobody can be started, but whoever
	// was started elsewhere can be moved to a cgroup, and take a limit.
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
	// A directory that was opened before is not of a mount namespace that is made:
	// it is looked up anew in there, and mounts are made below it.
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
	// A path is gone by the program's own rights, and a descriptor while it is open.
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
		if s.toolsMount != nil { // it is known now where its programs are
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

// joinSteps returns the joins in an order that the kernel accepts one by one.
//
// Joining a namespace needs CAP_SYS_ADMIN both in the user namespace that owns
// it and in the caller's own (setns(2)). Who has it where he stands joins the
// user namespace last, since in there he has none over what others own. Who
// has not joins it first, to have it.
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
	slices.SortStableFunc(joins, func(a, b joinable) int { return rank(a) - rank(b) })
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
		// A PID namespace is one's children's, never one's own.
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

// confinement is what of a [Denial] is of the caller alone.
func (s *situation) confinement() *Denial {
	_ = s.lookAtCaller() // else it is as it was
	return &Denial{NoAdmin: !s.capable, Bounded: !s.bounding, Seccomp: s.filtered}
}

// denial finds out what stands against joining j.
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

// dirStep returns the change of the working directory. Where the root
// directory changes without one, it is the new root.
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

// A HostDirError says that a program of the target would have been handed a
// directory of the caller's, from which it could go anywhere.
type HostDirError struct{ Path string }

func (e *HostDirError) Error() string {
	return fmt.Sprintf("%s is a directory outside: a program of the target could go anywhere from there", e.Path)
}

// keepCapsStep returns the step that hands the capabilities of a user namespace
// on to a program that is not run by its root.
func (s *situation) keepCapsStep() Step {
	last := s.lastCap
	return Step{Op: Credential, Text: "keep the capabilities of the user namespace", calls: func(x *sys.Script) {
		all := uint64(1)<<(last+1) - 1
		x.Capset(all, all, all)
		x.RaiseAmbient(last)
	}}
}

// describe says what will be run.
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

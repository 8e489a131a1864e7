package enter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A plan is what to do, in order, and how.
type plan struct {
	steps []Step
	// here says that the calling thread can do it all and then become the
	// program: nothing on the other side can see it until then.
	here bool
	// forks says that the program is run by a child of the process that joins.
	forks bool
	// early says that it does so before anything else is done inside: in a PID
	// namespace that was made nobody else is there to see it.
	early bool
	// init says that this child reaps, and the program is a child of its own.
	init bool
	// kill is what the program gets when the caller ends.
	kill syscall.Signal
	// keeper says that the program has a parent inside that reaps what it leaves
	// behind.
	keeper bool
	// toolless says that tools could be brought along, and are not.
	toolless bool
	// lacks are the capabilities that the program cannot have.
	lacks Caps
	// gate is the descriptor by which the caller lets it go on.
	gate int
	// hold is the one that keeps it from starting anything before the caller
	// is there for it, or -1.
	hold int
}

// plan decides what to do. It looks at nothing but c and s.
func (c *Cmd) plan(s *situation) (*plan, error) {
	p := &plan{kill: cmp.Or(c.KillChild, syscall.SIGKILL), lacks: s.lacks}
	joins := s.joinSteps()
	joined := s.differing()
	foreign := c.entersFiles(joined) || s.chrooted
	p.toolless = foreign && c.Target != nil && s.room == nil
	p.early = c.New.forks(c.NoFork)
	p.forks = joined.Has(inspect.PID) && !c.NoFork || p.early
	// A program of the target has no process of ours beside it, which would have
	// all that is taken from the program.
	p.keeper = s.room != nil && p.forks && !p.early
	p.init = p.early && c.New.Init && c.New.Types.Has(inspect.PID) && !foreign

	p.add(s.room.steps()...)
	p.add(s.first...)
	p.add(joins...)
	p.add(s.makeSteps(&c.New, len(joins) > 0)...)
	if p.early {
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
	dir, err := s.dirStep(c, foreign)
	if err != nil {
		return nil, err
	}
	p.add(dir...)
	who, err := s.credentialSteps(c, joined, foreign)
	if c.New.Types.Has(inspect.User) {
		who, err = s.newUserSteps(c)
	}
	if err != nil {
		return nil, err
	}
	p.add(s.lower...)
	p.add(who...)
	p.add(s.confine...)
	if p.forks && !p.early {
		p.add(Step{Op: Fork, Type: inspect.PID, Text: "start a process in the PID namespace " + s.inode(inspect.PID)})
	}
	if p.keeper {
		p.add(Step{
			Op: Keep, Type: inspect.PID, Text: "start another, and have the first one reap what that leaves behind",
		})
	}
	p.add(s.session...)

	env := s.environ(c, foreign)
	programs := s.programs(c, env)
	p.add(Step{Op: Exec, Text: "run " + describe(c, programs), calls: func(x *sys.Script) {
		if s.room != nil { // it is known now where its programs are
			env = s.room.environ(c, s)
			programs = s.room.programs(c, s, env)
		}
		x.Exec(programs, env)
	}})

	p.here = !foreign && !p.forks && !joined.Has(inspect.User) && !joined.Has(inspect.Time) &&
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
	joins := slices.DeleteFunc(slices.Clone(s.joins), func(p place) bool { return p.id == p.own })
	rank := func(p place) int {
		switch {
		case p.typ == inspect.User && s.capable:
			return 3
		case p.room != nil:
			return 2
		case p.typ == inspect.User:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(joins, func(a, b place) int { return rank(a) - rank(b) })
	for _, j := range joins {
		if j.room != nil {
			steps = append(steps, s.enterRoom(j.room))
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
func (p place) String() string {
	return p.typ.String() + " namespace " + strconv.FormatUint(p.id.Ino, 10) + p.of
}

// denial finds out what stands against joining j.
func (s *situation) denial(j place) *Denial {
	_ = s.lookAtCaller() // else it is as it was
	d := &Denial{NoAdmin: !s.capable, Bounded: !s.bounding, Seccomp: s.filtered}
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
func (s *situation) dirStep(c *Cmd, foreign bool) ([]Step, error) {
	switch {
	case c.InnerDir != "" && s.dir >= 0:
		return nil, errors.New("two working directories were asked for")
	case c.InnerDir != "":
		dir := c.InnerDir
		return []Step{{Op: Chdir, Text: "change the working directory to " + dir + " inside", calls: func(x *sys.Script) { x.ChdirPlain(dir) }}}, nil
	case s.dir >= 0:
		if foreign && c.DirPath != "" && !c.Privileged {
			return nil, &HostDirError{Path: c.DirPath}
		}
		fd := s.dir
		return []Step{{Op: Chdir, Text: "change the working directory to " + s.dirOf, calls: func(x *sys.Script) { x.Fchdir(x.File(fd)) }}}, nil
	case s.room != nil && s.room.view == ViewTools:
		return []Step{{Op: Chdir, Text: "change the working directory to " + TargetDir, calls: func(x *sys.Script) { x.ChdirPlain(TargetDir) }}}, nil
	case s.root >= 0:
		return []Step{{Op: Chdir, Text: "change the working directory to /", calls: func(x *sys.Script) { x.Chdir("/") }}}, nil
	}
	return nil, nil
}

// A HostDirError says that a program of the target would have been handed a
// directory of the caller's, from which it could go anywhere.
type HostDirError struct{ Path string }

func (e *HostDirError) Error() string {
	return fmt.Sprintf("%s is a directory outside: a program of the target could go anywhere from there", e.Path)
}

// newUID returns the user that the program will be.
func (s *situation) newUID(c *Cmd, joined inspect.Types) (uint32, error) {
	switch {
	case c.UID != nil:
		return *c.UID, nil
	case c.FollowUID:
		return s.inside(s.uids, s.account.uid, "user")
	case c.PreserveCredentials:
		return s.uid, nil
	case joined.Has(inspect.User):
		id, _ := s.uids.Root()
		return id, nil
	}
	return s.uid, nil
}

// inside returns an id of the caller's as the user namespace to join has it.
func (s *situation) inside(m idMap, id uint32, what string) (uint32, error) {
	if m == nil {
		return id, nil
	}
	in, ok := m.Inside(id)
	if !ok {
		return 0, fmt.Errorf("%s %d of %s does not exist in the user namespace to join", what, id, s.target)
	}
	return in, nil
}

// credentialSteps returns what makes the program somebody.
func (s *situation) credentialSteps(c *Cmd, joined inspect.Types, foreign bool) ([]Step, error) {
	inUser := joined.Has(inspect.User)
	asked := c.UID != nil || c.GID != nil || c.FollowUID || c.FollowGID
	var text []string
	var uid, gid *uint32
	var groups []uint32
	setGroups := false

	// With a map that has nothing in it nobody can become anybody.
	_, mapped := s.uids.Root()
	if inUser && s.uids != nil && !mapped {
		if asked {
			return nil, errors.New("the user namespace to join has no users: its uid_map is empty")
		}
		inUser = false
	}
	if c.PreserveCredentials && !asked {
		inUser = false
	}
	if inUser || c.UID != nil || c.FollowUID {
		id, err := s.newUID(c, joined)
		if err != nil {
			return nil, err
		}
		if s.uids != nil && !s.uids.Has(id) {
			return nil, fmt.Errorf("user %d does not exist in the user namespace to join", id)
		}
		uid = &id
	}
	switch {
	case c.GID != nil:
		gid, setGroups = c.GID, true
	case c.FollowGID:
		id, err := s.inside(s.gids, s.account.gid, "group")
		if err != nil {
			return nil, err
		}
		gid, setGroups = &id, true
		for _, g := range s.account.groups {
			if in, err := s.inside(s.gids, g, "group"); err == nil {
				groups = append(groups, in)
			}
		}
	case inUser:
		if id, ok := s.gids.Root(); ok || s.gids == nil {
			gid = &id
		}
		setGroups = true
	case foreign && !c.Privileged && !c.PreserveCredentials && s.capable:
		setGroups = true // the caller's groups are nothing to the target's program
	}
	if gid != nil && s.gids != nil && !s.gids.Has(*gid) {
		return nil, fmt.Errorf("group %d does not exist in the user namespace to join", *gid)
	}
	// Where setgroups(2) is denied nobody can change them.
	if !s.setgroups {
		setGroups = false
	}

	var steps []Step
	if setGroups {
		word := "no supplementary groups"
		if len(groups) > 0 {
			word = fmt.Sprintf("supplementary groups %v", groups)
		}
		text = append(text, word)
	}
	if gid != nil {
		text = append(text, "group "+decimal(*gid))
	}
	if uid != nil {
		text = append(text, "user "+decimal(*uid))
	}
	if len(text) > 0 {
		steps = append(steps, Step{Op: Credential, Text: "take " + strings.Join(text, ", "), calls: func(x *sys.Script) {
			if c.KeepCaps {
				x.KeepCaps()
			}
			// Of a user namespace that came by a file it is not known who
			// exists in there: who was not asked for need not.
			may := func(i sys.Index, err syscall.Errno) {
				if inUser && s.uids == nil && !asked {
					x.Ignore(i, err)
				}
			}
			if setGroups {
				may(x.Setgroups(groups), syscall.EPERM)
			}
			if gid != nil {
				may(x.Setgid(*gid), syscall.EINVAL)
			}
			if uid != nil {
				may(x.Setuid(*uid), syscall.EINVAL)
			}
		}})
	}
	if c.KeepCaps && joined.Has(inspect.User) && len(s.confine) == 0 {
		last := s.lastCap
		steps = append(steps, Step{Op: Credential, Text: "keep the capabilities of the user namespace", calls: func(x *sys.Script) {
			all := uint64(1)<<(last+1) - 1
			x.Capset(all, all, all)
			x.RaiseAmbient(last)
		}})
	}
	return steps, nil
}

// describe says what will be run.
func describe(c *Cmd, programs []sys.Program) string {
	if c.Path == "" {
		return "a shell"
	}
	if len(programs) == 0 {
		return c.Path
	}
	if len(programs) == 1 && programs[0].Path == c.Path {
		return c.Path
	}
	return c.Path + " from the PATH"
}

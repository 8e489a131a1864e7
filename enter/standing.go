package enter

import (
	"errors"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A standing says who may control the program, and with what rights it runs. All
// that is done to keep the caller's from others follows from it: see rows.
type standing uint8

const (
	// callersOwn is a program that nobody may control who may not control the
	// caller, and that has the caller's rights.
	callersOwn standing = iota
	// anothers is one of the caller's files that is run as another user: he may
	// trace it.
	anothers
	// targetsOwn is one that the target may control, and that has the rights of
	// the target process.
	targetsOwn
	// raised is one that the target may control, and that has more rights than
	// the process, within its bounding set.
	raised
	// privileged is one that the target may control, and that has rights of the
	// caller: the caller believes the target.
	privileged
)

// A party is whose something is that the program has.
type party uint8

const (
	ours     party = iota // the caller's
	theirs                // the target process's
	nobodys               // neither's: none, or clean
	bounding              // the target's bounding set
)

// A row is what follows from a standing.
type row struct {
	// apart says that the program gets standard files, a session, a keyring,
	// signal actions and a umask of its own, and no directory of the caller's.
	apart bool
	// confined says that it gets all that confines the target.
	confined bool
	// ids, groups and caps are whose they are, where nobody asks for others.
	ids, groups, caps party
	// env is whose the environment is.
	env party
	// view is what is first where there are tools.
	view View
}

// rows is the table of what follows.
var rows = [...]row{
	callersOwn: {ids: ours, groups: ours, caps: ours, env: ours, view: ViewTarget},
	anothers:   {apart: true, ids: ours, groups: nobodys, caps: ours, env: nobodys, view: ViewTarget},
	targetsOwn: {apart: true, confined: true, ids: theirs, groups: theirs, caps: theirs, env: theirs, view: ViewTarget},
	raised:     {apart: true, confined: true, ids: theirs, groups: theirs, caps: bounding, env: nobodys, view: ViewTools},
	privileged: {apart: true, ids: ours, groups: ours, caps: ours, env: nobodys, view: ViewTools},
}

// A file is whose the file of the program is.
type file uint8

const (
	callersFile file = iota
	targetsFile      // found in its mount namespace or root directory
	toolsFile        // brought along
)

// circumstances are all that a standing depends on.
type circumstances struct {
	file file
	// user says that a user namespace other than the caller's is joined. Who owns
	// it may trace what runs there.
	user bool
	// traced says that somebody may trace the program in the PID namespace that is
	// joined, as far as can be known.
	traced bool
	// process says that a process is the target.
	process bool
	// owned says that the user namespace is one that the caller made himself.
	owned bool
	// asked says that a user was asked for by number, and another that he is
	// not the caller.
	asked, another bool
	// more says that rights were asked for that the target process has not.
	more bool
	// mixed says that the target has the rights of one user and was started by
	// another.
	mixed bool

	privileged bool
}

// terms are a standing with what follows from it.
type terms struct {
	standing
	row
	file file
}

// goesItself reports whether the program goes to a directory of the caller's
// with its own rights: others than the caller may control it, and it is among his
// files.
func (t *terms) goesItself() bool { return t.apart && t.file == callersFile }

// terms decides. The error says that the program cannot be confined.
func (c circumstances) terms() (terms, error) {
	s := c.standing()
	t := terms{s, rows[s], c.file}
	if t.confined && !c.process {
		return t, &MissingError{Part: PartCaps, Of: "the program's container", Err: ErrNoTarget}
	}
	// What chose the environment of the target is to run with its rights alone, and
	// to find its files.
	if t.env == theirs && (c.file != targetsFile || c.asked || c.mixed) || t.env == ours && c.asked {
		t.env = nobodys
	}
	if c.user { // the caller's mean something else there
		t.groups = max(t.groups, theirs)
	}
	return t, nil
}

func (c circumstances) standing() standing {
	controlled := c.file != callersFile || c.user || c.traced
	switch {
	case !controlled && c.another:
		return anothers
	case !controlled:
		return callersOwn
	case c.privileged || c.owned && !c.process && !c.traced && c.file == callersFile:
		return privileged
	case c.more:
		return raised
	}
	return targetsOwn
}

// circumstances finds out in what circumstances c is. It looks at nothing but c
// and s.
func (s *situation) circumstances(c *Cmd) circumstances {
	joined := s.differing()
	is := circumstances{
		user: joined.Has(inspect.User), traced: s.traced, process: c.Target != nil, owned: s.owned,
		mixed: s.id.Mixed, privileged: c.Privileged,
	}
	switch {
	case c.Tools != nil:
		is.file = toolsFile
	case c.entersFiles(joined) || s.chrooted:
		is.file = targetsFile
	}
	// In a user namespace that is made, users are whom the caller has given it.
	if !c.New.Types.Has(inspect.User) {
		uid := s.id.UID
		if c.UID != nil {
			is.asked = true
			uid = *c.UID
			if out, ok := s.uids.Outside(uid); ok && is.user {
				uid = out
			}
		}
		if c.GID != nil {
			gid := *c.GID
			if out, ok := s.gids.Outside(gid); ok && is.user {
				gid = out
			}
			is.more = is.more || gid != s.id.GID
		}
		if c.PreserveCredentials {
			uid = s.own.UID.Effective
			is.more = is.more || s.own.GID.Effective != s.id.GID
		}
		is.more = is.more || uid != s.id.UID
		is.another = (c.UID != nil || c.FollowUID) && uid != s.own.UID.Effective
	}
	is.more = is.more || c.AddCaps != 0 || c.KeepCaps
	return is
}

// lookAtTracers finds out whether somebody in the PID namespace that is joined may
// trace a program of the caller's there: the target, with CAP_SYS_PTRACE in the
// caller's user namespace. Of a namespace that came by a file it is not known who
// is in it.
func (s *situation) lookAtTracers(c *Cmd, p *sys.Process) error {
	for _, j := range s.joins {
		if j.typ != inspect.PID || j.id == j.own {
			continue
		}
		own, err := p.Own("ns/user")
		if err != nil {
			return err
		}
		// Who was born in another user namespace has no capabilities here.
		s.traced = true
		if fd, err := sys.Owner(j.fd); err == nil {
			id, err := sys.Fstat(fd)
			sys.CloseAll(fd)
			s.traced = err != nil || inspect.FormatLink(inspect.User, id.Ino) == own
		}
		if !s.traced || c.Target == nil || c.Files[inspect.PID] != nil {
			return nil
		}
		link, err := p.Readlink("ns/user")
		if err != nil {
			return err
		}
		s.traced = link != own || s.id.Caps.Bounding.Has(capSysPtrace)
	}
	return nil
}

// errEnvironment says that the environment of the target was asked for, for a
// program with rights that it was not made for.
var errEnvironment = errors.New("it is its own word, and the program has other rights: --as target runs it with those, and --env=LIST adds variables of the caller")

// errToolsEnv says so for tools.
var errToolsEnv = errors.New("it was not made for tools: --env=LIST adds variables of the caller")

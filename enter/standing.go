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
	// asCaller is a program that nobody may control who may not control the
	// caller, and that has the caller's rights.
	asCaller standing = iota
	// asOtherUser is one of the caller's files that is run as another user: he may
	// trace it.
	asOtherUser
	// asTarget is one that the target may control, and that has the rights of
	// the target process.
	asTarget
	// raised is one that the target may control, and that has more rights than
	// the process, within its bounding set.
	raised
	// privileged is one that the target may control, and that has rights of the
	// caller: the caller believes the target.
	privileged
)

// A owner is whose something is that the program has.
type owner uint8

const (
	ofCaller    owner = iota // the caller's
	ofTarget                 // the target process's
	ofNobody                 // neither's: none, or clean
	boundingSet              // the target's bounding set
)

// A row is what follows from a standing.
type row struct {
	// separate says that the program gets standard files, a session, a keyring,
	// signal actions and a umask of its own, and no directory of the caller's.
	separate bool
	// confined says that it gets all that confines the target.
	confined bool
	// ids, groups and caps are whose they are, where nobody asks for others.
	ids, groups, caps owner
	// env is whose the environment is.
	env owner
	// view is what is first where there are tools.
	view View
}

// rows is the table of what follows.
var rows = [...]row{
	asCaller:    {ids: ofCaller, groups: ofCaller, caps: ofCaller, env: ofCaller, view: ViewTarget},
	asOtherUser: {separate: true, ids: ofCaller, groups: ofNobody, caps: ofCaller, env: ofNobody, view: ViewTarget},
	asTarget:    {separate: true, confined: true, ids: ofTarget, groups: ofTarget, caps: ofTarget, env: ofTarget, view: ViewTarget},
	raised:      {separate: true, confined: true, ids: ofTarget, groups: ofTarget, caps: boundingSet, env: ofNobody, view: ViewTools},
	privileged:  {separate: true, ids: ofCaller, groups: ofCaller, caps: ofCaller, env: ofNobody, view: ViewTools},
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
	// joinsUser says that a joinsUser namespace other than the caller's is joined. Who owns
	// it may trace what runs there.
	joinsUser bool
	// traceable says that somebody may trace the program in the PID namespace that is
	// joined, as far as can be known.
	traceable bool
	// process says that a process is the target.
	process bool
	// ownUserNS says that the user namespace is one that the caller made himself.
	ownUserNS bool
	// askedUser says that a user was askedUser for by number, and anotherUser that he is
	// not the caller.
	askedUser, anotherUser bool
	// moreRights says that rights were asked for that the target process has not.
	moreRights bool
	// mixedIDs says that the target has the rights of one user and was started by
	// another.
	mixedIDs bool

	privileged bool
}

// terms are a standing with what follows from it.
type terms struct {
	standing
	row
	file file
}

// changesDirItself reports whether the program goes to a directory of the caller's
// with its own rights: others than the caller may control it, and it is among his
// files.
func (t *terms) changesDirItself() bool { return t.separate && t.file == callersFile }

// terms decides. The error says that the program cannot be confined.
func (c circumstances) terms() (terms, error) {
	s := c.standing()
	t := terms{s, rows[s], c.file}
	if t.confined && !c.process {
		return t, &MissingError{Part: PartCaps, Of: "the program's container", Err: ErrNoTarget}
	}
	// What chose the environment of the target is to run with its rights alone, and
	// to find its files.
	if t.env == ofTarget && (c.file != targetsFile || c.askedUser || c.mixedIDs) || t.env == ofCaller && c.askedUser {
		t.env = ofNobody
	}
	if c.joinsUser { // the caller's mean something else there
		t.groups = max(t.groups, ofTarget)
	}
	return t, nil
}

func (c circumstances) standing() standing {
	controlled := c.file != callersFile || c.joinsUser || c.traceable
	switch {
	case !controlled && c.anotherUser:
		return asOtherUser
	case !controlled:
		return asCaller
	case c.privileged || c.ownUserNS && !c.process && !c.traceable && c.file == callersFile:
		return privileged
	case c.moreRights:
		return raised
	}
	return asTarget
}

// circumstances finds out in what circumstances c is. It looks at nothing but c
// and s.
func (s *situation) circumstances(c *Cmd) circumstances {
	joined := s.differing()
	is := circumstances{
		joinsUser: joined.Has(inspect.User), traceable: s.traced, process: c.Target != nil, ownUserNS: s.owned,
		mixedIDs: s.id.Mixed, privileged: c.Privileged,
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
			is.askedUser = true
			uid = *c.UID
			if out, ok := s.uids.Outside(uid); ok && is.joinsUser {
				uid = out
			}
		}
		if c.GID != nil {
			gid := *c.GID
			if out, ok := s.gids.Outside(gid); ok && is.joinsUser {
				gid = out
			}
			is.moreRights = is.moreRights || gid != s.id.GID
		}
		if c.PreserveCredentials {
			uid = s.own.UID.Effective
			is.moreRights = is.moreRights || s.own.GID.Effective != s.id.GID
		}
		is.moreRights = is.moreRights || uid != s.id.UID
		is.anotherUser = (c.UID != nil || c.FollowUID) && uid != s.own.UID.Effective
	}
	is.moreRights = is.moreRights || c.AddCaps != 0 || c.KeepCaps
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

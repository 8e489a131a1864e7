package enter

import (
	"errors"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A standing says who can control the program, and with which rights it runs. Everything that
// protects the caller from the target follows from it: see rows.
type standing uint8

const (
	// asCaller is a program with the caller's rights. Nobody can control it who cannot control
	// the caller.
	asCaller standing = iota
	// asOtherUser is a program of the caller's files that runs as another user. That user can
	// trace it.
	asOtherUser
	// asTarget is a program that the target can control, with the rights of the target process.
	asTarget
	// raised is a program that the target can control, with more rights than the process,
	// within its bounding set.
	raised
	// privileged is a program that the target can control, with rights of the caller: the
	// caller trusts the target.
	privileged
)

// An owner says from whom the program has something.
type owner uint8

const (
	ofCaller    owner = iota // the caller's
	ofTarget                 // the target process's
	ofNobody                 // from neither: none, or clean
	boundingSet              // the target's bounding set
)

// A row holds what follows from a standing.
type row struct {
	// separate: the program gets standard files, a session, a keyring, signal actions and a
	// umask of its own, and no directory of the caller.
	separate bool
	// confined: it gets everything that confines the target.
	confined bool
	// ids, groups and caps say from whom they are, unless others were asked for.
	ids, groups, caps owner
	// env says from whom the environment is.
	env owner
	// view is the default view of tools.
	view View
}

// rows has the row of each standing.
var rows = [...]row{
	asCaller:    {ids: ofCaller, groups: ofCaller, caps: ofCaller, env: ofCaller, view: ViewTarget},
	asOtherUser: {separate: true, ids: ofCaller, groups: ofNobody, caps: ofCaller, env: ofNobody, view: ViewTarget},
	asTarget:    {separate: true, confined: true, ids: ofTarget, groups: ofTarget, caps: ofTarget, env: ofTarget, view: ViewTarget},
	raised:      {separate: true, confined: true, ids: ofTarget, groups: ofTarget, caps: boundingSet, env: ofNobody, view: ViewTools},
	privileged:  {separate: true, ids: ofCaller, groups: ofCaller, caps: ofCaller, env: ofNobody, view: ViewTools},
}

// A file says where the program comes from.
type file uint8

const (
	callersFile file = iota
	targetsFile      // found in its mount namespace or root directory
	toolsFile        // brought along
)

// circumstances are everything that a standing depends on.
type circumstances struct {
	file file
	// joinsUser: a user namespace other than the caller's is joined. Its owner can trace what
	// runs there.
	joinsUser bool
	// traceable: a process in the joined PID namespace may be able to trace the program.
	traceable bool
	// process: the target is a process.
	process bool
	// ownUserNS: the caller itself made the user namespace.
	ownUserNS bool
	// askedUser says that a user was askedUser for by number, and anotherUser that he is
	// not the caller.
	askedUser, anotherUser bool
	// moreRights: rights were asked for that the target process does not have.
	moreRights bool
	// mixedIDs: the target has the rights of one user and was started by another.
	mixedIDs bool

	privileged bool
}

// terms are a standing and what follows from it.
type terms struct {
	standing
	row
	file file
}

// changesDirItself reports whether the program changes to a directory of the caller with its
// own rights: others than the caller can control it, and it sees the caller's files.
func (t *terms) changesDirItself() bool { return t.separate && t.file == callersFile }

// terms chooses the standing. It is an error if the program must be confined and cannot be.
func (c circumstances) terms() (terms, error) {
	s := c.standing()
	t := terms{s, rows[s], c.file}
	if t.confined && !c.process {
		return t, &MissingError{Part: PartCaps, Of: "the program's container", Err: ErrNoTarget}
	}
	// The environment of the target is only for a program that has its rights alone and finds
	// its files.
	if t.env == ofTarget && (c.file != targetsFile || c.askedUser || c.mixedIDs) || t.env == ofCaller && c.askedUser {
		t.env = ofNobody
	}
	if c.joinsUser { // the caller's numbers mean something else there
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

// circumstances returns the circumstances of c. It reads nothing but c and s.
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
	// A new user namespace has only users that the caller has given it.
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

// lookAtTracers finds out whether a process in the joined PID namespace can trace a program of
// the caller there: the target can, with CAP_SYS_PTRACE in the caller's user namespace. Of a
// namespace by file the members are not known.
func (s *situation) lookAtTracers(c *Cmd, p *sys.Process) error {
	for _, j := range s.joins {
		if j.typ != inspect.PID || j.id == j.own {
			continue
		}
		own, err := p.Own("ns/user")
		if err != nil {
			return err
		}
		// Processes from another user namespace have no capabilities in this one.
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

// errEnvironment reports that the target's environment was asked for a program with other
// rights than the target's.
var errEnvironment = errors.New("it is its own word, and the program has other rights: --as target runs it with those, and --env=LIST adds variables of the caller")

// errToolsEnv does so for tools.
var errToolsEnv = errors.New("it was not made for tools: --env=LIST adds variables of the caller")

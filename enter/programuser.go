package enter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A programUser is the user that the program becomes.
type programUser struct {
	// What is set: nil and false leave what the caller has.
	uid, gid  *uint32
	groups    []uint32
	setGroups bool
	// beforeJoins says that this is done beforeJoins the first namespace is joined, and that
	// the numbers are the caller's. So it can also be a user whom the user namespace
	// to join does not have.
	beforeJoins bool

	// outside is the user in the caller's numbers, and inside as the program sees
	// itself.
	outside, inside uint32
	// groupFromAccount says that the group is that of the user's account, which is to be
	// looked up.
	groupFromAccount bool
}

// overflowID is whom the kernel shows for one that a user namespace does not
// have, unless somebody has set another number (/proc/sys/kernel/overflowuid).
const overflowID = 65534

// chooseUser decides chooseUser the program becomes. It looks at nothing but c and s.
func (s *situation) chooseUser(c *Cmd) (w programUser, err error) {
	joined := s.differing().Has(inspect.User)
	own := s.own
	uid, gid, groups := own.UID.Effective, own.GID.Effective, s.own.Groups
	askedUID, askedGID := c.UID, c.GID
	if c.New.Types.Has(inspect.User) {
		askedUID, askedGID = nil, nil // they are those of the one that is made
	}
	kept := c.PreserveCredentials
	setID, setGroups := false, false
	follow := func() {
		uid, gid, groups = s.id.UID, s.id.GID, s.targetGroups()
		setID, setGroups = true, true
	}
	switch {
	case kept && joined:
		// What the user namespace does not have is left, but for what the target
		// has itself.
		groups = slices.DeleteFunc(slices.Clone(groups), func(g uint32) bool {
			_, ok := s.gids.Inside(g)
			return !ok && !slices.Contains(s.id.Groups, g)
		})
		setGroups = true
	case kept:
	case s.terms.ids == ofTarget:
		follow()
	case joined: // its root, or the first who is there
		in, ok := s.uids.Root()
		out, known := s.uids.Outside(in)
		switch {
		case ok && known && !c.FollowUID:
			uid, setID = out, true
			in, _ = s.gids.Root()
			if out, ok := s.gids.Outside(in); ok {
				gid = out
			}
		case c.Target != nil:
			follow()
		default:
			return w, errNobody
		}
		groups, setGroups = s.targetGroups(), true
	}
	if c.FollowUID && !setID {
		follow()
	}
	if c.FollowGID {
		gid, groups, setGroups = s.id.GID, s.targetGroups(), true
		setID = setID || gid != own.GID.Effective
	}
	if askedUID != nil {
		if uid, err = s.outside(s.uids, *askedUID, "user", joined); err != nil {
			return w, err
		}
		if s.terms.standing != asCaller {
			groups, setGroups = nil, true
			w.groupFromAccount = s.terms.ids != ofTarget && askedGID == nil && !joined
		}
		setID = true
	}
	if askedGID != nil {
		if gid, err = s.outside(s.gids, *askedGID, "group", joined); err != nil {
			return w, err
		}
		groups, setGroups = nil, true
		setID = true
	}
	w.outside, w.inside = uid, uid
	stays := func(ids [4]uint32, id uint32) bool { return ids == [4]uint32{id, id, id, id} }
	if !setID && !setGroups && !joined {
		return w, nil
	}
	if !s.initial && s.terms.ids == ofTarget && !kept && uid == overflowID && uid != own.UID.Effective {
		return w, fmt.Errorf("%s is a user whom the caller's user namespace does not have", s.target)
	}
	if !joined {
		if !stays(own.UID.All(), uid) {
			w.uid = &uid
		}
		if !stays(own.GID.All(), gid) {
			w.gid = &gid
		}
		if w.setGroups = setGroups; setGroups {
			w.groups = groups
			if !s.maySetGroups() && (askedGID == nil || s.terms.separate) {
				w.setGroups = false
				err = s.mayKeepGroups(groups)
			}
		}
		return w, err
	}

	in, mapped := s.uids.Inside(uid)
	gin, gmapped := s.gids.Inside(gid)
	if w.inside = in; !mapped {
		w.inside = overflowID
	}
	if kept && (!mapped || !gmapped) {
		return w, fmt.Errorf("user %d, group %d, as which the caller is to stay, is not in the user namespace to join", uid, gid)
	}
	if own.Caps.Effective.Has(capSetUID) && own.Caps.Effective.Has(capSetGID) {
		w.beforeJoins, w.uid, w.gid, w.groups, w.setGroups = true, &uid, &gid, groups, true
		return w, nil
	}
	for _, x := range []struct {
		what   string
		to     **uint32
		in, id uint32
		mapped bool
		have   [4]uint32
	}{
		{"group", &w.gid, gin, gid, gmapped, own.GID.All()},
		{"user", &w.uid, in, uid, mapped, own.UID.All()},
	} {
		switch {
		case x.mapped:
			id := x.in
			*x.to = &id
		case !stays(x.have, x.id):
			return w, fmt.Errorf("%s %d of %s is not in the user namespace to join; to be it there takes CAP_SETUID and CAP_SETGID here", x.what, x.id, s.target)
		}
	}
	// Where setgroups(2) is denied nobody can change them.
	if !s.setgroups || len(s.gids) == 0 {
		return w, s.mayKeepGroups(groups)
	}
	w.setGroups = true
	for _, g := range groups {
		if in, ok := s.gids.Inside(g); ok {
			w.groups = append(w.groups, in)
		}
	}
	return w, nil
}

// outside returns a number that was asked for in the caller's numbers.
func (s *situation) outside(m idMap, id uint32, what string, joined bool) (uint32, error) {
	if !joined {
		return id, nil
	}
	out, ok := m.Outside(id)
	if !ok {
		return 0, fmt.Errorf("%s %d does not exist in the user namespace to join", what, id)
	}
	return out, nil
}

// errNobody says that a user namespace has no users, and none is known by who is
// in it.
var errNobody = errors.New("the user namespace to join has no users: its uid_map is empty")

// targetGroups returns the supplementary groups of the target that the caller can
// give.
func (s *situation) targetGroups() []uint32 {
	if s.initial {
		return s.id.Groups
	}
	return slices.DeleteFunc(slices.Clone(s.id.Groups), func(g uint32) bool { return g == overflowID })
}

// maySetGroups reports whether the caller can change its groups where it is.
func (s *situation) maySetGroups() bool {
	return s.setgroups && s.own.Caps.Effective.Has(capSetGID)
}

// mayKeepGroups is nil if all supplementary groups of the caller are among those:
// one who cannot leave them is to have no more than the target.
func (s *situation) mayKeepGroups(groups []uint32) error {
	for _, g := range s.own.Groups {
		if !slices.Contains(groups, g) && g != s.id.GID {
			return fmt.Errorf("group %d of the caller cannot be left, and %s is not in it: that takes CAP_SETGID", g, s.target)
		}
	}
	return nil
}

// takeGroup gives the user the group of its account, or that of nobody.
func (w *programUser) takeGroup(a account) {
	gid := uint32(overflowID)
	if a.known {
		gid = a.gid
	}
	w.gid, w.groupFromAccount = &gid, false
}

// steps returns the step that makes the program that user.
func (w *programUser) steps(c *Cmd, s *situation) []Step {
	var text []string
	if w.setGroups {
		word := "no supplementary groups"
		if len(w.groups) > 0 {
			word = fmt.Sprintf("supplementary groups %v", w.groups)
		}
		text = append(text, word)
	}
	if w.gid != nil {
		text = append(text, "group "+decimal(*w.gid))
	}
	if w.uid != nil {
		text = append(text, "user "+decimal(*w.uid))
	}
	if len(text) == 0 {
		return nil
	}
	return []Step{{Op: Credential, Text: "take " + strings.Join(text, ", "), calls: func(x *sys.Script) {
		if c.KeepCaps || w.beforeJoins {
			x.KeepCaps()
		}
		if w.setGroups {
			x.Setgroups(w.groups)
		}
		if w.gid != nil {
			x.Setgid(*w.gid)
		}
		if w.uid != nil {
			x.Setuid(*w.uid)
		}
		if w.beforeJoins { // what joining takes
			x.Capset(uint64(s.own.Caps.Permitted), uint64(s.own.Caps.Permitted), 0)
		}
	}}}
}

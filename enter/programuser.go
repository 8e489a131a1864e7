package enter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A programUser is the user that the program runs as.
type programUser struct {
	// The IDs and groups to set. With nil, and with false, the program keeps the caller's.
	uid, gid  *uint32
	groups    []uint32
	setGroups bool
	// beforeJoins: it is set before the first join, in the caller's numbers. So it can also be
	// a user that the user namespace to join does not map.
	beforeJoins bool

	// outside is the user in the caller's numbers, inside in those of the program.
	outside, inside uint32
	// groupFromAccount: the group is that of the user's account, which is still to be looked
	// up.
	groupFromAccount bool
}

// overflowID is what the kernel shows for an ID that a user namespace does not map, unless
// another number is set (/proc/sys/kernel/overflowuid).
const overflowID = 65534

// chooseUser chooses the user that the program runs as. It reads nothing but c and s.
func (s *situation) chooseUser(c *Cmd) (w programUser, err error) {
	joined := s.differing().Has(inspect.User)
	own := s.own
	uid, gid, groups := own.UID.Effective, own.GID.Effective, s.own.Groups
	askedUID, askedGID := c.UID, c.GID
	if c.New.Types.Has(inspect.User) {
		askedUID, askedGID = nil, nil // they are for the new user namespace
	}
	kept := c.PreserveCredentials
	setID, setGroups := false, false
	follow := func() {
		uid, gid, groups = s.id.UID, s.id.GID, s.targetGroups()
		setID, setGroups = true, true
	}
	switch {
	case kept && joined:
		// Groups that the user namespace does not map are dropped, unless the target has them.
		groups = slices.DeleteFunc(slices.Clone(groups), func(g uint32) bool {
			_, ok := s.gids.Inside(g)
			return !ok && !slices.Contains(s.id.Groups, g)
		})
		setGroups = true
	case kept:
	case s.terms.ids == ofTarget:
		follow()
	case joined: // its root, or its first user
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
	// Where setgroups(2) is denied they cannot be changed.
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

// outside translates a number that was asked for into the caller's numbers.
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

// errNobody reports a user namespace without users, of which no member is known.
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

// mayKeepGroups returns nil if the target has all supplementary groups of the caller, which
// cannot be dropped: the program is to have no more than the target.
func (s *situation) mayKeepGroups(groups []uint32) error {
	for _, g := range s.own.Groups {
		if !slices.Contains(groups, g) && g != s.id.GID {
			return fmt.Errorf("group %d of the caller cannot be left, and %s is not in it: that takes CAP_SETGID", g, s.target)
		}
	}
	return nil
}

// takeGroup sets the group of the user's account, or nobody's.
func (w *programUser) takeGroup(a account) {
	gid := uint32(overflowID)
	if a.known {
		gid = a.gid
	}
	w.gid, w.groupFromAccount = &gid, false
}

// steps returns the step that sets user and groups.
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
		if w.beforeJoins { // needed for joins
			x.Capset(uint64(s.own.Caps.Permitted), uint64(s.own.Caps.Permitted), 0)
		}
	}}}
}

package enter

import (
	"strings"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// An Identity is the user, groups and capabilities of a process: IDs in the caller's numbers,
// capabilities as they hold in the user namespace of the process.
type Identity struct {
	// UID and GID are the file system IDs, which new files get.
	UID, GID   uint32
	Groups     []uint32
	Caps       CapSets
	NoNewPrivs bool
	// Mixed: its real, effective and saved IDs differ. It was started by one user and has the
	// rights of another, as a set-user-ID program does.
	Mixed bool
	// Setgroups: setgroups(2) is not denied in its user namespace.
	Setgroups bool

	// uids and gids are the maps of its user namespace.
	uids, gids idMap
}

// Identity reads the identity of the target.
func (t *Target) Identity() (id Identity, err error) {
	status, err := statusOf(t.proc, "Uid", "Gid")
	if err != nil {
		return id, err
	}
	id.of(status)
	if err := id.readUsers(t.proc); err != nil {
		return id, err
	}
	return id, t.Alive()
}

// of takes the identity from a status.
func (id *Identity) of(t *task.Task) {
	id.UID, id.GID, id.Groups = t.UID.FS, t.GID.FS, t.Groups
	id.Caps, id.NoNewPrivs = t.Caps, t.NoNewPrivs
	one := func(ids task.IDs) bool {
		return ids == task.IDs{Real: ids.FS, Effective: ids.FS, Saved: ids.FS, FS: ids.FS}
	}
	id.Mixed, id.Setgroups = !one(t.UID) || !one(t.GID), true
}

// readUsers reads the ID maps of the user namespace of a process.
func (id *Identity) readUsers(p *sys.Process) (err error) {
	if id.uids, err = readMap(p, "uid_map"); err != nil {
		return err
	}
	if id.gids, err = readMap(p, "gid_map"); err != nil {
		return err
	}
	id.Setgroups = true
	if word, err := p.ReadFile("setgroups", 16); err == nil {
		id.Setgroups = strings.TrimSpace(string(word)) != "deny"
	}
	return nil
}

// Outside returns the caller's numbers of a user and a group of the target, if its user
// namespace maps them.
func (id Identity) Outside(uid, gid uint32) (u, g uint32, ok bool) {
	u, okU := id.uids.Outside(uid)
	g, okG := id.gids.Outside(gid)
	return u, g, okU && okG
}

// Inside returns the target's numbers of a user and a group of the caller, if its user
// namespace maps them.
func (id Identity) Inside(uid, gid uint32) (u, g uint32, ok bool) {
	u, okU := id.uids.Inside(uid)
	g, okG := id.gids.Inside(gid)
	return u, g, okU && okG
}

// UserIdentity is the identity of one who numbers users and groups as the caller
// does, and has no rights but those of any user.
func UserIdentity(uid, gid uint32) Identity {
	all := idMap{{Count: task.NoID}}
	return Identity{UID: uid, GID: gid, Setgroups: true, uids: all, gids: all}
}

package deputy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// Rights are the rights of a target.
type Rights struct {
	// Of is the target, for messages: "root of process 4242".
	Of string
	// User is the user namespace in which they hold, nil for the caller's.
	User *os.File
	// UID, GID and Groups are in the caller's numbers.
	UID, GID uint32
	Groups   []uint32
	// Caps are the capabilities, in that user namespace.
	Caps task.Caps

	who enter.Identity
	// nobody: no process is known that has them.
	nobody bool
}

// An As says which rights a deputy has.
type As int

// The rights of a deputy.
const (
	// AsFits is AsTarget, or AsRoot if the files are the target's own and its root may give
	// them to its users: if the target is in a user namespace of its own, and has a root
	// directory of its own.
	AsFits As = iota
	// AsContainer is AsFits for a container that was found by name and is root's: its files are
	// its own also in the user namespace of the host. For a process alone it is not known what
	// is mounted there, and for whom.
	AsContainer
	// AsRoot is root of the target's user namespace, with the capabilities of the target's
	// bounding set.
	AsRoot
	// AsTarget is the target process, with its user, groups and capabilities.
	AsTarget
)

// notOurs is CAP_SYS_RESOURCE, which a deputy never has, so that quotas and limits hold for it.
const notOurs task.Caps = 1 << 24

// rootCaps are the capabilities without which root can do less with a user's files than that
// user: CAP_CHOWN and CAP_DAC_OVERRIDE.
const rootCaps task.Caps = 1<<0 | 1<<1

// Close releases the user namespace.
func (r *Rights) Close() {
	if r.User != nil {
		r.User.Close()
	}
}

func (r *Rights) String() string { return "act as " + r.Of }

// RightsOf returns the rights of a target over the files below root.
func RightsOf(t *enter.Target, root *os.File, as As) (*Rights, error) {
	id, err := t.Identity()
	if err != nil {
		return nil, err
	}
	r := &Rights{Of: t.String(), UID: id.UID, GID: id.GID, Groups: id.Groups, Caps: id.Caps.Permitted, who: id}
	if err := r.setUser(t); err != nil {
		return nil, err
	}
	own := as == AsRoot
	if as == AsContainer || as == AsFits && r.User != nil {
		if own, err = hasOwnFiles(t, root); err != nil {
			r.Close()
			return nil, err
		}
	}
	uid, gid, ok := id.Outside(0, 0)
	switch {
	case as == AsRoot && !ok:
		r.Close()
		return nil, fmt.Errorf("there is no root in the user namespace of %s", t)
	case as == AsRoot, own && ok && r.mayBecome(uid) && id.Caps.Bounding&rootCaps == rootCaps:
		r.Of = "root of " + t.String()
		r.UID, r.GID, r.Groups, r.Caps = uid, gid, nil, id.Caps.Bounding
	}
	r.Caps &= id.Caps.Bounding &^ notOurs
	if r.User == nil {
		_, have := sys.Capabilities()
		r.Caps &= task.Caps(have)
	}
	return r, t.Alive()
}

// RightsIn returns the rights over the files of a mount namespace without a known process,
// whose root directory is root: those of the owner of that directory, in the user namespace
// that owns the mount namespace.
func RightsIn(mnt, root *os.File, of string) (*Rights, error) {
	st, err := sys.StatFD(int(root.Fd()))
	if err != nil {
		return nil, err
	}
	r := &Rights{Of: "the owner of " + of, UID: st.UID, GID: st.GID, Caps: task.AllCaps() &^ notOurs, nobody: true, who: enter.UserIdentity(st.UID, st.GID)}
	owner, err := sys.Owner(int(mnt.Fd()))
	if err != nil {
		return nil, err
	}
	ours, err := ownNamespace(inspect.User)
	if err != nil {
		sys.CloseFD(owner)
		return nil, err
	}
	defer ours.Close()
	if sys.SameFile(owner, int(ours.Fd())) {
		sys.CloseFD(owner)
		_, have := sys.Capabilities()
		r.Caps &= task.Caps(have)
		return r, nil
	}
	r.User = os.NewFile(uintptr(owner), "the user namespace of "+of)
	return r, nil
}

// ownNamespace opens a namespace of the caller by its type.
func ownNamespace(t inspect.Type) (*os.File, error) {
	own, err := enter.Self()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	return own.Namespace(t)
}

// setUser opens the user namespace of the target, unless it is the caller's.
func (r *Rights) setUser(t *enter.Target) error {
	ours, err := ownNamespace(inspect.User)
	if err != nil {
		return err
	}
	defer ours.Close()
	theirs, err := t.Namespace(inspect.User)
	if err != nil {
		return err
	}
	if sys.SameFile(int(ours.Fd()), int(theirs.Fd())) {
		return theirs.Close()
	}
	r.User = theirs
	return nil
}

// mayBecome reports whether the caller can take that user: any user in a user namespace that it
// joins.
func (r *Rights) mayBecome(uid uint32) bool {
	return r.User != nil || becomesAnybody() || uid == uint32(os.Geteuid())
}

// becomesAnybody reports whether the caller may change users and groups.
func becomesAnybody() bool {
	const setgid, setuid = 6, 7
	effective, _ := sys.Capabilities()
	return effective>>setgid&1 != 0 && effective>>setuid&1 != 0
}

// hasOwnFiles reports whether the files of a target are its own, and not the host's: its root
// directory and its mount namespace are not the caller's.
func hasOwnFiles(t *enter.Target, root *os.File) (bool, error) {
	here, err := sys.OpenDirectory("/")
	if err != nil {
		return false, err
	}
	defer sys.CloseFD(here)
	if sys.SameFile(here, int(root.Fd())) {
		return false, nil
	}
	ours, err := ownNamespace(inspect.Mnt)
	if err != nil {
		return false, err
	}
	defer ours.Close()
	theirs, err := t.Namespace(inspect.Mnt)
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	return !sys.SameFile(int(ours.Fd()), int(theirs.Fd())), nil
}

// The steps of the script, for messages.
const (
	stepPrepare = iota
	stepGroups
	stepJoin
	stepBecome
	stepCaps
)

func (r *Rights) steps() []string {
	return []string{
		stepPrepare: "prepare to " + r.String(),
		stepGroups:  "take the groups of " + r.Of,
		stepJoin:    "join the user namespace of " + r.Of,
		stepBecome:  fmt.Sprintf("become user %d and group %d to %s", r.UID, r.GID, r),
		stepCaps:    "give up all but the capabilities of " + r.Of,
	}
}

// firstFile is the descriptor of the connection in a deputy; files follow.
const firstFile = 4

// script returns the system calls of a deputy before it continues as this program.
func (r *Rights) script(role string, null, conn, tell int, files []*os.File) (*sys.Script, error) {
	s := sys.NewScript()
	s.Stdio(null, null, null)
	s.Become(name, role, strings.Repeat("f", len(files)))
	s.File(conn)
	for _, f := range files {
		s.File(int(f.Fd()))
	}
	report := s.File(tell)
	s.SetName("nstool")
	s.Undumpable()
	s.Setsid() // it gets no signals of the terminal
	s.NewKeyring()
	s.Umask(0)
	s.Chdir("/")
	if err := r.become(s); err != nil {
		return nil, err
	}
	s.Step(stepPrepare)
	s.NoNewPrivs()
	s.CloseFrom(report + 1)
	s.Ready(report)
	s.Close(report)
	if err := s.Return(); err != nil {
		return nil, err
	}
	s.Report(report, 1)
	return s, nil
}

// become appends the calls that take the rights. A caller that may take any user does so in its
// own numbers, before the join: so nothing of the caller is left, whatever the user namespace
// maps. Other callers can only be a user that it maps.
func (r *Rights) become(s *sys.Script) error {
	uid, gid, groups := r.UID, r.GID, r.Groups
	s.KeepCaps()
	join := func() {
		if r.User != nil {
			s.Step(stepJoin)
			s.Setns(s.File(int(r.User.Fd())), sys.CLONE_NEWUSER)
		}
	}
	if becomesAnybody() {
		_, have := sys.Capabilities()
		s.Step(stepGroups)
		s.Setgroups(groups)
		s.Step(stepBecome)
		s.Setgid(gid)
		s.Setuid(uid)
		s.Capset(have, have, 0)
		join()
	} else if join(); !r.nobody { // else they are those of the creator of the user namespace
		if r.User != nil {
			var ok bool
			if uid, gid, ok = r.who.Inside(uid, gid); !ok {
				return fmt.Errorf("%s: its user %d or group %d is not in its user namespace", r, r.UID, r.GID)
			}
		}
		s.Step(stepGroups)
		switch {
		case r.User != nil && r.who.Setgroups:
			var inside []uint32
			for _, g := range groups {
				if _, g, ok := r.who.Inside(r.UID, g); ok {
					inside = append(inside, g)
				}
			}
			s.Setgroups(inside)
		default:
			if err := r.keepsGroups(); err != nil {
				return err
			}
		}
		s.Step(stepBecome)
		s.Setgid(gid)
		s.Setuid(uid)
	}
	s.Step(stepCaps)
	for n := range 64 {
		if !r.Caps.Has(n) {
			s.IgnoreAll(s.DropBounding(n)) // nothing is executed later
		}
	}
	s.Capset(uint64(r.Caps), uint64(r.Caps), 0)
	return nil
}

// keepsGroups is an error if the caller has groups that the target does not have, and cannot
// drop them.
func (r *Rights) keepsGroups() error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g := uint32(g); g != r.GID && g != r.who.GID && !slices.Contains(r.who.Groups, g) {
			return fmt.Errorf("%s: it is not in the group %d of the caller, which cannot be left: %w", r, g, errors.ErrUnsupported)
		}
	}
	return nil
}

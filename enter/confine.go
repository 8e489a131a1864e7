package enter

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// A confinement says how a program gets the bounds of the target.
type confinement struct {
	of          string // "process 4242"
	target, own bounds
	moves       []move
	wanted      []Part // what to take
	allowed     []Part // what of that may be missing
	// user: the user namespace of the target is joined, where the process has all capabilities
	// until it drops them.
	user bool
	// elsewhere: the program is in another user namespace than the target, where the target's
	// capabilities mean nothing.
	elsewhere bool
	// raised: the program has more rights than the target process. uid is its user, in the
	// caller's numbers. isRoot: this is root in the user namespace of the program.
	raised bool
	uid    uint32
	isRoot bool
	// add are capabilities in addition to those of the target.
	add Caps
	// root is root of that user namespace, or of the caller's, in the caller's numbers. The
	// kernel gives it the whole bounding set at exec.
	root uint32
	// keepCaps passes the capabilities that the target could have on to a program that does not
	// run as root.
	keepCaps bool
}

// A move is a cgroup to move to, with the file to write to: see [sys.OpenCgroup].
type move struct {
	Cgroup
	dir string
	fd  int
	may bool // the move may fail
}

// Bits of capabilities(7).
const (
	capSetGID      = 6
	capSetUID      = 7
	capSysPtrace   = 19
	capSysAdmin    = 21
	capSysResource = 24
	capLast        = 63
)

// Reasons of a [*MissingError].
var (
	// ErrNoTarget reports that a program in the file system of others was asked for without a
	// process whose confinement it could have.
	ErrNoTarget = errors.New("no process is the target")
	// ErrOtherUser reports that the program would not be in the user namespace of the target,
	// the only one where the target's capabilities hold.
	ErrOtherUser = errors.New("they hold in its user namespace, which is not joined")
)

// lookAtConfinement finds out what the program takes of the target's confinement, and adds the
// steps that take it.
//
// A program of the target takes everything that confines the target, unless the caller asked
// for a privileged one, and nothing of the caller. A part that cannot be taken is a
// [*MissingError], unless it may be missing.
func (s *situation) lookAtConfinement(c *Cmd, p *sys.Process, joined inspect.Types) error {
	allowed, err := ParseParts(c.AllowMissing)
	if err != nil {
		return err
	}
	var wanted []Part
	switch {
	case s.terms.confined:
		wanted = Parts
	default:
		if c.JoinCgroup {
			wanted = append(wanted, PartCgroup)
		}
		if c.FollowContext {
			wanted = append(wanted, PartLabel)
		}
	}
	if s.terms.separate {
		s.proxied = !c.RawStdio
		s.first = append(s.first, dropCallerTraits())
		s.session = append(s.session, s.sessionStep())
	}
	if len(wanted) == 0 {
		return nil
	}
	user, err := s.userNamespace(p, joined)
	if err != nil {
		return err
	}
	f := &confinement{
		of: s.target, wanted: wanted, allowed: allowed, user: joined.Has(inspect.User), elsewhere: !user,
		raised: s.terms.standing == raised, uid: s.user.outside, isRoot: s.user.inside == 0,
		keepCaps: c.KeepCaps, add: c.AddCaps,
	}
	if !user && s.terms.file != callersFile {
		f.target.miss(PartCaps, ErrOtherUser)
	}
	if err := f.look(p, s.status, &s.own); err != nil {
		return err
	}
	if have, bounding := f.available(); f.add&^(have&bounding) != 0 {
		return &capsError{f.add &^ (have & bounding)}
	}
	for _, m := range f.moves {
		s.keep(m.fd)
	}
	if s.terms.confined {
		mask := f.target.Umask
		s.first = append(s.first, Step{Op: Prepare, Text: fmt.Sprintf("take the umask %03o of %s", mask, s.target), calls: func(x *sys.Script) { x.Umask(mask) }})
		if n := f.target.Personality; n >= 0 && n != f.own.Personality {
			text := fmt.Sprintf("take the personality %#x of %s", n, s.target)
			s.first = append(s.first, Step{Op: Prepare, Text: text, calls: func(x *sys.Script) { x.Personality(uint32(n)) }})
		}
	}
	s.lacks = f.lacks(f.isRoot)
	s.first = append(s.first, f.early(s)...)
	s.nproc = f.nproc()
	s.lower = f.lower()
	s.confine = f.finish()
	return nil
}

// dropCallerTraits returns the step that removes what a program of the target would inherit
// from the caller.
func dropCallerTraits() Step {
	return Step{Op: Prepare, Text: "leave the caller's signal actions, umask and session keyring behind", calls: func(x *sys.Script) {
		x.DefaultSignals()
		x.Umask(0o22)
		x.NewKeyring()
	}}
}

// sessionStep returns the step that starts a session, on the terminal that replaces the
// caller's if there is one.
func (s *situation) sessionStep() Step {
	step := Step{Op: Session, Text: "start a session"}
	at := -1
	if s.proxied {
		for i, fd := range s.stdio {
			if at < 0 && sys.StreamOf(fd) == sys.StreamTerminal {
				at, step.Text = i, "start a session on a terminal of its own"
			}
		}
	}
	step.calls = func(x *sys.Script) {
		x.Setsid()
		if at >= 0 {
			x.ControllingTerminal(at)
		}
	}
	return step
}

// userNamespace reports whether the program will be in the user namespace of the target, the
// only one where the target's capabilities hold.
func (s *situation) userNamespace(p *sys.Process, joined inspect.Types) (bool, error) {
	link, err := p.Readlink("ns/user")
	if err != nil {
		return false, err
	}
	to, err := p.Own("ns/user")
	if err != nil {
		return false, err
	}
	for _, j := range s.joins {
		if j.typ == inspect.User && joined.Has(inspect.User) {
			to = inspect.FormatLink(inspect.User, j.id.Ino)
		}
	}
	return link == to, nil
}

// look reads the wanted bounds of a process, and what giving them to a program takes. status
// and own are those of the process and of the caller.
func (c *confinement) look(p *sys.Process, status, own *task.Task) (err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err = c.target.read(p.ReadFile, status); err != nil {
		return targetError(p, "read the confinement", c.of, err)
	}
	if err = c.own.read(p.ReadOwn, own); err != nil {
		return err
	}
	if c.root, err = rootOf(p, c.user); err != nil {
		return err
	}
	if c.wants(PartCgroup) {
		if err := c.findCgroups(p); err != nil {
			c.target.miss(PartCgroup, err)
		}
	}
	// A process in a frozen cgroup does not stop for a tracer. The error of its cgroup is noted
	// by now.
	if err = c.firstMissing(); err != nil {
		return err
	}
	if c.wants(PartSeccomp) {
		c.target.readFilters(p)
	}
	return c.firstMissing()
}

// firstMissing returns the first wanted part that cannot be taken and must not be missing.
func (c *confinement) firstMissing() error {
	for _, m := range c.target.missing {
		if c.wants(m.Part) && !c.mayMiss(m.Part) {
			m.Of = c.of
			return m
		}
	}
	return nil
}

// rootOf returns the root of the user namespace of the target in the caller's numbers, if that
// is another than the caller's.
func rootOf(p *sys.Process, joined bool) (uint32, error) {
	if !joined {
		return 0, nil
	}
	m, err := readMap(p, "uid_map")
	if err != nil {
		return 0, err
	}
	for _, r := range m {
		if r.Inside == 0 && r.Count > 0 {
			return r.Outside, nil
		}
	}
	return ^uint32(0), nil // nobody
}

// close closes the descriptors of the cgroups.
func (c *confinement) close() {
	for _, m := range c.moves {
		sys.CloseAll(m.fd)
	}
	c.moves = nil
}

// findCgroups opens the cgroups of the target that the caller is not in. A caller in a container
// uses the mounts of the host, where all of them are.
func (c *confinement) findCgroups(p *sys.Process) error {
	host := inspect.FindHost()
	if !host.IsElsewhere() || host.PID == 0 {
		return c.openCgroups(inspect.Host{}, func() ([]byte, error) { return p.ReadOwn("mountinfo", 1<<24) })
	}
	return host.InCgroups(func() (err error) {
		if c.target.Cgroups, err = readCgroups(p.ReadFile); err != nil {
			return err
		}
		if c.own.Cgroups, err = readCgroups(p.ReadOwn); err != nil {
			return err
		}
		return c.openCgroups(host, func() ([]byte, error) { return os.ReadFile(host.Mountinfo()) })
	})
}

// openCgroups opens those cgroups in the mounts of a host.
func (c *confinement) openCgroups(host inspect.Host, mountinfo func() ([]byte, error)) error {
	var mounts []cgroupMount
	for _, g := range c.target.Cgroups {
		if slices.Contains(c.own.Cgroups, g) {
			continue
		}
		if mounts == nil {
			text, err := mountinfo()
			if err != nil {
				return err
			}
			mounts = parseCgroupMounts(text)
		}
		dir, err := dirOf(g, mounts)
		if err != nil {
			return err
		}
		fd, err := sys.OpenCgroup(host.Path(dir))
		if err != nil {
			return err
		}
		c.moves = append(c.moves, move{g, dir, fd, c.mayMiss(PartCgroup)})
	}
	return nil
}

// mayMiss reports whether a part may be missing.
func (c *confinement) mayMiss(p Part) bool { return slices.Contains(c.allowed, p) }

// wants reports whether a part is to be taken.
func (c *confinement) wants(p Part) bool { return slices.Contains(c.wanted, p) }

// has reports whether a part is to be taken and can be.
func (c *confinement) has(p Part) bool {
	return c.wants(p) && !slices.ContainsFunc(c.target.missing, func(m *MissingError) bool { return m.Part == p })
}

// step returns a step that takes a part. If the part may be missing, its calls may fail.
func (c *confinement) step(op Op, p Part, text string, calls func(*sys.Script)) Step {
	return Step{Op: op, Part: p, Text: text, calls: func(s *sys.Script) {
		first := s.Len()
		calls(s)
		if c.mayMiss(p) {
			for i := first; i < s.Len(); i++ {
				s.IgnoreAll(sys.Index(i))
			}
		}
	}}
}

// early returns the steps before any join: those that need privileges outside, or the caller's
// procfs.
func (c *confinement) early(of *situation) (steps []Step) {
	for _, m := range c.moves {
		text := "move to the cgroup " + printable(m.Path) + " of " + c.of
		step := c.step(Prepare, PartCgroup, text, func(s *sys.Script) { s.Write(s.File(m.fd), []byte("0")) })
		step.move = &m
		steps = append(steps, step)
	}
	if l := c.target.Label; l.Text != "" && l.Text != c.own.Label.Text && l.Text != "unconfined" && c.has(PartLabel) {
		text := "take the label " + printable(l.Text) + " of " + c.of
		steps = append(steps, c.step(Prepare, PartLabel, text, func(s *sys.Script) { s.WriteFile(s.File(of.proc), "thread-self/"+l.File, []byte(l.Exec)) }))
	}
	if n, differs := c.oomScore(); differs {
		text := fmt.Sprintf("take the OOM score %d of %s", n, c.of)
		steps = append(steps, c.step(Prepare, PartOOM, text, func(s *sys.Script) {
			write := s.WriteFile(s.File(of.proc), "thread-self/oom_score_adj", fmt.Appendf(nil, "%d", n))
			if n < c.own.OOMScoreAdj && !c.capable(capSysResource) {
				s.Ignore(write, syscall.EACCES)
			}
		}))
	}
	if limits := c.limits(); len(limits) > 0 {
		text := fmt.Sprintf("take %d resource limits of %s", len(limits), c.of)
		steps = append(steps, c.step(Prepare, PartLimits, text, func(s *sys.Script) {
			for _, r := range slices.Sorted(maps.Keys(limits)) {
				if of.full && r == limitProcesses && of.nproc != nil {
					continue
				}
				s.Setrlimit(r, limits[r].Soft, limits[r].Hard)
			}
		}))
	}
	return steps
}

// limitProcesses is RLIMIT_NPROC of getrlimit(2).
const limitProcesses = 6

// nproc returns a step that takes the limit of processes of a user alone, if that needs no
// privileges. The kernel checks this limit when a process is started.
func (c *confinement) nproc() *Step {
	l, ok := c.limits()[limitProcesses]
	if !ok || l.Hard > c.own.Limits[limitProcesses].Hard {
		return nil
	}
	step := c.step(Session, PartLimits, "take the limit of processes of "+c.of, func(s *sys.Script) {
		s.Setrlimit(limitProcesses, l.Soft, l.Hard)
	})
	return &step
}

// capable reports whether the caller has a capability in its user namespace.
func (c *confinement) capable(n int) bool { return c.own.Caps.Effective.Has(n) }

// oomScore returns the score to take on. Without CAP_SYS_RESOURCE the kernel allows none below
// the lowest that a capable process has set for the caller, which cannot be read
// (proc_pid_oom_score_adj(5)). So it is tried; a score higher than the target's is no
// privilege.
func (c *confinement) oomScore() (n int, differs bool) {
	n = c.target.OOMScoreAdj
	return n, c.has(PartOOM) && n != c.own.OOMScoreAdj
}

// limits returns the limits to set, by resource. A hard limit above the caller's takes
// CAP_SYS_RESOURCE: without it the caller's, which is stricter, is kept.
func (c *confinement) limits() map[int]Limit {
	if !c.has(PartLimits) {
		return nil
	}
	set := map[int]Limit{}
	for r, l := range c.target.Limits {
		own := c.own.Limits[r]
		if !c.capable(capSysResource) {
			l.Hard = min(l.Hard, own.Hard)
			l.Soft = min(l.Soft, l.Hard)
		}
		if l != own {
			set[r] = l
		}
	}
	return set
}

// available returns the most that the process can have when its credentials change: everything
// in a user namespace that it has joined, else what the caller has.
func (c *confinement) available() (permitted, bounding Caps) {
	if c.user {
		return ^Caps(0), ^Caps(0)
	}
	return c.own.Caps.Permitted, c.own.Caps.Bounding
}

// sets returns the final sets: those of the target, as far as the caller has them, and for
// another user those of a program of that user.
func (c *confinement) sets() CapSets {
	t := c.target.Caps
	permitted, _ := c.available()
	t.Bounding = c.bounding()
	t.Permitted &= permitted
	switch {
	case c.keepCaps:
		t.Permitted = t.Bounding & permitted
		t.Effective, t.Inheritable, t.Ambient = t.Permitted, t.Permitted, t.Permitted
	case c.raised && c.isRoot:
		// The kernel gives this to root at exec, and lets it keep it under no_new_privs.
		t.Permitted = t.Bounding & permitted
		t.Effective, t.Inheritable, t.Ambient = t.Permitted, 0, 0
	case c.elsewhere, c.raised && c.uid != c.target.UID[1]:
		t.Permitted, t.Effective, t.Inheritable, t.Ambient = 0, 0, 0, 0
	}
	t.Permitted |= c.add
	t.Effective |= c.add
	t.Inheritable |= c.add
	t.Ambient |= c.add // for a user other than root
	t.Effective &= t.Permitted
	t.Inheritable &= t.Bounding // the kernel allows no others
	t.Ambient &= t.Permitted & t.Inheritable
	return t
}

// bounding returns the final bounding set. The kernel gives root all of it at exec. A target
// that is root with less has dropped the rest or is under SECBIT_NOROOT, which only the target
// itself can read. The program gets no more than the target in either case.
func (c *confinement) bounding() Caps {
	t := c.target
	if c.elsewhere {
		if !c.raised {
			return 0
		}
		return t.Caps.Bounding | c.add
	}
	if t.UID[1] == c.root {
		return t.Caps.Bounding&(t.Caps.Permitted|t.Caps.Inheritable) | c.add
	}
	return t.Caps.Bounding | c.add
}

// lacks returns the capabilities that the program cannot have: root gets the
// bounding set when it is executed, unless no_new_privs forbids that.
func (c *confinement) lacks(root bool) Caps {
	const all = task.KnownCaps
	switch {
	case !c.has(PartCaps):
		return 0
	case root && !(c.target.NoNewPrivs && c.has(PartNNP)):
		return all &^ c.bounding()
	}
	return all &^ c.sets().Permitted
}

// lower returns the steps before the change of user: the bounding set, and that permitted
// capabilities survive the change.
func (c *confinement) lower() []Step {
	if !c.has(PartCaps) {
		return nil
	}
	_, have := c.available()
	drop := have &^ c.bounding()
	text := fmt.Sprintf("give up all but the capabilities %v of %s", c.bounding(), c.of)
	return []Step{c.step(Confine, PartCaps, text, func(s *sys.Script) {
		for n := 0; n <= capLast; n++ {
			if drop.Has(n) {
				s.DropBounding(n)
			}
		}
		s.KeepCaps()
	})}
}

// finish returns the steps after the change of user: the other sets, no_new_privs, and last the
// filters, since they may forbid the other calls. A filter needs no_new_privs, or CAP_SYS_ADMIN
// while the process still has it, which decides the order of the last two.
func (c *confinement) finish() (steps []Step) {
	sets, caps := c.sets(), c.has(PartCaps)
	filtered := len(c.target.Filters) > 0 && c.has(PartSeccomp)
	early := filtered && !c.target.NoNewPrivs // the filter needs privileges

	set := func() {
		if !caps {
			return
		}
		text := fmt.Sprintf("take the permitted, effective, inheritable and ambient sets %v %v %v %v of %s",
			sets.Permitted, sets.Effective, sets.Inheritable, sets.Ambient, c.of)
		steps = append(steps, c.step(Confine, PartCaps, text, func(s *sys.Script) {
			if sets.Ambient != 0 {
				// What is ambient must be permitted and inheritable first.
				s.Capset(uint64(sets.Permitted), uint64(sets.Permitted), uint64(sets.Inheritable))
				for n := 0; n <= capLast; n++ {
					if sets.Ambient.Has(n) {
						s.RaiseOne(n)
					}
				}
			}
			s.Capset(uint64(sets.Effective), uint64(sets.Permitted), uint64(sets.Inheritable))
		}))
	}
	filter := func() {
		if !filtered {
			return
		}
		n := 0
		for _, f := range c.target.Filters {
			n += len(f) / 8
		}
		text := fmt.Sprintf("install the seccomp %s of %s, %d instructions", plural(len(c.target.Filters), "filter"), c.of, n)
		steps = append(steps, c.step(Confine, PartSeccomp, text, func(s *sys.Script) {
			if early {
				// A change of user has emptied the effective set.
				permitted, _ := c.available()
				s.Capset(uint64(permitted), uint64(permitted), 0)
			}
			for _, f := range c.target.Filters {
				s.Seccomp(f, 0)
			}
		}))
	}
	if c.target.NoNewPrivs && c.has(PartNNP) {
		steps = append(steps, c.step(Confine, PartNNP, "take the no_new_privs attribute of "+c.of, func(s *sys.Script) { s.NoNewPrivs() }))
	}
	if early {
		filter()
		set()
	} else {
		set()
		filter()
	}
	return steps
}

// printable escapes everything in the name of another that a terminal may interpret.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// ParseParts reads the names of parts.
func ParseParts(names []string) (parts []Part, err error) {
	for _, name := range names {
		if !slices.Contains(Parts, Part(name)) {
			return nil, fmt.Errorf("no part %q of a confinement; there are: %s", name, strings.Trim(fmt.Sprint(Parts), "[]"))
		}
		parts = append(parts, Part(name))
	}
	return parts, nil
}

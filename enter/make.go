package enter

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// New are namespaces to make, and how to set them up. The zero value makes none.
type New struct {
	Types inspect.Types

	// UIDs and GIDs are the users and groups of a new user namespace. Without any, everybody in
	// it is the overflow user of user_namespaces(7). A caller with CAP_SETUID or CAP_SETGID can
	// map all IDs of its own user namespace; any other caller its own ID, and by newuidmap(1)
	// those of subuid(5).
	UIDs, GIDs []Range
	// DenySetgroups denies setgroups(2) in a new user namespace. The kernel demands it of a
	// caller that maps only its own group (Linux 3.19).
	DenySetgroups bool

	// Hostname and Domainname are those of a new UTS namespace; "" leaves them.
	Hostname, Domainname string
	// Propagation is that of all mounts of a new mount namespace; "" is
	// "private", and "unchanged" leaves it. See mount_namespaces(7).
	Propagation string
	// Loopback brings up the interface lo of a new network namespace.
	Loopback bool
	// Monotonic and Boottime are the offsets of the clocks of a new time namespace, see
	// time_namespaces(7).
	Monotonic, Boottime time.Duration

	// Init makes a small process the first of a new PID namespace. It starts the program,
	// passes signals on and reaps. A program of the target is the first process itself.
	Init bool

	// Pin, if not nil, is called with the PID of a process that is in all of the namespaces,
	// before the program is run. If it returns an error the program is not run, and that error
	// is returned.
	Pin func(pid int) error
}

// A Range maps users or groups: Count of them, from Inside on in a new user
// namespace and from Outside on in the caller's.
type Range struct{ Inside, Outside, Count uint32 }

// String returns the range as uid_map of user_namespaces(7) has it.
func (r Range) String() string { return fmt.Sprintf("%d %d %d", r.Inside, r.Outside, r.Count) }

// forks reports whether the new namespaces are those of children only.
func (n *New) forks(noFork bool) bool {
	return n.Types.Has(inspect.PID) && !noFork || n.Types.Has(inspect.Time)
}

// makeSteps returns the steps that make the namespaces: first a user namespace, which then owns
// the others.
func (s *situation) makeSteps(n *New, joins bool) (steps []Step) {
	add := func(op Op, t inspect.Type, text string, calls func(*sys.Script)) {
		step := Step{Op: op, Type: t, Text: text, calls: calls}
		if op == Make {
			step.denied = s.confinement
		}
		steps = append(steps, step)
	}
	if n.Types.Has(inspect.User) {
		add(Make, inspect.User, "make a user namespace", func(x *sys.Script) {
			x.Unshare(inspect.User.Flag())
			// The kernel lets an ordinary user write the maps only of a dumpable process. Root
			// does not need that, and the owner of a joined user namespace could trace a
			// dumpable process.
			if os.Geteuid() != 0 {
				x.Dumpable()
			}
		})
		if len(n.UIDs)+len(n.GIDs) > 0 {
			steps = append(steps, Step{Op: Map, Type: inspect.User, Text: n.mapText(), caller: n.writeMaps})
		}
	}
	for t := range n.Types.Without(inspect.User).All() {
		article := "a"
		if t == inspect.IPC || t == inspect.UTS {
			article = "an"
		}
		add(Make, t, fmt.Sprintf("make %s %s namespace", article, t), func(x *sys.Script) { x.Unshare(t.Flag()) })
	}
	if n.Types.Has(inspect.Time) && (n.Monotonic != 0 || n.Boottime != 0) {
		text := fmt.Sprintf("monotonic %s\nboottime %s\n", offset(n.Monotonic), offset(n.Boottime))
		add(Prepare, inspect.Time, fmt.Sprintf("set its clocks ahead: monotonic by %s, boottime by %s", n.Monotonic, n.Boottime), func(x *sys.Script) {
			x.WriteFile(x.File(s.proc), "self/timens_offsets", []byte(text))
		})
	}
	if n.Types.Has(inspect.Mnt) && n.Propagation != "unchanged" {
		add(Mount, inspect.Mnt, "make all mounts "+n.propagation(), func(x *sys.Script) { x.SetPropagation("/", propagations[n.propagation()]) })
	}
	if n.Hostname != "" {
		add(Prepare, inspect.UTS, "set the hostname to "+n.Hostname, func(x *sys.Script) { x.Sethostname(n.Hostname) })
	}
	if n.Domainname != "" {
		add(Prepare, inspect.UTS, "set the domain name to "+n.Domainname, func(x *sys.Script) { x.Setdomainname(n.Domainname) })
	}
	if n.Loopback {
		add(Prepare, inspect.Net, "bring up the interface lo", func(x *sys.Script) { x.LinkUp("lo") })
	}
	if joins && n.Types.Has(inspect.User) {
		add(Prepare, 0, "let nobody look into the process again", func(x *sys.Script) { x.Undumpable() })
	}
	return steps
}

// offset formats a duration as timens_offsets has it: the nanoseconds are never negative.
func offset(d time.Duration) string {
	sec, nsec := d/time.Second, d%time.Second
	if nsec < 0 {
		sec, nsec = sec-1, nsec+time.Second
	}
	return fmt.Sprintf("%d %d", sec, nsec)
}

// propagations are the values of Propagation by their names.
var propagations = map[string]sys.Propagation{
	"private": sys.Private, "slave": sys.Slave, "shared": sys.Shared,
}

// Propagations are the values of [New.Propagation].
var Propagations = []string{"private", "slave", "shared", "unchanged"}

func (n *New) propagation() string {
	if n.Propagation == "" {
		return "private"
	}
	return n.Propagation
}

// forkSteps returns the steps that start a process in the new PID or time namespace.
func (n *New) forkSteps(init bool) []Step {
	t, text := inspect.PID, "start a process in the new PID namespace"
	if !n.Types.Has(inspect.PID) {
		t, text = inspect.Time, "start a process in the new time namespace"
	}
	steps := []Step{{Op: Fork, Type: t, Text: text}}
	if init {
		steps = append(steps, Step{
			Op: Init, Type: inspect.PID, Text: "reap in it, as its first process, and start another",
		})
	}
	return steps
}

// pinSteps returns the step in which the caller pins the new namespaces.
func (n *New) pinSteps() []Step {
	if n.Pin == nil {
		return nil
	}
	return []Step{{Op: Pin, Text: "pin the namespaces that were made", caller: n.Pin}}
}

// newUserSteps returns the steps that set the user in the new user namespace: the one that was
// asked for, else that of the caller, else root or the first user.
func (s *situation) newUserSteps(c *Cmd) ([]Step, error) {
	uids, gids := ranges(c.New.UIDs), ranges(c.New.GIDs)
	var text []string
	pick := func(what string, m idMap, asked *uint32, own uint32) (*uint32, error) {
		if asked != nil {
			if !m.Has(*asked) {
				return nil, fmt.Errorf("%s %d does not exist in the new user namespace", what, *asked)
			}
			text = append(text, fmt.Sprintf("%s %d", what, *asked))
			return asked, nil
		}
		if in, ok := m.Inside(own); ok {
			// The effective ID is this already. Setting it also sets the real and the saved
			// one.
			return &in, nil
		}
		if id, ok := m.Root(); ok {
			text = append(text, fmt.Sprintf("%s %d", what, id))
			return &id, nil
		}
		return nil, nil
	}
	gid, err := pick("group", gids, c.GID, uint32(os.Getegid()))
	if err != nil {
		return nil, err
	}
	uid, err := pick("user", uids, c.UID, uint32(os.Geteuid()))
	if err != nil {
		return nil, err
	}
	var steps []Step
	dropGroups := !c.New.DenySetgroups && len(gids) > 0
	if len(text) > 0 {
		if dropGroups {
			text = append([]string{"no supplementary groups"}, text...)
		}
		steps = append(steps, Step{Op: Credential, Text: "take " + strings.Join(text, ", "), calls: func(x *sys.Script) {
			if c.KeepCaps {
				x.KeepCaps()
			}
			if dropGroups {
				x.Setgroups(nil)
			}
			if gid != nil {
				x.Setgid(*gid)
			}
			if uid != nil {
				x.Setuid(*uid)
			}
		}})
	}
	if c.KeepCaps {
		last := s.lastCap
		steps = append(steps, Step{Op: Credential, Text: "keep the capabilities of the new user namespace", calls: func(x *sys.Script) {
			all := uint64(1)<<(last+1) - 1
			x.Capset(all, all, all)
			x.RaiseAmbient(last)
		}})
	}
	return steps, nil
}

func ranges(list []Range) idMap {
	m := idMap{}
	for _, r := range list {
		m = append(m, task.IDRange{Inside: r.Inside, Outside: r.Outside, Count: r.Count})
	}
	return m
}

func (n *New) mapText() string {
	list := func(word string, ranges []Range) string {
		var words []string
		for _, r := range ranges {
			words = append(words, fmt.Sprintf("%d:%d:%d", r.Inside, r.Outside, r.Count))
		}
		return word + " " + strings.Join(words, " ")
	}
	text := "map " + list("users", n.UIDs) + ", " + list("groups", n.GIDs)
	if n.DenySetgroups {
		text += ", and deny setgroups"
	}
	return text
}

// writeMaps writes the ID maps of the user namespace of the process: directly if the kernel
// allows it, else by newuidmap(1) and newgidmap(1).
func (n *New) writeMaps(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid)
	if n.DenySetgroups {
		if err := os.WriteFile(dir+"/setgroups", []byte("deny"), 0); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		file, program string
		own           int
		ranges        []Range
	}{
		{"gid_map", "newgidmap", os.Getegid(), n.GIDs},
		{"uid_map", "newuidmap", os.Geteuid(), n.UIDs},
	} {
		if len(m.ranges) == 0 {
			continue
		}
		var lines, args []string
		for _, r := range m.ranges {
			lines = append(lines, r.String())
			args = append(args, strings.Fields(r.String())...)
		}
		err := os.WriteFile(dir+"/"+m.file, []byte(strings.Join(lines, "\n")+"\n"), 0)
		ownOnly := len(m.ranges) == 1 && m.ranges[0].Count == 1 && int(m.ranges[0].Outside) == m.own
		if err == nil || ownOnly || os.Geteuid() == 0 {
			if err != nil {
				return err
			}
			continue
		}
		out, err := exec.Command(m.program, slices.Insert(args, 0, strconv.Itoa(pid))...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s is not installed, which an ordinary user needs for more than his own user: %w", m.program, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %s", m.program, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// waits reports whether the process waits for the caller in some step.
func (p *plan) waits() bool {
	return slices.ContainsFunc(p.steps, func(s Step) bool { return s.caller != nil })
}

// runCallerSteps does the caller's part of the steps that have one. After each, a byte through
// the gate lets the process go on.
func (ch *child) runCallerSteps(gate int) error {
	forked := false
	for _, step := range ch.plan.steps {
		forked = forked || step.Op == Fork
		if step.caller == nil {
			continue
		}
		// After a fork both processes send a report, in either order.
		for ready := false; !ready || forked && ch.started.Started == 0; {
			r, ok := sys.ReadReport(ch.report)
			switch {
			case !ok || r.Err != nil:
				change, err := sys.WaitChange(ch.pid)
				if err != nil {
					return err
				}
				return ch.failed(r, ok, change)
			case r.Started != 0:
				ch.started = r
			case r.Ready:
				ready = true
			}
		}
		pid := ch.pid
		if forked {
			pid = ch.started.Started
		}
		if err := step.caller(pid); err != nil {
			return &StepError{Step: step, Call: "the caller", Err: err}
		}
		if err := sys.WriteByte(gate); err != nil {
			return err
		}
	}
	return nil
}

// abandon kills and reaps the processes that were started.
func (ch *child) abandon() {
	for _, pid := range []int{ch.pid, ch.started.Started} {
		if pid != 0 && sys.IsChild(pid) {
			_ = sys.Kill(pid, 9) //nolint:errcheck // then it has ended
			_ = sys.Reap(pid)    //nolint:errcheck // it is our child
		}
	}
}

package container

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// A userKey identifies a store: the owner of its files, and a mount namespace.
type userKey struct {
	owner Owner
	mnt   uint64
}

// A watch is the parent of a container's first process, read once when it is needed.
type watch struct {
	f     *identifier
	c     *Container
	in    *contents
	read  bool
	pid   int // the parent
	child int // the first process, of which it is the parent
	said  Monitor
	ok    bool
	by    Owner // its speaker
	know  bool
}

func (f *identifier) watch(c *Container, in *contents) *watch { return &watch{f: f, c: c, in: in} }

// monitor returns the parent's information, whoever the parent is.
func (w *watch) monitor() (Monitor, bool) {
	if w.read {
		return w.said, w.ok
	}
	w.read = true
	if w.pid = w.in.watcher; w.pid == 0 && !w.climb() {
		return Monitor{}, false
	}
	w.said, w.ok = w.f.proc.monitor(w.pid)
	return w.said, w.ok
}

// maxClimbed is more than the depth of any process tree in a container.
const maxClimbed = 256

// climb goes up from a process of the container, or of one inside, to the first parent outside.
// The process that seems to be the first of it may have been started there later.
func (w *watch) climb() bool {
	pids := w.f.pidsOf(w.in)
	if len(pids) == 0 {
		pids = w.f.pidsWithin(w.in)
	}
	if len(pids) == 0 {
		return false
	}
	w.pid = w.f.first(pids)
	for range maxClimbed {
		w.child = w.pid
		if w.pid = w.f.proc.stat(w.child).PPID; w.pid == 0 || !w.f.contains(w.c, w.pid) {
			break
		}
	}
	return w.pid != 0
}

// startedIn returns the container in which the parent of another one is, or nil.
func (f *identifier) startedIn(w *watch) *Container {
	if _, ok := w.monitor(); !ok || w.in.watcher != 0 {
		return nil
	}
	g := f.member(w.pid).group
	if g == nil || g.container == nil {
		return nil
	}
	f.nameOnce(g.container)
	if g.container.In(w.c) {
		return nil // each has a process of the other
	}
	return g.container
}

// owner returns whose word the parent's is.
func (w *watch) owner() Owner {
	if w.know {
		return w.by
	}
	w.know, w.by = true, Unknown
	if m, ok := w.monitor(); ok {
		w.by = w.f.speaker(w.pid, m.Engine.entry().watchers)
	}
	return w.by
}

// of returns the parent's information if it is the word of a user.
func (w *watch) of(user Owner) func() (Monitor, bool) {
	return func() (Monitor, bool) {
		if m, ok := w.monitor(); ok && w.owner() == user {
			return m, true
		}
		return Monitor{}, false
	}
}

// speaker returns whose word the command line of a process is. It is Unknown for a process in a
// container: by its control group, by its PID namespace, or by the files of its engine. It is Root
// for a process of root in the host's user namespace that runs one of these programs from a place
// where only root can put one. A set-user-ID program is root's too, but its arguments are
// anybody's.
func (f *identifier) speaker(of int, programs []string) Owner {
	in := f.namespace(of, inspect.PID)
	if in == 0 || in != f.namespace(0, inspect.PID) {
		return Unknown
	}
	if g := f.member(of).group; g != nil && g.container != nil {
		return Unknown
	}
	text, err := f.proc.cgroup(of)
	if err != nil || len(RefsOf(text)) > 0 {
		return Unknown
	}
	before := f.proc.statNow(of).Start
	owner := f.owners.process(of, f.namespace(of, inspect.User), f.namespace(0, inspect.User))
	if owner == Root && !f.owners.isProgram(of, f.namespace(of, inspect.Mnt), programs) {
		owner = Unknown
	}
	// The command line was read before: check that it is of this process.
	if start := f.proc.statNow(of).Start; start == 0 || start != before || !slices.Equal(f.proc.cmdlineNow(of), f.proc.cmdline(of)) {
		return Unknown
	}
	return owner
}

// namespace returns the inode number of a namespace of a process, or of the host for 0. It is 0 if
// it cannot be read.
func (f *identifier) namespace(of int, typ inspect.Type) uint64 {
	if of == 0 {
		if f.host[typ] == 0 && f.hostPID != 0 {
			f.host[typ] = f.owners.inode(f.hostPID, typ)
		}
		return f.host[typ]
	}
	if ino := f.member(of).inos[typ]; ino != 0 {
		return ino
	}
	return f.owners.inode(of, typ)
}

// nameOwned finds the owner and the name of a container: by root's files and processes, or else by
// those of the user who can have made it.
func (f *identifier) nameOwned(c *Container, in *contents) {
	plain := Container{Engine: c.Engine, ID: c.ID, Namespace: c.Namespace, Pod: c.Pod, User: Unknown}
	w := f.watch(c, in)
	n := f.finder(nil)
	if n == nil {
		f.findInit(c, in)
		return
	}
	found := n.find(c, nil)
	if !found && w.owner() == Root {
		if there := f.ownerStore(Root, w.pid); there != nil {
			n = &finder{store: there, proc: f.proc, speaker: f.speaker}
		}
		found = n.find(c, w.of(Root))
	}
	fits := f.plausible(c)
	if f.confirms(c, in, n, w, found) {
		if !fits {
			*c = plain
		}
		c.User, c.Confirmed = Root, true
		in.stated = cmp.Or(n.init, w.child)
		f.claimInit(c, in.stated)
		f.findInit(c, in)
		f.reportUnnamed(c, n, found)
		return
	}
	var why error
	switch {
	case found && n.init != 0:
		why = fmt.Errorf("its state names process %d, and nothing confirms that it is this one", n.init)
	case found:
		why = errors.New("nothing confirms what the state says")
	}
	*c = plain
	in.stated = 0
	if outer := f.startedIn(w); outer != nil {
		// Its engine shares the host's control groups.
		c.Outer = outer
		f.contents[outer].inner = append(f.contents[outer].inner, c)
		f.nameInner(c, in)
		return
	}
	f.findInit(c, in)
	c.User = f.userOwner(in, w)
	// These are asked last: the owner of a group that is gone is not known. A parent of unknown
	// owner, such as a set-user-ID program under another name, is no claim by its word alone.
	c.neverBlocks = c.User == Unknown && in.watcher != 0 || c.User <= Root && !slices.ContainsFunc(f.pidsWithin(in), f.proc.lives)
	if c.User > Root {
		if f.set.host.userName != nil {
			c.Account = f.set.host.userName(uint32(c.User))
		}
		if !isAccount(c.Account) {
			c.Account = strconv.FormatInt(int64(c.User), 10)
		}
		f.nameUsers(c, in, w)
		return
	}
	if why == nil || !fits {
		f.reportUnnamed(c, n, !fits)
	} else if !f.gone(c.Init) {
		f.gap(0, "name of "+c.String(), why)
	}
}

// confirms reports whether the facts that root's word gives are about this container.
func (f *identifier) confirms(c *Container, in *contents, n *finder, w *watch, found bool) bool {
	here := f.contains(c, n.init)
	switch {
	case n.init != 0 && n.start != 0:
		return here && f.proc.stat(n.init).Start == n.start
	case n.init != 0:
		start, ok := f.proc.startTime(n.init)
		return here && ok && !start.After(n.changed) && f.groupOwner(in, w) == Root
	case !found:
		return false
	case c.Engine == BuildKit:
		return f.groupOwner(in, w) == Root // there is neither a file nor a name
	case c.Engine.entry().watched:
		m, ok := w.of(Root)()
		if !ok || m.ID != c.ID || (m.Engine == Nspawn) != (c.Engine == Nspawn) || f.groupOwner(in, w) != Root {
			return false
		}
		if m.Path != "" {
			c.Path = m.Path
		}
		return true
	}
	return false
}

// groupOwner returns the user who can have made the control group of a container. If only its
// parent says that it is one, that is the first group without the parent, or the group of both.
func (f *identifier) groupOwner(in *contents, w *watch) Owner {
	if in.watcher == 0 {
		return f.owners.maker(in.ref)
	}
	pids := f.pidsOf(in)
	if len(pids) == 0 {
		return Unknown
	}
	own, err := f.proc.cgroup(f.first(pids))
	paths := parseCgroup(own)
	if err != nil || len(paths) == 0 {
		return Unknown
	}
	text, err := f.proc.cgroup(w.pid)
	if err != nil {
		return Unknown
	}
	tree := paths[0].tree
	for _, parent := range allCgroups(text) {
		if parent.tree != tree {
			continue
		}
		if strings.HasPrefix(parent.path, "/..") {
			return Unknown
		}
		var common []string
		above := strings.Split(parent.path, "/")
		for i, part := range strings.Split(paths[0].path, "/") {
			common = append(common, part)
			if i >= len(above) || above[i] != part {
				return f.owners.group(tree, strings.Join(common, "/"), false)
			}
		}
		return f.owners.group(tree, paths[0].path, true)
	}
	return Unknown
}

// userOwner returns the user of a container that is not confirmed as root's: the owner of its
// control group or, if only its parent says that it is one, the owner of the parent. It is Unknown
// if root's process is the parent and the group is another user's.
func (f *identifier) userOwner(in *contents, w *watch) Owner {
	by := w.owner()
	if in.watcher != 0 {
		if by == Root {
			return Unknown
		}
		return by
	}
	group := f.groupOwner(in, w)
	if by.Known() && group.Known() && by != group {
		if by == Root {
			return Unknown
		}
	}
	return group
}

// nameUsers names the container of a user by the files and processes of that user.
func (f *identifier) nameUsers(c *Container, in *contents, w *watch) {
	if w.owner() != c.User {
		return
	}
	there := f.ownerStore(c.User, w.pid)
	if there == nil {
		return
	}
	was := *c
	n := &finder{store: there, proc: f.proc, speaker: f.speaker}
	if !n.find(c, w.of(c.User)) || c.Name == "" || !f.plausible(c) {
		*c = was
		return
	}
	here := f.contains(c, n.init)
	if n.init != 0 && !here {
		*c = was
		return
	}
	c.Confirmed = true
	f.claimInit(c, n.init)
	if in.stated = n.init; here {
		c.Init = n.init
	}
}

// ownerStore returns the files of a user in the mount namespace of one of their processes, or nil.
// Root's, in that of the host, are the host's.
func (f *identifier) ownerStore(owner Owner, of int) *store {
	ns := f.namespace(of, inspect.Mnt)
	hosts := ns == 0 || ns == f.namespace(0, inspect.Mnt)
	if owner == Root && hosts {
		return nil
	}
	key := userKey{owner, ns}
	if s, known := f.users[key]; known {
		return s
	}
	f.users[key] = nil
	var far []string
	if f.set.host.far != nil {
		var err error
		if far, err = f.set.host.far(of); err != nil {
			return nil
		}
	}
	var s *store
	var err error
	if hosts {
		s, err = f.openHost(owner, f.budget(owner), far)
	} else if s, err = openStore(f.proc.root(of), "", owner, f.budget(owner), far, &f.set.Gaps); err == nil {
		s.stated = f.owners.stated
	}
	if err != nil {
		return nil
	}
	f.users[key] = s
	f.cache(s, func() { delete(f.users, key) })
	return s
}

// userFinder returns a finder for the files of a user on the host, or nil.
func (f *identifier) userFinder(user Owner) *finder {
	if !user.Known() {
		return nil
	}
	var far []string
	if f.set.host.far != nil {
		far, _ = f.set.host.far(1)
	}
	s, err := f.openHost(user, f.budget(user), far)
	if err != nil {
		return nil
	}
	f.cache(s, func() {})
	return &finder{store: s, proc: f.proc, speaker: f.speaker}
}

// isAccount reports whether a user name can be part of the name of a container.
func isAccount(name string) bool {
	digits := true
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', i > 0 && (c == '-' || c == '.'):
			digits = false
		case c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return !digits
}

// reportImpostors reports processes whose control group has the name of another container.
func (f *identifier) reportImpostors() {
	real := make(map[string]*Container)
	for _, c := range f.set.Containers {
		if c.Outer == nil && c.Confirmed && c.User == Root {
			real[c.ID] = c
		}
	}
	for _, c := range f.set.Containers {
		o := real[c.ID]
		switch {
		case o == nil || c.Outer != nil || c.Confirmed:
		case f.contents[c].watcher != 0:
			f.gap(0, "container", fmt.Errorf("process %d is called as that of %s is, and process %d is not in it", f.contents[c].watcher, o, c.Init))
		default:
			f.gap(0, "container", fmt.Errorf("process %d is in a control group that is called as that of %s, and is not in it", c.Init, o))
		}
	}
}

// startTime returns when a process started.
func (p *procDir) startTime(of int) (time.Time, bool) {
	ticks := p.stat(of).Start
	if ticks == 0 {
		return time.Time{}, false
	}
	up, err := sys.Uptime()
	if err != nil {
		return time.Time{}, false
	}
	return time.Now().Add(-up).Add(time.Duration(ticks) * (time.Second / procfile.TicksPerSecond)), true
}

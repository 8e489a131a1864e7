package container

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/passwd"
	"github.com/nstool/nstool/internal/sys"
)

// groupKeyTypes are the types of namespace, the most distinctive first: hardly any container
// shares a mount namespace with another, many share a time or cgroup namespace with the host.
var groupKeyTypes = [...]inspect.Type{inspect.Mnt, inspect.PID, inspect.Net, inspect.User, inspect.IPC, inspect.UTS, inspect.Cgroup, inspect.Time}

// A host is where to look for containers.
type host struct {
	// proc is the proc file system with the processes.
	proc string
	// Host is the host of the system, if proc is of this system and the caller reaches it
	// through another process.
	inspect.Host
	// root is the root of the file system in which the engines of a made-up host keep their
	// state.
	root string
	// self is a process in the namespaces of the host, to compare with if neither
	// process 1 nor a kernel thread could be read. It may be the caller.
	self   int
	hidden bool // see WithHidden
	// far, if not nil, returns the mount points of a process with file systems that may
	// never answer. They are not touched in a container.
	far func(pid int) ([]string, error)
	// caller is the user who may name its own engine's containers without the user.
	caller Owner
	// userName, if not nil, returns the name of a user, or "".
	userName func(uid uint32) string
	// stated: proc is made up, and has a file with the owners of things, see package nstest.
	stated bool
}

// A Membership says which container a process is in.
type Membership struct {
	// Container is nil for a process of the host.
	Container *Container
	// Guest: the process came from outside. It joined namespaces of the container, but its mount
	// namespace is the host's. A guest that joined the mount namespace too is only found by
	// [Set.Guests].
	Guest bool
}

// A Set is the containers of a host.
type Set struct {
	// Containers are all that run, by [Container.String]. An outer container is before those in
	// it.
	Containers []*Container
	// Gaps are what could not be read.
	Gaps []inspect.Gap

	snap    *inspect.Snapshot
	host    host
	initial inspect.Inodes     // the namespaces of the host
	members map[int]Membership // by PID, without processes of the host
	left    []Left
	owner   map[uint64]*Container // by inode of a namespace that is not the host's
}

// Owner returns the container that a namespace belongs to, or nil: the one that
// came with it, if several share it. The sandbox of a pod comes first.
func (s *Set) Owner(ino uint64) *Container {
	if s == nil {
		return nil
	}
	return s.owner[ino]
}

// An Option changes what [Find] looks at.
type Option func(*host)

// WithHidden looks also at processes whose namespaces are not known, as those of
// others are to an ordinary user: each by its own control group, which everybody may
// read. That takes some microseconds for each.
func WithHidden() Option { return func(h *host) { h.hidden = true } }

// Find finds the containers that the processes of a snapshot are in. It reads the
// control group of one process of each set that shares a mount namespace which is not
// the host's, and then the names of the containers that it found.
//
// It never fails: what could not be read is in [Set.Gaps].
func Find(ctx context.Context, snap *inspect.Snapshot, options ...Option) *Set {
	h := host{proc: snap.Proc(), self: snap.Self()}
	if snap.IsReal() {
		h.Host = snap.Host()
		if h.IsElsewhere() && h.PID != 0 {
			h.self = h.PID
		}
		h.far, h.userName, h.caller = snap.FarMounts, passwd.Names(h.Path("/etc/passwd")), Owner(os.Geteuid())
	} else {
		h.stated, h.root = true, path.Join(h.proc, "1/root") // not this system's own
	}
	for _, o := range options {
		o(&h)
	}
	set := identify(ctx, h, func(yield func(int, *inspect.Inodes) bool) {
		for p := range snap.Processes() {
			if !yield(p.PID, p.Inodes()) {
				return
			}
		}
	})
	set.snap = snap
	return set
}

// Lookup returns a function that calls [Find] when it is first called, and returns the
// same set each time.
func Lookup(ctx context.Context, snap *inspect.Snapshot, options ...Option) func() *Set {
	return sync.OnceValue(func() *Set { return Find(ctx, snap, options...) })
}

// Of returns the container that a process is in.
func (s *Set) Of(p *inspect.Process) Membership {
	if s == nil {
		return Membership{}
	}
	return s.members[p.PID]
}

// With returns the container that a namespace belongs to, or nil for one of the host:
// the one that it came with, or else that of its leader.
//
//go:noinline
func (s *Set) With(ns *inspect.Namespace) *Container {
	if c := s.Owner(ns.ID.Ino); c != nil {
		return c
	}
	if l := ns.Leader(); l != nil {
		if m := s.Of(l); !m.Guest {
			return m.Container
		}
	}
	return nil
}

// IsHost reports whether a namespace of type t is the host's own.
func (s *Set) IsHost(t inspect.Type, id inspect.ID) bool {
	return s != nil && s.initial[t] == id.Ino
}

// Strangers reports whether there may be processes that were not seen in any
// namespace, and may be of other containers than c. The container of one that could not
// be read is known by its control group.
func (s *Set) Strangers(c *Container) bool {
	pids, ok := s.snap.Unread()
	return !ok || slices.ContainsFunc(pids, func(pid int) bool {
		if _, ok := s.snap.Process(pid); !ok {
			return true
		}
		in := s.members[pid].Container
		return in != nil && in != c
	})
}

func identify(ctx context.Context, host host, procs iter.Seq2[int, *inspect.Inodes]) *Set {
	f, err := newIdentifier(host)
	if err != nil {
		f.gap(0, "containers", err)
		return f.set
	}
	defer f.close()
	f.group(procs)
	f.set.initial = f.host
	if host.Err != nil && len(f.groups) > 0 {
		f.gap(0, "the host's file system, with the names of containers", host.Err)
	}
	for _, stage := range []func(){f.place, f.name, f.reportImpostors, f.attribute} {
		if err := ctx.Err(); err != nil {
			f.gap(0, "containers", err)
			break
		}
		stage()
	}
	if f.proc.stuck.Count > 0 {
		f.gap(0, "containers", fmt.Errorf("%d or more processes: %w", f.proc.stuck.Count, inspect.ErrSlow))
	}
	names := make(map[*Container]string, len(f.set.Containers))
	for _, c := range f.set.Containers {
		names[c] = c.String()
	}
	slices.SortFunc(f.set.Containers, func(a, b *Container) int {
		return cmp.Or(cmp.Compare(names[a], names[b]), cmp.Compare(a.ID, b.ID))
	})
	return f.set
}

// An identifier is a [Find] under way. Its stages run one after the other.
type identifier struct {
	set     *Set
	proc    *procDir
	owners  *owners
	users   map[userKey]*store // files of engines of users, and of root in other mount namespaces
	cached  []cachedStore      // the open stores, but for the host's
	budgets map[any]*int       // by user, or by outermost container
	procs   []member
	byPID   map[int]*member // made on first use
	host    inspect.Inodes
	hostPID int  // a process that is in those
	beside  bool // the host's control groups are beside the reader's, so "/" is no root
	groups  []*group

	byKey    map[containerKey]*Container
	contents map[*Container]*contents
	// ancestry has the results for ancestors of processes that no control group places.
	ancestry map[int]*Container
}

func newIdentifier(host host) (f *identifier, err error) {
	f = &identifier{
		set:   &Set{host: host, owner: make(map[uint64]*Container)},
		byKey: make(map[containerKey]*Container), contents: make(map[*Container]*contents), ancestry: make(map[int]*Container),
		users: make(map[userKey]*store), budgets: make(map[any]*int),
	}
	if f.proc, err = openProc(host); err == nil {
		f.owners = newOwners(f.proc, host.stated)
	}
	return f, err
}

// close closes everything that was opened.
func (f *identifier) close() {
	if in := f.contents[nil]; in != nil && in.store != nil {
		in.store.close()
	}
	for _, k := range f.cached {
		k.store.close()
	}
	f.owners.close()
	f.proc.close()
}

// A cachedStore is an open store, and a function that makes the identifier forget it.
type cachedStore struct {
	store  *store
	forget func()
}

// maxStores is the largest number of open stores besides the host's, more than are in use
// together.
const maxStores = 8

// cache keeps a store open, until there are too many.
func (f *identifier) cache(s *store, forget func()) {
	if len(f.cached) == maxStores {
		f.cached[0].forget()
		f.cached[0].store.close()
		f.cached = slices.Delete(f.cached, 0, 1)
	}
	f.cached = append(f.cached, cachedStore{s, forget})
}

// budget returns the number of bytes that may still be read of the files of a user, or of an
// outermost container.
func (f *identifier) budget(of any) *int {
	left := f.budgets[of]
	if left == nil {
		left = new(int)
		*left, f.budgets[of] = maxInner, left
	}
	return left
}

// A containerKey identifies a container.
type containerKey struct {
	outer          *Container
	id, tree, base string
}

type member struct {
	pid   int
	inos  *inspect.Inodes
	group *group // nil for a process of the host
}

// A group is the processes that share a mount namespace.
type group struct {
	pids      []int // ascending
	inos      *inspect.Inodes
	container *Container
	rest      []string // the part of its control group below the container
	tree      string   // the hierarchy of that
	relative  bool     // its control group is the reader's, or beside it
}

// contents is what the identifier knows of a container.
type contents struct {
	groups  []*group
	inner   []*Container // the containers in it
	ref     Ref          // by which it was found
	watcher int          // the process whose command line says that it is a container, if no control group does
	stated  int          // its first process by the engine's state
	named   bool         // or it is being named
	store   *store       // the state of engines in it, once it was needed
}

func (f *identifier) gap(pid int, what string, err error) {
	f.set.Gaps = append(f.set.Gaps, inspect.Gap{PID: pid, What: what, Err: err})
}

// group groups the processes by their most distinctive namespace.
func (f *identifier) group(procs iter.Seq2[int, *inspect.Inodes]) {
	var first, kernel, self inspect.Inodes
	for pid, inos := range procs {
		f.procs = append(f.procs, member{pid: pid, inos: inos})
		switch pid {
		case f.set.host.self:
			self = *inos
		case 2:
			kernel = *inos
		}
		if pid == 1 {
			first = *inos
		}
	}
	// Kernel threads are in the initial namespaces, and process 2 is the parent
	// of them all, unless it is one of a container that has a /proc of its own.
	switch {
	case first != (inspect.Inodes{}):
		f.host, f.hostPID = first, 1
	case kernel != (inspect.Inodes{}) && f.proc.statNow(2).IsKernelThread():
		f.host, f.hostPID = kernel, 2
	case f.set.host.Err != nil || f.set.host.IsElsewhere() && f.set.host.PID == 0:
		// The caller is not on the host, and no process of it could be read.
		for t := range inspect.AllTypes.All() {
			f.host[t], _ = t.InitialIno()
		}
	default:
		f.host, f.hostPID = self, f.set.host.self
	}
	if f.host == (inspect.Inodes{}) {
		return // there is nothing to compare with
	}
	byIno := make(map[uint64]*group)
	for i := range f.procs {
		p := &f.procs[i]
		var g *group
		switch key := f.groupKey(p.inos); {
		case key != 0:
			g = byIno[key]
			if g == nil {
				g = &group{inos: p.inos}
				byIno[key] = g
				f.groups = append(f.groups, g)
			}
		case f.set.host.hidden && *p.inos == (inspect.Inodes{}):
			g = &group{inos: p.inos}
			f.groups = append(f.groups, g)
		default:
			continue
		}
		g.pids = append(g.pids, p.pid)
		p.group = g
	}
	for _, g := range f.groups {
		slices.Sort(g.pids)
	}
}

// groupKey returns the namespace that a process is grouped by: its mount namespace or, if a scan
// did not read those, the first that is not the host's. It is 0 for a process of the host.
func (f *identifier) groupKey(inos *inspect.Inodes) uint64 {
	for _, t := range groupKeyTypes {
		if ino := inos[t]; ino != 0 && f.host[t] != 0 {
			if ino != f.host[t] {
				return ino
			}
			if t == inspect.Mnt {
				return 0
			}
		}
	}
	return 0
}

// place finds the container of each group.
func (f *identifier) place() {
	if text, err := f.proc.cgroup(1); err == nil && len(f.groups) > 0 {
		f.beside = place(text, nil).relative
	}
	var unplaced []*group
	for _, g := range f.groups {
		if !f.placeByCgroup(g, g.pids[0]) {
			unplaced = append(unplaced, g)
		}
	}
	for _, g := range unplaced {
		f.placeByParent(g)
	}
}

// placeByCgroup places a group by the control group of one of its processes. It reports whether
// nothing else needs to be asked.
func (f *identifier) placeByCgroup(g *group, pid int) bool {
	text, err := f.proc.cgroup(pid)
	if err != nil {
		if !sys.Gone(err) {
			f.gap(pid, "cgroup", err)
		}
		return false
	}
	at := place(text, f.owners)
	g.rest, g.tree, g.relative = at.rest, at.tree, at.relative || f.beside && len(at.rest) == 0
	if len(at.refs) == 0 {
		return !f.suspect(g, nil)
	}
	for _, ref := range at.refs {
		g.container = f.container(ref, g.container)
	}
	f.addGroup(g)
	return !f.suspect(g, f.contents[g.container].groups[0])
}

// suspect reports whether a group may be in a container although its control group does not say
// so, or in one more than it says. To look into that costs time, so it must be rare on a host
// without engines: a service of systemd with its own mount namespace is not suspect.
func (f *identifier) suspect(g *group, outer *group) bool {
	around := f.host[inspect.PID]
	if outer != nil {
		around = outer.inos[inspect.PID]
	}
	switch {
	case g == outer:
		return false
	case g.inos[inspect.PID] != 0 && around != 0 && g.inos[inspect.PID] != around:
		return true
	case outer != nil:
		return false
	case g.relative:
		return true
	}
	return len(g.rest) > 0 && !slices.ContainsFunc(g.rest, isUnit)
}

// isUnit reports whether a group has the name of a unit of systemd.
func isUnit(part string) bool {
	for _, suffix := range []string{".service", ".scope", ".slice", ".mount", ".socket", ".swap"} {
		if strings.HasSuffix(part, suffix) {
			return true
		}
	}
	return false
}

// triedMembers is the number of processes of a group whose control group is read: the first may be
// a guest.
const triedMembers = 4

// placeByParent places a group whose control group is not enough: by that of another process, by
// the files of containerd, runc and crun, or by an ancestor that is in a container or watches over
// one.
func (f *identifier) placeByParent(g *group) {
	var asked []string
	for i, pid := range g.pids[:min(len(g.pids), triedMembers)] {
		if i > 0 {
			if f.placeByCgroup(g, pid) && g.container != nil {
				return
			}
			if g.container == nil && slices.Equal(g.rest, asked) {
				continue
			}
		}
		asked = g.rest
		if ref, ok := f.refByFiles(g, g.container); ok {
			outer := g.container
			f.removeGroup(g)
			g.container = f.container(ref, outer)
			f.addGroup(g)
			return
		}
		if g.container != nil {
			break
		}
	}
	f.placeByAncestor(g, g.container)
}

// placeByAncestor places a group by the nearest ancestor of its first process that is in a
// container, or watches over one. The result is kept for all groups below, so that a long line of
// processes is walked once.
func (f *identifier) placeByAncestor(g *group, outer *Container) {
	var walked []int
	var found *Container
	for pid, ppid := f.first(g.pids), 0; ; pid = ppid {
		if known, ok := f.ancestry[pid]; ok && outer == nil {
			found = known
			break
		}
		if ppid = f.proc.stat(pid).PPID; ppid <= 1 {
			break
		}
		parent := f.member(ppid).group
		if parent == g {
			walked = nil // another group would have this parent too
			continue
		}
		walked = append(walked, pid)
		if parent != nil && parent.container != nil && parent.container != outer {
			if outer == nil {
				found = parent.container
			}
			break
		}
		if m, ok := f.proc.monitor(ppid); ok {
			m.base = fmt.Sprint("process ", ppid)
			found = f.container(m.Ref, outer)
			f.contents[found].watcher = ppid
			break
		}
		if parent == nil || outer != nil {
			break // the host's, or the container's own
		}
	}
	if found != nil {
		f.removeGroup(g)
		g.container = found
		f.addGroup(g)
	}
	if outer == nil {
		for _, pid := range walked {
			f.ancestry[pid] = found
		}
	}
}

// refByFiles looks up a group with a name as containerd, runc and crun give it, /NAMESPACE/ID or
// /ID, in their files.
func (f *identifier) refByFiles(g *group, outer *Container) (Ref, bool) {
	if len(g.rest) == 0 {
		return Ref{}, false
	}
	n := f.finder(outer)
	if n == nil {
		return Ref{}, false
	}
	if len(g.rest) > 1 {
		if _, ok := n.findTask(g.rest[0], g.rest[1]); ok {
			return Ref{Engine: Containerd, ID: g.rest[1], Namespace: g.rest[0], base: path.Join(g.rest[:2]...), tree: g.tree}, true
		}
	}
	for _, id := range []string{g.rest[len(g.rest)-1], g.rest[0]} {
		if n.hasRuntime(id) {
			return Ref{Engine: Runc, ID: id, base: path.Join(g.rest...), tree: g.tree}, true
		}
	}
	return Ref{}, false
}

// container returns the container that ref names, in outer.
func (f *identifier) container(ref Ref, outer *Container) *Container {
	// The ID is not enough: a user who may make control groups can give one the ID of another
	// container.
	key := containerKey{outer, ref.ID, ref.tree, ref.base}
	c := f.byKey[key]
	if c == nil {
		c = &Container{Engine: ref.Engine, ID: ref.ID, Namespace: ref.Namespace, Outer: outer, User: Unknown}
		if ref.Pod != "" && ref.Engine != Podman {
			c.Pod = &Pod{UID: ref.Pod}
		}
		f.byKey[key] = c
		f.contents[c] = &contents{ref: ref}
		if outer != nil {
			f.contents[outer].inner = append(f.contents[outer].inner, c)
		}
		f.set.Containers = append(f.set.Containers, c)
	}
	return c
}

func (f *identifier) addGroup(g *group) {
	in := f.contents[g.container]
	if !slices.Contains(in.groups, g) {
		in.groups = append(in.groups, g)
	}
}

// removeGroup removes a group from the container that it was placed in.
func (f *identifier) removeGroup(g *group) {
	if g.container != nil {
		in := f.contents[g.container]
		in.groups = slices.DeleteFunc(in.groups, func(other *group) bool { return other == g })
	}
}

// first returns the process with the oldest start time, of those with the lowest numbers. Numbers
// wrap around.
func (f *identifier) first(pids []int) int {
	best, bestStart := pids[0], uint64(0)
	if len(pids) == 1 {
		return best
	}
	for _, pid := range pids[:min(len(pids), 8)] {
		if start := f.proc.stat(pid).Start; start != 0 && (bestStart == 0 || start < bestStart) {
			best, bestStart = pid, start
		}
	}
	return best
}

// name finds the names of the containers, and their first processes. A container comes before
// those in it.
func (f *identifier) name() {
	var firsts []int
	for _, c := range f.set.Containers {
		for _, g := range f.contents[c].groups {
			firsts = append(firsts, g.pids[0])
		}
	}
	if len(firsts) > 0 {
		f.proc.readStats(firsts)
	}
	for _, c := range f.set.Containers {
		f.nameOnce(c)
	}
	f.set.Containers = slices.DeleteFunc(f.set.Containers, func(c *Container) bool { return !f.occupied(c) })
}

// nameOnce names a container, unless that was done.
func (f *identifier) nameOnce(c *Container) {
	in := f.contents[c]
	switch {
	case in.named:
		return
	case c.Outer != nil && !f.occupied(c):
		return
	}
	in.named = true
	if c.Outer == nil {
		f.nameOwned(c, in)
	} else {
		f.nameInner(c, in)
	}
}

// occupied reports whether a process is in a container or in one inside. The containers around
// must be settled.
func (f *identifier) occupied(c *Container) bool {
	in := f.contents[c]
	return len(in.groups) > 0 || slices.ContainsFunc(in.inner, f.occupied)
}

// nameInner names a container in another, by the files and processes in there.
func (f *identifier) nameInner(c *Container, in *contents) {
	if outer := c.outermost(); outer.User > Root {
		c.User, c.Account = outer.User, outer.Account
	}
	n := f.finder(c.Outer)
	if n == nil {
		f.findInit(c, in)
		return
	}
	w := f.watch(c, in)
	found := n.find(c, w.monitor)
	if !f.plausible(c) {
		*c = Container{Engine: c.Engine, ID: c.ID, Outer: c.Outer, User: c.User, Account: c.Account}
	}
	f.findInit(c, in)
	f.reportUnnamed(c, n, found)
}

// reportUnnamed reports why no name was found.
func (f *identifier) reportUnnamed(c *Container, n *finder, found bool) {
	switch {
	case found:
	case c.Outer == nil && f.set.host.Err != nil: // that was reported
	case f.gone(c.Init): // its state may be gone too
	case len(n.store.denied) > 0:
		n.store.reportDenied() // the name may be in there
	case n.store.silent: // the same
	default:
		f.gap(0, "name of "+c.String(), fmt.Errorf("no state of it was found: %w", fs.ErrNotExist))
	}
}

// maxName and maxImage are the longest names that are accepted; that of an image has three parts.
// No engine gives a longer one, but files in a container could, and fill the screen.
const (
	maxName  = 255
	maxImage = 3 * maxName
)

// plausible reports whether a container can have the name that was found. If not it adds a gap.
func (f *identifier) plausible(c *Container) bool {
	pod := cmp.Or(c.Pod, &Pod{})
	longest := max(len(c.Name), len(c.Namespace), len(pod.Name), len(pod.Namespace), len(pod.UID))
	if longest <= maxName && len(c.Image) <= maxImage {
		return true
	}
	f.gap(0, "name of container "+c.ShortID(), fmt.Errorf("a name of %d bytes", max(longest, len(c.Image))))
	return false
}

// gone reports whether a process has exited.
func (f *identifier) gone(pid int) bool {
	_, err := f.proc.cgroup(pid)
	return sys.Gone(err)
}

func (f *identifier) pidsOf(in *contents) (pids []int) {
	for _, g := range in.groups {
		pids = append(pids, g.pids...)
	}
	slices.Sort(pids)
	return pids
}

// pidsWithin is pidsOf with the containers inside.
func (f *identifier) pidsWithin(in *contents) []int {
	groups := slices.Clone(in.groups)
	for inside := slices.Clone(in.inner); len(inside) > 0; inside = inside[1:] {
		deeper := f.contents[inside[0]]
		groups = append(groups, deeper.groups...)
		inside = append(inside, deeper.inner...)
	}
	return f.pidsOf(&contents{groups: groups})
}

// contains reports whether a process is in a container, or in one inside.
func (f *identifier) contains(c *Container, pid int) bool {
	g := f.member(pid).group
	return g != nil && g.container.In(c)
}

// claimInit puts the first process of a container, if its owner confirms that, into the container
// itself, with all that share its mount namespace. Root of a container may have named one of its
// control groups like that of a container inside.
func (f *identifier) claimInit(c *Container, first int) {
	if g := f.member(first).group; f.contains(c, first) && g.container != c {
		f.removeGroup(g)
		g.container = c
		f.addGroup(g)
	}
}

// findInit finds the first process of a container.
func (f *identifier) findInit(c *Container, in *contents) {
	pids := f.pidsOf(in)
	if len(pids) == 0 {
		return
	}
	c.Init = in.stated
	if _, ok := slices.BinarySearch(pids, in.stated); !ok {
		c.Init = f.first(pids)
	}
}

// finder returns a finder for names in outer, or on the host for nil.
func (f *identifier) finder(outer *Container) *finder {
	in := f.contents[outer]
	if in == nil {
		in = &contents{}
		f.contents[outer] = in
	}
	if in.store == nil {
		var err error
		if in.store, err = f.openStore(outer, in); err != nil {
			f.gap(0, "names of containers", err)
			return nil
		}
	}
	return &finder{store: in.store, proc: f.proc, outer: outer, speaker: f.speaker}
}

// openStore opens the root of the file system with the state of outer's engines, or the host's.
func (f *identifier) openStore(outer *Container, in *contents) (*store, error) {
	if outer != nil {
		if outer.Init == 0 {
			f.findInit(outer, in)
		}
		if outer.Init == 0 {
			return nil, fmt.Errorf("of %s no process is seen: %w", outer, fs.ErrNotExist)
		}
		var far []string
		if f.set.host.far != nil {
			var err error
			if far, err = f.set.host.far(outer.Init); err != nil {
				return nil, err
			}
		}
		s, err := openStore(f.proc.root(outer.Init), "", Unknown, f.budget(outer.outermost()), far, &f.set.Gaps)
		if err == nil {
			s.what += " in " + outer.String()
			f.cache(s, func() { in.store = nil })
		}
		return s, err
	}
	return f.openHost(Root, nil, nil)
}

// callersMounts is the mount table of the caller.
const callersMounts = "/proc/thread-self/mountinfo"

// openHost opens the host's file system, to read the files of an owner.
func (f *identifier) openHost(owner Owner, left *int, far []string) (s *store, err error) {
	switch h := f.set.host; {
	case h.root != "":
		s, err = openStore(h.root, f.proc.mountinfo(1), owner, left, far, &f.set.Gaps)
	case h.Root != "":
		s, err = openStore(h.Root, h.Mountinfo(), owner, left, far, &f.set.Gaps)
	default:
		if s, err = openStore(f.proc.root(1), f.proc.mountinfo(1), owner, left, far, &f.set.Gaps); err != nil {
			s, err = openStore("/", callersMounts, owner, left, far, &f.set.Gaps)
		}
	}
	if err == nil {
		s.stated = f.owners.stated
	}
	return s, err
}

// attribute finds the container of each process, and of each namespace.
func (f *identifier) attribute() {
	containers := slices.Clone(f.set.Containers)
	// Containers of users and of unknown owners come after root's.
	slices.SortStableFunc(containers, func(a, b *Container) int {
		roots := -compareBool(a.Confirmed && a.User == Root, b.Confirmed && b.User == Root)
		return cmp.Or(roots, -compareBool(a.Sandbox, b.Sandbox), cmp.Compare(a.Init, b.Init))
	})
	taken := make(map[uint64]bool)
	for _, ino := range f.host {
		taken[ino] = true
	}
	// Outer containers come first: a namespace that is shared with one is its.
	slices.SortStableFunc(containers, func(a, b *Container) int { return cmp.Compare(depth(a), depth(b)) })
	for _, c := range containers {
		for _, g := range f.contents[c].groups {
			if _, ok := slices.BinarySearch(g.pids, c.Init); !ok {
				continue
			}
			// A namespace of its parent did not come with it: such as the user namespace of a
			// rootless podman.
			parent := new(inspect.Inodes)
			if f.host[inspect.User] != 0 && g.inos[inspect.User] != f.host[inspect.User] {
				parent = f.member(f.proc.stat(c.Init).PPID).inos
			}
			for t, ino := range f.member(c.Init).inos {
				switch {
				case ino == 0 || taken[ino] || ino == parent[t]:
				case c.joined.Has(inspect.Type(t)):
					f.set.left = append(f.set.left, Left{Container: c, Type: inspect.Type(t), Ino: ino, Partner: c.joined.partner})
				default:
					taken[ino] = true
					f.set.owner[ino] = c
				}
			}
		}
	}
	// A later container may have come with it.
	f.set.left = slices.DeleteFunc(f.set.left, func(l Left) bool { return taken[l.Ino] })
	f.set.members = make(map[int]Membership)
	for _, p := range f.procs {
		if p.group != nil && p.group.container != nil {
			f.set.members[p.pid] = Membership{Container: p.group.container}
			continue
		}
		for _, t := range groupKeyTypes {
			if c := f.set.owner[p.inos[t]]; c != nil {
				f.set.members[p.pid] = Membership{Container: c, Guest: true}
				break
			}
		}
	}
}

// member returns the process with the given PID, or an empty one.
func (f *identifier) member(pid int) *member {
	if f.byPID == nil {
		f.byPID = make(map[int]*member, len(f.procs))
		for i := range f.procs {
			f.byPID[f.procs[i].pid] = &f.procs[i]
		}
	}
	if p := f.byPID[pid]; p != nil {
		return p
	}
	return &member{inos: new(inspect.Inodes)}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func depth(c *Container) (n int) {
	for c = c.Outer; c != nil; c = c.Outer {
		n++
	}
	return n
}

// Guests returns those of the given processes that are in namespaces of their container and came
// from outside, as by nsenter(1): their control group is not the container's. It reads the control
// group of each. A process that has exited is no guest.
func (s *Set) Guests(procs iter.Seq[*inspect.Process]) map[int]bool {
	return s.guests(func(yield func(int) bool) {
		for p := range procs {
			if !yield(p.PID) {
				return
			}
		}
	})
}

func (s *Set) guests(pids iter.Seq[int]) map[int]bool {
	guests := make(map[int]bool)
	p, err := openProc(s.host)
	if err != nil {
		return guests
	}
	defer p.close()
	o := newOwners(p, s.host.stated)
	defer o.close()
	own := make(map[*Container]string)
	for pid := range pids {
		m := s.members[pid]
		c := m.Container
		if c == nil || m.Guest || pid == c.Init {
			if m.Guest {
				guests[pid] = true
			}
			continue
		}
		if _, ok := own[c]; !ok {
			own[c], _ = p.cgroup(c.Init)
		}
		if text, err := p.cgroup(pid); err == nil && own[c] != "" && text != own[c] && !sameGroup(o, own[c], text, depth(c)+1) {
			guests[pid] = true
		}
	}
	return guests
}

// sameGroup reports whether a process with the control groups in text is in the n-th container
// from outside, whose first process has those in own.
func sameGroup(o *owners, own, text string, n int) bool {
	home, have := place(own, o), place(text, o)
	refs := home.refs[:min(len(home.refs), n)]
	if len(have.refs) < len(refs) || !slices.EqualFunc(refs, have.refs[:len(refs)], func(a, b Ref) bool { return a.ID == b.ID && a.base == b.base }) {
		return false
	}
	// Without a container in it, a group such as "/payload/init.scope" is compared by name.
	return len(refs) == n || slices.Equal(home.rest[:min(len(home.rest), 1)], have.rest[:min(len(have.rest), 1)])
}

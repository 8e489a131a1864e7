package output

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/text"
)

// namespaceColumns returns the columns of namespaces. Columns of lsns(8) mean the same as there.
func namespaceColumns() []Column[*inspect.Namespace] {
	return []Column[*inspect.Namespace]{
		{"NS", "inode number of the namespace", kindNumber, 0, func(_ *View, ns *inspect.Namespace) cellValue { return numberValue(ns.ID.Ino) }},
		{"TYPE", "type: cgroup, ipc, net, mnt, pid, time, user or uts", kindText, 0, func(_ *View, ns *inspect.Namespace) cellValue { return textValue(ns.Type.String()) }},
		{"PATH", "a file that leads to the namespace", kindText, 0, pathOf},
		{"NPROCS", "number of member processes", kindNumber, 0, func(v *View, ns *inspect.Namespace) cellValue { return v.membersOf(ns) }},
		{"NTHREADS", "number of threads in the namespace", kindNumber, 0, func(v *View, ns *inspect.Namespace) cellValue {
			return v.countOf(ns.Threads, inspect.Members|inspect.Threads)
		}},
		{"PID", "the member with the lowest PID: the leader", kindNumber, 0, func(v *View, ns *inspect.Namespace) cellValue { return v.leaderOf(ns) }},
		{"PPID", "parent process of the leader", kindNumber, NeedDetail, leaderValue(func(_ *View, d inspect.Detail) cellValue { return numberValue(d.PPID) })},
		{"COMMAND", "command line of the leader; without one, what holds the namespace", kindText, NeedDetail | NeedArgs | NeedHolders, commandOf},
		{"UID", "effective user ID of the leader; of a user namespace without one, of its creator", kindNumber, NeedDetail, func(v *View, ns *inspect.Namespace) cellValue {
			return uidOf(v, ns, numberValue[uint32])
		}},
		{"USER", "name of that user, or the number where there is none", kindText, NeedDetail, func(v *View, ns *inspect.Namespace) cellValue {
			return uidOf(v, ns, func(uid uint32) cellValue { return textValue(v.UserName(uid)) })
		}},
		namespaceContainer("CONTAINER", containerName),
		namespaceContainer("ENGINE", containerEngine),
		namespaceContainer("CID", containerID),
		namespaceContainer("IMAGE", containerImage),
		namespaceContainer("POD", containerPod),
		{"NETNSID", "number that the caller's network namespace has for a network namespace", kindNumber, 0, func(_ *View, ns *inspect.Namespace) cellValue { return ifAsked(ns, numberFrom(ns.NetNSID, 0)) }},
		{"NSFS", "where the namespace is mounted in the caller's mount namespace", kindList, 0, func(v *View, ns *inspect.Namespace) cellValue {
			return v.nsfs(ns)
		}},
		{"PNS", "inode number of the parent, of PID and user namespaces", kindNumber, 0, func(_ *View, ns *inspect.Namespace) cellValue {
			return parentOf(ns)
		}},
		{"ONS", "inode number of the owning user namespace", kindNumber, 0, func(_ *View, ns *inspect.Namespace) cellValue {
			return cellValue{state: relationState(ns.Owner), num: int64(ns.Owner.ID.Ino)}
		}},
		{"OWNER", "owning user namespace", kindRelation, 0, func(_ *View, ns *inspect.Namespace) cellValue { return relationValue(inspect.User, ns.Owner) }},
		{"PARENT", "parent, of PID and user namespaces", kindRelation, 0, func(_ *View, ns *inspect.Namespace) cellValue { return parentOf(ns) }},
		{"CREATOR", "effective user ID of the creator, of user namespaces", kindNumber, 0, func(_ *View, ns *inspect.Namespace) cellValue { return creatorOf(ns) }},
		{"HOLDERS", "all that keeps the namespace alive, with the number of its members", kindHolders, NeedHolders, holdersOf},
		{"NSID", "64-bit identifier of the namespace, never used twice (Linux 6.18)", kindNumber, 0, func(_ *View, ns *inspect.Namespace) cellValue { return ifAsked(ns, numberFrom(ns.NSID, 1)) }},
		{"STARTED", "when the leader started", kindTime, NeedDetail, leaderValue(func(_ *View, d inspect.Detail) cellValue { return started(d) })},
	}
}

// namespaceContainer returns a column about the container that a namespace belongs to.
//
//go:noinline
func namespaceContainer(name string, f containerField) Column[*inspect.Namespace] {
	return Column[*inspect.Namespace]{name, f.help, kindText, NeedContainers, func(v *View, ns *inspect.Namespace) cellValue {
		if v.Containers == nil {
			return cellValue{}
		}
		c := v.Containers.With(ns)
		if c == nil && len(ns.Members) == 0 {
			return v.absent(inspect.Members)
		}
		return f.value(c)
	}}
}

// leaderOf returns the PID of the leader of a namespace.
func (v *View) leaderOf(ns *inspect.Namespace) cellValue {
	if l := ns.Leader(); l != nil {
		return numberValue(l.PID)
	}
	return v.absent(inspect.Members)
}

// membersOf returns the number of members of a namespace. 0 is certain only if every process
// was seen.
func (v *View) membersOf(ns *inspect.Namespace) cellValue {
	return v.countOf(len(ns.Members), inspect.Members)
}

// countOf returns n, or unknown for 0 unless all of these facts are known.
func (v *View) countOf(n int, facts inspect.Facts) cellValue {
	if n == 0 && !v.Snapshot.Whole(facts) {
		return cellValue{state: hidden}
	}
	return numberValue(n)
}

// ifAsked returns val, or unknown if val is none and the kernel could not be asked about ns.
func ifAsked(ns *inspect.Namespace, val cellValue) cellValue {
	if val.state == none && ns.Owner.Err != nil && !errors.Is(ns.Owner.Err, inspect.ErrHidden) {
		return cellValue{state: hidden}
	}
	return val
}

func creatorOf(ns *inspect.Namespace) cellValue {
	if ns.Creator < 0 && ns.Type == inspect.User && !ns.Owner.None() {
		return cellValue{state: hidden}
	}
	return numberFrom(ns.Creator, 0)
}

// parentOf returns the parent of a namespace: none for types without parents.
func parentOf(ns *inspect.Namespace) cellValue {
	if !ns.Type.Hierarchical() {
		return cellValue{}
	}
	return relationValue(ns.Type, ns.Parent)
}

// leaderValue returns a column about the leader of a namespace.
//
//go:noinline
func leaderValue(f func(*View, inspect.Detail) cellValue) func(*View, *inspect.Namespace) cellValue {
	return func(v *View, ns *inspect.Namespace) cellValue {
		if l := ns.Leader(); l != nil {
			return detailValue(v, l.PID, f)
		}
		return v.absent(inspect.Members)
	}
}

// detailValue returns a value about a process: none if it has exited, unknown if it could not be
// read.
func detailValue(v *View, pid int, f func(*View, inspect.Detail) cellValue) cellValue {
	d, ok := v.Details[pid]
	switch {
	case !ok:
		return cellValue{}
	case !d.Known():
		return cellValue{state: hidden}
	}
	return f(v, d)
}

func relationValue(t inspect.Type, r inspect.Relation) cellValue {
	return cellValue{state: relationState(r), typ: t, rel: r, num: int64(r.ID.Ino)}
}

func uidOf(v *View, ns *inspect.Namespace, value func(uint32) cellValue) cellValue {
	switch l := ns.Leader(); {
	case l != nil:
		return detailValue(v, l.PID, func(_ *View, d inspect.Detail) cellValue { return value(d.UID) })
	case !v.Snapshot.Whole(inspect.Members):
		return cellValue{state: hidden}
	case ns.Creator >= 0:
		return value(uint32(ns.Creator))
	}
	return cellValue{}
}

// UserName returns the name of a user, or its number where there is none.
func (v *View) UserName(uid uint32) string {
	if v.User != nil {
		if name := v.User(uid); name != "" {
			return name
		}
	}
	return fmt.Sprint(uid)
}

// nsfs returns the mount points of ns in the mount namespace of the caller.
func (v *View) nsfs(ns *inspect.Namespace) cellValue {
	if paths := v.ownMounts(ns); len(paths) > 0 {
		return listValue(paths)
	}
	if own, ok := v.Own(inspect.Mnt); !ok || !v.Snapshot.MountsKnown(own) {
		return cellValue{state: hidden}
	}
	return cellValue{}
}

// ownMounts returns the mount points of ns in the mount namespace of the caller.
func (v *View) ownMounts(ns *inspect.Namespace) []string {
	own, ok := v.Own(inspect.Mnt)
	if !ok {
		return nil
	}
	var paths []string
	for _, h := range ns.Others() {
		if h.Kind == inspect.ByMount && h.In == own {
			paths = append(paths, h.Path)
		}
	}
	return paths
}

// Own returns the namespace of type t that the caller is in, if known.
func (v *View) Own(t inspect.Type) (inspect.ID, bool) {
	self, ok := v.Snapshot.Process(v.Snapshot.Self())
	if !ok {
		return inspect.ID{}, false
	}
	return self.Namespace(t)
}

// pathOf returns a file that leads to the namespace: through a member, or else through another
// holder.
func pathOf(v *View, ns *inspect.Namespace) cellValue {
	if l := ns.Leader(); l != nil {
		return textValue(fmt.Sprintf("/proc/%d/ns/%s", l.PID, ns.Type))
	}
	for _, h := range ns.Others() {
		if p := h.File(ns.Type); p != "" {
			return textValue(p)
		}
	}
	return v.absent(inspect.AllFacts)
}

func commandOf(v *View, ns *inspect.Namespace) cellValue {
	if l := ns.Leader(); l != nil {
		return detailValue(v, l.PID, func(_ *View, d inspect.Detail) cellValue { return textValue(d.Command()) })
	}
	first, more := "", -1
	for h := range v.Snapshot.Holders(ns) {
		if first == "" {
			first = v.Holder(h)
		}
		more++
	}
	switch {
	case more < 0:
		return textValue("[nothing that can be seen]")
	case more > 0:
		first += fmt.Sprintf(", %d more", more)
	}
	return textValue("[" + first + "]")
}

// holdersOf returns the holders of a namespace, with the number of its members only: each
// process is a member of eight namespaces, and would be listed eight times.
func holdersOf(v *View, ns *inspect.Namespace) cellValue {
	return v.holdersBut(ns, func(h inspect.Holder) bool { return h.Kind == inspect.ByProcess })
}

// members is the column of the PIDs of the members.
var members = Column[*inspect.Namespace]{"MEMBERS", "PIDs of the members", pids, 0, func(v *View, ns *inspect.Namespace) cellValue {
	val := v.membersOf(ns)
	val.holders = func(yield func(inspect.Holder) bool) {
		for _, p := range ns.Members {
			if !yield(inspect.Holder{Kind: inspect.ByProcess, PID: p.PID}) {
				return
			}
		}
	}
	return val
}}

// holdersBut returns the holders of a namespace without those that leave selects. Members and
// nested namespaces can be very many, so the list of the value has only their number.
func (v *View) holdersBut(ns *inspect.Namespace, leave func(inspect.Holder) bool) cellValue {
	val := cellValue{state: known, holders: func(yield func(inspect.Holder) bool) {
		for h := range v.Snapshot.Holders(ns) {
			if !leave(h) && !yield(h) {
				return
			}
		}
	}}
	if n := len(ns.Members); n > 0 {
		val.list = append(val.list, text.Count(n, "process", "processes"))
	}
	for _, h := range ns.Others() {
		if !leave(h) {
			val.list = append(val.list, v.Holder(h))
		}
	}
	if n := v.Snapshot.Nested(ns); n > 0 {
		val.list = append(val.list, text.Count(n, "owned or child namespace", "owned or child namespaces"))
	}
	if len(val.list) == 0 {
		return v.absent(inspect.AllFacts)
	}
	return val
}

// Holder returns in words how h holds a namespace.
func (v *View) Holder(h inspect.Holder) string {
	switch h.Kind {
	case inspect.ByProcess:
		return v.Process(h.PID)
	case inspect.ByTask:
		return fmt.Sprintf("thread %d of %s", h.TID, v.Process(h.PID))
	case inspect.ByChildren:
		if h.TID != 0 {
			return fmt.Sprintf("for children of thread %d of %s", h.TID, v.Process(h.PID))
		}
		return "for children of " + v.Process(h.PID)
	case inspect.ByFD:
		return fmt.Sprintf("fd %d of %s", h.FD, v.Process(h.PID))
	case inspect.ByNetDevice:
		return fmt.Sprintf("device %d of %s", h.FD, v.Process(h.PID))
	case inspect.ByProcFile:
		return fmt.Sprintf("file %d of %s, of /proc/PID/net", h.FD, v.Process(h.PID))
	case inspect.BySocket:
		return fmt.Sprintf("socket %d of %s", h.FD, v.Process(h.PID))
	case inspect.ByMount:
		own, _ := v.Own(inspect.Mnt)
		switch {
		case h.In == own:
			return "mounted at " + h.Path
		case h.PID != 0:
			return fmt.Sprintf("mounted at %s in the mount namespace of %s", h.Path, v.Process(h.PID))
		}
		return fmt.Sprintf("mounted at %s in mnt:[%d]", h.Path, h.In.Ino)
	case inspect.ByNested:
		if h.Nested.Owner.Known() && h.Nested.Parent != h.Nested.Owner {
			return "owns " + h.Nested.String()
		}
		return "encloses " + h.Nested.String()
	}
	return "the kernel"
}

// Process returns the name and the number of a process: "dockerd (812)".
func (v *View) Process(pid int) string {
	if d, ok := v.Details[pid]; ok && d.Comm != "" {
		return fmt.Sprintf("%s (%d)", d.Comm, pid)
	}
	return fmt.Sprintf("process %d", pid)
}

// Group orders namespaces for reading: the initial ones first, then those with the same leader
// together, and those without members last.
func Group(rows []*inspect.Namespace) {
	key := func(ns *inspect.Namespace) (group, leader int) {
		switch l := ns.Leader(); {
		case ns.Initial():
			return 0, 0
		case l == nil:
			return 2, 0
		default:
			return 1, l.PID
		}
	}
	slices.SortStableFunc(rows, func(a, b *inspect.Namespace) int {
		ga, la := key(a)
		gb, lb := key(b)
		return cmp.Or(cmp.Compare(ga, gb), cmp.Compare(la, lb), cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID.Ino, b.ID.Ino))
	})
}

// lower returns the JSON names of columns, for messages and completion.
func lower[R any](cols []Column[R]) []string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = strings.ToLower(c.Name)
	}
	return names
}

// NamespaceList is the list of namespaces. Its JSON is that of [JSON], which has
// processes too. Initial namespaces are faint.
func NamespaceList() ListOf[*inspect.Namespace] {
	return ListOf[*inspect.Namespace]{
		Schema: schema, Key: "namespaces", Columns: namespaceColumns(),
		Default: []string{"NS", "TYPE", "NPROCS", "PID", "USER", "NETNSID?", "NSFS?", "CONTAINER?", "COMMAND"},
		Dropped: []string{"NETNSID", "USER", "NSFS", "NPROCS", "PID", "TYPE"},
		Subjects: func(_ *View, ns *inspect.Namespace) ([]*inspect.Process, []*inspect.Namespace) {
			return nil, []*inspect.Namespace{ns}
		},
		Faint: (*inspect.Namespace).Initial,
	}
}

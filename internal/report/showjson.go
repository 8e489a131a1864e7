package report

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/output"
)

// ShowJSON writes one object with lists of namespaces and processes:
//
//	{"schema": "nstool/show/2", "complete": true, "reasons": [], "namespaces": [{...}], "processes": [{...}], "gaps": [...]}
func ShowJSON(w io.Writer, v View, namespaces []NamespaceReport, processes []ProcessReport, missed output.Missed) error {
	top := output.Object{{"namespaces", []output.Object{}}, {"processes", []output.Object{}}}
	for _, r := range namespaces {
		top[0].Value = append(top[0].Value.([]output.Object), v.namespaceObject(r))
	}
	for _, r := range processes {
		top[1].Value = append(top[1].Value.([]output.Object), v.processObject(r))
	}
	return output.Objects(w, ShowSchema, top, missed)
}

// numberOr returns n, or nil if it is less than least.
func numberOr[N int | int64](n, least N) any {
	if n < least {
		return nil
	}
	return n
}

// orUnknown returns v, or Unknown if it is not known.
func orUnknown(known bool, v any) any {
	if !known {
		return output.Unknown
	}
	return v
}

func textOr(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (v View) namespaceObject(r NamespaceReport) output.Object {
	ns := r.NS
	field := func(name string) any { return output.Field(v.View, output.NamespaceList().Columns, name, ns) }
	o := output.Object{
		{"ns", ns.ID.Ino},
		{"type", ns.Type.String()},
		{"initial", ns.Initial()},
		{"nsid", field("NSID")},
		{"netnsid", field("NETNSID")},
		{"container", textOr(v.Containers.With(ns).String())},
		{"owner", ns.Owner},
		{"parent", field("PARENT")},
		{"creator", field("CREATOR")},
	}
	inos := func(list func(yield func(*inspect.Namespace) bool)) []output.Object {
		objects := []output.Object{}
		for n := range list {
			objects = append(objects, output.Object{{"ns", n.ID.Ino}, {"type", n.Type.String()}})
		}
		return objects
	}
	seen := func(list []output.Object, whole bool) any { return orUnknown(len(list) > 0 || whole, list) }
	nested := v.Snapshot.NestedKnown() || !ns.Type.Hierarchical()
	o = append(o, output.Pair{"children", seen(inos(v.Snapshot.Children(ns.ID)), nested)}, output.Pair{"owned", seen(inos(v.Snapshot.Owned(ns.ID)), nested)})
	members := []output.Object{}
	for _, p := range ns.Members {
		m := output.Object{{"pid", p.PID}}
		if r.Inside != nil && r.Inside.PID != nil {
			inner := output.Pair{"inside", output.Unknown}
			if n, ok := r.Inside.PID.PIDs[p.PID]; ok {
				inner.Value = n
			}
			m = append(m, inner)
		}
		m = append(m, output.Pair{"container", textOr(v.Containers.Of(p).Container.String())})
		members = append(members, m)
	}
	freed := v.freedWhen(ns, r.Inside)
	if why := v.Snapshot.Unseen(inspect.AllFacts); why != nil && !ns.Initial() {
		freed = append(freed, asFar(why))
	}
	o = append(o, output.Pair{"members", seen(members, v.Snapshot.Whole(inspect.Members))}, output.Pair{"holders", output.Holders(v.View, ns)}, output.Pair{"freed_when", freed})
	return append(o, output.Pair{"inside", v.insideObject(r)})
}

// insideObject returns what is inside, or [output.Unknown].
func (v View) insideObject(r NamespaceReport) any {
	if r.Net != nil {
		return v.networkObject(r.Net)
	}
	in := r.Inside
	switch {
	case in == nil:
	case in.UTS != nil:
		return output.Object{{"hostname", in.UTS.Host}, {"domainname", in.UTS.Domain}}
	case in.IPC != nil:
		return ipcObject(in.IPC)
	case in.Mnt != nil:
		mounts := []output.Object{}
		for _, m := range in.Mnt.Mounts {
			mounts = append(mounts, output.Object{
				{"id", m.ID},
				{"parent", m.Parent},
				{"device", m.Dev.String()},
				{"root", m.Root},
				{"path", m.Point},
				{"options", m.Options},
				{"propagation", append([]string{}, strings.Fields(m.Shared)...)},
				{"fstype", m.Type},
				{"source", m.Source},
				{"super", m.Super},
			})
		}
		return output.Object{{"whole", in.Mnt.Whole}, {"mounts", mounts}}
	case in.PID != nil:
		first := orUnknown(in.PID.Init != 0, in.PID.Init)
		if in.PID.Dead {
			first = nil
		}
		return output.Object{{"init", first}, {"dead", orUnknown(in.PID.DeadErr == nil, in.PID.Dead)}, {"level", orUnknown(in.PID.Level >= 0, in.PID.Level)}}
	case in.User != nil:
		return userObject(in.User)
	case in.Time != nil:
		seconds := func(d time.Duration) output.Object {
			sec := d.Nanoseconds() / 1e9
			nsec := d.Nanoseconds() % 1e9
			if nsec < 0 {
				sec, nsec = sec-1, nsec+1e9
			}
			return output.Object{{"sec", sec}, {"nsec", nsec}}
		}
		return output.Object{{"monotonic", seconds(in.Time.Monotonic)}, {"boottime", seconds(in.Time.Boottime)}}
	case in.Cgroup != nil:
		return output.Object{{"roots", cgroupObjects(in.Cgroup.Roots)}}
	}
	return output.Unknown
}

func ipcObject(in *inside.IPC) output.Object {
	object := func(o inside.Object) output.Object {
		return output.Object{{"id", o.ID}, {"key", int(o.Key)}, {"mode", strconv.FormatUint(uint64(o.Perms), 8)}, {"uid", o.UID}}
	}
	queues, sems, shms, posix := []output.Object{}, []output.Object{}, []output.Object{}, []output.Object{}
	for _, q := range in.Queues {
		queues = append(queues, append(object(q.Object), output.Pair{"bytes", q.Bytes}, output.Pair{"messages", q.Messages}))
	}
	for _, s := range in.Semaphores {
		sems = append(sems, append(object(s.Object), output.Pair{"count", s.Count}))
	}
	for _, s := range in.Segments {
		shms = append(shms, append(object(s.Object), output.Pair{"bytes", s.Bytes}, output.Pair{"attached", s.Attached}, output.Pair{"creator", numberOr(s.Creator, 1)}))
	}
	for _, q := range in.Posix {
		posix = append(posix, output.Object{{"name", q.Name}, {"bytes", q.Bytes}, {"uid", q.UID}})
	}
	o := output.Object{{"queues", queues}, {"semaphores", sems}, {"segments", shms}, {"posix_queues", posix}}
	if in.PosixErr != nil {
		o[3].Value = output.Unknown
	}
	return o
}

func userObject(in *inside.User) output.Object {
	idMap := func(m task.IDMap) any {
		if m == nil {
			return output.Unknown
		}
		ranges := []output.Object{}
		for _, r := range m {
			ranges = append(ranges, output.Object{{"inside", r.Inside}, {"outside", outsideID(r)}, {"count", r.Count}})
		}
		return ranges
	}
	o := output.Object{{"uid_map", idMap(in.UIDMap)}, {"gid_map", idMap(in.GIDMap)}, {"outside", in.Outside}, {"setgroups", textOr(in.Setgroups)}}
	limits := []output.Object{}
	for t := range inspect.AllTypes.All() {
		l := output.Object{{"type", t.String()}, {"used", in.Used[t]}, {"limit", output.Unknown}}
		if n, ok := in.Limits[t]; ok {
			l[2].Value = n
		}
		limits = append(limits, l)
	}
	return append(o, output.Pair{"limits", limits})
}

func outsideID(r task.IDRange) any {
	if r.Outside == task.NoID {
		return nil
	}
	return r.Outside
}

func cgroupObjects(groups []task.Cgroup) []output.Object {
	objects := []output.Object{}
	for _, g := range groups {
		objects = append(objects, output.Object{{"controllers", g.Controllers}, {"path", textOr(g.Path)}})
	}
	return objects
}

func (v View) processObject(r ProcessReport) output.Object {
	p := r.Process
	d, known := v.Details[p.PID]
	c := v.containerOf(r)
	o := output.Object{{"pid", p.PID}, {"tid", numberOr(r.TID, 1)}, {"comm", output.Unknown}, {"command", output.Unknown}, {"ppid", output.Unknown}, {"started", output.Unknown}, {"threads", p.Threads}}
	if known && d.Known() {
		o[2].Value, o[3].Value, o[4].Value = d.Comm, d.Command(), d.PPID
		if !d.Start.IsZero() {
			o[5].Value = d.Start.Format(time.RFC3339)
		}
	}
	o = append(o, output.Pair{"container", containerObject(c)}, output.Pair{"guest", v.Guests[p.PID]})
	namespaces := []output.Object{}
	for t := range inspect.AllTypes.All() {
		ns := r.Namespaces[t]
		if ns == nil {
			none := orUnknown(r.Task != nil && slices.Contains([]byte{'Z', 'X'}, r.Task.State), nil) // a zombie has none
			namespaces = append(namespaces, output.Object{{"type", t.String()}, {"ns", none}, {"of", none}, {"shared_with", []string{}}})
			continue
		}
		s := SharingOf(v, p, c, ns)
		namespaces = append(namespaces, output.Object{{"type", t.String()}, {"ns", ns.ID.Ino}, {"of", orUnknown(!s.Unsure, s.Of)}, {"shared_with", append([]string{}, s.Containers...)}})
	}
	o = append(o, output.Pair{"namespaces", namespaces})
	t := r.Task
	if t == nil {
		return append(o, output.Pair{"task", output.Unknown})
	}
	pids := []output.Object{}
	for _, l := range Levels(v.Snapshot, t.NSpid, r.Namespaces[inspect.PID]) {
		level := output.Object{{"pid", l.PID}, {"ns", output.Unknown}}
		if l.NS != nil {
			level[1].Value = l.NS.ID.Ino
		}
		pids = append(pids, level)
	}
	link := func(l task.Link) any {
		if l.Err != nil {
			return output.Unknown
		}
		return textOr(l.Path)
	}
	ids := func(ids task.IDs, m task.IDMap) output.Object {
		inner := func(id uint32) any {
			if in, ok := m.Inside(id); ok {
				return in
			}
			return nil
		}
		return output.Object{
			{"real", ids.Real},
			{"effective", ids.Effective},
			{"saved", ids.Saved},
			{"fs", ids.FS},
			{"inside_real", inner(ids.Real)},
			{"inside_effective", inner(ids.Effective)},
			{"inside_saved", inner(ids.Saved)},
			{"inside_fs", inner(ids.FS)},
		}
	}
	groups := []int{}
	for _, g := range t.Groups {
		groups = append(groups, int(g))
	}
	return append(o, output.Pair{"task", output.Object{
		{"state", string(rune(t.State))},
		{"tracer", numberOr(t.Tracer, 1)},
		{"pids", pids},
		{"root", link(t.Root)},
		{"cwd", link(t.Cwd)},
		{"exe", link(t.Exe)},
		{"uid", ids(t.UID, t.UIDMap)},
		{"gid", ids(t.GID, t.GIDMap)},
		{"groups", groups},
		{"capabilities", output.Object{
			{"effective", t.Caps.Effective.Names()},
			{"permitted", t.Caps.Permitted.Names()},
			{"bounding", t.Caps.Bounding.Names()},
			{"inheritable", t.Caps.Inheritable.Names()},
			{"ambient", t.Caps.Ambient.Names()},
		}},
		{"no_new_privs", t.NoNewPrivs},
		{"seccomp", t.Seccomp.String()},
		{"seccomp_filters", orUnknown(t.Filters >= 0, t.Filters)},
		{"label", textOr(t.Label)},
		{"cgroups", cgroupObjects(t.Cgroups)},
	}})
}

func containerObject(c *container.Container) any {
	if c == nil {
		return nil
	}
	o := output.Object{
		{"container", c.String()},
		{"engine", string(c.Engine)},
		{"cid", c.ID},
		{"name", textOr(c.Name)},
		{"image", textOr(c.Image)},
		{"path", textOr(c.Path)},
		{"sandbox", c.Sandbox},
		{"engineuser", textOr(c.EngineUser())},
		{"confirmed", c.Confirmed},
		{"init", numberOr(c.Init, 1)},
		{"in", textOr(c.Outer.String())},
		{"pod", nil},
	}
	if c.Pod != nil {
		o[len(o)-1].Value = output.Object{{"namespace", c.Pod.Namespace}, {"name", c.Pod.Name}, {"uid", c.Pod.UID}}
	}
	return o
}

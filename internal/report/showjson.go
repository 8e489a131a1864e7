package report

import (
	"io"
	"slices"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/output"
)

// ShowJSON writes one object with lists of namespaces and processes:
//
//	{"schema": "nstool/show/2", "complete": true, "reasons": [], "namespaces": [{...}], "processes": [{...}], "gaps": [...]}
func ShowJSON(w io.Writer, v View, namespaces []NamespaceReport, processes []ProcessReport, missed output.Missed) error {
	namespaceList, processList := []output.Object{}, []output.Object{}
	for _, r := range namespaces {
		namespaceList = append(namespaceList, v.namespaceObject(r))
	}
	for _, r := range processes {
		processList = append(processList, v.processObject(r))
	}
	return output.Objects(w, ShowSchema, output.Object{{"namespaces", namespaceList}, {"processes", processList}}, missed)
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
			n, ok := r.Inside.PID.PIDs[p.PID]
			m = append(m, output.Pair{"inside", orUnknown(ok, n)})
		}
		m = append(m, output.Pair{"container", textOr(v.Containers.Of(p).Container.String())})
		members = append(members, m)
	}
	freed := v.freedWhen(ns, r.Inside)
	if why := v.Snapshot.Unseen(inspect.AllFacts); why != nil && !ns.Initial() {
		freed = append(freed, asFar(why))
	}
	o = append(o, output.Pair{"members", seen(members, v.Snapshot.Whole(inspect.Members))}, output.Pair{"holders", output.Holders(v.View, ns)}, output.Pair{"freed_when", freed})
	return append(o, output.Pair{"inside", v.factsObject(r)})
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
	known = known && d.Known()
	o := output.Object{
		{"pid", p.PID},
		{"tid", numberOr(r.TID, 1)},
		{"comm", orUnknown(known, d.Comm)},
		{"command", orUnknown(known, d.Command())},
		{"ppid", orUnknown(known, d.PPID)},
		{"started", orUnknown(known && !d.Start.IsZero(), d.Start.Format(time.RFC3339))},
		{"threads", p.Threads},
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
		ns := output.Unknown
		if l.NS != nil {
			ns = l.NS.ID.Ino
		}
		pids = append(pids, output.Object{{"pid", l.PID}, {"ns", ns}})
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
	pod := any(nil)
	if c.Pod != nil {
		pod = output.Object{{"namespace", c.Pod.Namespace}, {"name", c.Pod.Name}, {"uid", c.Pod.UID}}
	}
	return output.Object{
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
		{"pod", pod},
	}
}

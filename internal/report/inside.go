package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/text"
	"github.com/nstool/nstool/output"
)

// A fact is one thing to know of what is inside a namespace, and what show, diff and JSON say of it.
type fact struct {
	key      string   // for people
	shown    []string // nil: show leaves it out
	compared []string // nil: diff leaves it out
	name     string   // in JSON; "": JSON leaves it out
	value    any
	scanned  bool // it is known from the scan, also if nothing inside could be read
}

// facts returns the facts inside a namespace, always the same ones for a type, and whether what
// is inside was read.
func (v View) facts(r NamespaceReport) (facts []fact, read bool) {
	in := r.Inside
	if in == nil {
		in = &inside.Contents{}
	}
	switch r.NS.Type {
	case inspect.Net:
		return v.networkFacts(orEmpty(r.Net)), r.Net != nil
	case inspect.UTS:
		return utsFacts(orEmpty(in.UTS)), in.UTS != nil
	case inspect.IPC:
		return v.ipcFacts(orEmpty(in.IPC)), in.IPC != nil
	case inspect.Mnt:
		return v.mountFacts(orEmpty(in.Mnt)), in.Mnt != nil
	case inspect.PID:
		return v.pidFacts(r.NS, orEmpty(in.PID)), in.PID != nil
	case inspect.User:
		return v.userFacts(r.NS, orEmpty(in.User)), in.User != nil
	case inspect.Time:
		return timeFacts(orEmpty(in.Time)), in.Time != nil
	case inspect.Cgroup:
		return cgroupFacts(orEmpty(in.Cgroup)), in.Cgroup != nil
	}
	return nil, false
}

func orEmpty[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// addFacts adds what is inside to the sheet of a namespace.
func (v View) addFacts(s *Sheet, r NamespaceReport) {
	facts, read := v.facts(r)
	if !read {
		s.Add("inside", "?")
		return
	}
	for _, f := range facts {
		s.Add(f.key, f.shown...)
	}
}

// factsObject returns what is inside as a value of JSON.
func (v View) factsObject(r NamespaceReport) any {
	facts, read := v.facts(r)
	if !read {
		return output.Unknown
	}
	var o output.Object
	for _, f := range facts {
		if f.name != "" {
			o = append(o, output.Pair{Key: f.name, Value: f.value})
		}
	}
	return o
}

func one(line string) []string { return []string{line} }

// oneOr returns line, or "?" if it is not known.
func oneOr(known bool, line string) []string {
	if !known {
		line = "?"
	}
	return []string{line}
}

func utsFacts(in *inside.UTS) []fact {
	host, domain := one(cmp.Or(in.Host, "none")), one(cmp.Or(in.Domain, "none"))
	return []fact{
		{key: "host name", shown: host, compared: host, name: "hostname", value: in.Host},
		{key: "domain", shown: domain, compared: domain, name: "domainname", value: in.Domain},
	}
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func orNone(lines []string) []string {
	if len(lines) == 0 {
		return []string{"none"}
	}
	return cutLines(lines)
}

// cutLines shortens a list that is too long for a sheet.
func cutLines(lines []string) []string {
	if len(lines) > MaxLines {
		return append(slices.Clone(lines[:MaxLines]), more(len(lines)-MaxLines))
	}
	return lines
}

func (v View) ipcFacts(in *inside.IPC) []fact {
	object := func(o inside.Object, more ...output.Pair) output.Object {
		return append(output.Object{{"id", o.ID}, {"key", int(o.Key)}, {"mode", strconv.FormatUint(uint64(o.Perms), 8)}, {"uid", o.UID}}, more...)
	}
	number := func(n int) []string { return one(strconv.Itoa(n)) }
	var queues, sets, segments, posix []string
	queueList, setList, segmentList, posixList := []output.Object{}, []output.Object{}, []output.Object{}, []output.Object{}
	for _, q := range in.Queues {
		queues = append(queues, fmt.Sprintf("%d   %s, %s, of %s", q.ID, text.Size(q.Bytes), text.Count(int(q.Messages), "message", "messages"), v.user(q.UID)))
		queueList = append(queueList, object(q.Object, output.Pair{"bytes", q.Bytes}, output.Pair{"messages", q.Messages}))
	}
	for _, set := range in.Semaphores {
		sets = append(sets, fmt.Sprintf("%d   %s, of %s", set.ID, text.Count(int(set.Count), "semaphore", "semaphores"), v.user(set.UID)))
		setList = append(setList, object(set.Object, output.Pair{"count", set.Count}))
	}
	for _, m := range in.Segments {
		line := fmt.Sprintf("%d   %s, attached %s, of %s", m.ID, text.Size(m.Bytes), text.Count(int(m.Attached), "time", "times"), v.user(m.UID))
		if m.Creator != 0 {
			line += fmt.Sprintf(", made by process %d", m.Creator)
		}
		segments = append(segments, line)
		segmentList = append(segmentList, object(m.Object, output.Pair{"bytes", m.Bytes}, output.Pair{"attached", m.Attached}, output.Pair{"creator", numberOr(m.Creator, 1)}))
	}
	for _, q := range in.Posix {
		posix = append(posix, fmt.Sprintf("%s   %s, of %s", q.Name, text.Size(q.Bytes), v.user(q.UID)))
		posixList = append(posixList, output.Object{{"name", q.Name}, {"bytes", q.Bytes}, {"uid", q.UID}})
	}
	if in.PosixErr != nil {
		posix = one("?   " + reason(in.PosixErr))
	}
	return []fact{
		{key: "queues", shown: orNone(queues), compared: number(len(in.Queues)), name: "queues", value: queueList},
		{key: "semaphores", shown: orNone(sets), compared: number(len(in.Semaphores)), name: "semaphores", value: setList},
		{key: "shared memory", shown: orNone(segments), compared: number(len(in.Segments)), name: "segments", value: segmentList},
		{key: "POSIX queues", shown: orNone(posix), compared: oneOr(in.PosixErr == nil, strconv.Itoa(len(in.Posix))), name: "posix_queues", value: orUnknown(in.PosixErr == nil, posixList)},
	}
}

// kernelFS are the file systems whose content the kernel generates.
var kernelFS = map[string]bool{
	"autofs": true, "binfmt_misc": true, "bpf": true, "cgroup": true, "cgroup2": true, "configfs": true,
	"debugfs": true, "devpts": true, "devtmpfs": true, "efivarfs": true, "fusectl": true, "hugetlbfs": true,
	"mqueue": true, "proc": true, "pstore": true, "securityfs": true, "sysfs": true, "tmpfs": true,
	"tracefs": true, "nsfs": true, "ramfs": true, "rpc_pipefs": true, "selinuxfs": true,
}

func (v View) mountFacts(in *inside.Mnt) []fact {
	root, compared := "?", "none"
	if m, ok := in.Root(); ok {
		root = mountWords(m)
		compared = root
	}
	counts := strings.Join(mountCounts(in), ", ")
	line := text.Count(len(in.Mounts), "mount", "mounts")
	if counts != "" {
		line += ": " + counts
	}
	if !in.Whole {
		line += " (of what a member with another root sees)"
	}
	lines := one(line)
	var pins []string
	mounts := []output.Object{}
	for _, m := range in.Mounts {
		if t, ino, ok := m.Namespace(); ok {
			pin := inspect.FormatLink(t, ino) + " at " + m.Point
			if ns, ok := v.Snapshot.Find(ino); ok {
				if c := v.Containers.With(ns); c != nil {
					pin += "   " + c.String()
				}
			}
			pins = append(pins, pin)
		} else if !kernelFS[m.Type] && m.Point != "/" {
			lines = append(lines, m.Point+"   "+mountWords(m))
		}
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
	return []fact{
		{name: "whole", value: in.Whole},
		{key: "root", shown: one(root), compared: one(compared)},
		{key: "mounts", shown: cutLines(lines), compared: one(strconv.Itoa(len(in.Mounts)) + " (" + counts + ")"), name: "mounts", value: mounts},
		{key: "pinned", shown: orNone(pins)},
	}
}

// mountCounts counts mounts by type, the largest number first: "7 tmpfs", "3 proc".
func mountCounts(in *inside.Mnt) []string {
	n := make(map[string]int)
	for _, m := range in.Mounts {
		n[m.Type]++
	}
	types := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(cmp.Compare(n[b], n[a]), strings.Compare(a, b))
	})
	for i, t := range types {
		types[i] = fmt.Sprintf("%d %s", n[t], t)
	}
	return types
}

// mountWords formats a mount as findmnt(8) does, with "read-only" if it is.
func mountWords(m inspect.Mount) string {
	line := m.Type
	if m.Source != "" && m.Source != m.Type && m.Source != "none" {
		line += " " + m.Source
	}
	if m.Root != "/" {
		line += "[" + m.Root + "]"
	}
	if m.ReadOnly() {
		line += ", read-only"
	}
	return line
}

func (v View) pidFacts(ns *inspect.Namespace, in *inside.PID) []fact {
	first, value := "?", orUnknown(in.Init != 0, in.Init)
	switch {
	case in.Init != 0:
		first = v.Process(in.Init)
	case in.Dead:
		first = "none: nothing can be started in it any more"
	}
	if in.Dead {
		value = nil
	}
	// The ancestors up to the outermost that can be seen.
	chain := []string{ns.String()}
	at := ns
	for at.Parent.Known() {
		up, ok := v.Snapshot.Namespace(at.Parent.ID)
		if !ok {
			break
		}
		chain, at = append(chain, up.String()), up
	}
	slices.Reverse(chain)
	nesting := strings.Join(chain, " > ")
	if in.Level < 0 {
		nesting = "? > " + nesting
	}
	return []fact{
		{key: "init", shown: one(first), compared: oneOr(in.Init != 0, first), name: "init", value: value},
		{name: "dead", value: orUnknown(in.DeadErr == nil, in.Dead)},
		{key: "nesting", shown: one(nesting)},
		{key: "processes", compared: oneOr(v.Snapshot.Whole(inspect.Members), strconv.Itoa(len(ns.Members))), scanned: true},
		{key: "depth", compared: oneOr(in.Level >= 0, strconv.Itoa(in.Level)), name: "level", value: orUnknown(in.Level >= 0, in.Level)},
	}
}

func (v View) userFacts(ns *inspect.Namespace, in *inside.User) []fact {
	outside := ""
	switch {
	case in.Outside.Known():
		outside = fmt.Sprintf("   (outside is user:[%d])", in.Outside.ID.Ino)
	case in.Outside.Err != nil:
		outside = "   (outside is a namespace that is hidden)"
	}
	idMap := func(key, name string, m task.IDMap) fact {
		if m == nil {
			return fact{key: key, shown: one("?"), compared: one("?"), name: name, value: output.Unknown}
		}
		ranges := []output.Object{}
		for _, r := range m {
			to := any(r.Outside)
			if r.Outside == task.NoID {
				to = nil
			}
			ranges = append(ranges, output.Object{{"inside", r.Inside}, {"outside", to}, {"count", r.Count}})
		}
		return fact{key: key, shown: one(m.String() + outside), compared: one(m.String()), name: name, value: ranges}
	}
	used := one("in it and below, of how many any one user may make")
	limits := []output.Object{}
	for t := range inspect.AllTypes.All() {
		limit := "of ?"
		n, ok := in.Limits[t]
		switch {
		case ok && n == math.MaxInt32:
			limit = "without a limit of its own"
		case ok:
			limit = "of " + strconv.Itoa(n)
		}
		used = append(used, fmt.Sprintf("%-6s  %d %s", t, in.Used[t], limit))
		limits = append(limits, output.Object{{"type", t.String()}, {"used", in.Used[t]}, {"limit", orUnknown(ok, n)}})
	}
	owned := v.owned(ns)
	setgroups := oneOr(in.Setgroups != "", in.Setgroups)
	return []fact{
		idMap("users", "uid_map", in.UIDMap),
		idMap("groups", "gid_map", in.GIDMap),
		{name: "outside", value: in.Outside},
		{key: "setgroups", shown: setgroups, compared: setgroups, name: "setgroups", value: orUnknown(in.Setgroups != "", in.Setgroups)},
		{key: "in use", shown: used, name: "limits", value: limits},
		{key: "owns", compared: oneOr(v.Snapshot.NestedKnown(), cmp.Or(owned, "none")), scanned: true},
	}
}

func timeFacts(in *inside.Time) []fact {
	clock := func(name string, d time.Duration) fact {
		sec, nsec := d.Nanoseconds()/1e9, d.Nanoseconds()%1e9
		if nsec < 0 {
			sec, nsec = sec-1, nsec+1e9
		}
		return fact{key: name, shown: one(offset(d)), compared: one(d.String()), name: name, value: output.Object{{"sec", sec}, {"nsec", nsec}}}
	}
	return []fact{clock("monotonic", in.Monotonic), clock("boottime", in.Boottime)}
}

func cgroupFacts(in *inside.Cgroup) []fact {
	lines := cgroupLines(in.Roots)
	return []fact{{key: "root", shown: lines, compared: one(strings.Join(lines, "; ")), name: "roots", value: cgroupObjects(in.Roots)}}
}

// offset formats the offset of a clock.
func offset(d time.Duration) string {
	switch {
	case d == 0:
		return "as the initial one"
	case d > 0:
		return d.String() + " ahead"
	}
	return (-d).String() + " behind"
}

// cgroupLines lists control groups, in one line if all hierarchies have the same.
func cgroupLines(groups []task.Cgroup) []string {
	if len(groups) == 0 {
		return []string{"none"}
	}
	by := make(map[string][]string)
	var paths []string
	for _, g := range groups {
		name := g.Controllers
		if name == "" {
			name = "v2"
		}
		if by[g.Path] == nil {
			paths = append(paths, g.Path)
		}
		by[g.Path] = append(by[g.Path], name)
	}
	var lines []string
	for _, path := range paths {
		where := path
		if path == "" {
			where = "?"
		}
		if len(paths) > 1 || len(groups) == 1 && groups[0].Controllers != "" {
			where += "   (" + strings.Join(by[path], " ") + ")"
		}
		lines = append(lines, where)
	}
	return lines
}

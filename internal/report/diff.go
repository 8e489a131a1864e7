package report

import (
	"bufio"
	"io"
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

// DiffSchema is the form of the JSON of nstool-diff(1).
const DiffSchema = "nstool/diff/2"

// A Comparison is the namespaces of one type of two targets. A or B is nil if there is none, or
// if it could not be read: then Err is set.
type Comparison struct {
	Type inspect.Type
	A, B *inspect.Namespace
	Err  error
	// Differs are the differences inside, as far as they could be read.
	Differs []Difference
}

// A Difference is a fact that differs between two namespaces. Of a list it has the lines that
// only one has. Unknown is "?".
type Difference struct {
	What string
	A, B []string
}

// Same reports whether both have the same namespace.
func (c Comparison) Same() bool { return c.Err == nil && c.A != nil && c.A == c.B }

// verdict returns the result in a word.
func (c Comparison) verdict() string {
	switch {
	case c.Err != nil:
		return "unknown"
	case c.Same():
		return "same"
	}
	return "different"
}

// Differences returns the differences inside two namespaces of one type.
func Differences(v View, a, b NamespaceReport) []Difference {
	fa, fb := v.comparable(a), v.comparable(b)
	var differs []Difference
	for i := range min(len(fa), len(fb)) {
		onlyA, onlyB := without(fa[i].Lines, fb[i].Lines), without(fb[i].Lines, fa[i].Lines)
		if len(onlyA)+len(onlyB) > 0 {
			differs = append(differs, Difference{fa[i].Key, onlyA, onlyB})
		}
	}
	return differs
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// lines formats a difference: in one line if it is short, else one side below the other, with a
// line for each element of a list.
func (d Difference) lines(a, b string) (lines []string) {
	const short = 60
	if len(d.A) == 1 && len(d.B) == 1 && len(d.A[0])+len(d.B[0]) <= short {
		return []string{d.What + ": " + d.A[0] + " vs " + d.B[0]}
	}
	for _, side := range []struct {
		name string
		list []string
	}{{a, d.A}, {b, d.B}} {
		head := d.What + " of " + side.name + ":"
		switch len(side.list) {
		case 0:
			lines = append(lines, head+" no others")
		case 1:
			lines = append(lines, head+" "+side.list[0])
		default:
			lines = append(lines, head)
			for _, item := range cutLines(side.list) {
				lines = append(lines, indented+item)
			}
		}
	}
	return lines
}

// indented is before lines that belong to the line above.
const indented = "  "

// comparable returns the facts inside a namespace in short lines, always the same facts for a
// type.
func (v View) comparable(r NamespaceReport) []Fact {
	var s Sheet
	in := r.Inside
	if in == nil {
		in = &inside.Contents{}
	}
	switch r.NS.Type {
	case inspect.UTS:
		u := in.UTS
		s.Add("host name", orUnread(u != nil, func() string { return u.Host }))
		s.Add("domain", orUnread(u != nil, func() string { return u.Domain }))
	case inspect.IPC:
		i := in.IPC
		number := func(f func() int) string { return orUnread(i != nil, func() string { return strconv.Itoa(f()) }) }
		s.Add("queues", number(func() int { return len(i.Queues) }))
		s.Add("semaphores", number(func() int { return len(i.Semaphores) }))
		s.Add("shared memory", number(func() int { return len(i.Segments) }))
		s.Add("POSIX queues", orUnread(i != nil && i.PosixErr == nil, func() string { return strconv.Itoa(len(i.Posix)) }))
	case inspect.Mnt:
		m := in.Mnt
		s.Add("root", orUnread(m != nil, func() string {
			if root, ok := m.Root(); ok {
				return mountWords(root)
			}
			return ""
		}))
		s.Add("mounts", orUnread(m != nil, func() string {
			return strconv.Itoa(len(m.Mounts)) + " (" + strings.Join(mountCounts(m), ", ") + ")"
		}))
	case inspect.PID:
		s.Add("init", orUnread(in.PID != nil && in.PID.Init != 0, func() string { return v.Process(in.PID.Init) }))
		s.Add("processes", orUnread(v.Snapshot.Whole(inspect.Members), func() string { return strconv.Itoa(len(r.NS.Members)) }))
		s.Add("depth", orUnread(in.PID != nil && in.PID.Level >= 0, func() string { return strconv.Itoa(in.PID.Level) }))
	case inspect.User:
		u := in.User
		idMap := func(f func() task.IDMap) string {
			return orUnread(u != nil && f() != nil, func() string { return f().String() })
		}
		s.Add("users", idMap(func() task.IDMap { return u.UIDMap }))
		s.Add("groups", idMap(func() task.IDMap { return u.GIDMap }))
		s.Add("setgroups", orUnread(u != nil, func() string { return u.Setgroups }))
		s.Add("owns", orUnread(v.Snapshot.NestedKnown(), func() string { return v.owned(r.NS) }))
	case inspect.Time:
		t := in.Time
		s.Add("monotonic", orUnread(t != nil, func() string { return t.Monotonic.Truncate(time.Nanosecond).String() }))
		s.Add("boottime", orUnread(t != nil, func() string { return t.Boottime.Truncate(time.Nanosecond).String() }))
	case inspect.Cgroup:
		s.Add("root", orUnread(in.Cgroup != nil, func() string { return strings.Join(cgroupLines(in.Cgroup.Roots), "; ") }))
	case inspect.Net:
		list := func(f func(*Network) []string) []string {
			if r.Net == nil {
				return []string{"?"}
			}
			return f(r.Net)
		}
		s.Facts = []Fact{
			{"interfaces", list(func(n *Network) []string { return v.interfaceLines(n) })},
			{"routes", list(func(n *Network) []string { return routeLines(n) })},
			{"listening sockets", list(func(n *Network) []string { return v.listenerLines(n) })},
		}
	}
	return s.Facts
}

// orUnread returns the result of f, "none" if that is empty, or "?" if it could not be read.
func orUnread(ok bool, f func() string) string {
	if !ok {
		return "?"
	}
	if s := f(); s != "" {
		return s
	}
	return "none"
}

// Diff writes a line for each type of namespace, and below it the differences inside. a and b
// are the user's names of the targets.
func Diff(w io.Writer, a, b string, list []Comparison, style output.Style) error {
	grid := [][4]string{{"", output.Clean(a), output.Clean(b), ""}}
	for _, c := range list {
		row := [4]string{c.Type.String(), inode(c, c.A), inode(c, c.B), c.verdict()}
		if c.Same() {
			row[2] = "="
		}
		grid = append(grid, row)
	}
	var widths [4]int
	for _, row := range grid {
		for i, cell := range row {
			widths[i] = max(widths[i], text.Width(cell))
		}
	}
	out := bufio.NewWriter(w)
	for n, row := range grid {
		var line []byte
		for i, cell := range row {
			line = append(line, cell...)
			line = append(line, strings.Repeat(" ", max(0, widths[i]-text.Width(cell)+len(text.Gap)))...)
		}
		shown := strings.TrimRight(string(line), " ")
		if style.Color && n == 0 {
			shown = "\x1b[1m" + shown + "\x1b[0m"
		}
		_, _ = out.WriteString(shown + "\n")
		if n == 0 {
			continue
		}
		indent := widths[0] + len(text.Gap)
		for _, d := range list[n-1].Differs {
			for _, line := range d.lines(a, b) {
				for _, part := range broken(output.Clean(line), style.Width-indent) {
					_, _ = out.WriteString(strings.Repeat(" ", indent) + part + "\n")
				}
			}
		}
	}
	return out.Flush()
}

func inode(c Comparison, ns *inspect.Namespace) string {
	switch {
	case ns != nil:
		return strconv.FormatUint(ns.ID.Ino, 10)
	case c.Err != nil:
		return "?"
	}
	return "-"
}

// DiffJSON writes one object:
//
//	{"schema": "nstool/diff/2", "complete": true, "reasons": [], "same": false, "a": "web", "b": "db",
//	 "types": [{"type": "net", "a": 4026532184, "b": 4026532284, "verdict": "different",
//	            "differs": [{"what": "host name", "a": ["web"], "b": ["db"]}]}], "gaps": []}
func DiffJSON(w io.Writer, a, b string, list []Comparison, missed output.Missed) error {
	same := !slices.ContainsFunc(list, func(c Comparison) bool { return !c.Same() })
	types := []output.Object{}
	number := func(ns *inspect.Namespace) any {
		if ns == nil {
			return output.Unknown
		}
		return ns.ID.Ino
	}
	for _, c := range list {
		differs := []output.Object{}
		for _, d := range c.Differs {
			differs = append(differs, output.Object{{"what", d.What}, {"a", unlessUnknown(d.A)}, {"b", unlessUnknown(d.B)}})
		}
		types = append(types, output.Object{{"type", c.Type.String()}, {"a", number(c.A)}, {"b", number(c.B)}, {"verdict", c.verdict()}, {"differs", differs}})
	}
	return output.Objects(w, DiffSchema, output.Object{{"same", same}, {"a", a}, {"b", b}, {"types", types}}, missed)
}

// unlessUnknown returns list, or Unknown.
func unlessUnknown(list []string) any {
	if slices.Equal(list, []string{"?"}) {
		return output.Unknown
	}
	return append([]string{}, list...)
}

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
)

// InsideFacts returns the facts inside a namespace.
func (v View) InsideFacts(r NamespaceReport) []Fact {
	var s Sheet
	in := r.Inside
	if in == nil {
		in = &inside.Contents{}
	}
	switch {
	case r.Net != nil:
		s.Add("interfaces", orNone(v.interfaceLines(r.Net))...)
		s.Add("routes", orNone(routeLines(r.Net))...)
		s.Add("listens", orNone(v.listenerLines(r.Net))...)
	case in.UTS != nil:
		s.Add("host name", orNone(words(in.UTS.Host))...)
		s.Add("domain", orNone(words(in.UTS.Domain))...)
	case in.IPC != nil:
		v.addIPC(&s, in.IPC)
	case in.Mnt != nil:
		v.addMounts(&s, in.Mnt)
	case in.PID != nil:
		v.addPIDs(&s, r.NS, in.PID)
	case in.User != nil:
		v.addUser(&s, in.User)
	case in.Time != nil:
		s.Add("monotonic", offset(in.Time.Monotonic))
		s.Add("boottime", offset(in.Time.Boottime))
	case in.Cgroup != nil:
		s.Add("root", cgroupLines(in.Cgroup.Roots)...)
	default:
		s.Add("inside", "?")
	}
	return s.Facts
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
	if len(lines) > MostLines {
		return append(slices.Clone(lines[:MostLines]), more(len(lines)-MostLines))
	}
	return lines
}

func (v View) addIPC(s *Sheet, in *inside.IPC) {
	var lines []string
	for _, q := range in.Queues {
		lines = append(lines, fmt.Sprintf("%d   %s, %s, of %s", q.ID, text.Size(q.Bytes), text.Count(int(q.Messages), "message", "messages"), v.user(q.UID)))
	}
	s.Add("queues", orNone(lines)...)
	lines = nil
	for _, set := range in.Semaphores {
		lines = append(lines, fmt.Sprintf("%d   %s, of %s", set.ID, text.Count(int(set.Count), "semaphore", "semaphores"), v.user(set.UID)))
	}
	s.Add("semaphores", orNone(lines)...)
	lines = nil
	for _, m := range in.Segments {
		line := fmt.Sprintf("%d   %s, attached %s, of %s", m.ID, text.Size(m.Bytes), text.Count(int(m.Attached), "time", "times"), v.user(m.UID))
		if m.Creator != 0 {
			line += fmt.Sprintf(", made by process %d", m.Creator)
		}
		lines = append(lines, line)
	}
	s.Add("shared memory", orNone(lines)...)
	lines = nil
	for _, q := range in.Posix {
		lines = append(lines, fmt.Sprintf("%s   %s, of %s", q.Name, text.Size(q.Bytes), v.user(q.UID)))
	}
	if in.PosixErr != nil {
		lines = []string{"?   " + reason(in.PosixErr)}
	}
	s.Add("POSIX queues", orNone(lines)...)
}

// kernelFS are the file systems whose content the kernel generates.
var kernelFS = map[string]bool{
	"autofs": true, "binfmt_misc": true, "bpf": true, "cgroup": true, "cgroup2": true, "configfs": true,
	"debugfs": true, "devpts": true, "devtmpfs": true, "efivarfs": true, "fusectl": true, "hugetlbfs": true,
	"mqueue": true, "proc": true, "pstore": true, "securityfs": true, "sysfs": true, "tmpfs": true,
	"tracefs": true, "nsfs": true, "ramfs": true, "rpc_pipefs": true, "selinuxfs": true,
}

func (v View) addMounts(s *Sheet, in *inside.Mnt) {
	if m, ok := in.Root(); ok {
		s.Add("root", mountWords(m))
	} else {
		s.Add("root", "?")
	}
	counts := mountCounts(in)
	line := text.Count(len(in.Mounts), "mount", "mounts")
	if len(counts) > 0 {
		line += ": " + strings.Join(counts, ", ")
	}
	if !in.Whole {
		line += " (of what a member with another root sees)"
	}
	lines := []string{line}
	var pins []string
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
	}
	s.Add("mounts", cutLines(lines)...)
	s.Add("pinned", orNone(pins)...)
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

func (v View) addPIDs(s *Sheet, ns *inspect.Namespace, in *inside.PID) {
	switch {
	case in.Init != 0:
		s.Add("init", v.Process(in.Init))
	case in.Dead:
		s.Add("init", "none: nothing can be started in it any more")
	default:
		s.Add("init", "?")
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
	s.Add("nesting", nesting)
}

func (v View) addUser(s *Sheet, in *inside.User) {
	of := ""
	switch {
	case in.Outside.Known():
		of = fmt.Sprintf("   (outside is user:[%d])", in.Outside.ID.Ino)
	case in.Outside.Err != nil:
		of = "   (outside is a namespace that is hidden)"
	}
	idMap := func(m task.IDMap) string {
		if m == nil {
			return "?"
		}
		return m.String() + of
	}
	s.Add("users", idMap(in.UIDMap))
	s.Add("groups", idMap(in.GIDMap))
	switch in.Setgroups {
	case "":
		s.Add("setgroups", "?")
	default:
		s.Add("setgroups", in.Setgroups)
	}
	var lines []string
	for t := range inspect.AllTypes.All() {
		limit := "of ?"
		switch n, ok := in.Limits[t]; {
		case ok && n == math.MaxInt32:
			limit = "without a limit of its own"
		case ok:
			limit = "of " + strconv.Itoa(n)
		}
		lines = append(lines, fmt.Sprintf("%-6s  %d %s", t, in.Used[t], limit))
	}
	s.Add("in use", append([]string{"in it and below, of how many any one user may make"}, lines...)...)
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

package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/text"
)

// A ProcessReport is a process, or a thread of it, with its description.
type ProcessReport struct {
	Process *inspect.Process
	TID     int // a thread, or 0
	// Namespaces are those of the process, or of the thread, without those that could not be
	// read.
	Namespaces map[inspect.Type]*inspect.Namespace
	Task       *task.Task // nil if it could not be read
	AllCaps    task.Caps  // the capabilities that the kernel has
	// Container is the container that was asked for by name, or nil.
	Container *container.Container
}

// ProcessSheet returns the sheet of a process.
func ProcessSheet(v View, r ProcessReport) Sheet {
	p := r.Process
	s := Sheet{Title: fmt.Sprintf("process %d", p.PID)}
	if r.TID != 0 && r.TID != p.PID {
		s.Title = fmt.Sprintf("thread %d of process %d", r.TID, p.PID)
	}
	if r.Container != nil {
		s.Title = "container " + r.Container.String()
	}
	d := v.Details[p.PID]
	if r.Container != nil {
		s.Add("process", v.Process(p.PID)+"   "+d.Command())
	} else if d.Known() {
		s.Title += "   " + d.Command()
	}
	v.addContainer(&s, r)
	v.addState(&s, r, d)
	v.addNSpid(&s, r)
	var lines []string
	for t := range inspect.AllTypes.All() {
		lines = append(lines, v.shareLine(r, t))
	}
	s.Add("namespaces", lines...)
	if r.Task == nil {
		s.Add("more", "?")
		return s
	}
	v.addTask(&s, r)
	return s
}

func (v View) addContainer(s *Sheet, r ProcessReport) {
	c := v.containerOf(r)
	if c == nil {
		s.Add("container", "none")
		return
	}
	if r.Container == nil {
		line := v.containerLine(c)
		if v.Containers.Of(r.Process).Guest || v.Guests[r.Process.PID] {
			line += "   (a guest, from outside)"
		}
		s.Add("container", line)
	} else {
		s.Add("engine", string(c.Engine))
		s.Add("ID", c.ID)
		s.Add("image", orNone(words(c.Image))...)
		s.Add("path", words(c.Path)...)
	}
	if c.Pod != nil {
		line := c.Pod.Namespace + "/" + c.Pod.Name
		if c.Pod.UID != "" {
			line += "   " + c.Pod.UID
		}
		s.Add("pod", line)
	}
	if c.Outer != nil {
		s.Add("inside", c.Outer.String())
	}
}

// states are the words for the letters of proc_pid_stat(5).
var states = map[byte]string{
	'R': "running", 'S': "sleeping", 'D': "in uninterruptible sleep", 'T': "stopped", 't': "stopped by a tracer",
	'Z': "a zombie", 'X': "dead", 'x': "dead", 'I': "idle", 'P': "parked",
}

func (v View) addState(s *Sheet, r ProcessReport, d inspect.Detail) {
	state := d.State
	if r.Task != nil {
		state = r.Task.State
	}
	word, ok := states[state]
	if !ok {
		word = "?"
	}
	parts := []string{word}
	if tid := r.Process.Heir(); tid != 0 && r.TID == 0 {
		parts = append(parts, fmt.Sprintf("its first thread a zombie, as thread %d sees it", tid))
	}
	if !d.Start.IsZero() {
		parts = append(parts, "started "+text.Span(max(0, int64(v.Now.Sub(d.Start).Seconds())))+" ago")
	}
	if n := r.Process.Threads; n > 0 {
		parts = append(parts, text.Count(n, "thread", "threads"))
	}
	if d.PPID != 0 {
		parts = append(parts, "child of "+v.Process(d.PPID))
	}
	if t := r.Task; t != nil && t.Tracer != 0 {
		parts = append(parts, "traced by "+v.Process(t.Tracer))
	}
	s.Add("state", strings.Join(parts, ", "))
}

// A Level is a PID namespace that a task is in, and its number there.
type Level struct {
	PID int                // 0 if it is not known
	NS  *inspect.Namespace // nil if it is not known
}

// Levels returns PIDs, the outermost first, with their PID namespaces, of which inner is the
// last. Hidden ones are nil.
func Levels(snap *inspect.Snapshot, pids []int, inner *inspect.Namespace) []Level {
	levels := make([]Level, len(pids))
	for i, pid := range pids {
		levels[i].PID = pid
	}
	at := inner
	for i := len(levels) - 1; i >= 0 && at != nil; i-- {
		levels[i].NS = at
		if !at.Parent.Known() {
			break
		}
		at, _ = snap.Namespace(at.Parent.ID)
	}
	return levels
}

func (v View) addNSpid(s *Sheet, r ProcessReport) {
	var pids []int
	if r.Task != nil {
		pids = r.Task.NSpid
	}
	var lines []string
	for _, l := range Levels(v.Snapshot, pids, r.Namespaces[inspect.PID]) {
		lines = append(lines, v.level(l))
	}
	if len(lines) == 0 {
		lines = []string{"?"}
	}
	s.Add("PIDs", lines...)
}

func (v View) level(l Level) string {
	line := strconv.Itoa(l.PID) + " in "
	if l.NS == nil {
		return line + "?"
	}
	return line + v.namespace(l.NS)
}

// A Sharing says with whom a process shares a namespace.
type Sharing struct {
	Of         string   // "own", "host", "shared", "other" or the name of a container
	Unsure     bool     // it may have members that were not seen
	Containers []string // other containers that have a process in it
	Processes  int      // other processes in it, outside of the container of the process
	First      int      // one of these
}

// SharingOf returns with whom process p of container c, which may be nil, shares ns.
func SharingOf(v View, p *inspect.Process, c *container.Container, ns *inspect.Namespace) Sharing {
	set := v.Containers
	if set.IsHost(ns.Type, ns.ID) {
		return Sharing{Of: "host"} // with all processes of the host
	}
	var s Sharing
	seen := map[*container.Container]bool{c: true}
	for _, m := range ns.Members {
		in := v.Containers.Of(m).Container
		if m == p || c != nil && in == c {
			continue
		}
		if s.Processes++; s.First == 0 {
			s.First = m.PID
		}
		if in != nil && !seen[in] {
			s.Containers = append(s.Containers, in.String())
		}
		seen[in] = true
	}
	slices.Sort(s.Containers)
	switch owner := set.Owner(ns.ID.Ino); {
	case owner != nil && owner != c:
		s.Of = owner.String()
	case s.Processes > 0 && owner == nil:
		s.Of = "shared"
	case slices.ContainsFunc(set.Left(), func(l container.Left) bool { return l.Container == c && l.Ino == ns.ID.Ino }):
		s.Of = "other" // of a container that has left it
	default:
		s.Of, s.Unsure = "own", s.Processes == 0 && v.Containers.Strangers(c)
	}
	return s
}

// containerOf returns the container that r is about.
func (v View) containerOf(r ProcessReport) *container.Container {
	if r.Container != nil {
		return r.Container
	}
	return v.Containers.Of(r.Process).Container
}

// shareLine returns the line of one type of the namespaces of a process.
func (v View) shareLine(r ProcessReport, t inspect.Type) string {
	ns := r.Namespaces[t]
	if ns == nil {
		return fmt.Sprintf("%-6s  ?", t)
	}
	line := fmt.Sprintf("%-6s  %d  ", t, ns.ID.Ino)
	s := SharingOf(v, r.Process, v.containerOf(r), ns)
	with := strings.Join(s.Containers[:min(len(s.Containers), 4)], ", ")
	if len(s.Containers) > 4 {
		with += fmt.Sprintf(" and %d more", len(s.Containers)-4)
	}
	switch {
	case s.Of == "host":
		return line + "host"
	case s.Of == "own" && with != "":
		return line + "own, shared with " + with
	case s.Of == "own" && s.Processes > 0:
		return line + "own, and " + text.Count(s.Processes, "process", "processes") + " of others: " + v.Process(s.First)
	case s.Unsure:
		return line + "?   own, " + asFar(v.Snapshot.Unseen(inspect.Members))
	case s.Of == "own":
		return line + "own"
	case s.Of == "other":
		return line + "of another container, which has left it"
	case s.Of != "shared":
		return line + "=" + s.Of
	case with != "":
		return line + "shared with " + with
	case s.Processes == 1:
		return line + "shared with " + v.Process(s.First)
	}
	return line + fmt.Sprintf("shared with %d processes: %s ...", s.Processes, v.Process(s.First))
}

func (v View) addTask(s *Sheet, r ProcessReport) {
	t := r.Task
	link := func(l task.Link) string {
		if l.Err != nil {
			return "?"
		}
		return l.Path
	}
	if !slices.Contains([]byte{'Z', 'X'}, t.State) {
		s.Add("root", link(t.Root))
		s.Add("cwd", link(t.Cwd))
		if t.Exe.Path != "" || t.Exe.Err != nil {
			s.Add("exe", link(t.Exe))
		}
	}
	s.Add("user", idLines(t.UID, t.UIDMap, v.user)...)
	s.Add("group", idLines(t.GID, t.GIDMap, func(gid uint32) string { return "gid " + strconv.FormatUint(uint64(gid), 10) })...)
	var groups []string
	for _, g := range t.Groups {
		groups = append(groups, strconv.FormatUint(uint64(g), 10))
	}
	s.Add("groups", orNone(words(strings.Join(groups, " ")))...)
	s.Add("capabilities", capLines(t.Caps, r.AllCaps)...)
	s.Add("no_new_privs", yes(t.NoNewPrivs))
	mode := t.Seccomp.String()
	if t.Seccomp == task.SeccompFilter && t.Filters > 0 {
		mode += ", " + text.Count(t.Filters, "filter", "filters")
	}
	s.Add("seccomp", mode)
	s.Add("label", labelText(t)...)
	s.Add("cgroup", cgroupLines(t.Cgroups)...)
}

func labelText(t *task.Task) []string {
	if t.Label == "" {
		for _, g := range t.Gaps {
			if g.What == "attr/current" {
				return []string{"?"}
			}
		}
	}
	return orNone(words(t.Label))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// idLines lists the IDs of a task outside and inside, in one line if the four are the same.
func idLines(ids task.IDs, m task.IDMap, name func(uint32) string) []string {
	line := func(id uint32) string {
		text := name(id)
		switch in, ok := m.Inside(id); {
		case m == nil:
			return text + ", inside ?"
		case !ok:
			return text + ", nobody inside"
		case in != id:
			return text + ", inside " + strconv.FormatUint(uint64(in), 10)
		}
		return text
	}
	all := ids.All()
	if ids.Real == ids.Effective && ids.Real == ids.Saved && ids.Real == ids.FS {
		return []string{line(ids.Effective)}
	}
	var lines []string
	for i, which := range []string{"real", "effective", "saved", "file system"} {
		lines = append(lines, fmt.Sprintf("%-11s  %s", which, line(all[i])))
	}
	return lines
}

// capLines lists the capabilities in each set. A set that equals the one before is not
// repeated.
func capLines(sets task.CapSets, all task.Caps) []string {
	var lines []string
	for _, s := range []struct {
		name string
		set  task.Caps
	}{
		{"effective", sets.Effective},
		{"permitted", sets.Permitted},
		{"bounding", sets.Bounding},
		{"inheritable", sets.Inheritable},
		{"ambient", sets.Ambient},
	} {
		text := s.set.Words(all)
		if len(lines) > 0 && s.set != 0 && s.set == sets.Effective {
			text = "as effective"
		}
		lines = append(lines, fmt.Sprintf("%-11s  %s", s.name, text))
	}
	return lines
}

package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/internal/text"
)

// ShowSchema is the form of the JSON of nstool-show(1).
const ShowSchema = "nstool/show/2"

// A NamespaceReport is a namespace with what is inside it.
type NamespaceReport struct {
	NS     *inspect.Namespace
	Inside *inside.Contents
	Net    *Network // of a network namespace; nil if it was not read
}

// MaxLines is the most members, holders and so on that a sheet lists; JSON has all.
const MaxLines = 12

// NamespaceSheet returns the sheet of a namespace.
func NamespaceSheet(v View, r NamespaceReport) Sheet {
	ns := r.NS
	s := Sheet{Title: fmt.Sprintf("%s namespace %d", ns.Type, ns.ID.Ino)}
	var numbers []string
	if ns.Initial() {
		numbers = append(numbers, "the initial one")
	}
	if ns.NSID != 0 {
		numbers = append(numbers, fmt.Sprintf("ns_id %d", ns.NSID))
	}
	if ns.NetNSID >= 0 {
		numbers = append(numbers, fmt.Sprintf("netnsid %d", ns.NetNSID))
	}
	if len(numbers) > 0 {
		s.Title += "   (" + strings.Join(numbers, ", ") + ")"
	}
	if c := v.Containers.With(ns); c != nil {
		s.Add("container", v.containerLine(c))
	}
	s.Add("owner", v.relation(ns.Owner, ns, "it is the initial one"))
	if ns.Type.Hierarchical() {
		s.Add("parent", v.relation(ns.Parent, ns, "it is the initial one"))
		s.Add("children", v.namespaces(slices.Collect(v.Snapshot.Children(ns.ID)), v.noNested())...)
	}
	if ns.Type == inspect.User {
		s.Add("owns", v.owned(ns))
		s.Add("creator", v.creator(ns))
	}
	s.Add("members", v.memberLines(ns, r.Inside)...)
	s.Add("held by", v.otherHolders(ns)...)
	s.Add("freed", freedText(v.freedWhen(ns, r.Inside), v.Snapshot.Unseen(inspect.AllFacts))...)
	v.addFacts(&s, r)
	return s
}

// PinSheet returns the sheet of a set of pinned namespaces.
func PinSheet(v View, name string, list []*inspect.Namespace) Sheet {
	s := Sheet{Title: "pin " + name}
	for _, ns := range list {
		s.Add(ns.Type.String(), fmt.Sprintf("%d   %s", ns.ID.Ino, v.whose(ns)))
	}
	return s
}

// relation returns the namespace that r leads to, and to whom it belongs.
func (v View) relation(r inspect.Relation, of *inspect.Namespace, none string) string {
	switch {
	case r.None():
		return "none: " + none
	case !r.Known():
		return "?   " + reason(r.Err)
	}
	ns, ok := v.Snapshot.Namespace(r.ID)
	if !ok {
		return inspect.FormatLink(of.Type, r.ID.Ino)
	}
	return v.namespace(ns)
}

// reason returns why something is not known.
func reason(err error) string {
	return strings.TrimSuffix(err.Error(), ": permission denied")
}

// namespace returns the link of a namespace, and to whom it belongs.
func (v View) namespace(ns *inspect.Namespace) string {
	return ns.String() + "   " + v.whose(ns)
}

// whose returns in words to whom a namespace belongs.
func (v View) whose(ns *inspect.Namespace) string {
	if ns.Initial() {
		return "the initial " + ns.Type.String() + " namespace"
	}
	if c := v.Containers.With(ns); c != nil {
		return c.String()
	}
	if own, ok := v.Own(ns.Type); ok && own == ns.ID {
		return "the caller's"
	}
	if v.Containers.IsHost(ns.Type, ns.ID) {
		return "the host's"
	}
	if l := ns.Leader(); l != nil {
		return v.Process(l.PID)
	}
	for h := range v.Snapshot.Holders(ns) {
		return "[" + v.Holder(h) + "]"
	}
	return "nothing that can be seen holds it"
}

func (v View) namespaces(list []*inspect.Namespace, none string) []string {
	if len(list) == 0 {
		return []string{none}
	}
	var lines []string
	for i, ns := range list {
		if i == MaxLines {
			lines = append(lines, more(len(list)-i))
			break
		}
		lines = append(lines, v.namespace(ns))
	}
	return lines
}

func more(n int) string { return fmt.Sprintf("and %d more; --json lists all", n) }

// owned counts what a user namespace owns, by type.
func (v View) owned(user *inspect.Namespace) string {
	by := make(map[inspect.Type]int)
	total := 0
	for ns := range v.Snapshot.Owned(user.ID) {
		by[ns.Type]++
		total++
	}
	if total == 0 {
		return v.noNested()
	}
	var words []string
	for t := range inspect.AllTypes.All() {
		if by[t] > 0 {
			words = append(words, fmt.Sprintf("%d %s", by[t], t))
		}
	}
	return text.Count(total, "namespace", "namespaces") + ": " + strings.Join(words, ", ")
}

// noNested returns the line for a namespace that owns or encloses none, as far as known.
func (v View) noNested() string {
	if v.Snapshot.NestedKnown() {
		return "none"
	}
	return "none that can be seen"
}

// nobody returns word if all of these facts are known, and else why they are not.
func (v View) nobody(word string, facts inspect.Facts) string {
	if why := v.Snapshot.Unseen(facts); why != nil {
		return "?   " + why[0]
	}
	return word
}

func (v View) creator(ns *inspect.Namespace) string {
	switch {
	case ns.Creator >= 0:
		return v.user(uint32(ns.Creator))
	case ns.Owner.None():
		return "none: it is the initial one"
	}
	return "?"
}

// user returns the name and the number of a user: "root (0)".
func (v View) user(uid uint32) string {
	name := v.UserName(uid)
	if n := strconv.FormatUint(uint64(uid), 10); n != name {
		return fmt.Sprintf("%s (%s)", name, n)
	}
	return "uid " + name
}

// memberLines lists the members of a namespace, with their numbers in it if it is a PID
// namespace.
func (v View) memberLines(ns *inspect.Namespace, in *inside.Contents) []string {
	if len(ns.Members) == 0 {
		return []string{v.nobody("none", inspect.Members)}
	}
	whole := v.Containers.With(ns)
	var lines []string
	if len(ns.Members) > 1 {
		lines = append(lines, text.Count(len(ns.Members), "process", "processes"))
	}
	for i, p := range ns.Members {
		if i == MaxLines {
			lines = append(lines, more(len(ns.Members)-i))
			break
		}
		line := v.Process(p.PID)
		if in != nil && in.PID != nil && !ns.Initial() {
			if n, ok := in.PID.PIDs[p.PID]; ok && n != p.PID {
				line += fmt.Sprintf(", PID %d inside", n)
			}
		}
		if m := v.Containers.Of(p); m.Container != nil && m.Container != whole {
			line += "   " + m.Container.String()
		}
		lines = append(lines, line)
	}
	return lines
}

// otherHolders lists the holders of a namespace other than its members.
func (v View) otherHolders(ns *inspect.Namespace) []string {
	var lines []string
	n := 0
	for h := range v.Snapshot.Holders(ns) {
		if h.Kind == inspect.ByProcess {
			continue
		}
		if n++; n <= MaxLines {
			lines = append(lines, v.hold(h, ns))
		}
	}
	if n > MaxLines {
		lines = append(lines, more(n-MaxLines))
	}
	switch {
	case n > 0:
		return lines
	case len(ns.Members) == 0:
		return nil
	case !v.Snapshot.Whole(inspect.AllFacts):
		return []string{"nothing else that can be seen"}
	}
	return []string{"nothing else"}
}

// hold describes a holder, also to whom a nested namespace belongs.
func (v View) hold(h inspect.Holder, ns *inspect.Namespace) string {
	if h.Kind != inspect.ByNested {
		return v.Holder(h)
	}
	word := "encloses "
	if h.Nested.Owner.ID == ns.ID {
		word = "owns "
	}
	return word + v.namespace(h.Nested)
}

// Results of [View.freedWhen] without a condition.
const (
	freedNever   = "never: it is the initial one"
	freedUnknown = "nothing was found that holds it: it may be gone by now, or be held where nobody can look"
)

// freedWhen returns the conditions under which the kernel frees a namespace: one for each
// holder.
func (v View) freedWhen(ns *inspect.Namespace, in *inside.Contents) []string {
	if ns.Initial() {
		return []string{freedNever}
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch n := len(ns.Members); {
	case n == 0:
	case ns.Type == inspect.PID && in != nil && in.PID != nil && in.PID.Init != 0 && n > 1:
		add("its first process, %s, has exited, which ends the other %d", v.Process(in.PID.Init), n-1)
	case n == 1 && ns.Type == inspect.PID:
		add("%s has exited", v.Process(ns.Members[0].PID))
	case n == 1:
		add("%s has exited or left it", v.Process(ns.Members[0].PID))
	case ns.Type == inspect.PID:
		add("its %d processes have exited", n)
	default:
		add("its %d processes have exited or left it", n)
	}
	fds := make(map[[3]int][]string) // by kind, process and thread
	var order [][3]int
	var enclosed []string
	for _, h := range ns.Others() {
		switch h.Kind {
		case inspect.ByTask:
			add("thread %d of %s has exited or left it", h.TID, v.Process(h.PID))
		case inspect.ByChildren:
			add("%s has exited, or makes its children elsewhere", strings.TrimPrefix(v.Holder(h), "for children of "))
		case inspect.ByFD, inspect.BySocket, inspect.ByNetDevice, inspect.ByProcFile:
			key := [3]int{int(h.Kind), h.PID, h.TID}
			if fds[key] == nil {
				order = append(order, key)
			}
			fds[key] = append(fds[key], strconv.Itoa(h.FD))
		case inspect.ByMount:
			add("%s", strings.Replace(v.Holder(h), "mounted at "+h.Path, h.Path+" is unmounted", 1))
		case inspect.ByKernel:
			add("what only the kernel knows of has let go, such as a descriptor in a message")
		}
	}
	for _, key := range order {
		word, is := "fd ", " is closed"
		switch inspect.HolderKind(key[0]) {
		case inspect.BySocket:
			word = "socket "
		case inspect.ByNetDevice:
			word = "device "
		case inspect.ByProcFile:
			word = "file "
		}
		list := fds[key]
		if len(list) > 1 {
			word, is = strings.TrimSpace(word)+"s ", " are closed"
		}
		if len(list) > MaxLines {
			list = []string{text.Count(len(list), "", "of them")}
		}
		who := v.Process(key[1])
		if key[2] != 0 {
			who = fmt.Sprintf("thread %d of %s", key[2], who)
		}
		add("%s%s of %s%s", word, strings.Join(list, ", "), who, is)
	}
	owned, children := 0, 0
	for h := range v.Snapshot.Holders(ns) {
		if h.Kind != inspect.ByNested {
			continue
		}
		if h.Nested.Owner.ID == ns.ID {
			owned++
		} else {
			children++
			enclosed = append(enclosed, h.Nested.String())
		}
	}
	if owned > 0 {
		add("%s that it owns %s gone", text.Count(owned, "namespace", "namespaces"), has(owned))
	}
	switch {
	case children == 1:
		add("its child %s has gone", enclosed[0])
	case children > 1:
		add("its %d children have gone", children)
	}
	if len(lines) == 0 {
		return []string{freedUnknown}
	}
	return lines
}

// freedText makes a sentence of conditions, in lines, with the reasons why there may be others.
func freedText(conditions, unseen []string) []string {
	if conditions[0] == freedNever {
		return conditions
	}
	lines := slices.Clone(conditions)
	if lines[0] != freedUnknown {
		lines[0] = "when " + lines[0]
	}
	if n := len(lines); n > MaxLines {
		lines = append(lines[:MaxLines], more(n-MaxLines))
	}
	for i := range lines[:len(lines)-1] {
		lines[i] += ", and"
	}
	if unseen != nil {
		lines = append(lines, asFar(unseen))
	}
	return lines
}

// asFar returns a line that limits a statement to what was seen.
func asFar(unseen []string) string { return "as far as can be seen: " + strings.Join(unseen, "; ") }

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

func (v View) containerLine(c *container.Container) string {
	line := c.String()
	for _, more := range []string{c.Image, c.ShortID()} {
		if more != "" && more != c.Name {
			line += "   " + more
		}
	}
	return line
}

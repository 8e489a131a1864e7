package output

import (
	"io"
	"slices"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
)

// containerColumns returns the columns of containers. There is one in lower case for each type of
// namespace.
func containerColumns() []Column[*container.Container] {
	return append([]Column[*container.Container]{
		containerColumn("CONTAINER", containerName),
		containerColumn("ENGINE", containerEngine),
		{"ENGINEUSER", containerUser.help, kindText, 0, func(_ *View, c *container.Container) cellValue {
			if !c.User.Known() {
				return cellValue{state: hidden}
			}
			return containerUser.value(c)
		}},
		{"CONFIRMED", "whether the name is that user's word, and not one that anybody can have given: of a container in another it never is", kindFlag, 0, func(_ *View, c *container.Container) cellValue { return flagValue(c.Confirmed) }},
		{"NAME", "name of the container; in a pod, the name in the pod", kindText, 0, func(_ *View, c *container.Container) cellValue { return textValue(c.Name) }},
		containerColumn("CID", containerID),
		containerColumn("IMAGE", containerImage),
		containerColumn("POD", containerPod),
		{"PODUID", "UID of the Kubernetes pod", kindText, 0, func(_ *View, c *container.Container) cellValue {
			if c.Pod == nil {
				return cellValue{}
			}
			return textValue(c.Pod.UID)
		}},
		{"ROLE", "\"sandbox\" for the container that only keeps the namespaces of a pod", kindText, 0, func(_ *View, c *container.Container) cellValue {
			if c.Sandbox {
				return textValue("sandbox")
			}
			return cellValue{}
		}},
		{"GROUP", "namespace of containerd, or project of Incus, that the container is in", kindText, 0, func(_ *View, c *container.Container) cellValue { return textValue(c.Namespace) }},
		{"IN", "container that the engine of this one runs in", kindText, 0, func(_ *View, c *container.Container) cellValue { return textValue(c.Outer.String()) }},
		{"PATH", "directory of the container: its state, its bundle or its root", kindText, 0, func(_ *View, c *container.Container) cellValue { return textValue(c.Path) }},
		{"INIT", "PID of the container's first process", kindNumber, 0, func(_ *View, c *container.Container) cellValue { return numberFrom(c.Init, 1) }},
		{"PROCS", "number of processes in the container, guests not counted", kindNumber, 0, func(v *View, c *container.Container) cellValue { return v.countOf(v.members(c), inspect.Members) }},
		{"STARTED", "when the first process started", kindTime, NeedDetail, initValue(func(_ *View, d inspect.Detail) cellValue { return started(d) })},
		{"AGE", "how long ago that was", kindAge, NeedDetail, initValue(func(v *View, d inspect.Detail) cellValue {
			if d.Start.IsZero() {
				return cellValue{state: hidden}
			}
			return numberValue(max(0, int64(v.Now.Sub(d.Start).Seconds())))
		})},
		{"ACCOUNT", "name of the user that the first process is of, or the number where there is none", kindText, NeedDetail, initValue(func(v *View, d inspect.Detail) cellValue { return textValue(v.UserName(d.UID)) })},
		{"COMMAND", "command line of the first process", kindText, NeedDetail | NeedArgs, initValue(func(_ *View, d inspect.Detail) cellValue { return textValue(d.Command()) })},
	}, shares()...)
}

//go:noinline
func containerColumn(name string, f containerField) Column[*container.Container] {
	return Column[*container.Container]{name, f.help, kindText, 0, func(_ *View, c *container.Container) cellValue { return f.value(c) }}
}

// initValue returns a column about the first process of a container.
//
//go:noinline
func initValue(f func(*View, inspect.Detail) cellValue) func(*View, *container.Container) cellValue {
	return func(v *View, c *container.Container) cellValue {
		return detailValue(v, c.Init, f)
	}
}

// members returns the number of processes of c.
func (v *View) members(c *container.Container) int {
	if v.counts == nil {
		v.counts = make(map[*container.Container]int)
		for p := range v.Snapshot.Processes() {
			if m := v.Containers.Of(p); !m.Guest && !v.Guests[p.PID] {
				v.counts[m.Container]++
			}
		}
	}
	return v.counts[c]
}

// shares returns a column for each type of namespace, with whom the container shares it.
func shares() (cols []Column[*container.Container]) {
	for t := range inspect.AllTypes.All() {
		cols = append(cols, Column[*container.Container]{
			Name: t.String(), Kind: kindShare,
			Help:  "whose " + t.String() + " namespace it is in: own, host, =NAME of another container, or other",
			value: func(v *View, c *container.Container) cellValue { return v.share(c, t) },
		})
	}
	return cols
}

// usuallyOwn are the types of which engines give every container a namespace of its own by
// default: a container in the host's is marked.
var usuallyOwn = inspect.TypesOf(inspect.IPC, inspect.Mnt, inspect.Net, inspect.PID, inspect.UTS)

// share returns to whom the namespace of type t of a container belongs. The list of the value
// has it in words: "own", "host", "other" or the container's name.
func (v *View) share(c *container.Container, t inspect.Type) cellValue {
	p, ok := v.Snapshot.Process(c.Init)
	if !ok {
		return cellValue{state: hidden}
	}
	id, ok := p.Namespace(t)
	if !ok {
		return cellValue{state: hidden}
	}
	set := v.Containers
	val := cellValue{state: known, num: int64(id.Ino)}
	word := func(text, of string) cellValue {
		val.text, val.list = text, []string{of}
		return val
	}
	switch owner := set.Owner(id.Ino); {
	case set.IsHost(t, id) && usuallyOwn.Has(t):
		return word("HOST", "host")
	case set.IsHost(t, id):
		return word("host", "host")
	case owner == nil:
		return word("other", "other")
	case owner == c && v.Containers.Strangers(c):
		return cellValue{state: hidden} // it may have other members
	case owner == c:
		return word("own", "own")
	case owner.Sandbox && owner.Pod != nil && owner.Pod == c.Pod:
		return word("=pod", owner.String())
	case owner.Name == "":
		return word("="+owner.ShortID(), owner.String())
	default:
		return word("="+owner.Name, owner.String())
	}
}

// ContainerList is the list of containers. A type of namespace is an object in
// JSON: {"ns": 4026532184, "of": "own"}, where of is "own", "host", "other" or
// the name of a container.
func ContainerList() ListOf[*container.Container] {
	return ListOf[*container.Container]{
		Schema: "nstool/containers/2", Key: "containers", Columns: containerColumns(),
		Default: []string{"CONTAINER", "IMAGE", "INIT", "PROCS", "AGE", "cgroup", "ipc", "net", "mnt", "pid", "time", "user", "uts"},
		Dropped: []string{"time", "cgroup", "PROCS", "uts", "ipc", "AGE", "user", "IMAGE", "mnt", "pid"},
		Subjects: func(v *View, c *container.Container) ([]*inspect.Process, []*inspect.Namespace) {
			return v.processes(c.Init), nil
		},
	}
}

// ContainerTree writes a table of containers below their engine, their pod and the container in
// which their engine runs, with lines before the first column, which has their names. The
// ancestors of a row are written too, even if they are not among rows.
func ContainerTree(w io.Writer, v *View, rows []*container.Container, cols []Column[*container.Container], style Style) error {
	root := &containerNode{}
	for _, c := range rows {
		root.place(c)
	}
	t := containerTree{v: v, cols: cols}
	if !style.NoHeader {
		t.grid = append(t.grid, Names(cols))
	}
	for _, n := range root.below {
		t.add(n, "", "")
	}
	first := cols[0]
	first.Kind = kindText // a tree grows from the left
	return drawTable(w, t.grid, t.rows, append([]Column[*container.Container]{first}, cols[1:]...), style, nil)
}

// A containerNode is a line of a tree: an engine, a pod or a container.
type containerNode struct {
	name  string
	c     *container.Container // nil for an engine, and a pod without a sandbox
	below []*containerNode
}

// child returns the child of n with the given name.
func (n *containerNode) child(name string) *containerNode {
	i := slices.IndexFunc(n.below, func(b *containerNode) bool { return b.name == name })
	if i < 0 {
		i = len(n.below)
		n.below = append(n.below, &containerNode{name: name})
	}
	return n.below[i]
}

// place returns the node of c below n, and makes it and its ancestors if needed.
func (n *containerNode) place(c *container.Container) *containerNode {
	at := n
	if c.Outer != nil {
		at = n.place(c.Outer)
	}
	engine := string(c.Engine)
	if c.Account != "" && c.Outer == nil {
		engine += "@" + c.Account
	}
	at = at.child(engine)
	name := c.Name
	if name == "" {
		if name = c.ShortID(); !c.Confirmed {
			name += "?"
		}
	}
	if c.Pod != nil && c.Pod.Name != "" {
		at = at.child(c.Pod.Namespace + "/" + c.Pod.Name)
	}
	if !c.Sandbox || c.Pod == nil {
		// Two may have the same name, and are two lines.
		i := slices.IndexFunc(at.below, func(b *containerNode) bool { return b.c == c })
		if i < 0 {
			at.below = append(at.below, &containerNode{name: name})
			i = len(at.below) - 1
		}
		at = at.below[i]
	}
	at.c = c
	return at
}

type containerTree struct {
	v    *View
	cols []Column[*container.Container]
	grid [][]string
	rows []*container.Container
}

// add draws n and the nodes below it: self before its own row, rest before the others.
func (t *containerTree) add(n *containerNode, self, rest string) {
	line := make([]string, len(t.cols))
	for i, c := range t.cols {
		if n.c != nil {
			line[i] = Clean(c.value(t.v, n.c).cell(c.Kind))
		}
	}
	line[0] = self + Clean(n.name)
	t.grid, t.rows = append(t.grid, line), append(t.rows, n.c)
	for i, b := range n.below {
		if i < len(n.below)-1 {
			t.add(b, rest+"├─", rest+"│ ")
		} else {
			t.add(b, rest+"└─", rest+"  ")
		}
	}
}

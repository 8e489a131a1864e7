package output

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// A TreeKind is the relation that a tree draws.
type TreeKind string

// The kinds of tree.
const (
	ByOwner   TreeKind = "owner"   // below the owning user namespace
	ByParent  TreeKind = "parent"  // below the parent PID or user namespace
	ByProcess TreeKind = "process" // below the namespace, of the same type, of the leader's parent
)

// treeKinds are the kinds of tree, in the order of the manual page.
var treeKinds = []TreeKind{ByOwner, ByParent, ByProcess}

// TreeNames returns their names.
func TreeNames() []string {
	names := make([]string, len(treeKinds))
	for i, k := range treeKinds {
		names[i] = string(k)
	}
	return names
}

// ParseTreeKind returns the kind of tree with the given name.
func ParseTreeKind(s string) (TreeKind, error) {
	if k := TreeKind(s); slices.Contains(treeKinds, k) {
		return k, nil
	}
	return "", fmt.Errorf("no tree by %q; there are: %s", s, strings.Join(TreeNames(), ", "))
}

// Tree writes a table of namespaces as a tree by kind, with lines before the first column.
// Ancestors that are not among rows are not drawn, and their children move up.
func Tree(w io.Writer, v *View, rows []*inspect.Namespace, kind TreeKind, cols []Column[*inspect.Namespace], style Style, faint func(*inspect.Namespace) bool) error {
	shown := make(map[inspect.ID]bool, len(rows))
	for _, ns := range rows {
		shown[ns.ID] = true
	}
	var roots []*inspect.Namespace
	below := make(map[inspect.ID][]*inspect.Namespace)
	for _, ns := range rows {
		up := v.above(ns, kind)
		for steps := 0; up != nil && !shown[up.ID] && steps < maxDepth; steps++ {
			up = v.above(up, kind)
		}
		if up == nil || up == ns || !shown[up.ID] {
			roots = append(roots, ns)
		} else {
			below[up.ID] = append(below[up.ID], ns)
		}
	}
	t := tree{below: below, seen: make(map[inspect.ID]bool)}
	for _, ns := range roots {
		t.add(ns, "", "")
	}
	for _, ns := range rows { // a cycle, which a race during the scan may cause
		if !t.seen[ns.ID] {
			t.add(ns, "", "")
		}
	}
	grid := make([][]string, 0, len(rows)+1)
	if !style.NoHeader {
		grid = append(grid, Names(cols))
	}
	for i, ns := range t.rows {
		line := make([]string, len(cols))
		for k, c := range cols {
			line[k] = Clean(c.value(v, ns).cell(c.Kind))
		}
		line[0] = t.lines[i] + line[0]
		grid = append(grid, line)
	}
	first := cols[0]
	first.Kind = kindText // a tree grows from the left
	return drawTable(w, grid, t.rows, append([]Column[*inspect.Namespace]{first}, cols[1:]...), style, faint)
}

// maxDepth is more than the kernel allows: 32 for PID and user namespaces
// (MAX_PID_NS_LEVEL, and user_namespaces(7)), but process trees are deeper.
const maxDepth = 1 << 16

// above returns the namespace above ns in the tree.
func (v *View) above(ns *inspect.Namespace, kind TreeKind) *inspect.Namespace {
	switch kind {
	case ByOwner:
		up, _ := v.Snapshot.Namespace(ns.Owner.ID)
		return up
	case ByParent:
		up, _ := v.Snapshot.Namespace(ns.Parent.ID)
		return up
	}
	l := ns.Leader()
	if l == nil {
		return nil
	}
	for steps := 0; steps < maxDepth; steps++ {
		p, ok := v.Snapshot.Process(v.Details[l.PID].PPID)
		if !ok {
			return nil
		}
		if up, ok := v.Snapshot.Of(p, ns.Type); ok && up != ns {
			return up
		}
		l = p
	}
	return nil
}

// tree is a tree as lines.
type tree struct {
	below map[inspect.ID][]*inspect.Namespace
	seen  map[inspect.ID]bool
	rows  []*inspect.Namespace
	lines []string // the lines before each row
}

// add draws ns and the namespaces below it: self before its own row, rest before the others.
func (t *tree) add(ns *inspect.Namespace, self, rest string) {
	if t.seen[ns.ID] {
		return
	}
	t.seen[ns.ID] = true
	t.rows = append(t.rows, ns)
	t.lines = append(t.lines, self)
	kids := t.below[ns.ID]
	for i, k := range kids {
		if i < len(kids)-1 {
			t.add(k, rest+"├─", rest+"│ ")
		} else {
			t.add(k, rest+"└─", rest+"  ")
		}
	}
}

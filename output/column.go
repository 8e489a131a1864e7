package output

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
)

// A View is a snapshot together with other facts that a cell may show.
type View struct {
	Snapshot *inspect.Snapshot

	// Details describes processes; see [inspect.Snapshot.Describe]. A missing process is shown
	// as none.
	Details map[int]inspect.Detail

	// User returns the name of a user, or "" to show its number. It may be nil.
	User func(uid uint32) string

	// Containers are the containers of the snapshot; see [container.Find]. nil shows
	// none.
	Containers *container.Set

	// Guests are the processes that came into the namespaces of a container from outside, as
	// far as looked for.
	Guests map[int]bool

	// Status is the longer description of some processes. It may be nil.
	Status map[int]Status

	// PartNetworks: the interfaces of some network namespaces may not have been read.
	PartNetworks bool

	// Now is the time from which ages are counted.
	Now time.Time

	// Computed once, when needed.
	counts map[*container.Container]int  // processes
	places map[*inspect.Namespace]string // see [View.Place]
}

// processes returns the processes of the snapshot with these PIDs.
func (v *View) processes(pids ...int) (list []*inspect.Process) {
	for _, pid := range pids {
		if p, ok := v.Snapshot.Process(pid); ok {
			list = append(list, p)
		}
	}
	return list
}

// A Status is a longer description of a process, which package inspect/process reads.
type Status struct {
	NSpid  []int  // the PID in each PID namespace, outermost first
	Cgroup string // the most specific control group
}

// A Column is one thing to show about an R, such as a namespace or a process.
type Column[R any] struct {
	// Functions that return columns or values for several columns are not inlined, since each
	// copy has its closure with it.

	Name  string // the header, and in lower case the JSON name
	Help  string
	Kind  Kind
	Needs Need
	value func(*View, R) cellValue
}

// A Need is a part of a [View] that a column needs.
type Need uint8

// The parts of a [View].
const (
	// NeedDetail is the Detail of the process, or of the leader of the namespace.
	NeedDetail Need = 1 << iota
	// NeedArgs are its arguments.
	NeedArgs
	// NeedHolders is the Detail of the processes that hold the namespace and are no members.
	NeedHolders
	// NeedContainers are the containers.
	NeedContainers
	// NeedGuests are the guests in containers.
	NeedGuests
	// NeedStatus is the Status of the process.
	NeedStatus
)

// JSONName returns the name of the column in JSON and in filters.
func (c Column[R]) JSONName() string { return strings.ToLower(c.Name) }

// right reports whether the cells of the column are aligned to the right.
func (c Column[R]) right() bool { return c.Kind == kindNumber || c.Kind == kindAge }

// NeedsOf returns what the columns need together.
func NeedsOf[R any](cols []Column[R]) Need {
	var n Need
	for _, c := range cols {
		n |= c.Needs
	}
	return n
}

// Names returns the names of columns.
func Names[R any](cols []Column[R]) []string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = c.Name
	}
	return names
}

// Select returns the columns of table that spec names: a list with commas, in any case. A
// leading "+" adds them to defaults.
func Select[R any](table []Column[R], spec string, defaults []Column[R]) ([]Column[R], error) {
	var cols []Column[R]
	list, add := strings.CutPrefix(spec, "+")
	if add {
		cols = slices.Clone(defaults)
	}
	for name := range strings.SplitSeq(list, ",") {
		c, err := find(table, strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if add && slices.ContainsFunc(cols, func(have Column[R]) bool { return have.Name == c.Name }) {
			continue
		}
		cols = append(cols, c)
	}
	return cols, nil
}

// Pick returns the columns of table with the given names. It panics if one does not exist.
func Pick[R any](table []Column[R], names ...string) []Column[R] {
	cols := make([]Column[R], len(names))
	for i, name := range names {
		c, err := find(table, name)
		if err != nil {
			panic(err)
		}
		cols[i] = c
	}
	return cols
}

func find[R any](table []Column[R], name string) (Column[R], error) {
	for _, c := range table {
		if strings.EqualFold(c.Name, name) {
			return c, nil
		}
	}
	return Column[R]{}, fmt.Errorf("no column %q; there are: %s", name, strings.Join(Names(table), ", "))
}

// Sort orders rows by a column, the smallest first; with "-" before its name, the largest
// first. The sort is stable.
func Sort[R any](v *View, rows []R, table []Column[R], by string) error {
	name, down := strings.CutPrefix(by, "-")
	c, err := find(table, name)
	if err != nil {
		return err
	}
	type keyed struct {
		row R
		key cellValue
	}
	keys := make([]keyed, len(rows))
	for i, r := range rows {
		keys[i] = keyed{r, c.value(v, r)}
	}
	sort.SliceStable(keys, func(i, j int) bool {
		if down {
			i, j = j, i
		}
		return keys[i].key.compare(keys[j].key, c.Kind) < 0
	})
	for i := range keys {
		rows[i] = keys[i].row
	}
	return nil
}

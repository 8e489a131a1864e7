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

// A View is a snapshot and what else there is to be said about it.
type View struct {
	Snapshot *inspect.Snapshot

	// Details describes processes; see [inspect.Snapshot.Describe]. What is
	// not there is shown as none.
	Details map[int]inspect.Detail

	// User returns the name of a user, or "" if it has none, and then its
	// number is shown. It may be nil.
	User func(uid uint32) string

	// Containers are the containers of the snapshot; see [container.Find]. nil shows
	// none.
	Containers *container.Set

	// Guests are the processes that are in the namespaces of a container and
	// came there from outside, as far as they were looked for.
	Guests map[int]bool

	// Status is what some processes say at length. It may be nil.
	Status map[int]Status

	// PartNetworks says that there may be network namespaces whose interfaces
	// were not read.
	PartNetworks bool

	// Now is the time that ages are counted to.
	Now time.Time

	// What is found out when it is needed, once.
	counts map[*container.Container]int  // processes
	places map[*inspect.Namespace]string // see [View.Place]
}

// A Status is what a process says of itself at length; package inspect/process
// reads it.
type Status struct {
	NSpid  []int  // the PID in each PID namespace, outermost first
	Cgroup string // the control group that tells most
}

// A Column is something to show about an R: a namespace or a process.
type Column[R any] struct {
	Name  string // the header, and in lower case the JSON name
	Help  string
	Kind  Kind
	Needs Need
	value func(*View, R) cellValue
}

// A Need is what has to be put into a [View] for a column.
type Need uint8

// What columns need.
const (
	// NeedDetail of the process itself, or of the leader of the namespace.
	NeedDetail Need = 1 << iota
	// NeedArgs are the arguments of the same.
	NeedArgs
	// NeedHolders is the Detail of the processes that hold the namespace
	// without being members.
	NeedHolders
	// NeedContainers is whose processes and namespaces are: the containers.
	NeedContainers
	// NeedGuests says which processes are guests in their container.
	NeedGuests
	// NeedStatus is the Status of the process itself.
	NeedStatus
)

// JSONName returns the name of the column in JSON and in filters.
func (c Column[R]) JSONName() string { return strings.ToLower(c.Name) }

// right reports whether the cells of the column stand to the right.
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

// Select returns the columns of table that spec names: a list with commas, in
// any case. A leading "+" adds to defaults those that are not there yet.
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

// Pick returns the columns of table with the given names, which must be there.
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

// Sort orders rows by a column, the smallest first; by a column with "-" before
// its name, the largest first. Rows that are equal there stay in order.
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

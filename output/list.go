package output

import (
	"io"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// A ListOf is everything about a list that does not depend on its rows.
type ListOf[R any] struct {
	// Schema is the form of its JSON, as in "nstool/net/2", and Key the name of the rows in it.
	Schema, Key string
	// Columns are all columns.
	Columns []Column[R]
	// Default are the names of the columns that are shown if none are asked for. One with
	// a "?" is shown only on request, see Defaults.
	Default []string
	// Dropped are the default columns that are left out on a narrow terminal, the least important
	// first.
	Dropped []string
	// Subjects returns the processes and the namespaces whose details the columns of a row show.
	Subjects func(*View, R) ([]*inspect.Process, []*inspect.Namespace)
	// Faint reports whether a row is of less interest than others. It may be nil.
	Faint func(R) bool
}

// Defaults returns the columns that are shown if none are asked for, with those of the
// optional ones that are named.
func (l ListOf[R]) Defaults(with ...string) (cols []Column[R]) {
	for _, name := range l.Default {
		if name, optional := strings.CutSuffix(name, "?"); !optional || slices.Contains(with, name) {
			cols = append(cols, Pick(l.Columns, name)...)
		}
	}
	return cols
}

// SubjectsOf returns the subjects of rows: the namespaces each once, a process maybe more often.
func (l ListOf[R]) SubjectsOf(v *View, rows []R) (processes []*inspect.Process, namespaces []*inspect.Namespace) {
	seen := make(map[*inspect.Namespace]bool)
	for _, r := range rows {
		ps, spaces := l.Subjects(v, r)
		processes = append(processes, ps...)
		for _, ns := range spaces {
			if !seen[ns] {
				seen[ns] = true
				namespaces = append(namespaces, ns)
			}
		}
	}
	return processes, namespaces
}

// JSON writes one object:
//
//	{"schema": "nstool/net/2", "complete": true, "reasons": [], "interfaces": [{...}, ...], "gaps": [{...}, ...]}
//
// The keys of a row are the names of the columns in lower case; see [JSON].
func (l ListOf[R]) JSON(w io.Writer, v *View, rows []R, cols []Column[R], missed Missed) error {
	e := newEncoder(w, l.Schema, missed)
	e.raw(`,"` + l.Key + `":`)
	encodeRows(e, v, rows, cols)
	e.gaps(missed.Gaps)
	return e.flush()
}

package output

import (
	"io"
	"slices"
	"strings"
)

// A ListOf says of a list what does not depend on its rows.
type ListOf[R any] struct {
	// Schema names the form of its JSON, as in "nstool/net/2", and Key is the name
	// that the rows have in it.
	Schema, Key string
	// Columns are all there are.
	Columns []Column[R]
	// Default are the names of the columns that are shown if none are asked for. One with
	// a "?" is shown only on request, see Defaults.
	Default []string
	// Spare are the default columns that are left out on a terminal that is too
	// narrow for them, those that say least first.
	Spare []string
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

// JSON writes one object:
//
//	{"schema": "nstool/net/2", "complete": true, "reasons": [], "interfaces": [{...}, ...], "gaps": [{...}, ...]}
//
// Schema and the name of the rows are those of the list. The keys of a row are the
// names of the columns in lower case; see [JSON].
func (l ListOf[R]) JSON(w io.Writer, v *View, rows []R, cols []Column[R], missed Missed) error {
	e := newEncoder(w, l.Schema, missed)
	e.raw(`,"` + l.Key + `":[`)
	encodeRows(e, v, rows, cols)
	e.raw(`]`)
	e.gaps(missed.Gaps)
	return e.flush()
}

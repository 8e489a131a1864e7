package output

import "io"

// A ListOf says of a list what does not depend on its rows.
type ListOf[R any] struct {
	// Schema names the form of its JSON, as in "nstool/net/2", and Key is the name
	// that the rows have in it.
	Schema, Key string
	// Columns are all there are.
	Columns []Column[R]
	// Spare are the default columns that are left out on a terminal that is too
	// narrow for them, those that say least first.
	Spare []string
	// Faint reports whether a row is of less interest than others. It may be nil.
	Faint func(R) bool
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

package output

import (
	"strings"

	"github.com/nstool/nstool/internal/filter"
)

// A Filter chooses rows by an expression over their columns.
type Filter[R any] struct {
	cols []Column[R] // the columns in the expression
	test filter.Test
}

// A FilterError is a mistake in a filter.
type FilterError = filter.Error

// NewFilter parses an expression in the language of scols-filter(5), as lsns(8) has it, with
// some more words; nstool-ls(1) describes it. It can name any column of table, in any case. A
// missing number is 0 and a missing text is empty. A mistake is a [*FilterError].
//
// An unknown value satisfies neither a comparison nor its negation: the logic is Kleene's, of
// three values.
func NewFilter[R any](table []Column[R], source string) (*Filter[R], error) {
	f := &Filter[R]{}
	cells := make(map[string]int)
	var err error
	f.test, err = filter.Parse(source, func(name string) (filter.Column, bool) {
		c, err := find(table, name)
		if err != nil {
			return filter.Column{}, false
		}
		i, known := cells[c.Name]
		if !known {
			i = len(f.cols)
			cells[c.Name] = i
			f.cols = append(f.cols, c)
		}
		return filter.Column{Name: c.JSONName(), Class: c.Kind.class(), Cell: i}, true
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Needs returns the parts of a View that the filter needs.
func (f *Filter[R]) Needs() Need { return NeedsOf(f.cols) }

// Keep returns the rows for which the expression is true.
func (f *Filter[R]) Keep(v *View, rows []R) []R {
	var kept []R
	cells := make([]filter.Cell, len(f.cols))
	for _, r := range rows {
		for i, c := range f.cols {
			cells[i] = c.value(v, r).filterCell(c.Kind)
		}
		if f.test(cells) == filter.Yes {
			kept = append(kept, r)
		}
	}
	return kept
}

// class returns the type of a column of that kind in the filter language.
func (k Kind) class() filter.Class {
	switch k {
	case kindNumber, kindRelation, kindAge:
		return filter.Number
	case kindList, kindHolders:
		return filter.List
	case kindFlag:
		return filter.Flag
	}
	return filter.Text
}

// filterCell returns v as a value of the filter language.
func (v cellValue) filterCell(k Kind) filter.Cell {
	c := filter.Cell{Known: v.state != hidden, Num: v.num, List: v.list}
	switch {
	case v.state != known || k.class() == filter.List:
	case k == kindShare:
		c.Text = strings.Join(v.list, "")
	default:
		c.Text = v.cell(k)
	}
	return c
}

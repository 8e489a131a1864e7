package output

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// A Filter chooses rows by an expression over their columns.
type Filter[R any] struct {
	program *vm.Program
	cols    []Column[R] // those that the expression names
}

// A FilterError is a mistake in a filter.
type FilterError struct {
	Expr   string
	Column int // where the mistake is, counted from 0
	Reason string
}

func (e *FilterError) Error() string {
	return fmt.Sprintf("bad filter at column %d: %s", e.Column+1, e.Reason)
}

// Mark returns a mark that stands below the mistake, if the expression stands
// above it.
func (e *FilterError) Mark() string { return strings.Repeat(" ", e.Column) + "^" }

// NewFilter reads an expression in the language of expr-lang.org: comparisons,
// and, or, not, in, contains, matches. It names columns of table, in lower case
// as JSON does or as in a header, whether they are shown or not: a number is an int, and 0 where there is none;
// a text or time is a string, and "" where there is none; a list is an array of
// strings; an owner or parent is the number of the namespace.
func NewFilter[R any](table []Column[R], source string) (*Filter[R], error) {
	env := make(map[string]any, len(table))
	names := &nameVisitor{columns: make(map[string]string, len(table)), seen: make(map[string]bool)}
	for _, c := range table {
		env[c.JSONName()] = Value{}.filterValue(c.Kind)
		names.columns[c.Name] = c.JSONName()
	}
	program, err := expr.Compile(source, expr.Env(env), expr.AsBool(), expr.Patch(names))
	if err != nil {
		fe := &FilterError{Expr: source, Reason: err.Error()}
		if at, ok := errors.AsType[*file.Error](err); ok {
			fe.Column, fe.Reason = min(max(at.Column, 0), len(source)), at.Message
		}
		return nil, fe
	}
	f := &Filter[R]{program: program}
	for _, c := range table {
		if names.seen[c.JSONName()] {
			f.cols = append(f.cols, c)
		}
	}
	return f, nil
}

// Needs returns what the filter needs of a View.
func (f *Filter[R]) Needs() Need { return NeedsOf(f.cols) }

// Keep returns the rows for which the expression is true.
func (f *Filter[R]) Keep(v *View, rows []R) ([]R, error) {
	var kept []R
	env := make(map[string]any, len(f.cols))
	var machine vm.VM
	for _, r := range rows {
		for _, c := range f.cols {
			env[c.JSONName()] = c.value(v, r).filterValue(c.Kind)
		}
		yes, err := machine.Run(f.program, env)
		if at, ok := errors.AsType[*file.Error](err); ok {
			return nil, fmt.Errorf("filter: %s", at.Message) // without its drawing of the place
		} else if err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
		if yes == true {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

// filterValue returns v as the filter language has it.
func (v Value) filterValue(k Kind) any {
	switch k {
	case Number, Relation, Age:
		return int(v.num)
	case Flag:
		return v.num != 0
	case List, Holders:
		return v.list
	case Share:
		return strings.Join(v.list, "")
	case When:
		if v.state != known {
			return ""
		}
		return v.cell(k)
	}
	return v.text
}

// nameVisitor notes the names that an expression uses, and turns those of
// headers into those of JSON.
type nameVisitor struct {
	columns map[string]string // by name in a header
	seen    map[string]bool
}

func (n *nameVisitor) Visit(node *ast.Node) {
	if id, ok := (*node).(*ast.IdentifierNode); ok {
		if name, ok := n.columns[id.Value]; ok {
			id.Value = name
		}
		n.seen[id.Value] = true
	}
}

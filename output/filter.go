package output

import (
	"errors"
	"fmt"
	"slices"
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
// strings; an owner or parent is the number of the namespace. Of what is not known
// nothing is true, nor its contrary: see [guard].
func NewFilter[R any](table []Column[R], source string) (*Filter[R], error) {
	env := make(map[string]any, 2*len(table))
	names := &nameVisitor{columns: make(map[string]string, len(table)), seen: make(map[string]bool)}
	for _, c := range table {
		env[c.JSONName()] = Value{}.filterValue(c.Kind)
		env[knownName(c.JSONName())] = true
		names.columns[c.Name] = c.JSONName()
	}
	options := []expr.Option{expr.Env(env), expr.AsBool(), expr.Patch(names)}
	program, err := expr.Compile(source, options...)
	if err == nil {
		program, err = expr.Compile(source, append(options, expr.Patch(&guard{columns: env, last: names.nodes}))...)
	}
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
			val := c.value(v, r)
			env[c.JSONName()], env[knownName(c.JSONName())] = val.filterValue(c.Kind), val.state != hidden
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
	nodes   int // how many the expression has
}

func (n *nameVisitor) Visit(node *ast.Node) {
	n.nodes++
	if id, ok := (*node).(*ast.IdentifierNode); ok {
		if name, ok := n.columns[id.Value]; ok {
			id.Value = name
		}
		n.seen[id.Value] = true
	}
}

// knownName is the variable that says whether a column is known: no expression can
// name it.
func knownName(column string) string { return "known " + column }

// A guard makes an expression true only where it is so whatever the columns are
// that are not known. That is Kleene's logic of three values, and takes but two:
// what and, or and not are made of, which is not known if a column in it is not,
// is taken for false where it would help the whole to be true, and for true where
// it would hinder that, below an odd number of nots.
type guard struct {
	columns map[string]any
	last    int // which of the nodes is the root: the last that is visited
	visited int
}

// Visit rewrites the expression when it comes to the root.
func (g *guard) Visit(node *ast.Node) {
	if g.visited++; g.visited == g.last {
		*node = g.rewrite(*node, true)
	}
}

func (g *guard) rewrite(node ast.Node, helps bool) ast.Node {
	switch n := node.(type) {
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			n.Node = g.rewrite(n.Node, !helps)
			return n
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&", "or", "||":
			n.Left, n.Right = g.rewrite(n.Left, helps), g.rewrite(n.Right, helps)
			return n
		}
	}
	leaf := columnVisitor{of: g.columns}
	ast.Walk(&node, &leaf)
	for _, column := range leaf.names {
		var known ast.Node = &ast.IdentifierNode{Value: knownName(column)}
		known.SetLocation(node.Location())
		operator := "and"
		if !helps {
			known, operator = &ast.UnaryNode{Operator: "not", Node: known}, "or"
			known.SetLocation(node.Location())
		}
		both := &ast.BinaryNode{Operator: operator, Left: known, Right: node}
		both.SetLocation(node.Location())
		node = both
	}
	return node
}

// columnVisitor notes the columns that an expression names.
type columnVisitor struct {
	of    map[string]any
	names []string
}

func (c *columnVisitor) Visit(node *ast.Node) {
	if id, ok := (*node).(*ast.IdentifierNode); ok && !slices.Contains(c.names, id.Value) {
		if _, ok := c.of[id.Value]; ok {
			c.names = append(c.names, id.Value)
		}
	}
}

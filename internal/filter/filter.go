package filter

import (
	"fmt"
	"strings"
)

// An Error is a mistake in an expression.
type Error struct {
	Expr   string
	Column int // where the mistake is, in characters from 0
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("bad filter at column %d: %s", e.Column+1, e.Reason)
}

// Mark returns a mark that stands below the mistake, if the expression stands
// above it.
func (e *Error) Mark() string { return strings.Repeat(" ", e.Column) + "^" }

// A Column is what can be named in an expression.
type Column struct {
	Name  string // as it is called in messages
	Class Class
	Cell  int // the index of its cell among those that a test is given
}

// A Cell is what a column is for one row. A number that there is not is 0, and a
// text is empty.
type Cell struct {
	Known bool
	Num   int64    // of a Number, and not 0 for a Flag that is true
	Text  string   // also of a Number, as it is shown
	List  []string // of a List
}

// A Truth is what an expression is for a row. Of two, "and" is the smaller one, "or"
// is the larger one, and "not" turns them round.
type Truth uint8

const (
	No Truth = iota
	Unknown
	Yes
)

func truthOf(is bool) Truth {
	if is {
		return Yes
	}
	return No
}

// A Test finds out what an expression is for the cells of a row.
type Test func(cells []Cell) Truth

// A Class is what can be compared with what.
type Class uint8

const (
	Number Class = iota // a whole number
	Text
	List // of texts
	Flag // true or false
)

var classNames = [...]string{Number: "a number", Text: "a text", List: "a list", Flag: "true or false"}

// An operand is a column, or a value that stands in the expression.
type operand struct {
	name     string // as it is called in messages
	class    Class
	cell     int // the index of the column among those of the filter
	isColumn bool
	at       int // where it stands
	num      int64
	text     string
	list     []string
}

// read returns the operand with what it is for a row, and whether that is known.
func (o operand) read(cells []Cell) (operand, bool) {
	if !o.isColumn {
		return o, true
	}
	c := cells[o.cell]
	o.num, o.text, o.list = c.Num, c.Text, c.List
	return o, c.Known
}

// isSet reports whether there is something: a name alone asks that.
func (o operand) isSet() bool {
	switch o.class {
	case Text:
		return o.text != ""
	case List:
		return len(o.list) > 0
	}
	return o.num != 0
}

// order compares operands of one class: -1, 0 or 1.
func (o operand) order(other operand) int {
	switch {
	case o.class == Text:
		return strings.Compare(o.text, other.text)
	case o.num < other.num:
		return -1
	case o.num > other.num:
		return 1
	}
	return 0
}

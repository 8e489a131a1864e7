package output

import (
	"io"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// An Object is an object of JSON, with its keys in order.
type Object []Pair

// A Pair is a key and a value: nil, [Unknown], a bool, a string, an int, int64, uint32 or
// uint64, an [Object], an [inspect.Relation], or a slice of strings, ints or Objects.
type Pair = struct {
	Key   string
	Value any
}

// Unknown is an unknown value. It is written as null, and the list "unknown" of the object has
// its key.
var Unknown any = unknown{}

type unknown struct{}

// Objects writes one object with the given schema, the pairs of top, and the gaps, in the form
// of [JSON].
func Objects(w io.Writer, schema string, top Object, missed Missed) error {
	e := newEncoder(w, schema, missed)
	for _, p := range top {
		e.raw(`,`)
		e.pair(p, true)
	}
	e.unknown(top, false)
	e.gaps(missed.Gaps)
	return e.flush()
}

// encoded is a value as a function that writes it.
type encoded func(*encoder)

// object writes an object. row: it is in a list at the top, and always has a list "unknown".
func (e *encoder) object(o Object, row bool) {
	e.raw("{")
	for i, p := range o {
		if i > 0 {
			e.raw(",")
		}
		e.pair(p, false)
	}
	e.unknown(o, row)
	e.raw("}")
}

// unknown writes the list of the unknown keys of o, if there are any or o is a row.
func (e *encoder) unknown(o Object, row bool) {
	var names []string
	for _, p := range o {
		if r, ok := p.Value.(inspect.Relation); isUnknown(p.Value) || ok && relationState(r) == hidden {
			names = append(names, p.Key)
		}
	}
	if row || names != nil {
		e.raw(`,"unknown":`)
		e.names(names)
	}
}

// pair writes a key and its value. Each object in a list at the top gets a line.
func (e *encoder) pair(p Pair, top bool) {
	e.raw(`"` + p.Key + `":`)
	switch v := p.Value.(type) {
	case nil, unknown:
		e.raw("null")
	case bool:
		e.raw(strconv.FormatBool(v))
	case string:
		e.text(p.Key, v)
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case uint32:
		e.buf = strconv.AppendUint(e.buf, uint64(v), 10)
	case uint64:
		e.buf = strconv.AppendUint(e.buf, v, 10)
	case inspect.Relation:
		e.value(nil, p.Key, relationValue(0, v), kindRelation)
	case encoded:
		v(e)
	case Object:
		e.object(v, false)
	case []string:
		e.strings(p.Key, v)
	case []int:
		e.list(len(v), func(i int) { e.buf = strconv.AppendInt(e.buf, int64(v[i]), 10) })
	case []Object:
		e.list(len(v), func(i int) {
			if top {
				e.raw("\n  ")
			}
			e.object(v[i], top)
		})
	default:
		panic("output: a value of JSON that is none") // a mistake of this package's caller
	}
}

func isUnknown(v any) bool {
	_, ok := v.(unknown)
	return ok
}

// Field returns the value of a column for a row, as a value of an [Object].
func Field[R any](v *View, table []Column[R], name string, row R) any {
	c := Pick(table, name)[0]
	val := c.value(v, row)
	switch val.state {
	case none:
		return nil
	case hidden:
		return Unknown
	}
	return encoded(func(e *encoder) { e.value(v, strings.ToLower(c.Name), val, c.Kind) })
}

// Cell returns the text of a column for a row: "-" is none, and "?" is unknown. It is not
// cleaned.
func Cell[R any](v *View, table []Column[R], name string, row R) string {
	c := Pick(table, name)[0]
	return c.value(v, row).cell(c.Kind)
}

// Rows returns rows as a value of an [Object]: a list, as in the JSON of a list.
func Rows[R any](v *View, rows []R, cols []Column[R]) any {
	return encoded(func(e *encoder) { encodeRows(e, v, rows, cols) })
}

// Holders returns everything that keeps a namespace alive, its members too, as a value of
// an [Object].
func Holders(v *View, ns *inspect.Namespace) any {
	val := v.holdersBut(ns, func(inspect.Holder) bool { return false })
	if val.state == hidden {
		return Unknown
	}
	return encoded(func(e *encoder) { e.holders(v, val.holders) })
}

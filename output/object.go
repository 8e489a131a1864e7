package output

import (
	"io"
	"strconv"

	"github.com/nstool/nstool/inspect"
)

// An Object is an object of JSON, with its keys in order.
type Object []Pair

// A Pair is a key and its value: nil, a bool, a string, an int, int64, uint32 or
// uint64, an [Object], an [inspect.Relation], or a slice of strings, ints or
// Objects.
type Pair struct {
	Key   string
	Value any
}

// Objects writes one object with the given schema, the pairs of top, and what
// could not be read, as [JSON] does: strings that are no UTF-8 have a second key
// with "_base64" behind its name.
func Objects(w io.Writer, schema string, top Object, gaps []inspect.Gap) error {
	e := newEncoder(w, schema, gaps)
	for _, p := range top {
		e.raw(`,`)
		e.pair(p, true)
	}
	e.gaps(gaps)
	return e.flush()
}

// encoded is a value that writes itself.
type encoded func(*encoder)

func (e *encoder) object(o Object) {
	e.raw("{")
	for i, p := range o {
		if i > 0 {
			e.raw(",")
		}
		e.pair(p, false)
	}
	e.raw("}")
}

// pair writes a key and its value. Objects in a list at the top stand each in a
// line of their own.
func (e *encoder) pair(p Pair, top bool) {
	e.raw(`"` + p.Key + `":`)
	switch v := p.Value.(type) {
	case nil:
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
		e.relation(Value{state: relationState(v), rel: v, num: int64(v.ID.Ino)})
	case encoded:
		v(e)
	case Object:
		e.object(v)
	case []string:
		e.strings(p.Key, v)
	case []int:
		e.raw("[")
		for i, n := range v {
			if i > 0 {
				e.raw(",")
			}
			e.buf = strconv.AppendInt(e.buf, int64(n), 10)
		}
		e.raw("]")
	case []Object:
		e.raw("[")
		for i, o := range v {
			if i > 0 {
				e.raw(",")
			}
			if top {
				e.raw("\n  ")
			}
			e.object(o)
		}
		e.raw("]")
	default:
		panic("output: a value of JSON that is none") // a mistake of this package's caller
	}
}

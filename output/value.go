package output

import (
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/text"
)

// A Kind is the type of a column in JSON and in filters.
type Kind uint8

// The kinds of column.
const (
	kindText     Kind = iota + 1 // a string
	kindNumber                   // a whole number
	kindList                     // an array of strings
	kindTime                     // a time: in JSON a string as RFC 3339 has it
	kindRelation                 // an owner or parent: in JSON an object
	kindHolders                  // holders: in JSON an array of objects
	kindAge                      // a time span: in JSON a number of seconds
	kindShare                    // to whom the namespace of a container belongs: in JSON an object
	kindFlag                     // yes or no: in JSON true or false
	pids                         // the PIDs of holders: in JSON an array of numbers
)

var kindNames = [...]string{kindText: "string", kindNumber: "number", kindList: "array", kindTime: "time", kindRelation: "namespace", kindHolders: "holders", kindAge: "seconds", kindShare: "sharing", kindFlag: "boolean"}

// String returns a word for k: "string", "number", "array", "time",
// "namespace", "holders", "seconds", "sharing" or "boolean".
func (k Kind) String() string { return kindNames[k] }

// A cellValue is the value of a cell. Its zero value is none, shown as "-".
type cellValue struct {
	state   state
	num     int64
	text    string
	list    []string
	when    time.Time
	typ     inspect.Type // of what rel leads to
	rel     inspect.Relation
	holders iter.Seq[inspect.Holder]
}

type state uint8

const (
	none   state = iota // there is none: "-"
	hidden              // not known: "?"
	known
)

func textValue(s string) cellValue {
	if s == "" {
		return cellValue{}
	}
	return cellValue{state: known, text: s}
}

func numberValue[N int | int64 | uint32 | uint64](n N) cellValue {
	return cellValue{state: known, num: int64(n)}
}

// numberFrom returns numberValue of n, or none if n is less than least.
func numberFrom[N int | int64 | uint32 | uint64](n, least N) cellValue {
	if n < least {
		return cellValue{}
	}
	return numberValue(n)
}

func flagValue(yes bool) cellValue {
	if yes {
		return cellValue{state: known, num: 1, text: "yes"}
	}
	return cellValue{state: known, text: "no"}
}

func listValue(l []string) cellValue {
	if len(l) == 0 {
		return cellValue{}
	}
	return cellValue{state: known, list: l}
}

// absent is the value of something that was not found: none if all of these facts are known,
// else unknown.
func (v *View) absent(facts inspect.Facts) cellValue {
	if v.Snapshot.Whole(facts) {
		return cellValue{}
	}
	return cellValue{state: hidden}
}

// started returns the time at which a process started, which is unknown if the start time of
// the system is.
func started(d inspect.Detail) cellValue {
	if d.Start.IsZero() {
		return cellValue{state: hidden}
	}
	return whenValue(d.Start)
}

func whenValue(t time.Time) cellValue {
	if t.IsZero() {
		return cellValue{}
	}
	return cellValue{state: known, when: t}
}

// relationState returns whether a relation is known, none or hidden.
func relationState(r inspect.Relation) state {
	switch {
	case r.Known():
		return known
	case r.None():
		return none
	}
	return hidden
}

// cell returns the text of v in a table, not yet cleaned.
func (v cellValue) cell(k Kind) string {
	switch v.state {
	case none:
		return "-"
	case hidden:
		return "?"
	}
	switch k {
	case kindNumber:
		return strconv.FormatInt(v.num, 10)
	case kindRelation:
		return inspect.FormatLink(v.typ, uint64(v.num))
	case kindList:
		return strings.Join(v.list, ",")
	case kindAge:
		return text.Span(v.num)
	case kindTime:
		return v.when.Format("2006-01-02 15:04:05")
	case kindHolders:
		return strings.Join(v.list, ", ")
	}
	return v.text
}

// compare orders values of kind k: none first, then hidden.
func (v cellValue) compare(w cellValue, k Kind) int {
	if v.state != known || w.state != known {
		return int(v.state) - int(w.state)
	}
	switch k {
	case kindNumber, kindRelation, kindAge:
		switch {
		case v.num < w.num:
			return -1
		case v.num > w.num:
			return 1
		}
		return 0
	case kindTime:
		return v.when.Compare(w.when)
	case kindList, kindHolders:
		return strings.Compare(strings.Join(v.list, ","), strings.Join(w.list, ","))
	}
	return strings.Compare(v.text, w.text)
}

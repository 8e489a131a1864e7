package output

import (
	"encoding/base64"
	"io"
	"iter"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/text"
)

// schema is the form of the output of [JSON]. It changes if a program that reads the old form
// cannot read the new one, and not for new keys.
const schema = "nstool/ls/3"

// A Listing is the argument of [JSON].
type Listing struct {
	View       *View
	Namespaces []*inspect.Namespace
	Columns    []Column[*inspect.Namespace]

	// Members adds the PIDs of the members to each namespace, under the key "members".
	Members bool

	Missed Missed

	// Processes are the members of the namespaces. nil leaves out the key.
	Processes      []*inspect.Process
	ProcessColumns []Column[*inspect.Process]
}

// Missed is what could not be read, and the reasons in a few words.
type Missed struct {
	Gaps    []inspect.Gap
	Reasons []string
	Host    string // see [inspect.Host.String]
}

// MissedBy returns the gaps of a snapshot, which may be nil, and more.
func MissedBy(snap *inspect.Snapshot, more []inspect.Gap) Missed {
	m := Missed{Host: snap.Host().String()}
	if snap == nil {
		snap = &inspect.Snapshot{}
	}
	m.Gaps = append(slices.Clone(snap.Gaps()), more...)
	m.Reasons = snap.Reasons(m.Gaps)
	return m
}

// JSON writes one object:
//
//	{"schema": "nstool/ls/3", "complete": true, "reasons": [], "hostfs": null, "namespaces": [{...}, ...], "gaps": [{...}, ...]}
//
// "complete" is true if everything could be read; else there are "reasons". "hostfs" says how the
// host was reached from a container, see [inspect.Host.String], and is null on the host. Lists are flat. The
// keys of a namespace are the names of its columns in lower case. None is null, or [] for a
// list. Unknown is null too, also for a list, and the list "unknown" of the row has the key.
// Strings are as they were read, with control characters escaped. Invalid UTF-8, which JSON
// cannot contain, is replaced by U+FFFD, and a second key, with "_base64" after the name, has
// the bytes.
func JSON(w io.Writer, l Listing) error {
	e := newEncoder(w, schema, l.Missed)
	if l.Members {
		l.Columns = append(slices.Clip(l.Columns), members)
	}
	e.raw(`,"namespaces":`)
	encodeRows(e, l.View, l.Namespaces, l.Columns)
	if l.Processes != nil {
		e.raw(`,"processes":`)
		encodeRows(e, l.View, l.Processes, l.ProcessColumns)
	}
	e.gaps(l.Missed.Gaps)
	return e.flush()
}

// gaps ends the object with the gaps.
func (e *encoder) gaps(gaps []inspect.Gap) {
	e.raw(`,"gaps":`)
	e.list(len(gaps), func(i int) {
		g := gaps[i]
		e.raw("\n  {")
		if g.PID != 0 {
			e.raw(`"pid":` + strconv.Itoa(g.PID) + ",")
		}
		e.raw(`"what":`)
		e.string(g.What)
		e.raw(`,"error":`)
		e.string(g.Err.Error())
		e.raw("}")
	})
	e.raw("}\n")
}

// encodeRows writes a list with a line for each row.
func encodeRows[R any](e *encoder, v *View, rows []R, cols []Column[R]) {
	keys := lower(cols)
	var unknown []string
	e.list(len(rows), func(i int) {
		e.raw("\n  {")
		for k, c := range cols {
			if k > 0 {
				e.raw(",")
			}
			e.raw(`"` + keys[k] + `":`)
			val := c.value(v, rows[i])
			if val.state == hidden {
				unknown = append(unknown, keys[k])
			}
			e.value(v, keys[k], val, c.Kind)
		}
		e.raw(`,"unknown":`)
		e.names(unknown)
		e.raw("}")
		unknown = unknown[:0]
		if len(e.buf) > 32<<10 {
			e.write()
		}
	})
}

// list writes a list of n elements; write writes one.
func (e *encoder) list(n int, write func(i int)) {
	e.raw("[")
	for i := range n {
		if i > 0 {
			e.raw(",")
		}
		write(i)
	}
	e.raw("]")
}

// An encoder writes JSON. encoding/json would take three times as long for a large listing, and
// would lose invalid UTF-8.
type encoder struct {
	w   io.Writer
	buf []byte
	err error
}

// newEncoder begins the object that every command writes: its schema, and whether it is
// complete. See [encoder.gaps] for its end.
func newEncoder(w io.Writer, schema string, missed Missed) *encoder {
	e := &encoder{w: w}
	e.raw(`{"schema":"` + schema + `","complete":` + strconv.FormatBool(len(missed.Gaps) == 0) + `,"reasons":`)
	e.names(missed.Reasons)
	e.raw(`,"hostfs":`)
	if missed.Host == "" {
		e.raw("null")
	} else {
		e.string(missed.Host)
	}
	return e
}

// raw has too many callers to be inlined.
//
//go:noinline
func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) write() {
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

func (e *encoder) flush() error {
	e.write()
	return e.err
}

// value writes v, and a second key if the string is no UTF-8.
func (e *encoder) value(view *View, key string, v cellValue, k Kind) {
	switch {
	case v.state == none && (k == kindList || k == kindHolders):
		e.raw("[]")
	case v.state != known:
		e.raw("null")
	case k == kindRelation:
		e.raw(`{"ns":`)
		e.buf = strconv.AppendInt(e.buf, v.num, 10)
		e.raw("}")
	case k == kindNumber, k == kindAge:
		e.buf = strconv.AppendInt(e.buf, v.num, 10)
	case k == kindFlag:
		e.raw(strconv.FormatBool(v.num != 0))
	case k == kindShare:
		e.raw(`{"ns":`)
		e.buf = strconv.AppendInt(e.buf, v.num, 10)
		e.raw(`,"of":`)
		e.text("of", v.list[0])
		e.raw("}")
	case k == kindTime:
		e.string(v.when.Format(time.RFC3339))
	case k == kindList:
		e.strings(key, v.list)
	case k == kindHolders:
		e.holders(view, v.holders)
	case k == pids:
		list := slices.Collect(v.holders)
		e.list(len(list), func(i int) { e.buf = strconv.AppendInt(e.buf, int64(list[i].PID), 10) })
	default:
		e.text(key, v.text)
	}
}

// names writes a list of strings in UTF-8.
func (e *encoder) names(list []string) {
	e.list(len(list), func(i int) { e.string(list[i]) })
}

// strings writes a list, and then the same in base64 if a string is no UTF-8.
func (e *encoder) strings(key string, list []string) {
	e.names(list)
	if slices.ContainsFunc(list, invalid) {
		e.raw(`,"` + key + `_base64":`)
		e.list(len(list), func(i int) { e.base64(list[i]) })
	}
}

// text writes s, and then s in base64 if it is no UTF-8.
func (e *encoder) text(key, s string) {
	e.string(s)
	if invalid(s) {
		e.raw(`,"` + key + `_base64":`)
		e.base64(s)
	}
}

func invalid(s string) bool { return !utf8.ValidString(s) }

func (e *encoder) base64(s string) {
	e.raw(`"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"`)
}

// holders writes the holders of a namespace or of a socket.
func (e *encoder) holders(v *View, holders iter.Seq[inspect.Holder]) {
	list := slices.Collect(holders)
	e.list(len(list), func(i int) { e.holder(v, list[i]) })
}

func (e *encoder) holder(v *View, h inspect.Holder) {
	e.raw(`{"kind":"` + h.Kind.String() + `"`)
	number := func(key string, n int) {
		e.raw(`,"` + key + `":`)
		e.buf = strconv.AppendInt(e.buf, int64(n), 10)
	}
	if h.PID != 0 {
		number("pid", h.PID)
		if d, ok := v.Details[h.PID]; ok && d.Known() && h.Kind != inspect.ByProcess {
			e.raw(`,"comm":`)
			e.text("comm", d.Comm)
		}
	}
	if h.TID != 0 {
		number("tid", h.TID)
	}
	switch h.Kind {
	case inspect.ByFD, inspect.BySocket, inspect.ByNetDevice, inspect.ByProcFile:
		number("fd", h.FD)
	case inspect.ByMount:
		e.raw(`,"path":`)
		e.text("path", h.Path)
		number("mntns", int(h.In.Ino))
	case inspect.ByNested:
		number("ns", int(h.Nested.ID.Ino))
		e.raw(`,"type":"` + h.Nested.Type.String() + `"`)
	}
	e.raw("}")
}

const hex = "0123456789abcdef"

// string writes s between quotes. DEL and characters that change the direction of text are
// escaped too, so that the JSON is safe on a terminal.
func (e *encoder) string(s string) {
	e.buf = append(e.buf, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				e.buf = append(e.buf, '\\', c)
			case c == '\n':
				e.buf = append(e.buf, '\\', 'n')
			case c == '\t':
				e.buf = append(e.buf, '\\', 't')
			case c < ' ' || c == 0x7f:
				e.buf = append(e.buf, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				e.buf = append(e.buf, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			e.buf = append(e.buf, "\ufffd"...)
		case !text.Printable(r, n):
			for _, u := range utf16(r) {
				e.buf = append(e.buf, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
			}
		default:
			e.buf = append(e.buf, s[i:i+n]...)
		}
		i += n
	}
	e.buf = append(e.buf, '"')
}

// utf16 returns r as JSON escapes it: one or two 16-bit numbers.
func utf16(r rune) []uint16 {
	if r < 0x10000 {
		return []uint16{uint16(r)}
	}
	r -= 0x10000
	return []uint16{0xd800 + uint16(r>>10), 0xdc00 + uint16(r&0x3ff)}
}

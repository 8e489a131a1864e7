package container

import (
	"bytes"
	"errors"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// errJSON reports that a state file is half-written, or no JSON.
var errJSON = errors.New("no valid JSON")

// A document is a JSON text that is read once, from front to back. A state file has a few useful
// values among kilobytes of seccomp filter and environment, so decoding all of it would cost more
// than the rest of a scan.
//
// Reading a value is strict. A skipped value only needs closed strings and brackets. After an
// error every read ends at once, and err is set.
type document struct {
	text []byte
	pos  int
	err  error
}

// object yields the keys of the object that starts here. The loop may read the value of a key;
// otherwise it is skipped. A null has no keys.
func (d *document) object() iter.Seq[string] {
	return func(yield func(string) bool) {
		if d.null() || !d.expect('{') {
			return
		}
		for first := true; !d.end('}', first); first = false {
			key := d.string()
			if !d.expect(':') {
				return
			}
			value := d.pos
			if !yield(key) {
				return
			}
			if d.pos == value {
				d.skip()
			}
			if d.err != nil {
				return
			}
		}
	}
}

// array yields once for each element of the array that starts here.
func (d *document) array() iter.Seq[int] {
	return func(yield func(int) bool) {
		if d.null() || !d.expect('[') {
			return
		}
		for i := 0; !d.end(']', i == 0); i++ {
			value := d.pos
			if !yield(i) {
				return
			}
			if d.pos == value {
				d.skip()
			}
			if d.err != nil {
				return
			}
		}
	}
}

// string reads a string. A null is the empty string.
func (d *document) string() string {
	if d.null() {
		return ""
	}
	raw, escaped := d.quoted()
	if !escaped {
		return string(raw)
	}
	s, ok := unescapeJSON(raw)
	if !ok {
		d.fail()
	}
	return s
}

// int reads a whole number. A null is 0.
func (d *document) int() int {
	if d.null() {
		return 0
	}
	n, err := strconv.Atoi(string(d.word()))
	if err != nil {
		d.fail()
		return 0
	}
	return n
}

// bool reads true or false. A null is false.
func (d *document) bool() bool {
	if d.null() {
		return false
	}
	switch string(d.word()) {
	case "true":
		return true
	case "false":
	default:
		d.fail()
	}
	return false
}

// skip passes over a value of any kind.
func (d *document) skip() {
	for depth := 0; ; {
		switch d.peek() {
		case '"':
			d.quoted()
		case '{', '[':
			depth++
			d.pos++
		case '}', ']':
			depth--
			d.pos++
			if depth < 0 {
				d.fail()
			}
		case ',', ':':
			if depth == 0 {
				d.fail()
			}
			d.pos++
		default:
			d.word()
		}
		if d.err != nil || depth == 0 {
			return
		}
	}
}

// quoted reads a string and returns what stands between its quotes.
func (d *document) quoted() (raw []byte, escaped bool) {
	if !d.expect('"') {
		return nil, false
	}
	start := d.pos
	for {
		i := bytes.IndexByte(d.text[d.pos:], '"')
		if i < 0 {
			d.fail()
			return nil, false
		}
		part := d.text[d.pos : d.pos+i]
		d.pos += i + 1
		escaped = escaped || bytes.IndexByte(part, '\\') >= 0
		if slashes := len(part) - len(bytes.TrimRight(part, `\`)); slashes%2 == 0 {
			return d.text[start : d.pos-1], escaped
		}
	}
}

// word reads a number, true, false or null.
func (d *document) word() []byte {
	d.peek()
	start := d.pos
	for d.pos < len(d.text) {
		switch c := d.text[d.pos]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			d.pos++
			continue
		}
		break
	}
	if d.pos == start {
		d.fail()
	}
	return d.text[start:d.pos]
}

// null passes over a null, if there is one.
func (d *document) null() bool {
	if d.peek() != 'n' {
		return false
	}
	if string(d.word()) != "null" {
		d.fail()
	}
	return true
}

// end reports whether the object or array ends here, and passes over the comma if it does not.
func (d *document) end(bracket byte, first bool) bool {
	switch c := d.peek(); {
	case c == bracket:
		d.pos++
		return true
	case first:
	case c == ',':
		d.pos++
	default:
		d.fail()
	}
	return d.err != nil
}

// expect is called from a hundred places: inlined, it would be 16 kB of the program.
//
//go:noinline
func (d *document) expect(c byte) bool {
	if d.peek() != c {
		d.fail()
		return false
	}
	d.pos++
	return true
}

// peek skips white space and returns the next byte. At the end of the text, and after an error, it
// is 0.
func (d *document) peek() byte {
	if d.err != nil {
		return 0
	}
	for ; d.pos < len(d.text); d.pos++ {
		switch c := d.text[d.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (d *document) fail() {
	if d.err == nil {
		d.err = errJSON
	}
}

// unescapeJSON resolves the escapes of a string.
func unescapeJSON(raw []byte) (string, bool) {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return string(append(out, raw...)), true
		}
		out = append(out, raw[:i]...)
		if len(raw) < i+2 {
			return "", false
		}
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(raw)
			if !ok {
				return "", false
			}
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				low := rune(utf8.RuneError)
				if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
					low, _ = hex4(raw[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					raw = raw[6:]
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", false
		}
	}
	return string(out), true
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}

package many

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nstool/nstool/internal/text"
)

// A Style says how to write a table.
type Style struct {
	Width    int // of the terminal, to which cells are cut; 0 cuts nothing
	NoHeader bool
	Raw      bool // as --raw
	Color    bool
}

// Table makes one table of those that "--raw", with headings, has written in several places. key is the heading of
// the first column, for the names of the places. Columns that some places do not have are empty there. An
// answer that is no table is one that failed.
func Table(w io.Writer, key string, answers []Answer, style Style) error {
	grid := [][]string{{strings.ToUpper(key)}}
	for i := range answers {
		a := &answers[i]
		if a.Failed != nil || len(a.Out) == 0 {
			continue
		}
		a.Failed = addRows(&grid, a)
	}
	width := len(grid[0])
	for i, row := range grid {
		for len(row) < width {
			row = append(row, "-")
		}
		grid[i] = row
	}
	if width == 1 { // nobody has answered
		return nil
	}
	out := bufio.NewWriter(w)
	if style.Raw {
		for _, row := range grid[drop(style.NoHeader):] {
			fmt.Fprintln(out, strings.Join(row, " "))
		}
		return out.Flush()
	}
	for _, row := range grid {
		for k, cell := range row {
			row[k] = plain(cell)
		}
	}
	draw(out, grid, style)
	return out.Flush()
}

func drop(header bool) int {
	if header {
		return 1
	}
	return 0
}

var (
	errNoTable = errors.New("the answer is no table")
	errNoJSON  = errors.New("the answer is no JSON of nstool")
)

// addRows adds the rows of a table, and its columns that are new.
func addRows(grid *[][]string, a *Answer) error {
	var at []int // of each column in the grid
	var rows [][]string
	for line := range strings.Lines(string(a.Out)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(cells) > 100 {
			return errNoTable
		}
		if at == nil {
			for _, name := range cells {
				k := slices.Index((*grid)[0], name)
				if k < 0 {
					k = len((*grid)[0])
					(*grid)[0] = append((*grid)[0], text.Clean(name))
				}
				at = append(at, k)
			}
			continue
		}
		if len(cells) != len(at) {
			return errNoTable
		}
		row := slices.Repeat([]string{"-"}, len((*grid)[0]))
		row[0] = strings.ReplaceAll(text.Clean(a.Name), " ", `\x20`)
		for i, cell := range cells {
			row[at[i]] = text.CleanText(cell)
		}
		rows = append(rows, row)
	}
	*grid = append(*grid, rows...)
	return nil
}

// plain returns a cell of --raw as it stands in a table.
func plain(cell string) string {
	switch cell {
	case `\x2d`:
		return "-"
	case `\x3f`:
		return "?"
	}
	return strings.ReplaceAll(cell, `\x20`, " ")
}

// draw aligns columns of numbers at the right, and others at the left.
func draw(w io.Writer, grid [][]string, style Style) {
	right := make([]bool, len(grid[0]))
	for k := range right {
		right[k] = k > 0
		for _, row := range grid[1:] {
			// A number, an age, none or unknown.
			right[k] = right[k] && strings.Trim(row[k][:min(1, len(row[k]))], "-?0123456789") == "" && strings.Trim(row[k], "-?0123456789smhd") == ""
		}
	}
	if style.Width > 0 {
		text.Cut(grid, right, style.Width)
	}
	var b bytes.Buffer
	text.Align(&b, grid[drop(style.NoHeader):], right)
	if head, rest, _ := strings.Cut(b.String(), "\n"); style.Color && !style.NoHeader {
		fmt.Fprintf(w, "\x1b[1m%s\x1b[0m\n%s", head, rest)
		return
	}
	_, _ = b.WriteTo(w)
}

// Text writes what places said one after the other, each below its name if there are several.
func Text(w io.Writer, answers []Answer) error {
	out := bufio.NewWriter(w)
	for i, a := range answers {
		if len(answers) > 1 && (len(a.Out) > 0 || a.Failed == nil) {
			if i > 0 {
				fmt.Fprintln(out)
			}
			fmt.Fprintf(out, "== %s\n", text.Clean(a.Name))
		}
		for line := range strings.Lines(string(a.Out)) {
			fmt.Fprintln(out, text.CleanText(strings.TrimRight(line, "\r\n")))
		}
	}
	return out.Flush()
}

// A member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// JSON makes one object of those that places have written. Each row gets the name of its place,
// under the key, and so does each gap; each reason begins with it. What is said once for all is true if
// it is true of all. A place that failed, or whose answer is no such object, is a gap. Rows are written
// as they came.
func JSON(w io.Writer, key string, answers []Answer) error {
	var all []member
	for i := range answers {
		a := &answers[i]
		if a.Failed != nil {
			continue
		}
		var own []member
		if own, a.Failed = parse(safe(a.Out), key, a.Name); a.Failed != nil {
			continue
		}
		if all != nil && !bytes.Equal(all[0].value, own[0].value) {
			a.Failed = fmt.Errorf("the answer has the form %s, and others have %s", own[0].value, all[0].value)
			continue
		}
		for _, m := range own {
			k := slices.IndexFunc(all, func(have member) bool { return have.name == m.name })
			if k < 0 {
				all = append(all, m)
			} else {
				all[k].value = both(all[k].value, m.value)
			}
		}
	}
	if all == nil {
		all = []member{{"schema", []byte("null")}, {"complete", []byte("true")}, {"reasons", []byte("[]")}, {"gaps", []byte("[]")}}
	}
	for _, a := range answers {
		if a.Failed == nil {
			continue
		}
		why := text.CleanText(a.Failed.Error())
		for k := range all {
			switch m := &all[k]; m.name {
			case "complete":
				m.value = []byte("false")
			case "reasons":
				m.value = both(m.value, []byte("["+quote(a.Name+": "+why)+"]"))
			case "gaps":
				m.value = both(m.value, []byte("[\n  {"+quote(key)+":"+quote(a.Name)+`,"what":`+quote(key)+`,"error":`+quote(why)+"}]"))
			}
		}
	}
	out := bufio.NewWriter(w)
	for k, m := range all {
		sep := ","
		if k == 0 {
			sep = "{"
		}
		fmt.Fprintf(out, "%s%s:%s", sep, quote(m.name), m.value)
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

// safe writes characters of JSON that are not printable by their numbers. Beyond ASCII there are
// none but in strings.
func safe(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if c := b[:n]; r < 0x7f || text.Printable(r, n) {
			out = append(out, c...)
		} else {
			for _, u := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, u)
			}
		}
		b = b[n:]
	}
	return out
}

// parse returns the members of an object, of which the first is its schema, with the name of the
// place in them.
func parse(b []byte, key, place string) (members []member, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') || !json.Valid(b) {
		return nil, errNoJSON
	}
	for d.More() {
		var m member
		t, err := d.Token()
		if err == nil {
			m.name = t.(string)
			err = d.Decode(&m.value)
		}
		if err == nil {
			m.value, err = named(m, key, place)
		}
		if err != nil {
			return nil, errNoJSON
		}
		members = append(members, m)
	}
	if len(members) == 0 || members[0].name != "schema" {
		return nil, errNoJSON
	}
	return members, nil
}

func quote(s string) string {
	b, _ := json.Marshal(s) //nolint:errchkjson // a string has no error
	return string(safe(b))
}

// named puts the name of a place into the rows of a list, before the texts of one, and leaves
// other values as they are. A row that names a place already is an error.
func named(m member, key, place string) (json.RawMessage, error) {
	var list []json.RawMessage
	if m.value[0] != '[' || json.Unmarshal(m.value, &list) != nil {
		return m.value, nil //nolint:nilerr // another value
	}
	for i, row := range list {
		var keys map[string]json.RawMessage
		var s string
		switch {
		case json.Unmarshal(row, &keys) == nil && keys != nil:
			if keys[key] != nil {
				return nil, errNoJSON
			}
			sep := ","
			if len(keys) == 0 {
				sep = ""
			}
			list[i] = slices.Concat([]byte("\n  {"+quote(key)+":"+quote(place)+sep), row[1:])
		case m.name == "reasons" && json.Unmarshal(row, &s) == nil:
			list[i] = []byte(quote(place + ": " + s))
		}
	}
	out := []byte("[")
	for i, row := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, row...)
	}
	return append(out, ']'), nil
}

// both returns two lists as one. Of two other values it is the first, unless that is true and the
// second is not.
func both(a, b json.RawMessage) json.RawMessage {
	switch {
	case a[0] == '[' && b[0] == '[' && len(a) > 2 && len(b) > 2:
		return slices.Concat(a[:len(a)-1], []byte(","), b[1:])
	case a[0] == '[' && b[0] == '[' && len(b) > 2, string(a) == "true":
		return b
	}
	return a
}

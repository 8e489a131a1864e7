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

// Table makes one table of those that "--raw", with headings, has written in several places. key is
// the heading of the first column, for the names of the places. Cells of columns that a place does
// not have are "-". A place whose answer is no table has failed.
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
	begun := false
	for _, a := range answers {
		if len(answers) > 1 && len(a.Out) > 0 {
			if begun {
				fmt.Fprintln(out)
			}
			begun = true
			fmt.Fprintf(out, "== %s\n", text.Clean(a.Name))
		}
		for line := range strings.Lines(string(a.Out)) {
			fmt.Fprintln(out, text.CleanText(strings.TrimRight(line, "\r\n")))
		}
	}
	return out.Flush()
}

// JSON makes one object of those that places have written. Each row gets the name of its place,
// under the key, and so does each gap; each reason begins with it. "complete" is true if every place
// is complete. Another value is null where places differ. A place that failed, or has said nothing, is
// a gap. A place whose answer is no such object has failed. Rows are written as they came.
func JSON(w io.Writer, key string, answers []Answer) error {
	all := map[string]json.RawMessage{}
	for i := range answers {
		if a := &answers[i]; a.Failed == nil && (len(a.Out) > 0 || a.Status == 0) {
			a.Failed = add(all, key, a)
		}
	}
	if len(all) == 0 {
		all["schema"] = []byte("null")
	}
	for _, a := range answers {
		if a.Failed == nil && len(a.Out) > 0 {
			continue
		}
		why := a.why()
		all["complete"] = []byte("false")
		all["reasons"] = both(all["reasons"], []byte("["+quote(a.Name+": "+why)+"]"))
		all["gaps"] = both(all["gaps"], []byte("[\n  {"+quote(key)+":"+quote(a.Name)+`,"what":`+quote(key)+`,"error":`+quote(why)+"}]"))
	}
	// In the order of nstool, with the lists of rows before the gaps.
	out := []byte(`{"schema":`)
	out = append(out, all["schema"]...)
	names := []string{"complete", "reasons"}
	for name := range all {
		if name != "schema" && name != "gaps" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names[2:])
	for _, name := range append(names, "gaps") {
		if all[name] != nil {
			out = append(append(out, ","+quote(name)+":"...), all[name]...)
		}
	}
	_, err := w.Write(append(out, "}\n"...))
	return err
}

// add adds the answer of a place to the object that all share.
func add(all map[string]json.RawMessage, key string, a *Answer) error {
	var own map[string]json.RawMessage
	if json.Unmarshal(safe(a.Out), &own) != nil || own["schema"] == nil {
		return errNoJSON
	}
	if has := all["schema"]; has != nil && string(has) != string(own["schema"]) {
		return fmt.Errorf("the answer has the form %s, and others have %s", own["schema"], has)
	}
	for name, value := range own {
		var err error
		if own[name], err = named(name, value, key, a.Name); err != nil {
			return err
		}
	}
	for name, value := range own {
		all[name] = both(all[name], value)
	}
	return nil
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

func quote(s string) string {
	b, _ := json.Marshal(s) //nolint:errchkjson // a string has no error
	return string(safe(b))
}

// named puts the name of a place into the rows of a list, before the texts of one, and leaves
// other values as they are. A row that names a place already is an error.
func named(name string, value json.RawMessage, key, place string) (json.RawMessage, error) {
	var list []json.RawMessage
	if value[0] != '[' || json.Unmarshal(value, &list) != nil {
		return value, nil //nolint:nilerr // another value
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
		case name == "reasons" && json.Unmarshal(row, &s) == nil:
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

// both returns two lists as one; a may be missing. Of true and another value it is the other one.
// Where places differ, it is null.
func both(a, b json.RawMessage) json.RawMessage {
	switch {
	case len(a) > 2 && len(b) > 2 && a[0] == '[' && b[0] == '[':
		return slices.Concat(a[:len(a)-1], []byte(","), b[1:])
	case len(a) == 0, string(a) == "[]", string(a) == "true":
		return b
	case a[0] == '[', string(a) == "false", bytes.Equal(a, b):
		return a
	}
	return []byte("null")
}

package output

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/nstool/nstool/internal/text"
)

// Texts of which terminals, encodings and table writers think differently.
var texts = []string{"", "a", "日本語", "e\u0301", "👩‍👩‍👧", "🇩🇪x", "\u202e\x1b[1m", "\xff\xfe", "a\nb\tc", "  x  ", "|+-", "…", "\u3000", "ｶﾞ", "\u1100\u1161", strings.Repeat("x", 200), "☺️", "\u115f", "\u0600"}

func seeds(f *testing.F) {
	for i, a := range texts {
		f.Add(a, texts[(i+3)%len(texts)], texts[(i+7)%len(texts)])
	}
}

// Whatever stands in cells, a row is one line of printable characters, both ways
// to draw a table agree, and what is cut fits into the width.
func FuzzTable(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		rows := [][]cellValue{{numberValue(len(a)), textValue(a), textValue(b)}, {{state: hidden}, textValue(c), listValue([]string{a, c})}, {{}, {}, {}}}
		cols := []Column[[]cellValue]{testColumns[0], testColumns[1], testColumns[2]}
		for _, width := range []int{0, 40} {
			var out strings.Builder
			if err := Table(&out, &View{}, rows, cols, Style{Width: width}, nil); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if len(lines) != len(rows)+1 {
				t.Errorf("%d lines of %d rows:\n%s", len(lines), len(rows), out.String())
			}
			for _, r := range out.String() {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Errorf("%U in %q", r, out.String())
				}
			}
		}
		grid := [][]string{{"A", "B", "C"}, {Clean(a), Clean(b), Clean(c)}, {Clean(c), Clean(a), ""}, {"", "", Clean(b)}}
		right := []bool{true, false, len(a)%2 == 0}
		var drawn, aligned strings.Builder
		draw(&drawn, grid, right)
		text.Align(&aligned, grid, right)
		if a, b := trimEnds(drawn.String()), trimEnds(aligned.String()); a != b {
			t.Errorf("tablewriter:\n%q\nalign:\n%q", a, b)
		}
		to := max(60, text.LineWidth(text.LeastWidths(text.Widths(grid), right, 60)))
		text.Cut(grid, right, 60)
		if got := text.LineWidth(text.Widths(grid)); got > to {
			t.Errorf("a line has width %d, not %d: %q", got, to, grid)
		}
	})
}

// A raw line has as many fields as there are columns, whatever stands in them.
func FuzzRaw(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		rows := [][]cellValue{{numberValue(1), textValue(a), listValue([]string{b, c})}, {{}, textValue(b), listValue([]string{a})}}
		var out strings.Builder
		if err := Raw(&out, &View{}, rows, testColumns, Style{NoHeader: true}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%q", lines)
		}
		for _, l := range lines[:len(rows)] {
			if f := strings.Fields(l); len(f) != len(testColumns) || strings.Join(f, " ") != l {
				t.Errorf("%d fields in %q", len(f), l)
			}
		}
	})
}

// JSON is JSON, and gives back every byte.
func FuzzJSON(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var out strings.Builder
		e := &encoder{w: &out}
		encodeRows(e, &View{}, [][]cellValue{{numberValue(1), textValue(a), listValue([]string{b, c})}}, testColumns)
		if err := e.flush(); err != nil {
			t.Fatal(err)
		}
		if !utf8.ValidString(out.String()) {
			t.Errorf("no UTF-8: %q", out.String())
		}
		for _, r := range out.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%U in %q", r, out.String())
			}
		}
		var rows []struct {
			Name    *string
			Name64  []byte `json:"name_base64"`
			Words   []string
			Words64 [][]byte `json:"words_base64"`
		}
		if err := json.Unmarshal([]byte(out.String()), &rows); err != nil || len(rows) != 1 {
			t.Fatalf("%v in %s", err, out.String())
		}
		got := rows[0]
		name := string(got.Name64)
		if got.Name64 == nil && got.Name != nil {
			name = *got.Name
		}
		words := got.Words
		for i, w := range got.Words64 {
			words[i] = string(w)
		}
		if name != a || len(words) != 2 || words[0] != b || words[1] != c {
			t.Errorf("%q %q, not %q %q %q", name, words, a, b, c)
		}
	})
}

// A list of columns is columns, or an error of one line.
func FuzzSelect(f *testing.F) {
	for _, s := range []string{"id", "+id", "id,,", "\xff", "+", ",", "ID, words"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cols, err := Select(testColumns, s, nil)
		if err == nil && len(cols) != strings.Count(s, ",")+1 || err != nil && strings.Contains(CleanText(err.Error()), "\n") {
			t.Errorf("%q: %d columns, %v", s, len(cols), err)
		}
	})
}

package output

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/text"
)

// The rows of these tests are what the columns show.
var testColumns = []Column[[]cellValue]{
	{Name: "ID", Kind: kindNumber, value: func(_ *View, r []cellValue) cellValue { return r[0] }},
	{Name: "NAME", Kind: kindText, value: func(_ *View, r []cellValue) cellValue { return r[1] }},
	{Name: "WORDS", Kind: kindList, value: func(_ *View, r []cellValue) cellValue { return r[2] }},
}

func table(t *testing.T, rows [][]cellValue, style Style) string {
	t.Helper()
	var b strings.Builder
	if err := Table(&b, &View{}, rows, testColumns, style, func(r []cellValue) bool { return r[0].num == 1 }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var testRows = [][]cellValue{
	{numberValue(1), textValue("web"), listValue([]string{"a", "b"})},
	{numberValue(4026531840), textValue("größe\x1b[31m"), cellValue{}},
	{{state: hidden}, textValue("日本"), listValue([]string{"long enough to be cut"})},
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name  string
		style Style
		want  string
	}{
		{"plain", Style{}, `
        ID  NAME           WORDS
         1  web            a,b
4026531840  größe\x1b[31m  -
         ?  日本           long enough to be cut
`},
		{"cut", Style{Width: 38, NoHeader: true}, `
         1  web            a,b
4026531840  größe\x1b[31m  -
         ?  日本           long enoug…
`},
		{"too narrow to be cut to", Style{Width: 10, NoHeader: true}, `
         1  web         a,b
4026531840  größe\x1b…  -
         ?  日本        long enou…
`},
	} {
		if got := table(t, testRows, c.style); got != c.want[1:] {
			t.Errorf("%s:\n%swant:\n%s", c.name, got, c.want[1:])
		}
	}
	if got := table(t, testRows[:1], Style{Color: true}); got != "\x1b[1mID  NAME  WORDS\x1b[0m\n\x1b[2m 1  web   a,b\x1b[0m\n" {
		t.Errorf("in colour: %q", got)
	}
	if got := table(t, nil, Style{}); got != "ID  NAME  WORDS\n" {
		t.Errorf("no rows: %q", got)
	}
}

// What tablewriter draws and what we draw ourselves, where there is much, is
// the same to the letter.
func TestTableLongAndShort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	cells := []string{"a", "", "bb cc", "ü", "日本", "-", "\x1b[0m", strings.Repeat("x", 40), "  blanks  "}
	for n := range 60 {
		grid := make([][]string, 1+random.IntN(maxDrawn-1))
		for i := range grid {
			for range 3 {
				grid[i] = append(grid[i], Clean(cells[random.IntN(len(cells))]))
			}
		}
		right := []bool{n%2 == 0, n%3 == 0, n%5 == 0}
		var drawn, aligned strings.Builder
		draw(&drawn, grid, right)
		text.Align(&aligned, grid, right)
		if a, b := trimEnds(drawn.String()), trimEnds(aligned.String()); a != b {
			t.Fatalf("tablewriter:\n%s\nalign:\n%s", a, b)
		}
	}
}

func trimEnds(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestRaw(t *testing.T) {
	var b strings.Builder
	rows := append(testRows, []cellValue{numberValue(2), textValue("-"), listValue([]string{"?"})})
	if err := Raw(&b, &View{}, rows, testColumns, Style{}); err != nil {
		t.Fatal(err)
	}
	want := `ID NAME WORDS
1 web a,b
4026531840 größe\x1b[31m -
? 日本 long\x20enough\x20to\x20be\x20cut
2 \x2d \x3f
`
	if got := b.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// JSON keeps what a terminal is spared, also what is no UTF-8.
func TestJSONKeepsTheTruth(t *testing.T) {
	e := &encoder{}
	var b strings.Builder
	e.w = &b
	rows := [][]cellValue{{numberValue(1), textValue("a\x1b\"\\\n\u2028\xff"), listValue([]string{"ok", "\xfe"})}, {{state: hidden}, {}, {}}}
	encodeRows(e, &View{}, rows, testColumns)
	if err := e.flush(); err != nil {
		t.Fatal(err)
	}
	var got []struct {
		ID         *int
		Name       *string
		NameBytes  []byte `json:"name_base64"`
		Words      []string
		WordsBytes [][]byte `json:"words_base64"`
	}
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	if g := got[0]; *g.ID != 1 || *g.Name != "a\x1b\"\\\n\u2028\ufffd" || string(g.NameBytes) != "a\x1b\"\\\n\u2028\xff" ||
		fmt.Sprint(g.Words) != "[ok \ufffd]" || string(g.WordsBytes[1]) != "\xfe" {
		t.Errorf("got %+v from %s", g, b.String())
	}
	if g := got[1]; g.ID != nil || g.Name != nil || g.Words == nil || len(g.Words) != 0 {
		t.Errorf("of nothing: %+v from %s", g, b.String())
	}
	for _, c := range []byte("\x1b\xff\xfe") {
		if strings.IndexByte(b.String(), c) >= 0 {
			t.Errorf("byte %#x in %q", c, b.String())
		}
	}
}

// Whatever is written to, and wherever it fails, the failure is told.
func TestWriteErrors(t *testing.T) {
	rows := make([][]cellValue, 3000)
	for i := range rows {
		rows[i] = []cellValue{numberValue(i), textValue("some text that fills buffers"), {}}
	}
	for _, after := range []int{0, 1, 40 << 10} {
		for name, write := range map[string]func(w *failing) error{
			"table": func(w *failing) error { return Table(w, &View{}, rows, testColumns, Style{}, nil) },
			"short": func(w *failing) error { return Table(w, &View{}, rows[:2], testColumns, Style{}, nil) },
			"raw":   func(w *failing) error { return Raw(w, &View{}, rows, testColumns, Style{}) },
			"json":  func(w *failing) error { return JSON(w, Listing{View: &View{}}) },
		} {
			w := &failing{after: after}
			if err := write(w); !errors.Is(err, errFull) && w.failed {
				t.Errorf("%s, after %d bytes: %v", name, after, err)
			}
			if after == 0 && !w.failed {
				t.Errorf("%s wrote nothing", name)
			}
		}
	}
}

var errFull = errors.New("full")

// failing is a writer that fails after so many bytes.
type failing struct {
	after  int
	failed bool
}

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.after {
		f.failed = true
		return 0, errFull
	}
	f.after -= len(p)
	return len(p), nil
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 47 * time.Hour: "47h", 48 * time.Hour: "2d",
	} {
		if got := text.Span(int64(d / time.Second)); got != want {
			t.Errorf("span of %s is %s, want %s", d, got, want)
		}
	}
}

func TestSelect(t *testing.T) {
	names := func(spec string) string {
		cols, err := Select(testColumns, spec, testColumns[:1])
		if err != nil {
			return err.Error()
		}
		return strings.Join(Names(cols), ",")
	}
	for spec, want := range map[string]string{
		"id,Name":   "ID,NAME",
		"+words":    "ID,WORDS",
		"+id, name": "ID,NAME",
		"name,name": "NAME,NAME",
		"id,":       `no column ""; there are: ID, NAME, WORDS`,
		"nosuch":    `no column "nosuch"; there are: ID, NAME, WORDS`,
		"+":         `no column ""; there are: ID, NAME, WORDS`,
	} {
		if got := names(spec); got != want {
			t.Errorf("%q: %s, want %s", spec, got, want)
		}
	}
}

func TestFilter(t *testing.T) {
	for expr, want := range map[string]string{
		`id == 1`:                               "1",
		`ID == 1 or NAME == "日本"`:               "1,0",
		`ID eq 1 OR Name EQ '日本'`:               "1,0",
		`"a" in words`:                          "1",
		`words contains "a"`:                    "1",
		`any words startsWith "long"`:           "0",
		`any words in ["b", "c"]`:               "1",
		`any words =~ "^.$" and id < 2`:         "1",
		`name =~ "^web$"`:                       "1",
		`name !~ 'e\x1b' and name !~ '^gr'`:     "1,0",
		`name contains "eb"`:                    "1",
		`name endsWith "b"`:                     "1",
		`not words`:                             "4026531840",
		`id`:                                    "1,4026531840",
		`!id`:                                   "",
		`id == "1"`:                             "1",
		`1 == id`:                               "1",
		`'web' == name`:                         "1",
		`id =~ '^40'`:                           "4026531840",
		`id > 3G and id <= 4026531840`:          "4026531840",
		`id >= 1KiB`:                            "4026531840",
		`id > -1 && id lt 2`:                    "1",
		`name in ["web", "db"] || "b" in words`: "1",
		`name not in ["web"]`:                   "4026531840,0",
		`name != "web" and not (name < "h")`:    "0",
		`id in []`:                              "",
		`true`:                                  "1,4026531840,0",
		`not false and true == true`:            "1,4026531840,0",
		`name == "\u65e5\u672c"`:                "0",
	} {
		f, err := NewFilter(testColumns, expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		rows := f.Keep(&View{}, testRows)
		var ids []string
		for _, r := range rows {
			ids = append(ids, fmt.Sprint(r[0].num))
		}
		if got := strings.Join(ids, ","); got != want {
			t.Errorf("%s keeps %s, want %s", expr, got, want)
		}
	}
}

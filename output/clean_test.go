package output

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"sleep 10", "sleep 10"},
		{"größe 日本", "größe 日本"},
		{"\x1b[31mred", `\x1b[31mred`},
		{"\x1b]0;title\x07", `\x1b]0;title\x07`},
		{"a\nb\tc\r", `a\x0ab\x09c\x0d`},
		{`a\x1b`, `a\x5cx1b`},
		{"\xff\xfe", `\xff\xfe`},
		{"\u009b31m", `\xc2\x9b31m`},             // CSI in one character
		{"abc\u202edcba", `abc\xe2\x80\xaedcba`}, // right to left
		{"a\u200bb", `a\xe2\x80\x8bb`},           // no width
		{"\U000e0041", `\xf3\xa0\x81\x81`},       // a tag
		{"\u2028", `\xe2\x80\xa8`},               // a line separator
		{"cut in the middle \xe6\x97", `cut in the middle \xe6\x97`},
		{"\x00\x7f", `\x00\x7f`},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%q) = %s, want %s", c.in, got, c.want)
		}
	}
	if got, want := CleanText("no \"a\\x1b\"\n\x1b"), "no \"a\\x1b\"\\x0a\\x1b"; got != want {
		t.Errorf("CleanText: %s, want %s", got, want)
	}
}

var escape = regexp.MustCompile(`\\x[0-9a-f]{2}`)

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", `\`, "\x1b[0m", "\xe6\x97", "a\u202eb", "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("Clean(%q) = %q is no UTF-8", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("Clean(%q) = %q has %U", s, got, r)
			}
		}
		back := escape.ReplaceAllStringFunc(got, func(e string) string {
			b, err := strconv.ParseUint(e[2:], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			return string([]byte{byte(b)})
		})
		if back != s {
			t.Errorf("Clean(%q) = %q reads back as %q", s, got, back)
		}
		if cell := rawCell(s); cell == "" || strings.ContainsAny(cell, " \t\n") || (cell == "-") != (s == "") || cell == "?" {
			t.Errorf("rawCell(%q) = %q", s, cell)
		}
	})
}

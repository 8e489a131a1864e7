package report

import (
	"bufio"
	"io"
	"strings"

	"github.com/nstool/nstool/internal/text"
	"github.com/nstool/nstool/output"
)

// A Sheet is a description of one thing for people: a title, and facts below it.
type Sheet struct {
	Title string
	Facts []Fact
}

// A Fact is a key with one line or several. Lines are cleaned when they are drawn; see
// [output.Clean].
type Fact struct {
	Key   string
	Lines []string
}

// Add adds a fact, unless it has no lines.
//
//go:noinline
func (s *Sheet) Add(key string, lines ...string) {
	if len(lines) > 0 {
		s.Facts = append(s.Facts, Fact{key, lines})
	}
}

// Sheets draws sheets, with an empty line between them: the title of each, and its facts,
// aligned. Lines that are wider than the terminal are broken at a blank.
func Sheets(w io.Writer, sheets []Sheet, style output.Style) error {
	out := bufio.NewWriter(w)
	for i, s := range sheets {
		if i > 0 {
			_ = out.WriteByte('\n')
		}
		s.draw(out, style)
	}
	return out.Flush() // returns earlier errors too
}

func (s Sheet) draw(out *bufio.Writer, style output.Style) {
	indent := 0
	for _, f := range s.Facts {
		indent = max(indent, text.Width(f.Key)+len(text.Gap))
	}
	title := output.Clean(s.Title)
	if style.Color {
		title = "\x1b[1m" + title + "\x1b[0m"
	}
	_, _ = out.WriteString(title + "\n")
	for _, f := range s.Facts {
		key := f.Key
		for _, line := range f.Lines {
			for _, part := range broken(output.Clean(line), style.Width-indent) {
				part = key + strings.Repeat(" ", indent-text.Width(key)) + part
				_, _ = out.WriteString(strings.TrimRight(part, " ") + "\n")
				key = ""
			}
		}
	}
}

// broken breaks a line at blanks so that no part is wider than to, if possible. All parts but
// the first are indented.
func broken(line string, to int) []string {
	const least, more = 20, "  "
	if to < least || text.Width(line) <= to {
		return []string{line}
	}
	var parts []string
	part, room := "", to
	for word := range strings.SplitSeq(line, " ") {
		switch {
		case part == "":
			part = word
		case text.Width(part)+1+text.Width(word) <= room:
			part += " " + word
		default:
			parts = append(parts, part)
			part, room = more+word, to
		}
	}
	return append(parts, part)
}

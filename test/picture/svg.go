package main

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// A look is how a character is drawn.
type look struct {
	bold, dim bool
	color     int // of the eight, 1 to 8; 0 is none
}

type cell struct {
	r rune
	look
}

// A screen is a terminal that is as high as it takes.
type screen struct {
	rows [][]cell
	col  int
	look look
}

// write draws what a program has written.
func (s *screen) write(text string) {
	if len(s.rows) == 0 {
		s.rows = append(s.rows, nil)
	}
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				return
			}
			if rest[end] == 'm' {
				s.look = s.look.with(rest[:end])
			}
			text = rest[end+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch {
		case r == '\r':
			s.col = 0
		case r == '\n':
			s.rows = append(s.rows, nil)
		case r == '\b':
			s.col = max(0, s.col-1)
		case r == '\t':
			s.col = s.col/8*8 + 8
		case r >= ' ':
			row := &s.rows[len(s.rows)-1]
			for len(*row) <= s.col {
				*row = append(*row, cell{r: ' '})
			}
			(*row)[s.col] = cell{r, s.look}
			s.col++
		}
	}
}

// with is the look after "ESC [ codes m".
func (l look) with(codes string) look {
	for code := range strings.SplitSeq(codes, ";") {
		switch n, _ := strconv.Atoi(code); {
		case n == 0:
			l = look{}
		case n == 1:
			l.bold = true
		case n == 2:
			l.dim = true
		case n == 22:
			l.bold, l.dim = false, false
		case n >= 30 && n <= 37:
			l.color = n - 29
		case n >= 90 && n <= 97:
			l.color = n - 89
		case n == 39:
			l.color = 0
		}
	}
	return l
}

func (l look) class() string {
	var words []string
	if l.bold {
		words = append(words, "b")
	}
	if l.dim {
		words = append(words, "d")
	}
	if l.color > 0 {
		words = append(words, "c"+strconv.Itoa(l.color))
	}
	return strings.Join(words, " ")
}

const (
	cellWidth, lineHeight = 8.4, 19.0
	margin, top           = 18.0, 46.0
)

const style = `
  .w { fill: #0d1117; stroke: #30363d }
  .t { fill: #e6edf3; font: 14px ui-monospace, SFMono-Regular, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre }
  .b { font-weight: 700; fill: #ffffff } .d { fill: #8b949e }
  .c2 { fill: #ff7b72 } .c3 { fill: #7ee787 } .c4 { fill: #e3b341 } .c5 { fill: #79c0ff } .c6 { fill: #d2a8ff } .c7 { fill: #76e3ea }
  @media (prefers-color-scheme: light) {
    .w { fill: #ffffff; stroke: #d0d7de }
    .t { fill: #1f2328 } .b { fill: #000000 } .d { fill: #6e7781 }
    .c2 { fill: #cf222e } .c3 { fill: #1a7f37 } .c4 { fill: #9a6700 } .c5 { fill: #0969da } .c6 { fill: #8250df } .c7 { fill: #1b7c83 }
  }
`

// svg draws the screen in a window.
func (s *screen) svg() []byte {
	rows := s.rows
	for len(rows) > 0 && len(rows[len(rows)-1]) == 0 {
		rows = rows[:len(rows)-1]
	}
	width, height := 2*margin+columns*cellWidth, top+float64(len(rows))*lineHeight+margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>A session with nstool on a terminal</title>\n<style>%s</style>\n", style)
	fmt.Fprintf(&b, `<rect class="w" x="0.5" y="0.5" width="%.0f" height="%.0f" rx="9"/>`+"\n", width-1, height-1)
	for i, color := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="20" r="6" fill="%s"/>`+"\n", 22+20*i, color)
	}
	for i, row := range rows {
		y := top + float64(i)*lineHeight + 12
		for from := 0; from < len(row); {
			to := from + 1
			for to < len(row) && row[to].look == row[from].look {
				to++
			}
			text := make([]rune, 0, to-from)
			for _, c := range row[from:to] {
				text = append(text, c.r)
			}
			if trimmed := strings.TrimRight(string(text), " "); trimmed != "" {
				n := len([]rune(trimmed))
				// The length keeps columns in line, whatever the font.
				fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%.0f" textLength="%.1f" xml:space="preserve">%s</text>`+"\n",
					strings.TrimSpace("t "+row[from].class()), margin+float64(from)*cellWidth, y, float64(n)*cellWidth, html.EscapeString(trimmed))
			}
			from = to
		}
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

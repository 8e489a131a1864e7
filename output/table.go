package output

import (
	"bufio"
	"bytes"
	"io"
	"slices"

	"github.com/olekukonko/tablewriter"

	"github.com/nstool/nstool/internal/text"
)

// A Style says how to draw a table.
type Style struct {
	NoHeader bool
	// Width is the width of the terminal, to which columns are left out and cut; 0 leaves out
	// and cuts nothing.
	Width int
	// Dropped are the columns that are left out on a narrow terminal, the first ones first.
	Dropped []string
	// Color allows colours and faint lines.
	Color bool
}

// Table writes one line for each row, with aligned columns. Cells are cleaned, see [Clean]. If
// the style has colour, rows for which faint is true are faint; faint may be nil.
func Table[R any](w io.Writer, v *View, rows []R, cols []Column[R], style Style, faint func(R) bool) error {
	grid := make([][]string, 0, len(rows)+1)
	if !style.NoHeader {
		grid = append(grid, Names(cols))
	}
	for _, r := range rows {
		line := make([]string, len(cols))
		for i, c := range cols {
			line[i] = Clean(c.value(v, r).cell(c.Kind))
		}
		grid = append(grid, line)
	}
	return drawTable(w, grid, rows, cols, style, faint)
}

// HasUnknown reports whether a cell is unknown.
func HasUnknown[R any](v *View, rows []R, cols []Column[R]) bool {
	return slices.ContainsFunc(rows, func(r R) bool {
		return slices.ContainsFunc(cols, func(c Column[R]) bool { return c.value(v, r).state == hidden })
	})
}

func drawTable[R any](w io.Writer, grid [][]string, rows []R, cols []Column[R], style Style, faint func(R) bool) error {
	if style.Width > 0 {
		grid, cols = leaveOut(grid, cols, style)
	}
	right := make([]bool, len(cols))
	for i, c := range cols {
		right[i] = c.right()
	}
	if style.Width > 0 {
		text.Cut(grid, right, style.Width)
	}
	out := bufio.NewWriterSize(w, 32<<10)
	lines := &lineWriter{w: out}
	if head := len(grid) - len(rows); style.Color {
		lines.wrap = func(n int) (before, after string) {
			switch {
			case n < head:
				return "\x1b[1m", "\x1b[0m"
			case faint != nil && n-head < len(rows) && faint(rows[n-head]):
				return "\x1b[2m", "\x1b[0m"
			}
			return "", ""
		}
	}
	if style.Width > 0 && len(grid) <= maxDrawn {
		draw(lines, grid, right)
	} else {
		text.Align(lines, grid, right)
	}
	lines.flush()
	return out.Flush() // returns earlier errors too
}

// maxDrawn is the most lines on a terminal that tablewriter draws, at some 8 µs each. text.Align draws
// longer tables, and those for a pipe, in a fraction of the time and with the same result (a
// test compares them).
const maxDrawn = 100

// draw writes the grid with tablewriter: no borders, no separators, two blanks
// between columns.
func draw(w io.Writer, grid [][]string, right []bool) {
	aligns := make([]int, len(right))
	for i, r := range right {
		aligns[i] = tablewriter.ALIGN_LEFT
		if r {
			aligns[i] = tablewriter.ALIGN_RIGHT
		}
	}
	t := tablewriter.NewWriter(w)
	t.SetBorder(false)
	t.SetColumnSeparator("")
	t.SetAutoWrapText(false)
	t.SetColumnAlignment(aligns)
	t.SetTablePadding(text.Gap)
	t.SetNoWhiteSpace(true) // except for that padding
	t.AppendBulk(grid)
	t.Render()
}

// leaveOut removes the columns to be dropped while the others do not fit into the width of the terminal
// even if they are cut.
func leaveOut[R any](grid [][]string, cols []Column[R], style Style) ([][]string, []Column[R]) {
	widths := text.Widths(grid)
	right := make([]bool, len(cols))
	for i, c := range cols {
		right[i] = c.right()
	}
	cols = slices.Clone(cols)
	for _, name := range style.Dropped {
		if text.LineWidth(text.LeastWidths(widths, right, style.Width)) <= style.Width {
			break
		}
		i := slices.IndexFunc(cols, func(c Column[R]) bool { return c.Name == name })
		if i < 0 || i >= len(widths) {
			continue
		}
		for k := range grid {
			if i < len(grid[k]) {
				grid[k] = slices.Delete(grid[k], i, i+1)
			}
		}
		widths, right, cols = slices.Delete(widths, i, i+1), slices.Delete(right, i, i+1), slices.Delete(cols, i, i+1)
	}
	return grid, cols
}

// A lineWriter removes blanks at the ends of lines, and can put something around each line. w
// returns errors when it is flushed.
type lineWriter struct {
	w    *bufio.Writer
	line []byte
	n    int
	wrap func(n int) (before, after string)
}

func (l *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			l.line = append(l.line, rest...)
			break
		}
		l.line = append(l.line, rest[:i]...)
		rest = rest[i+1:]
		l.flushLine()
	}
	return len(p), nil
}

func (l *lineWriter) flushLine() {
	line := l.line
	for len(line) > 0 && line[len(line)-1] == ' ' {
		line = line[:len(line)-1]
	}
	var before, after string
	if l.wrap != nil {
		before, after = l.wrap(l.n)
	}
	l.n++
	l.line = l.line[:0]
	_, _ = l.w.WriteString(before)
	_, _ = l.w.Write(line)
	_, _ = l.w.WriteString(after)
	_ = l.w.WriteByte('\n')
}

// flush writes a last line without a newline.
func (l *lineWriter) flush() {
	if len(l.line) > 0 {
		l.flushLine()
	}
}

package output

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/text"
	"github.com/olekukonko/tablewriter"
)

// A Style says how to draw a table.
type Style struct {
	NoHeader bool
	// Width is that of the terminal, for which columns are left out and cut; 0
	// leaves out and cuts nothing.
	Width int
	// Spare are the columns that are left out where the terminal is too narrow, the
	// first ones first.
	Spare []string
	// Color allows colours and the like: faint for what Faint says.
	Color bool
}

// Table writes one line for each row, the columns aligned. Cells are cleaned,
// see [Clean]. Of a row for which faint is true the line is drawn faint, if the
// style has colour; faint may be nil.
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

// HasUnknown reports whether there is a "?" among the cells.
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
		cut(grid, right, style.Width)
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
	if style.Width > 0 && len(grid) <= few {
		draw(lines, grid, right)
	} else {
		align(lines, grid, right)
	}
	lines.flush()
	return out.Flush() // with what went wrong before
}

// few is how many lines on a terminal are drawn by tablewriter, which takes some
// 8 µs for each. What is longer, and what goes into a pipe, is drawn by align,
// to the same letter (a test holds the two together), in a fraction of the time.
const few = 100

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
	t.SetNoWhiteSpace(true) // but for that padding
	t.AppendBulk(grid)
	t.Render()
}

// align writes the grid as draw does.
func align(w io.Writer, grid [][]string, right []bool) {
	widths := columnWidths(grid)
	var line []byte
	for _, cells := range grid {
		line = line[:0]
		for i, cell := range cells {
			pad := widths[i] - text.Width(cell)
			if right[i] {
				line = append(line, strings.Repeat(" ", max(0, pad))...)
			}
			line = append(line, cell...)
			if !right[i] {
				line = append(line, strings.Repeat(" ", max(0, pad))...)
			}
			line = append(line, text.Gap...)
		}
		_, _ = w.Write(append(line, '\n'))
	}
}

func columnWidths(grid [][]string) []int {
	var widths []int
	for _, cells := range grid {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], text.Width(cell))
		}
	}
	return widths
}

// leaveOut takes spare columns away as long as the others do not fit into the width
// of the terminal even if they are cut.
func leaveOut[R any](grid [][]string, cols []Column[R], style Style) ([][]string, []Column[R]) {
	widths := columnWidths(grid)
	right := make([]bool, len(cols))
	for i, c := range cols {
		right[i] = c.right()
	}
	cols = slices.Clone(cols)
	for _, name := range style.Spare {
		if sum(leastWidths(widths, right, style.Width)) <= style.Width {
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

// leastWidths returns how narrow columns can be cut: numbers are not, and the first
// text, which mostly says what a row is about, stays longer than others.
func leastWidths(widths []int, right []bool, to int) []int {
	least := slices.Clone(widths)
	first := true
	for i := range least {
		switch {
		case right[i]:
		case first:
			least[i], first = min(widths[i], max(10, to*7/20)), false
		default:
			least[i] = min(widths[i], 10)
		}
	}
	return least
}

// sum returns the width of a line with columns of these widths.
func sum(widths []int) int {
	total := max(0, len(widths)-1) * len(text.Gap)
	for _, w := range widths {
		total += w
	}
	return total
}

// cut shortens cells so that lines fit into the given width, if that leaves columns
// room enough to say something: the widest ones first. Of a path the end is kept.
func cut(grid [][]string, right []bool, to int) {
	widths := columnWidths(grid)
	if sum(widths) <= to {
		return
	}
	least := leastWidths(widths, right, to)
	for sum(widths) > to {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w >= widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	for _, cells := range grid {
		for i, cell := range cells {
			switch {
			case text.Width(cell) <= widths[i]:
			case strings.HasPrefix(cell, "/"):
				cells[i] = "…" + suffix(cell, widths[i]-1)
			default:
				cells[i] = prefix(cell, widths[i]-1) + "…"
			}
		}
	}
}

// suffix returns the end of s, as much as is not wider than to.
func suffix(s string, to int) string {
	for i := range s {
		if text.Width(s[i:]) <= to {
			return s[i:]
		}
	}
	return ""
}

// prefix returns the beginning of s, as much as is not wider than to.
func prefix(s string, to int) string {
	w := 0
	for i, r := range s {
		if w += text.Width(string(r)); w > to {
			return s[:i]
		}
	}
	return s
}

// A lineWriter takes the blanks from the ends of lines, and may put something
// around each. What goes wrong, w says when it is flushed.
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

// flush writes what is left of a last line without an end.
func (l *lineWriter) flush() {
	if len(l.line) > 0 {
		l.flushLine()
	}
}

package output

import (
	"bufio"
	"io"
	"strings"
)

// Raw writes one line for each row, with one blank between cells and none in them, for awk(1)
// and similar programs: a cell is never empty ("-" for none, "?" for unknown), and blanks,
// backslashes and characters that are not printable are written as \xNN. A cell whose text is
// "-" or "?" is written \x2d or \x3f.
func Raw[R any](w io.Writer, v *View, rows []R, cols []Column[R], style Style) error {
	out := bufio.NewWriterSize(w, 32<<10)
	if !style.NoHeader {
		_, _ = out.WriteString(strings.Join(Names(cols), " ") + "\n")
	}
	for _, r := range rows {
		for i, c := range cols {
			if i > 0 {
				_ = out.WriteByte(' ')
			}
			val := c.value(v, r)
			cell := val.cell(c.Kind)
			if val.state == known {
				cell = rawCell(cell)
			}
			_, _ = out.WriteString(cell)
		}
		_ = out.WriteByte('\n')
	}
	return out.Flush()
}

func rawCell(s string) string {
	switch s {
	case "":
		return "-"
	case "-":
		return `\x2d`
	case "?":
		return `\x3f`
	}
	return strings.ReplaceAll(Clean(s), " ", `\x20`)
}

package text

import (
	"bytes"
	"io"
	"slices"
	"strings"
)

// Align writes the lines of a grid of cells with two blanks between columns, of which some are
// aligned at the right. No line ends with a blank.
func Align(w io.Writer, grid [][]string, right []bool) {
	widths := Widths(grid)
	var line []byte
	for _, cells := range grid {
		line = line[:0]
		for i, cell := range cells {
			pad := widths[i] - Width(cell)
			if right[i] {
				line = append(line, strings.Repeat(" ", max(0, pad))...)
			}
			line = append(line, cell...)
			if !right[i] {
				line = append(line, strings.Repeat(" ", max(0, pad))...)
			}
			line = append(line, Gap...)
		}
		_, _ = w.Write(append(bytes.TrimRight(line, " "), '\n'))
	}
}

// Widths returns the width of each column of a grid.
func Widths(grid [][]string) []int {
	var widths []int
	for _, cells := range grid {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(cell))
		}
	}
	return widths
}

// LeastWidths returns the widths to which columns can be cut: numbers are not cut, and the
// first text, which mostly names the row, stays longer than others.
func LeastWidths(widths []int, right []bool, to int) []int {
	minimum := slices.Clone(widths)
	first := true
	for i := range minimum {
		switch {
		case right[i]:
		case first:
			minimum[i], first = min(widths[i], max(10, to*7/20)), false
		default:
			minimum[i] = min(widths[i], 10)
		}
	}
	return minimum
}

// LineWidth returns the width of a line with columns of these widths.
func LineWidth(widths []int) int {
	total := max(0, len(widths)-1) * len(Gap)
	for _, w := range widths {
		total += w
	}
	return total
}

// Cut shortens cells so that lines fit into the given width, the widest columns first, if that
// leaves enough of each. The end of a path is kept.
func Cut(grid [][]string, right []bool, to int) {
	widths := Widths(grid)
	if LineWidth(widths) <= to {
		return
	}
	minimum := LeastWidths(widths, right, to)
	for LineWidth(widths) > to {
		widest := -1
		for i, w := range widths {
			if w > minimum[i] && (widest < 0 || w >= widths[widest]) {
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
			case Width(cell) <= widths[i]:
			case strings.HasPrefix(cell, "/"):
				cells[i] = "…" + suffix(cell, widths[i]-1)
			default:
				cells[i] = prefix(cell, widths[i]-1) + "…"
			}
		}
	}
}

// suffix returns the end of s that is at most to columns wide.
func suffix(s string, to int) string {
	for i := range s {
		if Width(s[i:]) <= to {
			return s[i:]
		}
	}
	return ""
}

// prefix returns the beginning of s that is at most to columns wide.
func prefix(s string, to int) string {
	w := 0
	for i, r := range s {
		if w += Width(string(r)); w > to {
			return s[:i]
		}
	}
	return s
}

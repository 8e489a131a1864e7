package report

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/text"
	"github.com/nstool/nstool/output"
)

// DiffSchema is the form of the JSON of nstool-diff(1).
const DiffSchema = "nstool/diff/2"

// A Comparison is the namespaces of one type of two targets. A or B is nil if there is none, or
// if it could not be read: then Err is set.
type Comparison struct {
	Type inspect.Type
	A, B *inspect.Namespace
	Err  error
	// Differs are the differences inside, as far as they could be read.
	Differs []Difference
}

// A Difference is a fact that differs between two namespaces. Of a list it has the lines that
// only one has. Unknown is "?".
type Difference struct {
	What string
	A, B []string
}

// Same reports whether both have the same namespace.
func (c Comparison) Same() bool { return c.Err == nil && c.A != nil && c.A == c.B }

// verdict returns the result in a word.
func (c Comparison) verdict() string {
	switch {
	case c.Err != nil:
		return "unknown"
	case c.Same():
		return "same"
	}
	return "different"
}

// Differences returns the differences inside two namespaces of one type.
func Differences(v View, a, b NamespaceReport) []Difference {
	factsA, readA := v.facts(a)
	factsB, readB := v.facts(b)
	var differs []Difference
	for i := range factsA {
		linesA, linesB := factsA[i].linesToCompare(readA), factsB[i].linesToCompare(readB)
		onlyA, onlyB := without(linesA, linesB), without(linesB, linesA)
		if len(onlyA)+len(onlyB) > 0 {
			differs = append(differs, Difference{factsA[i].key, onlyA, onlyB})
		}
	}
	return differs
}

// linesToCompare returns what diff says of a fact: "?" if what is inside was not read.
func (f fact) linesToCompare(read bool) []string {
	if f.compared != nil && !read && !f.scanned {
		return []string{"?"}
	}
	return f.compared
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

// lines formats a difference: in one line if it is short, else one side below the other, with a
// line for each element of a list.
func (d Difference) lines(a, b string) (lines []string) {
	const maxShort = 60
	if len(d.A) == 1 && len(d.B) == 1 && len(d.A[0])+len(d.B[0]) <= maxShort {
		return []string{d.What + ": " + d.A[0] + " vs " + d.B[0]}
	}
	for _, side := range []struct {
		name string
		list []string
	}{{a, d.A}, {b, d.B}} {
		head := d.What + " of " + side.name + ":"
		switch len(side.list) {
		case 0:
			lines = append(lines, head+" no others")
		case 1:
			lines = append(lines, head+" "+side.list[0])
		default:
			lines = append(lines, head)
			for _, item := range cutLines(side.list) {
				lines = append(lines, indented+item)
			}
		}
	}
	return lines
}

// indented is before lines that belong to the line above.
const indented = "  "

// Diff writes a line for each type of namespace, and below it the differences inside. a and b
// are the user's names of the targets.
func Diff(w io.Writer, a, b string, list []Comparison, style output.Style) error {
	grid := [][4]string{{"", output.Clean(a), output.Clean(b), ""}}
	for _, c := range list {
		row := [4]string{c.Type.String(), inode(c, c.A), inode(c, c.B), c.verdict()}
		if c.Same() {
			row[2] = "="
		}
		grid = append(grid, row)
	}
	var widths [4]int
	for _, row := range grid {
		for i, cell := range row {
			widths[i] = max(widths[i], text.Width(cell))
		}
	}
	out := bufio.NewWriter(w)
	for n, row := range grid {
		var line []byte
		for i, cell := range row {
			line = append(line, cell...)
			line = append(line, strings.Repeat(" ", max(0, widths[i]-text.Width(cell)+len(text.Gap)))...)
		}
		shown := strings.TrimRight(string(line), " ")
		if style.Color && n == 0 {
			shown = "\x1b[1m" + shown + "\x1b[0m"
		}
		_, _ = out.WriteString(shown + "\n")
		if n == 0 {
			continue
		}
		indent := widths[0] + len(text.Gap)
		for _, d := range list[n-1].Differs {
			for _, line := range d.lines(a, b) {
				for _, part := range broken(output.Clean(line), style.Width-indent) {
					_, _ = out.WriteString(strings.Repeat(" ", indent) + part + "\n")
				}
			}
		}
	}
	return out.Flush()
}

func inode(c Comparison, ns *inspect.Namespace) string {
	switch {
	case ns != nil:
		return strconv.FormatUint(ns.ID.Ino, 10)
	case c.Err != nil:
		return "?"
	}
	return "-"
}

// DiffJSON writes one object:
//
//	{"schema": "nstool/diff/2", "complete": true, "reasons": [], "same": false, "a": "web", "b": "db",
//	 "types": [{"type": "net", "a": 4026532184, "b": 4026532284, "verdict": "different",
//	            "differs": [{"what": "host name", "a": ["web"], "b": ["db"]}]}], "gaps": []}
func DiffJSON(w io.Writer, a, b string, list []Comparison, missed output.Missed) error {
	same := !slices.ContainsFunc(list, func(c Comparison) bool { return !c.Same() })
	types := []output.Object{}
	number := func(ns *inspect.Namespace) any {
		if ns == nil {
			return output.Unknown
		}
		return ns.ID.Ino
	}
	for _, c := range list {
		differs := []output.Object{}
		for _, d := range c.Differs {
			differs = append(differs, output.Object{{"what", d.What}, {"a", unlessUnknown(d.A)}, {"b", unlessUnknown(d.B)}})
		}
		types = append(types, output.Object{{"type", c.Type.String()}, {"a", number(c.A)}, {"b", number(c.B)}, {"verdict", c.verdict()}, {"differs", differs}})
	}
	return output.Objects(w, DiffSchema, output.Object{{"same", same}, {"a", a}, {"b", b}, {"types", types}}, missed)
}

// unlessUnknown returns list, or Unknown.
func unlessUnknown(list []string) any {
	if slices.Equal(list, []string{"?"}) {
		return output.Unknown
	}
	return append([]string{}, list...)
}

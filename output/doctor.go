package output

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A Finding is something that is wrong, or worth to know.
type Finding struct {
	Severity string // "problem", "warning" or "note"
	Check    string // what was looked for
	Subject  string // what it is about
	What     string
	Evidence []string
	Since    time.Time // zero if it is not known
	SinceIs  string    // of what Since is the time: "file" or "holder"
	// Fix is a command to paste into a shell, or "". It is of printable ASCII.
	Fix string
	// Rests is what was seen that Fix rests on, and Then what is left to do
	// after it; or "".
	Rests, Then string
}

// mostEvidence is how much of the evidence for a finding is shown to people.
const mostEvidence = 8

// Findings writes a paragraph for each finding: how bad and what, then the
// evidence, then the command that puts it right. Nothing is cut to the width of
// a terminal, as a command that is cut is another one.
func Findings(w io.Writer, findings []Finding, style Style) error {
	var b strings.Builder
	for _, f := range findings {
		word := fmt.Sprintf("%-8s", strings.ToUpper(f.Severity))
		if style.Color {
			word = severityColors[f.Severity] + word + plainColor
		}
		fmt.Fprintf(&b, "%s %s\n", word, Clean(f.What))
		for i, e := range f.Evidence {
			if i == mostEvidence && len(f.Evidence) > mostEvidence+1 {
				fmt.Fprintf(&b, "         and %d more; --json lists them\n", len(f.Evidence)-i)
				break
			}
			fmt.Fprintf(&b, "         %s\n", Clean(e))
		}
		if f.Fix != "" {
			fmt.Fprintf(&b, "         fix: %s\n", CleanText(f.Fix))
			if f.Rests != "" {
				fmt.Fprintf(&b, "         as: %s\n", Clean(f.Rests))
			}
			if f.Then != "" {
				fmt.Fprintf(&b, "         then: %s\n", Clean(f.Then))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var severityColors = map[string]string{"problem": "\x1b[1;31m", "warning": "\x1b[33m", "note": "\x1b[2m"}

const plainColor = "\x1b[0m"

// FindingList is the list of findings. They are written by [Findings] for people.
var FindingList = ListOf[Finding]{Schema: "nstool/doctor/2", Key: "findings", Columns: []Column[Finding]{
	{Name: "severity", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.Severity) }},
	{Name: "check", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.Check) }},
	{Name: "subject", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.Subject) }},
	{Name: "what", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.What) }},
	{Name: "evidence", Kind: List, value: func(_ *View, f Finding) Value { return listValue(f.Evidence) }},
	{Name: "since", Kind: When, value: func(_ *View, f Finding) Value { return whenValue(f.Since) }},
	{Name: "since_is", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.SinceIs) }},
	{Name: "fix", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.Fix) }},
	{Name: "rests_on", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.Rests) }},
	{Name: "then", Kind: Text, value: func(_ *View, f Finding) Value { return textValue(f.Then) }},
}}

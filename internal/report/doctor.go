package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/doctor"
	"github.com/nstool/nstool/output"
)

// maxEvidence is the most lines of evidence of a finding that are shown to people.
const maxEvidence = 8

// Findings writes a paragraph for each finding: severity and sentence, evidence, and command.
// Nothing is cut to the width of a terminal, since a cut command is another command.
func Findings(w io.Writer, findings []doctor.Finding, style output.Style) error {
	var b strings.Builder
	for _, f := range findings {
		word := fmt.Sprintf("%-8s", strings.ToUpper(f.Severity.String()))
		if style.Color {
			word = severityColors[f.Severity] + word + plainColor
		}
		fmt.Fprintf(&b, "%s %s\n", word, output.Clean(f.What))
		for i, e := range f.Evidence {
			if i == maxEvidence && len(f.Evidence) > maxEvidence+1 {
				fmt.Fprintf(&b, "         and %d more; --json lists them\n", len(f.Evidence)-i)
				break
			}
			fmt.Fprintf(&b, "         %s\n", output.Clean(e))
		}
		if f.Fix != "" {
			fmt.Fprintf(&b, "         fix: %s\n", output.CleanText(f.Fix))
			if f.Rests != "" {
				fmt.Fprintf(&b, "         as: %s\n", output.Clean(f.Rests))
			}
			if f.Then != "" {
				fmt.Fprintf(&b, "         then: %s\n", output.Clean(f.Then))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var severityColors = map[doctor.Severity]string{doctor.Problem: "\x1b[1;31m", doctor.Warning: "\x1b[33m", doctor.Note: "\x1b[2m"}

const plainColor = "\x1b[0m"

// FindingsJSON writes one object with the list of findings.
func FindingsJSON(w io.Writer, findings []doctor.Finding, missed output.Missed) error {
	list := []output.Object{}
	for _, f := range findings {
		since := any(nil)
		if !f.Since.IsZero() {
			since = f.Since.Format(time.RFC3339)
		}
		list = append(list, output.Object{
			{"severity", f.Severity.String()},
			{"check", f.Check},
			{"subject", f.Subject},
			{"what", f.What},
			{"evidence", append([]string{}, f.Evidence...)},
			{"since", since},
			{"since_is", textOr(f.SinceIs)},
			{"fix", textOr(f.Fix)},
			{"rests_on", textOr(f.Rests)},
			{"then", textOr(f.Then)},
		})
	}
	return output.Objects(w, "nstool/doctor/2", output.Object{{"findings", list}}, missed)
}

package report_test

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/doctor"
	"github.com/nstool/nstool/internal/nstest/madeup"
	"github.com/nstool/nstool/internal/report"
	"github.com/nstool/nstool/output"
)

// TestGolden compares the reports about a made-up host with testdata/golden.
func TestGolden(t *testing.T) {
	w := madeup.New(t)
	v := report.View{View: w.View}
	style := output.Style{Width: 100}
	var namespaces []*inspect.Namespace
	for typ := range inspect.AllTypes.All() {
		namespaces = slices.AppendSeq(namespaces, w.Snapshot.Namespaces(typ))
	}
	web, db := w.Inside(t, 401, 1), w.Inside(t, 411, 2)
	shown := []report.ProcessReport{w.Process(t, 401), {Process: w.Process(t, 600).Process, TID: 601, AllCaps: 1}}
	var comparisons []report.Comparison
	for i := range web {
		c := report.Comparison{Type: web[i].NS.Type, A: web[i].NS, B: db[i].NS}
		switch {
		case c.Type == inspect.Time:
			c.Err, c.B = fs.ErrPermission, nil
		case c.A != c.B:
			c.Differs = report.Differences(v, web[i], db[i])
		}
		comparisons = append(comparisons, c)
	}
	inner := w.Of(t, 401, inspect.PID)
	tasks := []report.TaskReport{
		{Asked: "401", Task: shown[0].Task, Levels: report.Levels(w.Snapshot, []int{401, 1}, inner)},
		{Asked: "999", Err: errors.New("no process 999")},
	}
	findings := []doctor.Finding{
		{Severity: doctor.Problem, Check: "leaks", Subject: "net:[1]", What: "a net namespace is kept by a file alone", Evidence: []string{"one", "t\x1bwo"}, Since: madeup.Now, SinceIs: "file", Fix: "rm -- /run/netns/x", Rests: "nobody is in it", Then: "nothing"},
		{Severity: doctor.Note, Check: "limits", Subject: "host", What: "all is well"},
	}
	var namespaceSheets []report.Sheet
	for _, r := range append(slices.Clone(web), db...) {
		namespaceSheets = append(namespaceSheets, report.NamespaceSheet(v, r))
	}
	w.Compare(t, map[string]func(*bytes.Buffer) error{
		"show_namespaces.txt": func(b *bytes.Buffer) error {
			return report.Sheets(b, namespaceSheets, style)
		},
		"show_processes.txt": func(b *bytes.Buffer) error {
			return report.Sheets(b, []report.Sheet{report.ProcessSheet(v, shown[0]), report.ProcessSheet(v, shown[1]), report.PinSheet(v, "blue", namespaces[:3])}, style)
		},
		"show.json": func(b *bytes.Buffer) error {
			return report.ShowJSON(b, v, append(slices.Clone(web), db...), shown, madeup.Missed)
		},
		"diff.txt":  func(b *bytes.Buffer) error { return report.Diff(b, "web", "db", comparisons, style) },
		"diff.json": func(b *bytes.Buffer) error { return report.DiffJSON(b, "web", "db", comparisons, madeup.Missed) },
		"pid.txt":   func(b *bytes.Buffer) error { return report.Sheets(b, report.PidSheets(v, tasks), style) },
		"pid_numbers.txt": func(b *bytes.Buffer) error {
			return errors.Join(report.PidNumbers(b, tasks, true), report.PidNumbers(b, tasks, false))
		},
		"pid.json":   func(b *bytes.Buffer) error { return report.PidJSON(b, v, tasks, madeup.Missed) },
		"doctor.txt": func(b *bytes.Buffer) error { return report.Findings(b, findings, style) },
		"doctor.json": func(b *bytes.Buffer) error {
			return report.FindingsJSON(b, findings, madeup.Missed)
		},
	})
}

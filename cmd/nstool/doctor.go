package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/doctor"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/output"
)

// doctorOptions is what the words of nstool-doctor(1) say.
type doctorOptions struct {
	checks   []doctor.Check
	severity doctor.Severity
	except   []string
	json     bool
	strict   bool
	proc     string
}

// What nstool-doctor(1) exits with, besides 0.
const (
	statusFindings status = 1
	statusTrouble  status = 2
)

func newDoctor(a *app) *cobra.Command {
	var o doctorOptions
	var checks []string
	var severity string
	cmd := &cobra.Command{
		Use:     "doctor [flags]",
		Short:   "Find leaks, dead names, limits, and containers that are not kept apart",
		GroupID: groupSee,
		Long: `Find what is wrong with the namespaces of the host: names that lead nowhere,
namespaces without a process and what keeps them, users near their limit, and
containers that share namespaces with the host or run privileged.

Each finding has the command that would put it right. Nothing is changed.
The exit status is 0 if nothing is worse than a note, 1 if something is, and 2
if that could not be found out.`,
		Example: `  nstool doctor
  nstool doctor --check names,leaks      those alone
  nstool doctor --severity problem       what does not work
  nstool doctor --except docker:agent    that one is meant to be so`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(checks, severity); err != nil {
				return usageError{err}
			}
			if err := runDoctor(cmd.Context(), a, o); err != nil {
				if _, ok := err.(statusError); ok { //nolint:errorlint // our own, not one inside
					return err
				}
				return statusError{statusTrouble, err}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&checks, "check", nil, "only these: a `LIST` of "+strings.Join(checkNames(), ", "))
	f.StringVar(&severity, "severity", "note", "only what is as bad as this `WORD` or worse: note, warning or problem")
	f.StringArrayVar(&o.except, "except", nil, "nothing about this `SUBJECT`: a container, namespace or path, as --json has it")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON")
	f.BoolVar(&o.strict, "strict", false, "fail if something could not be read")
	f.StringVar(&o.proc, "proc", "/proc", "read the proc file system at `DIR`")
	complete(cmd, "check", checkNames)
	complete(cmd, "severity", func() []string { return []string{"note", "warning", "problem"} })
	return cmd
}

func checkNames() []string {
	names := make([]string, len(doctor.Checks))
	for i, c := range doctor.Checks {
		names[i] = c.Name
	}
	return names
}

// parse understands the words of --check and --severity.
func (o *doctorOptions) parse(checks []string, severity string) (err error) {
	for _, name := range checks {
		if !slices.Contains(checkNames(), name) {
			return fmt.Errorf("no check %q; there are: %s", name, strings.Join(checkNames(), ", "))
		}
	}
	for _, c := range doctor.Checks {
		if checks == nil || slices.Contains(checks, c.Name) {
			o.checks = append(o.checks, c)
		}
	}
	o.severity, err = doctor.ParseSeverity(severity)
	return err
}

// runDoctor looks at the host and tells what is wrong. A failure is trouble.
func runDoctor(ctx context.Context, a *app, o doctorOptions) error {
	stop := a.progress("still looking at " + o.proc)
	host, found, err := doctor.Look(ctx, o.checks, inspect.WithProc(o.proc), inspect.WithHidden())
	stop()
	if err != nil {
		return err
	}
	if err := a.tellFindings(o, found, append(slices.Clone(host.Snapshot.Gaps()), host.Gaps...)); err != nil {
		return err
	}
	if a.reportGaps(host.Snapshot, host.Gaps, o.strict) != nil {
		return statusError{status: statusTrouble}
	}
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Severity > doctor.Note && o.wants(f) }) {
		return statusError{status: statusFindings}
	}
	return nil
}

// wants reports whether a finding is asked for.
func (o *doctorOptions) wants(f doctor.Finding) bool {
	return f.Severity >= o.severity && !slices.Contains(o.except, f.Subject)
}

// tellFindings writes the findings that are asked for, and on standard error how
// many there are.
func (a *app) tellFindings(o doctorOptions, found []doctor.Finding, gaps []inspect.Gap) error {
	counts := make(map[doctor.Severity]int)
	findings := []output.Finding{}
	for _, f := range found {
		if o.wants(f) {
			counts[f.Severity]++
			findings = append(findings, output.Finding{
				Severity: f.Severity.String(), Check: f.Check, Subject: f.Subject, What: f.What,
				Evidence: f.Evidence, Since: f.Since, SinceIs: f.SinceIs, Fix: f.Fix,
			})
		}
	}
	if o.json {
		return output.FindingsJSON(a.out, findings, gaps)
	}
	if err := output.Findings(a.out, findings, output.Style{Color: a.color()}); err != nil {
		return err
	}
	var words []string
	for _, s := range []doctor.Severity{doctor.Problem, doctor.Warning, doctor.Note} {
		switch n := counts[s]; n {
		case 0:
		case 1:
			words = append(words, "1 "+s.String())
		default:
			words = append(words, fmt.Sprintf("%d %ss", n, s))
		}
	}
	if words == nil {
		words = []string{"nothing found"}
	}
	fmt.Fprintf(a.err, "nstool: %s\n", strings.Join(words, ", "))
	return nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/doctor"
	"github.com/nstool/nstool/internal/report"
	"github.com/nstool/nstool/output"
)

// doctorOptions are the options of nstool-doctor(1).
type doctorOptions struct {
	checks []doctor.Check
	findingOptions
}

// findingOptions are the options of commands that report findings.
type findingOptions struct {
	severity doctor.Severity
	except   []string
	json     bool
	strict   bool
	proc     string
}

// The statuses of nstool-doctor(1) other than 0.
const (
	statusFindings status = 1
	statusTrouble  status = 2
)

func newDoctor(a *app) *cobra.Command {
	var o doctorOptions
	var checks []string
	var severity, path string
	cmd := &cobra.Command{
		Use:     "doctor [flags]",
		Short:   "Find leaks, dead names, limits, and containers that are not kept apart",
		GroupID: groupSee,
		Long: `Find what is wrong with the namespaces of the host: names that lead nowhere,
namespaces without a process and what keeps them, users near their limit, and
containers that share namespaces with the host or run privileged.

Each finding has the command that would put it right. Nothing is changed.

The exit status is 0 if nothing is worse than a note, 1 if something is, and 2
if that could not be found out. A check is not made, or a finding has no command,
if it would be based on something that could not be seen.`,
		Example: `  nstool doctor
  nstool doctor --check names,leaks      those alone
  nstool doctor --severity problem       what does not work
  nstool doctor --except docker:agent    that one is meant to be so`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(checks, severity); err != nil {
				return usageError{Err: err}
			}
			if cmd.Flags().Changed("busy") {
				if checks != nil {
					return usagef("--busy and --check exclude each other")
				}
				return runBusy(cmd.Context(), a, o.findingOptions, path)
			}
			return asTrouble(runDoctor(cmd.Context(), a, o))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var((*wordList)(&checks), "check", "only these: a `LIST` of "+strings.Join(checkNames(), ", "))
	findingFlags(cmd, &o.findingOptions, &severity)
	f.StringVar(&path, "busy", "", "the same as nstool busy `PATH`")
	f.Lookup("busy").Hidden = true
	completeFlag(cmd, "check", listOf(checkNames))
	return cmd
}

// findingFlags adds the flags of o to cmd; the caller parses the severity.
func findingFlags(cmd *cobra.Command, o *findingOptions, severity *string) {
	f := cmd.Flags()
	f.StringVar(severity, "severity", "note", "only what is as bad as this `WORD` or worse: note, warning or problem")
	f.StringArrayVar(&o.except, "except", nil, "nothing about this `SUBJECT`: a container, namespace or path, as --json has it")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 also if something could not be read")
	f.StringVar(&o.proc, "proc", "/proc", "read the proc file system at `DIR`")
	completeFlag(cmd, "severity", oneOf(func() (names []string) {
		for s := doctor.Note; s <= doctor.Problem; s++ {
			names = append(names, s.String())
		}
		return names
	}))
	completeFlag(cmd, "except", completeContainers)
	completeFlag(cmd, "proc", directories)
}

// asTrouble makes a failure one of status 2, since 1 says that there are findings.
func asTrouble(err error) error {
	if _, ok := err.(statusError); ok || err == nil { //nolint:errorlint // our own, not one inside
		return err
	}
	return statusError{statusTrouble, err}
}

func checkNames() []string {
	names := make([]string, len(doctor.Checks))
	for i, c := range doctor.Checks {
		names[i] = c.Name
	}
	return names
}

// parse parses --check and --severity.
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

// runDoctor looks at the host and reports what is wrong.
func runDoctor(ctx context.Context, a *app, o doctorOptions) error {
	stop := a.progress("still looking at " + o.proc)
	host, found, err := doctor.Look(ctx, o.checks, inspect.WithProc(o.proc))
	stop()
	if err != nil {
		return err
	}
	return a.report(host, o.findingOptions, found, host.Unchecked(o.checks), nil)
}

// report writes findings, and what could not be read or checked. The error is the exit
// status. unseen is what to add if there are none.
func (a *app) report(host *doctor.Host, o findingOptions, found []doctor.Finding, unchecked []inspect.Gap, unseen []string) error {
	if err := a.writeFindings(o, slices.Clone(found), unseen, output.MissedBy(host.Snapshot, append(slices.Clone(unchecked), host.Gaps...))); err != nil {
		return err
	}
	for _, g := range unchecked {
		fmt.Fprintf(a.err, "nstool: %s\n", output.Clean(g.String()))
	}
	if a.reportGaps(host.Snapshot, host.Gaps, o.strict) != nil || o.strict && len(unchecked) > 0 {
		return statusError{status: statusFindings}
	}
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Severity > doctor.Note && o.wants(f) }) {
		return statusError{status: statusFindings}
	}
	return nil
}

// wants reports whether a finding is to be shown.
func (o *findingOptions) wants(f doctor.Finding) bool {
	return f.Severity >= o.severity && !slices.Contains(o.except, f.Subject)
}

// writeFindings writes the findings to be shown, and their number on standard error.
func (a *app) writeFindings(o findingOptions, found []doctor.Finding, unseen []string, missed output.Missed) error {
	counts := make(map[doctor.Severity]int)
	found = slices.DeleteFunc(found, func(f doctor.Finding) bool { return !o.wants(f) })
	for _, f := range found {
		counts[f.Severity]++
	}
	if o.json {
		return report.FindingsJSON(a.out, found, missed)
	}
	if err := report.Findings(a.out, doctor.Fold(found), output.Style{Color: a.color()}); err != nil {
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
		if len(missed.Gaps) > 0 {
			words[0] += " in what could be looked at"
		}
		if len(unseen) > 0 {
			words[0] += "; not looked at: " + strings.Join(unseen, "; ")
		}
	}
	fmt.Fprintf(a.err, "nstool: %s\n", strings.Join(words, ", "))
	if host := inspect.FindHost(); host.Moved && slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Fix != "" }) {
		fmt.Fprintf(a.err, "nstool: fixes are to be typed on the host: nstool enter --mnt -p %d sh\n", host.PID)
	}
	return nil
}

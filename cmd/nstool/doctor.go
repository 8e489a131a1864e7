package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/doctor"
	"github.com/nstool/nstool/output"
)

// doctorOptions is what the words of nstool-doctor(1) say.
type doctorOptions struct {
	checks   []doctor.Check
	severity doctor.Severity
	except   []string
	busy     string
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
		Use:     "doctor [flags] [--busy PATH]",
		Short:   "Find leaks, dead names, limits, and containers that are not kept apart",
		GroupID: groupSee,
		Long: `Find what is wrong with the namespaces of the host: names that lead nowhere,
namespaces without a process and what keeps them, users near their limit, and
containers that share namespaces with the host or run privileged.

Each finding has the command that would put it right. Nothing is changed.
With --busy, say who keeps a mount point, a block device or a directory from
going: processes, loop devices, and mounts in every mount namespace.

The exit status is 0 if nothing is worse than a note, 1 if something is, and 2
if that could not be found out. What rests on what could not be seen is not told:
then a check is not made, or a finding has no command.`,
		Example: `  nstool doctor
  nstool doctor --check names,leaks      those alone
  nstool doctor --severity problem       what does not work
  nstool doctor --except docker:agent    that one is meant to be so
  nstool doctor --busy /mnt/disk         why it cannot be unmounted
  nstool doctor --busy /dev/sdb1         who uses it, in any mount namespace`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(checks, severity); err != nil {
				return usageError{Err: err}
			}
			switch busy := cmd.Flags().Changed("busy"); {
			case busy && checks != nil:
				return usagef("--busy and --check exclude each other")
			case busy && o.busy == "":
				return usagef("--busy needs a path")
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
	f.Var((*wordList)(&checks), "check", "only these: a `LIST` of "+strings.Join(checkNames(), ", "))
	f.StringVar(&severity, "severity", "note", "only what is as bad as this `WORD` or worse: note, warning or problem")
	f.StringArrayVar(&o.except, "except", nil, "nothing about this `SUBJECT`: a container, namespace or path, as --json has it")
	f.StringVar(&o.busy, "busy", "", "say who keeps this mount or file system from going: a `PATH`")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 also if something could not be read")
	f.StringVar(&o.proc, "proc", "/proc", "read the proc file system at `DIR`")
	completeFlag(cmd, "check", listOf(checkNames))
	completeFlag(cmd, "severity", oneOf(func() (names []string) {
		for s := doctor.Note; s <= doctor.Problem; s++ {
			names = append(names, s.String())
		}
		return names
	}))
	completeFlag(cmd, "except", completeContainers)
	completeFlag(cmd, "proc", directories)
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
	host, found, err := o.look(ctx, a)
	stop()
	if err != nil {
		return err
	}
	var unchecked []inspect.Gap
	if o.busy == "" {
		unchecked = host.Unchecked(o.checks)
	}
	if err := a.tellFindings(host, o, slices.Clone(found), output.MissedBy(host.Snapshot, append(unchecked, host.Gaps...))); err != nil {
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

// look finds what the options ask for.
func (o *doctorOptions) look(ctx context.Context, a *app) (*doctor.Host, []doctor.Finding, error) {
	opts := []inspect.Option{inspect.WithProc(o.proc)}
	if o.busy == "" {
		return doctor.Look(ctx, o.checks, opts...)
	}
	host, busy, found, err := doctor.LookBusy(ctx, o.busy, opts...)
	if err == nil {
		fmt.Fprintf(a.err, "nstool: %s\n", output.Clean(busyWords(busy)))
	}
	return host, found, err
}

// busyWords says what is looked at.
func busyWords(b *inspect.Busy) string {
	fs := fmt.Sprintf("%s of %s (%s)", b.On.Type, b.On.Source, b.On.Dev)
	switch {
	case b.Mount.ID != 0:
		return fmt.Sprintf("%s is a mount point: %s", b.Path, fs)
	case b.Dev != b.On.Dev || b.On.ID == 0:
		return fmt.Sprintf("%s is a block device (%s), and not mounted here", b.Path, b.Dev)
	case b.Device:
		return fmt.Sprintf("%s is a block device: %s, mounted at %s", b.Path, fs, b.On.Point)
	}
	return fmt.Sprintf("%s is no mount point: what is at or below it counts, on %s, mounted at %s", b.Path, fs, b.On.Point)
}

// wants reports whether a finding is asked for.
func (o *doctorOptions) wants(f doctor.Finding) bool {
	return f.Severity >= o.severity && !slices.Contains(o.except, f.Subject)
}

// tellFindings writes the findings that are asked for, and on standard error how
// many there are.
func (a *app) tellFindings(host *doctor.Host, o doctorOptions, found []doctor.Finding, missed output.Missed) error {
	counts := make(map[doctor.Severity]int)
	found = slices.DeleteFunc(found, func(f doctor.Finding) bool { return !o.wants(f) })
	for _, f := range found {
		counts[f.Severity]++
	}
	if !o.json {
		found = doctor.Fold(found)
	}
	findings := make([]output.Finding, len(found))
	for i, f := range found {
		findings[i] = output.Finding{
			Severity: f.Severity.String(), Check: f.Check, Subject: f.Subject, What: f.What,
			Evidence: f.Evidence, Since: f.Since, SinceIs: f.SinceIs, Fix: f.Fix, Rests: f.Rests, Then: f.Then,
		}
	}
	if o.json {
		return output.FindingList.JSON(a.out, nil, findings, output.FindingList.Columns, missed)
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
		if len(missed.Gaps) > 0 {
			words[0] += " in what could be looked at"
		}
		if o.busy != "" {
			if why := host.Snapshot.Unseen(inspect.AllFacts); len(why) > 0 {
				words[0] += "; not looked at: " + strings.Join(why, "; ")
			}
		}
	}
	fmt.Fprintf(a.err, "nstool: %s\n", strings.Join(words, ", "))
	return nil
}

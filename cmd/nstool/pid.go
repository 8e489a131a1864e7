package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/report"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// pidOptions are the options of nstool-pid(1).
type pidOptions struct {
	in    *target.Ref
	tasks []target.Ref
	quiet bool
	json  bool
}

func newPid(a *app) *cobra.Command {
	var o pidOptions
	var in string
	cmd := &cobra.Command{
		Use:     "pid [flags] PID...",
		Short:   "Say what a process is called in each PID namespace",
		GroupID: groupSee,
		Long: `Say what each process is called in every PID namespace that it is in, from that
of the caller to the innermost. With --in, the PIDs are those that the PID
namespace of TARGET has; a thread ID will do too.`,
		Example: `  nstool pid 4242                 what it is in its container
  nstool pid --in web 1           process 1 of a container, on the host
  kill $(nstool pid -q --in web 7)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("in") {
				ref, err := target.Parse(in)
				if err != nil {
					return usageError{Err: err}
				}
				o.in = &ref
			}
			refs, err := parseTargets(args)
			if err != nil {
				return err
			}
			for _, ref := range refs {
				switch {
				case ref.Kind != target.Process:
					return usagef("%q is no PID", ref.Text)
				case ref.PID == 0 && o.in != nil:
					return usagef("self has a PID of its own; with --in, the PIDs are those of %s", o.in.Text)
				}
			}
			if len(refs) == 0 {
				return usagef("the PID of which process? see %s --help", cmd.CommandPath())
			}
			if o.quiet && o.json {
				return usagef("--quiet and --json exclude each other")
			}
			o.tasks = refs
			return runPid(cmd.Context(), a, o)
		},
		ValidArgsFunction: completePIDs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&in, "in", "", "the PIDs are those that the PID namespace of this `TARGET` has")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only the PID asked for: with --in the caller's, else the innermost")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON")
	completeFlag(cmd, "in", completeTargets)
	return cmd
}

// completePIDs completes processes, unless their numbers are those of a TARGET.
func completePIDs(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	o := offers{word: word}
	if in := cmd.Flags().Lookup("in"); in == nil || !in.Changed {
		if snap, err := inspect.Scan(cmd.Context(), entry.ForContainers()...); err == nil {
			o.processes(cmd.Context(), snap)
		}
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp
}

func runPid(ctx context.Context, a *app, o pidOptions) error {
	opts := entry.ForContainers()
	if o.in != nil && hardToFind(*o.in) {
		opts = nil
	}
	snap, err := inspect.Scan(ctx, opts...)
	if err != nil {
		return err
	}
	look := func(ctx context.Context, ref target.Ref) (*task.Task, error) { return readTask(ctx, snap, ref) }
	if o.in != nil {
		inner, err := openPIDs(ctx, snap, *o.in)
		if err != nil {
			return err
		}
		defer inner.file.Close()
		look = inner.find
	}
	e := newExplanation(ctx, snap)
	var reports []report.TaskReport
	var missing []error
	for _, ref := range o.tasks {
		t, err := look(ctx, ref)
		if err == nil {
			err = ref.Check(t.PID)
		}
		if err == nil && len(t.NSpid) == 0 {
			err = fmt.Errorf("process %d: the kernel does not tell its PIDs: %w", t.PID, errors.ErrUnsupported)
		}
		if err != nil {
			missing = append(missing, err)
			reports = append(reports, report.TaskReport{Asked: ref.Text, Err: err})
			continue
		}
		inner, _ := snap.Find(t.Namespaces[inspect.PID])
		reports = append(reports, report.TaskReport{Asked: ref.Text, Task: t, Levels: report.Levels(snap, t.NSpid, inner)})
	}
	e.describeLevels(ctx, reports)
	switch {
	case o.json:
		err = report.PidJSON(a.out, e.view, reports, e.missed())
	case o.quiet:
		err = report.PidNumbers(a.out, reports, o.in == nil)
	default:
		err = report.Sheets(a.out, report.PidSheets(e.view, reports), output.Style{Width: width(a.out), Color: a.color()})
	}
	if err != nil {
		return err
	}
	return a.sayButLast("nstool pid", missing)
}

// describeLevels reads the names of the processes after which the namespaces of levels are named.
func (e *explanation) describeLevels(ctx context.Context, reports []report.TaskReport) {
	var procs iter.Seq[*inspect.Process] = func(yield func(*inspect.Process) bool) {
		for _, r := range reports {
			for _, l := range r.Levels {
				if l.NS == nil {
					continue
				}
				if p := l.NS.Leader(); p != nil && !yield(p) {
					return
				}
			}
		}
	}
	e.view.Details = e.snap.Describe(ctx, procs)
}

// readTask reads a task by the caller's number.
func readTask(ctx context.Context, snap *inspect.Snapshot, ref target.Ref) (*task.Task, error) {
	pid, tid := ref.PID, ref.TID
	if pid == 0 {
		pid = os.Getpid()
	}
	if tid == 0 {
		of, err := task.ProcessOf(pid)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, target.NoProcess(snap, pid)
		}
		if err != nil {
			return nil, err
		}
		if of != pid {
			pid, tid = of, pid
		}
	}
	t, err := task.Read(ctx, pid, tid)
	if errors.Is(err, fs.ErrNotExist) {
		if tid != 0 {
			return nil, fmt.Errorf("no thread %d of process %d", tid, pid)
		}
		return nil, target.NoProcess(snap, pid)
	}
	return t, err
}

// A pidsOf finds tasks by their numbers in a PID namespace.
type pidsOf struct {
	snap *inspect.Snapshot
	ns   *inspect.Namespace
	text string // the user's word for it
	file *os.File
}

// openPIDs opens the PID namespace of a TARGET.
func openPIDs(ctx context.Context, snap *inspect.Snapshot, ref target.Ref) (*pidsOf, error) {
	found, err := target.Find(snap, container.Lookup(ctx, snap, container.WithHidden()), ref)
	if err != nil {
		return nil, err
	}
	var list []*inspect.Namespace
	for _, ns := range found.Namespaces(snap) {
		if ns.Type == inspect.PID {
			list = append(list, ns)
		}
	}
	if inner := found.Match.Inner(); len(inner) > 0 {
		list = nil
		for _, c := range inner {
			if p, ok := snap.Process(c.Init); ok {
				if ns, ok := snap.Of(p, inspect.PID); ok && !slices.Contains(list, ns) {
					list = append(list, ns)
				}
			}
		}
		if len(list) > 1 {
			return nil, found.Several(ref)
		}
	}
	switch {
	case len(list) > 0:
	case found.Namespace != nil:
		return nil, fmt.Errorf("%s is no PID namespace", found.Namespace)
	case found.Pinned != nil:
		return nil, fmt.Errorf("%s has no PID namespace", ref.Text)
	default:
		return nil, fmt.Errorf("the PID namespace of %s cannot be read: %w", ref.Text, fs.ErrPermission)
	}
	file, err := snap.Open(ctx, list[0])
	if err != nil {
		return nil, err
	}
	return &pidsOf{snap: snap, ns: list[0], text: ref.Text, file: file}, nil
}

// find reads a task by its number in the namespace, and checks it.
func (in *pidsOf) find(ctx context.Context, ref target.Ref) (*task.Task, error) {
	asked := ref.PID
	if ref.TID != 0 {
		asked = ref.TID
	}
	for range 3 { // a number may be used again meanwhile
		tid, tgid, err := sys.PIDFrom(int(in.file.Fd()), asked)
		if errors.Is(err, errors.ErrUnsupported) {
			tid, tgid, err = in.search(ctx, asked)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, in.missing(ref)
		}
		if err != nil {
			return nil, fmt.Errorf("process %d in %s: %w", asked, in.text, err)
		}
		thread := tid
		if tid == tgid {
			thread = 0
		}
		t, err := task.Read(ctx, tgid, thread)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Its number in the namespace now.
		pid, ok := in.level(t, t.NSpid)
		if ok && pid != asked {
			continue
		}
		if process, ok := in.level(t, t.NStgid); ok && ref.TID != 0 && process != ref.PID {
			return nil, fmt.Errorf("thread %d in %s is of process %d, not %d", ref.TID, in.text, process, ref.PID)
		}
		return t, nil
	}
	return nil, in.missing(ref)
}

func (in *pidsOf) missing(ref target.Ref) error {
	what := "process " + strconv.Itoa(ref.PID)
	if ref.TID != 0 {
		what = fmt.Sprintf("thread %d of process %d", ref.TID, ref.PID)
	}
	return fmt.Errorf("no %s in %s, which is %s", what, in.text, in.ns)
}

// level returns the index of the PID of a task that is of the namespace.
func (in *pidsOf) level(t *task.Task, pids []int) (int, bool) {
	inner, ok := in.snap.Find(t.Namespaces[inspect.PID])
	if !ok {
		return 0, false
	}
	for _, l := range report.Levels(in.snap, pids, inner) {
		if l.NS == in.ns {
			return l.PID, true
		}
	}
	return 0, false
}

// search searches all tasks, processes before threads, on kernels that cannot be asked (before
// Linux 6.11).
func (in *pidsOf) search(ctx context.Context, asked int) (tid, tgid int, err error) {
	var below []*inspect.Process
	for p := range in.snap.Processes() {
		ns, ok := in.snap.Of(p, inspect.PID)
		for ; ok && ns != in.ns; ns, ok = in.snap.Namespace(ns.Parent.ID) {
		}
		if ok {
			below = append(below, p)
		}
	}
	is := func(pid, thread int) bool {
		t, err := task.Read(ctx, pid, thread)
		if err != nil {
			return false
		}
		n, ok := in.level(t, t.NSpid)
		return ok && n == asked
	}
	for _, p := range below {
		if is(p.PID, 0) {
			return p.PID, p.PID, nil
		}
	}
	for _, p := range below {
		if p.Threads == 1 {
			continue
		}
		tids, _ := task.Threads(p.PID)
		for _, t := range tids {
			if t != p.PID && is(p.PID, t) {
				return t, p.PID, nil
			}
		}
	}
	return 0, 0, fs.ErrNotExist
}

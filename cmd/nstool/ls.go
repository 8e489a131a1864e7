package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/process"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/passwd"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// lsOptions are the options of nstool-ls(1).
type lsOptions struct {
	rowOptions
	targets    []target.Ref
	types      inspect.Types
	tree       output.TreeKind
	persistent bool
	pids       bool
}

func newLs(a *app) *cobra.Command {
	var (
		o     lsOptions
		types []string
		tasks []string
		tree  string
	)
	cmd := &cobra.Command{
		Use:     "ls [flags] [TARGET...]",
		Short:   "List namespaces, or the processes in one",
		GroupID: groupSee,
		Long: `List every namespace of the host, what is in it and what keeps it alive.

With a process as TARGET, list the namespaces of that process. With a namespace
as TARGET, list its member processes, or, if it has none, what holds it.`,
		Example: `  nstool ls                        every namespace
  nstool ls -t net -o +HOLDERS     network namespaces, and all that holds them
  nstool ls -P                     those that no process is in
  nstool ls 4242                   the namespaces of process 4242
  nstool ls net:[4026532281]       the processes in a namespace
  nstool ls -Q 'nprocs > 5 && user != "root"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.types, err = parseTypes(types); err != nil {
				return err
			}
			if o.targets, err = parseTargets(append(tasks, args...)); err != nil {
				return err
			}
			for i, ref := range o.targets {
				if i < len(tasks) && ref.Kind != target.Process {
					return usagef("-p takes a process, not %q", ref.Text)
				}
			}
			if cmd.Flags().Changed("tree") {
				if o.tree, err = output.ParseTreeKind(tree); err != nil {
					return usageError{Err: err}
				}
			}
			if o.tree != "" && (o.json || o.raw) {
				return usagef("a tree is for people: --tree excludes --json and --raw, which have owner and parent as columns")
			}
			if o.pids && !o.json {
				return usagef("--members is for --json; with a namespace as TARGET its members are listed")
			}
			if o.tree != "" && o.sort != "" {
				return usagef("--tree and --sort exclude each other")
			}
			if err := o.check(); err != nil {
				return err
			}
			return runLs(cmd.Context(), a, o)
		},
		ValidArgsFunction: completeTargets,
	}
	f := cmd.Flags()
	f.SortFlags = false
	typeFlag(cmd, &types, "only namespaces of this `TYPE`")
	f.StringArrayVarP(&tasks, "task", "p", nil, "only the namespaces of the process `PID`")
	f.BoolVarP(&o.persistent, "persistent", "P", false, "only namespaces that no process is in")
	f.StringVarP(&tree, "tree", "T", "", "draw a tree by `owner`, parent or process")
	f.Lookup("tree").NoOptDefVal = string(output.ByOwner)
	rowFlags(cmd, &o.rowOptions, output.NamespaceList().Columns)
	f.BoolVar(&o.pids, "members", false, "give the PIDs of all members, in JSON")
	completeFlag(cmd, "task", completePIDs)
	completeFlag(cmd, "tree", oneOf(output.TreeNames))
	return cmd
}

// check finds mistakes before anything is read. With targets it is not known yet whether
// columns are of namespaces or of processes.
func (o lsOptions) check() error {
	rows := o.rowOptions
	if len(o.targets) > 0 {
		rows.columns, rows.sort, rows.filter = "", "", ""
	}
	return checkRows(rows, output.NamespaceList().Columns)
}

// runLs runs nstool-ls(1).
func runLs(ctx context.Context, a *app, o lsOptions) error {
	if o.list {
		return writeColumns(a, output.NamespaceList().Columns)
	}
	opts := []inspect.Option{inspect.WithProc(o.proc)}
	var options []container.Option
	if o.types != 0 && len(o.targets) == 0 && o.tree == "" {
		opts = append(opts, inspect.WithTypes(o.types))
	}
	if slices.ContainsFunc(o.targets, entry.Named) {
		options = append(options, container.WithHidden())
	}
	stop := a.progress("still reading " + o.proc)
	snap, err := inspect.Scan(ctx, opts...)
	stop()
	if err != nil {
		return err
	}
	l := newListing(ctx, o.rowOptions, snap, options...)
	if err := l.choose(o); err != nil {
		return err
	}
	if err := l.write(ctx, a, o); err != nil {
		return err
	}
	switch l.unsure {
	case 0:
	case 1:
		fmt.Fprintln(a.err, "nstool: 1 namespace is left out: no process was seen in it, and not all were seen")
	default:
		fmt.Fprintf(a.err, "nstool: %d namespaces are left out: no process was seen in them, and not all were seen\n", l.unsure)
	}
	return a.reportGaps(snap, l.gaps, o.strict)
}

// A listing is what a list shows: namespaces, or the processes in some.
type listing struct {
	o          rowOptions
	snap       *inspect.Snapshot
	view       *output.View
	lookup     func() *container.Set // of the snapshot
	namespaces []*inspect.Namespace
	processes  []*inspect.Process
	members    bool // processes were asked for
	gaps       []inspect.Gap
	unsure     int // namespaces that may have a process that was not seen
}

// choose selects namespaces by targets and types. For namespaces as targets the members are
// listed.
func (l *listing) choose(o lsOptions) error {
	var all []*inspect.Namespace
	if len(o.targets) == 0 {
		all = slices.Collect(l.snap.Namespaces())
	}
	for i, ref := range o.targets {
		found, err := target.Find(l.snap, l.lookup, ref)
		if err != nil {
			return err
		}
		if i > 0 && l.members != (found.Namespace != nil) {
			return usagef("%q and %q: targets are either processes or namespaces", o.targets[0].Text, ref.Text)
		}
		l.members = found.Namespace != nil
		namespaces := found.Namespaces(l.snap)
		if len(namespaces) == 0 && entry.Named(ref) {
			return fmt.Errorf("the namespaces of %s (process %d) cannot be read: %w", found.Match.Main(), found.Process.PID, fs.ErrPermission)
		}
		all = append(all, namespaces...)
	}
	seen := make(map[inspect.ID]bool, len(all))
	for _, ns := range all {
		if seen[ns.ID] || o.types != 0 && !o.types.Has(ns.Type) || o.persistent && len(ns.Members) > 0 {
			continue
		}
		seen[ns.ID] = true
		if o.persistent && !l.snap.Whole(inspect.Members) {
			l.unsure++
			continue
		}
		l.namespaces = append(l.namespaces, ns)
		if l.members {
			l.processes = append(l.processes, ns.Members...)
		}
	}
	output.Group(l.namespaces)
	slices.SortFunc(l.processes, func(a, b *inspect.Process) int { return a.PID - b.PID })
	l.processes = slices.Compact(l.processes)
	return nil
}

// write writes the chosen rows.
func (l *listing) write(ctx context.Context, a *app, o lsOptions) error {
	if l.o.json {
		return l.writeJSON(ctx, a, o.pids)
	}
	if l.members && len(l.processes) > 0 {
		cols, err := arrange(ctx, l, &l.processes, output.ProcessList().Columns, output.ProcessList().Defaults(when(l.containers(), "CONTAINER"), when(l.guests(), "GUEST")))
		if err != nil {
			return err
		}
		return draw(a, l, output.ProcessList(), l.processes, cols)
	}
	if o.tree == output.ByProcess {
		l.view.Details = l.snap.Describe(ctx, l.snap.Processes(), false)
	}
	list, net := output.NamespaceList(), o.types == inspect.TypesOf(inspect.Net)
	cols, err := arrange(ctx, l, &l.namespaces, list.Columns, list.Defaults(when(l.containers(), "CONTAINER"), when(net, "NETNSID"), when(net, "NSFS")))
	if err != nil {
		return err
	}
	if o.tree != "" {
		return output.Tree(a.out, l.view, l.namespaces, o.tree, cols, a.styleOf(l.o, list.Spare), list.Faint)
	}
	return draw(a, l, list, l.namespaces, cols)
}

func (l *listing) writeJSON(ctx context.Context, a *app, members bool) error {
	out := output.Listing{View: l.view, Members: members}
	var err error
	if l.members {
		// The options are about the processes; the namespaces are written completely.
		out.ProcessColumns, err = arrange(ctx, l, &l.processes, output.ProcessList().Columns, output.ProcessList().Columns)
		if err != nil {
			return err
		}
		out.Processes = append([]*inspect.Process{}, l.processes...)
		l.o.columns, l.o.filter, l.o.sort = "", "", ""
	}
	if out.Columns, err = arrange(ctx, l, &l.namespaces, output.NamespaceList().Columns, output.NamespaceList().Columns); err != nil {
		return err
	}
	out.Namespaces, out.Missed = l.namespaces, output.MissedBy(l.snap, l.gaps)
	return output.JSON(a.out, out)
}

// arrange selects columns, reads what they need, and filters and sorts rows.
func arrange[R any](ctx context.Context, l *listing, rows *[]R, table, defaults []output.Column[R]) ([]output.Column[R], error) {
	cols := defaults
	var err error
	if l.o.columns != "" {
		if cols, err = output.Select(table, l.o.columns, defaults); err != nil {
			return nil, usageError{Err: err}
		}
	}
	needs := output.NeedsOf(cols)
	var filter *output.Filter[R]
	if l.o.filter != "" {
		if filter, err = output.NewFilter(table, l.o.filter); err != nil {
			return nil, filterError(err)
		}
		needs |= filter.Needs()
	}
	if by := strings.TrimPrefix(l.o.sort, "-"); by != "" {
		key, err := output.Select(table, by, nil)
		if err != nil {
			return nil, usageError{Err: err}
		}
		needs |= output.NeedsOf(key)
	}
	l.describe(ctx, needs)
	if filter != nil {
		*rows = filter.Keep(l.view, *rows)
	}
	if l.o.sort != "" {
		if err := output.Sort(l.view, *rows, table, l.o.sort); err != nil {
			return nil, usageError{Err: err}
		}
	}
	return cols, nil
}

// filterError makes a usage error of a mistake in a filter, with a mark below it.
func filterError(err error) error {
	if fe, ok := errors.AsType[*output.FilterError](err); ok {
		return usageError{Err: withHint(withHint(err, "%s", fe.Mark()), "%s", fe.Expr)}
	}
	return err
}

// describe reads what columns need of processes.
func (l *listing) describe(ctx context.Context, needs output.Need) {
	if l.view.Details == nil {
		l.view.Details = make(map[int]inspect.Detail)
	}
	if needs&output.NeedContainers != 0 {
		l.containers()
	}
	if needs&output.NeedGuests != 0 {
		l.guests()
	}
	if needs&(output.NeedDetail|output.NeedArgs) != 0 {
		l.read(ctx, l.subjects(), needs&output.NeedArgs != 0)
	}
	if needs&output.NeedStatus != 0 {
		l.readStatus()
	}
	if needs&output.NeedHolders != 0 {
		l.read(ctx, l.holders(), false)
	}
}

// containers finds the containers, once, and reports whether there are any.
func (l *listing) containers() bool {
	if l.view.Containers == nil {
		l.view.Containers = l.lookup()
		l.gaps = append(l.gaps, l.view.Containers.Gaps...)
	}
	return len(l.view.Containers.Containers) > 0
}

// guests finds guests among the processes that are shown, once, and reports whether there are
// any.
func (l *listing) guests() bool {
	if l.view.Guests == nil {
		l.containers()
		l.view.Guests = l.view.Containers.Guests(slices.Values(l.processes))
	}
	return len(l.view.Guests) > 0
}

// read describes processes that are not described yet.
func (l *listing) read(ctx context.Context, procs iter.Seq[*inspect.Process], args bool) {
	for pid, d := range l.snap.Describe(ctx, procs, args) {
		if _, ok := l.view.Details[pid]; ok && !args {
			continue
		}
		l.view.Details[pid] = d
		if d.Err != nil {
			l.gaps = append(l.gaps, inspect.Gap{PID: pid, What: "cmdline", Err: d.Err})
		}
	}
	sort.Slice(l.gaps, func(i, j int) bool { return l.gaps[i].PID < l.gaps[j].PID })
}

// readStatus reads the longer description of the processes that rows are about.
func (l *listing) readStatus() {
	l.view.Status = make(map[int]output.Status, len(l.processes))
	for _, p := range l.processes {
		t, err := process.Read(l.o.proc, p.PID)
		switch {
		case err == nil:
			l.view.Status[p.PID] = output.Status{NSpid: t.NSpid, Cgroup: t.Cgroup()}
		case !errors.Is(err, fs.ErrNotExist): // else it has exited meanwhile
			l.gaps = append(l.gaps, inspect.Gap{PID: p.PID, What: "status", Err: err})
		}
	}
}

// subjects yields the processes that rows are about.
func (l *listing) subjects() iter.Seq[*inspect.Process] {
	return func(yield func(*inspect.Process) bool) {
		for _, p := range l.processes {
			if !yield(p) {
				return
			}
		}
		for _, ns := range l.namespaces {
			if p := ns.Leader(); p != nil && !yield(p) {
				return
			}
		}
	}
}

// holders yields the processes that hold the namespaces and are no members.
func (l *listing) holders() iter.Seq[*inspect.Process] {
	return func(yield func(*inspect.Process) bool) {
		for _, ns := range l.namespaces {
			for _, h := range ns.Others() {
				if p, ok := l.snap.Process(h.PID); ok && !yield(p) {
					return
				}
			}
		}
	}
}

// draw writes rows as a table, or raw.
func draw[R any](a *app, l *listing, list output.ListOf[R], rows []R, cols []output.Column[R]) error {
	if l.o.raw {
		return output.Raw(a.out, l.view, rows, cols, output.Style{NoHeader: l.o.noHeader})
	}
	return output.Table(a.out, l.view, rows, cols, a.styleOf(l.o, list.Spare), list.Faint)
}

// styleOf returns the style of a list on standard output. spare columns can be left out unless
// columns were asked for.
func (a *app) styleOf(o rowOptions, spare []string) output.Style {
	s := output.Style{NoHeader: o.noHeader, Width: width(a.out), Color: a.color()}
	if o.columns == "" {
		s.Spare = spare
	}
	if o.noTruncate {
		s.Width = 0
	}
	return s
}

// writeColumns lists the columns for -o.
func writeColumns[R any](a *app, table []output.Column[R]) error {
	for _, c := range table {
		if _, err := fmt.Fprintf(a.out, "%-10s %-10s %s\n", c.Name, c.Kind, c.Help); err != nil {
			return err
		}
	}
	return nil
}

// reportGaps writes to standard error what could not be read. With strict that is a failure.
func (a *app) reportGaps(snap *inspect.Snapshot, more []inspect.Gap, strict bool) error {
	if err := passwd.Unread(); err != nil {
		more = append(slices.Clip(more), inspect.Gap{What: "names of users", Err: err})
	}
	if errZone != nil {
		more = append(slices.Clip(more), inspect.Gap{What: "time zone", Err: errZone})
	}
	missed := output.MissedBy(snap, more)
	denied := os.Geteuid() != 0 && slices.ContainsFunc(missed.Gaps, func(g inspect.Gap) bool {
		return g.PID != 0 && errors.Is(g.Err, fs.ErrPermission)
	})
	for i, why := range missed.Reasons {
		hint := ""
		if denied && i == len(missed.Reasons)-1 {
			hint = " (hint: run as root to see all)"
		}
		fmt.Fprintf(a.err, "nstool: %s%s\n", output.Clean(why), hint)
	}
	if strict && len(missed.Gaps) > 0 {
		return statusError{status: statusFailed}
	}
	return nil
}

// progress shows on a terminal that a task takes long, until stop is called.
func (a *app) progress(what string) (stop func()) {
	if width(a.err) == 0 {
		return func() {}
	}
	timer := time.AfterFunc(time.Second, func() { fmt.Fprintf(a.err, "nstool: %s ...\n", what) })
	return func() { timer.Stop() }
}

// when returns name if it is wanted, else "".
func when(wanted bool, name string) string {
	if !wanted {
		return ""
	}
	return name
}

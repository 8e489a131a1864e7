package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
)

// rowOptions are the options of lists: rows, columns and form.
type rowOptions struct {
	columns    string
	sort       string
	filter     string
	json, raw  bool
	noHeader   bool
	noTruncate bool
	strict     bool
	list       bool // list the columns instead of the rows
	proc       string
}

// rowFlags adds the flags of o to cmd, for a list with the columns of table.
func rowFlags[R any](cmd *cobra.Command, o *rowOptions, table []output.Column[R]) {
	f := cmd.Flags()
	f.StringVarP(&o.filter, "filter", "Q", "", "only what the `EXPR` over columns is true for")
	f.StringVarP(&o.columns, "output", "o", "", "show the columns of this `LIST`; +LIST adds to the default ones")
	f.StringVar(&o.sort, "sort", "", "sort by this `COLUMN`; -COLUMN sorts the largest first")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON, with all columns")
	f.BoolVarP(&o.raw, "raw", "r", false, "write one line a row, with one blank between cells and none in them")
	f.BoolVarP(&o.noHeader, "noheadings", "n", false, "leave out the header")
	f.BoolVarP(&o.noTruncate, "notruncate", "u", false, "leave out and cut nothing to fit the terminal")
	f.BoolVarP(&o.list, "list-columns", "H", false, "list the columns there are")
	f.BoolVar(&o.strict, "strict", false, "fail if something could not be read")
	f.StringVar(&o.proc, "proc", "/proc", "read the proc file system at `DIR`")
	names := func() []string { return output.Names(table) }
	completeFlag(cmd, "output", listOf(names))
	completeFlag(cmd, "sort", listOf(names))
	completeFlag(cmd, "proc", directories)
}

// forPrograms reports whether the list is not for people.
func (o rowOptions) forPrograms() bool { return o.json || o.raw }

// checkRows finds mistakes in o before anything is read.
func checkRows[R any](o rowOptions, table []output.Column[R]) error {
	if o.json && o.raw {
		return usagef("--json and --raw exclude each other")
	}
	for _, spec := range []string{o.columns, strings.TrimPrefix(o.sort, "-")} {
		if spec == "" {
			continue
		}
		if _, err := output.Select(table, spec, nil); err != nil {
			return usageError{Err: err}
		}
	}
	if o.filter != "" {
		if _, err := output.NewFilter(table, o.filter); err != nil {
			return filterError(err)
		}
	}
	return nil
}

// A listing is a snapshot, with what was read of it for a list.
type listing struct {
	o      rowOptions
	snap   *inspect.Snapshot
	view   *output.View
	lookup func() *container.Set // of the snapshot
	gaps   []inspect.Gap
}

// writeList writes rows in the form of the options, and returns the columns: those of the
// options, else the default ones, or in JSON all.
func writeList[R any](ctx context.Context, a *app, l *listing, list output.ListOf[R], rows []R, defaults []output.Column[R]) ([]output.Column[R], error) {
	if l.o.json {
		defaults = list.Columns
	}
	cols, err := arrange(ctx, l, &rows, list, defaults)
	switch {
	case err != nil:
		return nil, err
	case l.o.json:
		err = list.JSON(a.out, l.view, rows, cols, output.MissedBy(l.snap, l.gaps))
	case l.o.raw:
		err = output.Raw(a.out, l.view, rows, cols, output.Style{NoHeader: l.o.noHeader})
	default:
		err = output.Table(a.out, l.view, rows, cols, a.styleOf(l.o, list.Dropped), list.Faint)
	}
	return cols, err
}

// newListing returns a listing of rows about a snapshot. options are for its containers.
func newListing(ctx context.Context, o rowOptions, snap *inspect.Snapshot, options ...container.Option) *listing {
	return &listing{
		o: o, snap: snap, view: &output.View{Snapshot: snap, User: passwd.Names(snap.Host().Path("/etc/passwd")), Now: now()},
		lookup: container.Lookup(ctx, snap, options...),
	}
}

// arrange selects columns, reads what they need, and filters and sorts rows.
func arrange[R any](ctx context.Context, l *listing, rows *[]R, list output.ListOf[R], defaults []output.Column[R]) ([]output.Column[R], error) {
	cols := defaults
	var err error
	if l.o.columns != "" {
		if cols, err = output.Select(list.Columns, l.o.columns, defaults); err != nil {
			return nil, usageError{Err: err}
		}
	}
	needs := output.NeedsOf(cols)
	var filter *output.Filter[R]
	if l.o.filter != "" {
		if filter, err = output.NewFilter(list.Columns, l.o.filter); err != nil {
			return nil, filterError(err)
		}
		needs |= filter.Needs()
	}
	if by := strings.TrimPrefix(l.o.sort, "-"); by != "" {
		key, err := output.Select(list.Columns, by, nil)
		if err != nil {
			return nil, usageError{Err: err}
		}
		needs |= output.NeedsOf(key)
	}
	describe(ctx, l, list, *rows, needs)
	if filter != nil {
		*rows = filter.Keep(l.view, *rows)
	}
	if l.o.sort != "" {
		if err := output.Sort(l.view, *rows, list.Columns, l.o.sort); err != nil {
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

// describe reads what columns need of the subjects of rows.
func describe[R any](ctx context.Context, l *listing, list output.ListOf[R], rows []R, needs output.Need) {
	if l.view.Details == nil {
		l.view.Details = make(map[int]inspect.Detail)
	}
	if needs&output.NeedContainers != 0 {
		l.containers()
	}
	if needs&^output.NeedContainers == 0 {
		return
	}
	processes, namespaces := list.SubjectsOf(l.view, rows)
	if needs&output.NeedGuests != 0 {
		l.guests(processes)
	}
	if needs&(output.NeedDetail|output.NeedArgs) != 0 {
		subjects := slices.Clone(processes)
		for _, ns := range namespaces {
			if p := ns.Leader(); p != nil {
				subjects = append(subjects, p)
			}
		}
		var options []inspect.DescribeOption
		if needs&output.NeedArgs != 0 {
			options = append(options, inspect.WithArgs())
		}
		l.read(ctx, subjects, options...)
	}
	if needs&output.NeedStatus != 0 {
		l.readStatus(processes)
	}
	if needs&output.NeedHolders != 0 {
		var holders []*inspect.Process
		for _, ns := range namespaces {
			for _, h := range ns.Others() {
				if p, ok := l.snap.Process(h.PID); ok {
					holders = append(holders, p)
				}
			}
		}
		l.read(ctx, holders)
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

// guests finds the guests among processes, once, and reports whether there are any.
func (l *listing) guests(processes []*inspect.Process) bool {
	if l.view.Guests == nil {
		l.containers()
		l.view.Guests = l.view.Containers.Guests(slices.Values(processes))
	}
	return len(l.view.Guests) > 0
}

// read describes processes that are not described yet.
func (l *listing) read(ctx context.Context, processes []*inspect.Process, options ...inspect.DescribeOption) {
	for pid, d := range l.snap.Describe(ctx, slices.Values(processes), options...) {
		if _, ok := l.view.Details[pid]; ok && len(options) == 0 {
			continue
		}
		l.view.Details[pid] = d
		if d.Err != nil {
			l.gaps = append(l.gaps, inspect.Gap{PID: pid, What: "cmdline", Err: d.Err})
		}
	}
	sort.Slice(l.gaps, func(i, j int) bool { return l.gaps[i].PID < l.gaps[j].PID })
}

// readStatus reads the longer description of processes.
func (l *listing) readStatus(processes []*inspect.Process) {
	l.view.Status = make(map[int]output.Status, len(processes))
	for _, p := range processes {
		t, err := process.Read(l.o.proc, p.PID)
		switch {
		case err == nil:
			l.view.Status[p.PID] = output.Status{NSpid: t.NSpid, Cgroup: t.Cgroup()}
		case !errors.Is(err, fs.ErrNotExist): // else it has exited meanwhile
			l.gaps = append(l.gaps, inspect.Gap{PID: p.PID, What: "status", Err: err})
		}
	}
}

// styleOf returns the style of a list on standard output. The columns dropped can be left out unless
// columns were asked for.
func (a *app) styleOf(o rowOptions, dropped []string) output.Style {
	s := output.Style{NoHeader: o.noHeader, Width: width(a.out), Color: a.color()}
	if o.columns == "" {
		s.Dropped = dropped
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
	denied := slices.ContainsFunc(missed.Gaps, func(g inspect.Gap) bool { return errors.Is(g.Err, fs.ErrPermission) })
	user := os.Geteuid() != 0 && slices.ContainsFunc(missed.Gaps, func(g inspect.Gap) bool {
		return g.PID != 0 && errors.Is(g.Err, fs.ErrPermission)
	})
	for i, why := range missed.Reasons {
		hint := ""
		if user && i == len(missed.Reasons)-1 {
			hint = " (hint: run as root to see all)"
		}
		fmt.Fprintf(a.err, "nstool: %s%s\n", output.Clean(why), hint)
	}
	if hint := entry.Blind(denied); hint != "" && len(missed.Gaps) > 0 && snap.IsReal() {
		fmt.Fprintf(a.err, "hint: %s\n", hint)
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

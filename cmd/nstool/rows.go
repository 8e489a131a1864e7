package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
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

// writeList writes rows in the form of the options, and returns the columns: those of the
// options, else the default ones, or in JSON all.
func writeList[R any](ctx context.Context, a *app, l *listing, list output.ListOf[R], rows []R, defaults []output.Column[R]) ([]output.Column[R], error) {
	if l.o.json {
		defaults = list.Columns
	}
	cols, err := arrange(ctx, l, &rows, list.Columns, defaults)
	switch {
	case err != nil:
		return nil, err
	case l.o.json:
		return cols, list.JSON(a.out, l.view, rows, cols, output.MissedBy(l.snap, l.gaps))
	}
	return cols, draw(a, l, list, rows, cols)
}

// newListing returns a listing of rows about a snapshot. options are for its containers.
func newListing(ctx context.Context, o rowOptions, snap *inspect.Snapshot, options ...container.Option) *listing {
	return &listing{
		o: o, snap: snap, view: &output.View{Snapshot: snap, User: passwd.Names(), Now: now()},
		lookup: container.Lookup(ctx, snap, options...),
	}
}

package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/passwd"
	"github.com/nstool/nstool/output"
)

// rowOptions are the options that say which rows and columns a list has, and in
// what form it is written.
type rowOptions struct {
	columns    string
	sort       string
	filter     string
	json, raw  bool
	noHeader   bool
	noTruncate bool
	strict     bool
	list       bool
	proc       string
}

// rowFlags gives cmd the flags of o, for a list of which table has the columns.
func rowFlags[R any](cmd *cobra.Command, o *rowOptions, table []output.Column[R]) {
	f := cmd.Flags()
	f.StringVarP(&o.filter, "filter", "Q", "", "only what the `EXPR` over columns is true for")
	f.StringVarP(&o.columns, "output", "o", "", "show the columns of this `LIST`; +LIST adds to the default ones")
	f.StringVar(&o.sort, "sort", "", "sort by this `COLUMN`; -COLUMN sorts the largest first")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON, with all columns")
	f.BoolVarP(&o.raw, "raw", "r", false, "write one line a row, with one blank between cells and none in them")
	f.BoolVarP(&o.noHeader, "noheadings", "n", false, "leave out the header")
	f.BoolVarP(&o.noTruncate, "notruncate", "u", false, "cut nothing to the width of the terminal")
	f.BoolVarP(&o.list, "list-columns", "H", false, "list the columns there are")
	f.BoolVar(&o.strict, "strict", false, "fail if something could not be read")
	f.StringVar(&o.proc, "proc", "/proc", "read the proc file system at `DIR`")
	complete(cmd, "output", func() []string { return output.Names(table) })
	complete(cmd, "sort", func() []string { return output.Names(table) })
}

// checkRows looks for mistakes in o that can be seen before anything is read.
func checkRows[R any](o rowOptions, table []output.Column[R]) error {
	if o.json && o.raw {
		return usagef("--json and --raw exclude each other")
	}
	return checkColumns(o.columns, o.sort, o.filter, table)
}

// checkColumns checks that columns are in the table, and that a filter is one over
// these.
func checkColumns[R any](columns, sort, filter string, table []output.Column[R]) error {
	for _, spec := range []string{columns, strings.TrimPrefix(sort, "-")} {
		if spec == "" {
			continue
		}
		if _, err := output.Select(table, spec, nil); err != nil {
			return usageError{err}
		}
	}
	if filter != "" {
		if _, err := output.NewFilter(table, filter); err != nil {
			return filterError(err)
		}
	}
	return nil
}

// listing returns the options as a listing has them.
func (o rowOptions) listing() lsOptions {
	return lsOptions{columns: o.columns, filter: o.filter, sort: o.sort, json: o.json, raw: o.raw, noHeader: o.noHeader, noTruncate: o.noTruncate, strict: o.strict, proc: o.proc}
}

// newListing returns a listing of rows about a snapshot.
func newListing(o rowOptions, snap *inspect.Snapshot) *listing {
	return &listing{o: o.listing(), snap: snap, view: &output.View{Snapshot: snap, User: passwd.Names(), Now: time.Now()}}
}

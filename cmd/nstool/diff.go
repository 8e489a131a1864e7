package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/report"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// statusDiffers is the status of nstool-diff(1) for a difference, as of diff(1).
const statusDiffers status = 1

// diffOptions are the options of nstool-diff(1).
type diffOptions struct {
	a, b  target.Ref
	types inspect.Types
	json  bool
}

func newDiff(a *app) *cobra.Command {
	var o diffOptions
	var types []string
	cmd := &cobra.Command{
		Use:     "diff [flags] TARGET TARGET",
		Short:   "Compare the namespaces of two targets",
		GroupID: groupSee,
		Long: `Say for each type of namespace whether two targets are in the same one, and
where they are not, what is different inside.

The exit status is 0 if all are the same, 1 if some are not, and 2 if there was
trouble, or something could not be read.`,
		Example: `  nstool diff web db           two containers
  nstool diff 4242 self        a process and the shell
  nstool diff pin:blue web     of what was pinned`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.types, err = parseTypes(types); err != nil {
				return err
			}
			refs, err := parseTargets(args)
			if err != nil {
				return err
			}
			if len(refs) != 2 {
				return usagef("two targets are compared, not %d", len(refs))
			}
			o.a, o.b = refs[0], refs[1]
			if err := runDiff(cmd.Context(), a, o); err != nil && !silent(err) {
				return statusError{statusTrouble, err}
			} else if err != nil {
				return err
			}
			return nil
		},
		ValidArgsFunction: completeTargets,
	}
	f := cmd.Flags()
	f.SortFlags = false
	typeFlag(cmd, &types, "compare only namespaces of this `TYPE`")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON")
	return cmd
}

func runDiff(ctx context.Context, a *app, o diffOptions) error {
	stop := a.progress("still reading")
	defer stop()
	var opts []inspect.Option
	if o.types == 0 || o.types.Has(inspect.Net) {
		opts = append(opts, inspect.WithSockets())
	}
	snap, err := inspect.Scan(ctx, opts...)
	if err != nil {
		return err
	}
	e := newExplanation(ctx, snap)
	list, err := e.compare(ctx, o)
	if err != nil {
		return err
	}
	stop()
	if o.json {
		err = report.DiffJSON(a.out, o.a.Text, o.b.Text, list, e.missed())
	} else {
		err = report.Diff(a.out, o.a.Text, o.b.Text, list, output.Style{Width: width(a.out), Color: a.color()})
	}
	if err != nil {
		return err
	}
	if err := a.reportGaps(snap, e.gaps, false); err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(list, func(c report.Comparison) bool { return c.Err != nil }):
		return statusError{status: statusTrouble}
	case slices.ContainsFunc(list, func(c report.Comparison) bool { return !c.Same() }):
		return statusError{status: statusDiffers}
	}
	return nil
}

// compare compares the namespaces of two targets: the types that both have.
func (e *explanation) compare(ctx context.Context, o diffOptions) ([]report.Comparison, error) {
	var sides [2]map[inspect.Type]*inspect.Namespace
	common := inspect.AllTypes
	for i, ref := range []target.Ref{o.a, o.b} {
		found, err := e.find(ref)
		if err != nil {
			return nil, err
		}
		if sides[i], err = e.single(found, ref); err != nil {
			return nil, err
		}
		if found.Process == nil { // a namespace or a pin has only these types
			for t := range common.All() {
				if sides[i][t] == nil {
					common = common.Without(t)
				}
			}
		}
	}
	if o.types != 0 {
		common &= o.types
	}
	if common.Len() == 0 {
		return nil, fmt.Errorf("%s and %s have no namespaces of a type in common to be compared", o.a.Text, o.b.Text)
	}
	var list []report.Comparison
	for t := range common.All() {
		c := report.Comparison{Type: t, A: sides[0][t], B: sides[1][t]}
		switch {
		case c.A == nil || c.B == nil:
			c.Err = inspect.ErrHidden
		case c.A != c.B:
			e.namespace(ctx, c.A)
			e.namespace(ctx, c.B)
		}
		list = append(list, c)
	}
	e.describe(ctx)
	read := func(ns *inspect.Namespace) report.NamespaceReport {
		i := slices.IndexFunc(e.namespaces, func(r report.NamespaceReport) bool { return r.NS == ns })
		return e.namespaces[i]
	}
	for i, c := range list {
		if c.Err == nil && c.A != c.B {
			list[i].Differs = report.Differences(e.view, read(c.A), read(c.B))
		}
	}
	return list, nil
}

// single returns the namespaces of a target by type. For a pod they are those of its only
// container.
func (e *explanation) single(found target.Found, ref target.Ref) (map[inspect.Type]*inspect.Namespace, error) {
	if len(found.Match.Containers) > 0 {
		p, err := found.Single(e.snap, ref)
		if err != nil {
			return nil, err
		}
		if err := entry.Started(found, p); err != nil {
			return nil, err
		}
		found = target.Found{Process: p}
	}
	set := make(map[inspect.Type]*inspect.Namespace)
	for _, ns := range found.Namespaces(e.snap) {
		set[ns.Type] = ns
	}
	return set, nil
}

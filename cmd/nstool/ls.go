package main

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/entry"
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
			if o.tree != "" && o.forPrograms() {
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
	c, err := chooseNamespaces(l, o)
	if err != nil {
		return err
	}
	if err := c.write(ctx, a, l, o); err != nil {
		return err
	}
	switch c.unsure {
	case 0:
	case 1:
		fmt.Fprintln(a.err, "nstool: 1 namespace is left out: no process was seen in it, and not all were seen")
	default:
		fmt.Fprintf(a.err, "nstool: %d namespaces are left out: no process was seen in them, and not all were seen\n", c.unsure)
	}
	return a.reportGaps(snap, l.gaps, o.strict)
}

// lsRows are the rows of nstool-ls(1).
type lsRows struct {
	namespaces []*inspect.Namespace
	members    bool // their members were asked for
	processes  []*inspect.Process
	unsure     int // namespaces that are left out, but may have no process
}

// chooseNamespaces selects namespaces by targets and types. For namespaces as targets the members are
// listed.
func chooseNamespaces(l *listing, o lsOptions) (c lsRows, err error) {
	var all []*inspect.Namespace
	if len(o.targets) == 0 {
		all = slices.Collect(l.snap.Namespaces())
	}
	for i, ref := range o.targets {
		found, err := target.Find(l.snap, l.lookup, ref)
		if err != nil {
			return c, err
		}
		if i > 0 && c.members != (found.Namespace != nil) {
			return c, usagef("%q and %q: targets are either processes or namespaces", o.targets[0].Text, ref.Text)
		}
		c.members = found.Namespace != nil
		namespaces := found.Namespaces(l.snap)
		if len(namespaces) == 0 && entry.Named(ref) {
			return c, fmt.Errorf("the namespaces of %s (process %d) cannot be read: %w", found.Match.Main(), found.Process.PID, fs.ErrPermission)
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
			c.unsure++
			continue
		}
		c.namespaces = append(c.namespaces, ns)
		if c.members {
			c.processes = append(c.processes, ns.Members...)
		}
	}
	output.Group(c.namespaces)
	slices.SortFunc(c.processes, func(a, b *inspect.Process) int { return a.PID - b.PID })
	c.processes = slices.Compact(c.processes)
	return c, nil
}

// write writes the chosen rows.
func (c lsRows) write(ctx context.Context, a *app, l *listing, o lsOptions) (err error) {
	list, net := output.NamespaceList(), o.types == inspect.TypesOf(inspect.Net)
	switch {
	case l.o.json:
		return c.writeJSON(ctx, a, l, o.pids)
	case c.members && len(c.processes) > 0:
		processes := output.ProcessList()
		_, err = writeList(ctx, a, l, processes, c.processes, processes.Defaults(when(l.containers(), "CONTAINER"), when(l.guests(c.processes), "GUEST")))
		return err
	}
	defaults := list.Defaults(when(l.containers(), "CONTAINER"), when(net, "NETNSID"), when(net, "NSFS"))
	if o.tree == "" {
		_, err = writeList(ctx, a, l, list, c.namespaces, defaults)
		return err
	}
	if o.tree == output.ByProcess {
		l.view.Details = l.snap.Describe(ctx, l.snap.Processes())
	}
	cols, err := arrange(ctx, l, &c.namespaces, list, defaults)
	if err != nil {
		return err
	}
	return output.Tree(a.out, l.view, c.namespaces, o.tree, cols, a.styleOf(l.o, list.Dropped), list.Faint)
}

func (c lsRows) writeJSON(ctx context.Context, a *app, l *listing, pids bool) (err error) {
	out := output.Listing{View: l.view, Members: pids}
	if c.members {
		// The options are about the processes; the namespaces are written completely.
		out.ProcessColumns, err = arrange(ctx, l, &c.processes, output.ProcessList(), output.ProcessList().Columns)
		if err != nil {
			return err
		}
		out.Processes = append([]*inspect.Process{}, c.processes...)
		l.o.columns, l.o.filter, l.o.sort = "", "", ""
	}
	if out.Columns, err = arrange(ctx, l, &c.namespaces, output.NamespaceList(), output.NamespaceList().Columns); err != nil {
		return err
	}
	out.Namespaces, out.Missed = c.namespaces, output.MissedBy(l.snap, l.gaps)
	return output.JSON(a.out, out)
}

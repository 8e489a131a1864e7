package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// containersOptions are the options of nstool-containers(1).
type containersOptions struct {
	rowOptions
	targets []target.Ref
	tree    bool
}

func newContainers(a *app) *cobra.Command {
	var o containersOptions
	cmd := &cobra.Command{
		Use:     "containers [flags] [TARGET...]",
		Aliases: []string{"ps"},
		Short:   "List containers, and which namespaces each shares",
		GroupID: groupSee,
		Long: `List the containers of every engine on the host, and for each type of namespace
whose they are in: their own, the host's, or another container's. No engine is
asked and none need run.

With a process, a namespace or a network interface as TARGET, list the
containers that it belongs to.`,
		Example: `  nstool containers                    every container
  nstool containers --tree             by engine, pod and container
  nstool containers 4242               the container that process 4242 is in
  nstool containers net:[4026532281]   the containers in a namespace
  nstool containers veth5c617a7        the one at the other end of an interface
  nstool containers -Q 'net == "host" || pid == "host"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.targets, err = parseTargets(args); err != nil {
				return err
			}
			if o.tree && (o.forPrograms() || o.sort != "") {
				return usagef("a tree is for people: --tree excludes --json, --raw and --sort")
			}
			if err := checkRows(o.rowOptions, output.ContainerList().Columns); err != nil {
				return err
			}
			return runContainers(cmd.Context(), a, o)
		},
		ValidArgsFunction: completeTargets,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.tree, "tree", "T", false, "draw a tree by engine, pod and container")
	rowFlags(cmd, &o.rowOptions, output.ContainerList().Columns)
	return cmd
}

func runContainers(ctx context.Context, a *app, o containersOptions) error {
	if o.list {
		return writeColumns(a, output.ContainerList().Columns)
	}
	opts := []inspect.Option{inspect.WithProc(o.proc)}
	if !slices.ContainsFunc(o.targets, hardToFind) {
		opts = append(opts, inspect.WithoutTasks(), inspect.WithoutFDs(), inspect.WithoutMounts())
	}
	snap, err := inspect.Scan(ctx, opts...)
	if err != nil {
		return err
	}
	l := newListing(ctx, o.rowOptions, snap, container.WithHidden())
	l.containers()
	set := l.view.Containers
	rows, err := chooseContainers(ctx, snap, set, o.targets)
	if err != nil {
		return err
	}
	l.view.Guests = set.Guests(snap.Processes())
	defaults := output.ContainerList().Defaults()
	switch {
	case o.tree:
		var cols []output.Column[*container.Container]
		if cols, err = arrange(ctx, l, &rows, output.ContainerList(), defaults); err == nil {
			err = output.ContainerTree(a.out, l.view, rows, cols, a.styleOf(l.o, output.ContainerList().Dropped))
		}
	case len(rows) == 0 && len(o.targets) == 0 && !o.forPrograms():
		if len(snap.Gaps()) == 0 && len(l.gaps) == 0 {
			fmt.Fprintln(a.err, "nstool: no containers")
		} else {
			fmt.Fprintln(a.err, "nstool: no containers that can be seen")
		}
	default:
		_, err = writeList(ctx, a, l, output.ContainerList(), rows, defaults)
	}
	if err != nil {
		return err
	}
	return a.reportGaps(snap, l.gaps, o.strict)
}

// hardToFind reports whether a target can be a namespace that only a full scan finds.
func hardToFind(ref target.Ref) bool { return ref.Kind != target.Process && !entry.Named(ref) }

// chooseContainers returns the containers that the targets belong to, or all if
// there are none.
func chooseContainers(ctx context.Context, snap *inspect.Snapshot, set *container.Set, targets []target.Ref) ([]*container.Container, error) {
	if len(targets) == 0 {
		return slices.Clone(set.Containers), nil
	}
	wanted := make(map[*container.Container]bool)
	for _, ref := range targets {
		found, err := target.Find(snap, func() *container.Set { return set }, ref)
		if err != nil && ref.Kind == target.Word {
			// A word can be the name of an interface.
			ns, e := behind(ctx, snap, ref.Name)
			if found.Namespace = ns; e == nil || !errors.Is(e, fs.ErrNotExist) {
				err = e
			}
		}
		// The container of a process may be known even if its namespaces are not.
		if p, ok := snap.Process(ref.PID); ok && err != nil && !errors.Is(err, fs.ErrNotExist) && ref.Kind == target.Process && set.Of(p).Container != nil {
			found, err = target.Found{Process: p}, nil
		}
		if err != nil {
			return nil, err
		}
		in := containersOf(set, found)
		if len(in) == 0 {
			return nil, fmt.Errorf("%s is in no container", ref.Text)
		}
		for _, c := range in {
			wanted[c] = true
		}
	}
	rows := slices.Collect(maps.Keys(wanted))
	slices.SortFunc(rows, func(a, b *container.Container) int { return strings.Compare(a.String(), b.String()) })
	return rows, nil
}

// containersOf returns the containers that were found, or those of a process or a namespace
// that was found.
func containersOf(set *container.Set, found target.Found) (in []*container.Container) {
	switch {
	case len(found.Match.Containers) > 0:
		return found.Match.Containers
	case found.Pinned != nil:
		for _, ns := range found.Pinned {
			if c := set.With(ns); c != nil {
				in = append(in, c)
			}
		}
		return in
	case found.Namespace == nil:
		if c := set.Of(found.Process).Container; c != nil {
			in = append(in, c)
		}
		return in
	}
	for _, p := range found.Namespace.Members {
		if m := set.Of(p); m.Container != nil && !m.Guest && !slices.Contains(in, m.Container) {
			in = append(in, m.Container)
		}
	}
	return in
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/network"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// netOptions are the options of nstool-net(1).
type netOptions struct {
	rowOptions
	targets []target.Ref
}

func newNet(a *app) *cobra.Command {
	var o netOptions
	cmd := &cobra.Command{
		Use:     "net [flags] [TARGET...]",
		Short:   "List network interfaces, and what each is connected to",
		GroupID: groupSee,
		Long: `List the interfaces of every network namespace: kind, state, addresses, and the
interface at the other end of each, or below it, with the namespace and the
container that it is in.

With an interface or an address of one as TARGET, list it and what it is connected
to; with a namespace, process, container or pod, the interfaces that are there.`,
		Example: `  nstool net                     every interface
  nstool net veth5c617a7         which container is behind it
  nstool net docker0             a bridge, its ports and who is behind them
  nstool net web                 the interfaces of a container
  nstool net 172.17.0.5          who has that address
  nstool net -Q 'state == "no-carrier"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.targets, err = parseTargets(args); err != nil {
				return err
			}
			if err := checkRows(o.rowOptions, output.InterfaceList().Columns); err != nil {
				return err
			}
			return runNet(cmd.Context(), a, o)
		},
		ValidArgsFunction: completeInterfaces,
	}
	cmd.Flags().SortFlags = false
	rowFlags(cmd, &o.rowOptions, output.InterfaceList().Columns)
	return cmd
}

// networkScan returns the options of a scan for network namespaces and their containers.
func networkScan(o rowOptions, targets []target.Ref) []inspect.Option {
	opts := []inspect.Option{inspect.WithProc(o.proc)}
	if !slices.ContainsFunc(targets, hardToFind) {
		opts = append(opts, inspect.WithTypes(inspect.TypesOf(inspect.Mnt, inspect.Net, inspect.PID, inspect.User)))
	}
	return opts
}

// networkListing returns a listing about a snapshot of networkScan.
func networkListing(ctx context.Context, o rowOptions, snap *inspect.Snapshot, targets []target.Ref) *listing {
	if slices.ContainsFunc(targets, entry.Named) {
		return newListing(ctx, o, snap, container.WithHidden())
	}
	return newListing(ctx, o, snap)
}

// networks returns the network namespaces, in the order in which they are shown.
func networks(snap *inspect.Snapshot) []*inspect.Namespace {
	spaces := slices.Collect(snap.Namespaces(inspect.Net))
	output.Group(spaces)
	return spaces
}

func runNet(ctx context.Context, a *app, o netOptions) error {
	if o.list {
		return writeColumns(a, output.InterfaceList().Columns)
	}
	stop := a.progress("still reading network namespaces")
	defer stop()
	snap, err := inspect.Scan(ctx, networkScan(o.rowOptions, o.targets)...)
	if err != nil {
		return err
	}
	l := networkListing(ctx, o.rowOptions, snap, o.targets)
	rows, gaps := network.Interfaces(ctx, snap, networks(snap))
	l.gaps = gaps
	l.view.PartNetworks = len(gaps) > 0 || !snap.Whole(inspect.AllFacts)
	if err := ctx.Err(); err != nil {
		return err
	}
	if rows, err = chooseInterfaces(l, rows, o.targets, gaps); err != nil {
		return err
	}
	stop()
	if _, err := writeList(ctx, a, l, output.InterfaceList(), rows, output.InterfaceList().Defaults()); err != nil {
		return err
	}
	return a.reportGaps(snap, l.gaps, o.strict)
}

// chooseInterfaces returns the interfaces that the targets name, and those that these are
// connected to, or all without targets. It is an error if one of them may be in a namespace
// that could not be read.
func chooseInterfaces(l *listing, all []*network.Interface, targets []target.Ref, gaps []inspect.Gap) ([]*network.Interface, error) {
	if len(targets) == 0 {
		return all, nil
	}
	chosen := make(map[*network.Interface]bool)
	for _, ref := range targets {
		found, err := target.Find(l.snap, l.lookup, ref)
		missing := errors.Is(err, fs.ErrNotExist)
		if ref.Kind == target.Word && (err == nil || missing) {
			named := interfacesNamed(all, ref.Name)
			switch {
			case len(named) > 0 && err == nil:
				return nil, withHint(fmt.Errorf("%q fits an interface and a container", ref.Text),
					"write %s for the container, or -Q %s for the interface", shell.Quote("container:"+ref.Name), shell.Quote("name == "+strconv.Quote(ref.Name)))
			case len(named) > 0:
				for _, i := range named {
					choose(chosen, i)
				}
				continue
			case missing:
				err = noInterface(ref, err, gaps)
			}
		}
		if err != nil {
			return nil, err
		}
		spaces, err := networksOf(l.snap, found, ref)
		if err == nil {
			err = unreadNetwork(gaps, "interfaces", spaces, ref)
		}
		if err != nil {
			return nil, err
		}
		for _, i := range all {
			chosen[i] = chosen[i] || slices.Contains(spaces, i.NS)
		}
	}
	return slices.DeleteFunc(all, func(i *network.Interface) bool { return !chosen[i] }), nil
}

// noInterface returns the error for a word that is no interface, as far as could be seen, and
// no container.
func noInterface(ref target.Ref, err error, gaps []inspect.Gap) error {
	if len(gaps) == 0 {
		return fmt.Errorf("no interface %q, and %w", ref.Name, err)
	}
	word := "namespaces"
	if len(gaps) == 1 {
		word = "namespace"
	}
	return withHint(fmt.Errorf("no interface %q that can be seen, and %w", ref.Name, err), "%d network %s could not be read", len(gaps), word)
}

// unreadNetwork returns an error if one of these namespaces, which were asked for, could not be
// read, since an empty result would be wrong.
func unreadNetwork(gaps []inspect.Gap, what string, spaces []*inspect.Namespace, ref target.Ref) error {
	for _, ns := range spaces {
		for _, g := range gaps {
			if g.What == what+" of "+ns.String() {
				return fmt.Errorf("the %s of %s cannot be read: %s: %w", what, ref.Text, ns, g.Err)
			}
		}
	}
	return nil
}

// interfacesNamed returns the interfaces with a name, also as ip-link(8) writes it,
// veth5c617a7@if2.
func interfacesNamed(all []*network.Interface, name string) (named []*network.Interface) {
	for _, name := range []string{name, strings.SplitN(name, "@", 2)[0]} {
		for _, i := range all {
			if i.Named(name) || hasAddress(i, name) {
				named = append(named, i)
			}
		}
		if named != nil {
			break
		}
	}
	return named
}

// choose adds an interface and those that it is connected to: the other end, the interfaces on
// top of it, such as the ports of a bridge, and their other ends.
func choose(chosen map[*network.Interface]bool, i *network.Interface) {
	add := func(i *network.Interface) {
		chosen[i] = true
		if i.Far != nil && i.Far.Interface != nil {
			chosen[i.Far.Interface] = true
		}
	}
	add(i)
	for _, upper := range i.Uppers {
		add(upper)
	}
}

// networksOf returns the network namespaces of a target.
func networksOf(snap *inspect.Snapshot, found target.Found, ref target.Ref) (spaces []*inspect.Namespace, err error) {
	for _, ns := range found.Namespaces(snap) {
		if ns.Type == inspect.Net {
			spaces = append(spaces, ns)
		}
	}
	switch {
	case len(spaces) > 0:
		return spaces, nil
	case found.Namespace != nil:
		return nil, fmt.Errorf("%s is a namespace of type %s, not net", ref.Text, found.Namespace.Type)
	case found.Pinned != nil:
		return nil, fmt.Errorf("%s has no network namespace", ref.Text)
	}
	if _, ok := found.Process.Namespace(inspect.User); ok {
		return nil, fmt.Errorf("%s has ended, and has no network namespace any more", ref.Text)
	}
	return nil, fmt.Errorf("the network namespace of %s cannot be read: %w", ref.Text, fs.ErrPermission)
}

// completeInterfaces completes the interfaces of the caller's network namespace, and targets.
func completeInterfaces(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	list, directive := completeTargets(cmd, args, word)
	o := offers{word: word, list: list}
	c, err := network.Dial(nil)
	if err != nil {
		return list, directive
	}
	defer c.Close()
	links, _ := c.Links() // a part of them is enough
	for _, l := range links {
		o.add(l.Name, l.Kind)
	}
	return o.list, directive
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/pin"
)

// newPin returns the commands that keep namespaces by name.
func newPin(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pin",
		GroupID: groupDo,
		Short:   "Keep namespaces alive by name",
		Long: `A pin is a name for a set of namespaces, which it keeps when their processes have
exited: /run/nstool/NAME/TYPE. Every command takes it as a TARGET: pin:NAME for
all of them, pin:NAME/TYPE for one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPinAdd(a, runPinAdd), newPinLs(a, runPinLs), newPinRm(a, runPinRm))
	return cmd
}

// pinAddOptions are the options of pin add.
type pinAddOptions struct {
	*app
	name, target, container, pod, path string
	choice                             choice
	netns, replace                     bool
}

func newPinAdd(a *app, run func(context.Context, *pinAddOptions) error) *cobra.Command {
	o := &pinAddOptions{app: a}
	cmd := &cobra.Command{
		Use:   "add {NAME | --path FILE} {TARGET | -p TARGET | -c CONTAINER | --pod NS/POD} [--net|--uts|...]",
		Short: "Pin namespaces of a target",
		Long: `Pin namespaces of a process, a container or any other TARGET under a name, all
of them or none. Without a namespace flag these are all namespaces of the target
that the caller is not in. A namespace flag can have its own TARGET: --net=FILE.

--pid and --time pin the namespaces of future children of the target.`,
		Example: `  nstool pin add web 4242                    all that process 4242 does not share
  nstool pin add blue -c web --net --netns   where ip netns sees it
  nstool pin add --path /tmp/keep -p 4242 --uts
  nstool enter --target pin:web`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.take(args, cmd.Flags().Changed("path")); err != nil {
				return err
			}
			if err := o.check(cmd.Flags().Changed("path")); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 && !o.hasTarget() {
				return completeTargets(cmd, args, word)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.target, "target", "p", "", "process, or any other `TARGET`")
	f.StringVarP(&o.target, "t", "t", "", "")
	f.Lookup("t").Hidden = true
	f.StringVarP(&o.container, "container", "c", "", "container, by `NAME` or ID")
	f.StringVar(&o.pod, "pod", "", "what the containers of a Kubernetes pod share: `NS/POD[/CONTAINER]`")
	o.choice.flags(f)
	completeEntryFlags(cmd, entry.NewOptions())
	f.BoolVar(&o.netns, "netns", false, "mount the network namespace where ip-netns(8) sees it")
	f.BoolVar(&o.replace, "replace", false, "replace the set with that name, in one step")
	f.StringVar(&o.path, "path", "", "pin one namespace on `FILE`, without a name")
	return cmd
}

// take parses the arguments: the name, unless there is a path, and the target, unless flags
// name one.
func (o *pinAddOptions) take(words []string, path bool) error {
	if !path && len(words) > 0 {
		o.name, words = words[0], words[1:]
	}
	if len(words) > 0 && !o.hasTarget() {
		o.target, words = words[0], words[1:]
	}
	switch {
	case len(words) > 0 && path:
		return usagef("--path takes no name, and %q was given", words[0])
	case len(words) > 0:
		return usagef("one name at a time; %q and %q were given", o.name, words[0])
	}
	return nil
}

// check finds contradictions.
func (o *pinAddOptions) check(path bool) error {
	switch {
	case path && (o.netns || o.replace):
		return usagef("--path goes with neither --netns nor --replace")
	case path && o.path == "":
		return usagef("--path needs a file")
	case !path && o.name == "":
		return usagef("no name; see nstool pin add --help")
	case !o.hasTarget() && len(o.choice.words) == 0:
		return usagef("no target: a TARGET after the name, or --net=FILE, says whose namespaces")
	case o.netns && o.choice.types != 0 && !o.choice.types.Has(inspect.Net):
		return usagef("--netns puts a network namespace in %s, and no --net was asked for", pin.IPNetnsDir)
	}
	if _, _, err := entry.TargetOf(o.target, o.container, o.pod); err != nil {
		return err
	}
	if !o.hasTarget() {
		for t := range o.choice.types.All() {
			if _, ok := o.choice.words[t]; !ok {
				return usagef("no target for --%s: -p PID, -c CONTAINER or --%s=FILE says whose", t, t)
			}
		}
		if o.choice.all {
			return usagef("no target for --all: -p PID or -c CONTAINER says whose")
		}
	}
	if !path {
		if err := pin.CheckName(o.name); err != nil {
			return usageError{Err: err}
		}
	}
	return nil
}

func (o *pinAddOptions) hasTarget() bool { return o.target != "" || o.container != "" || o.pod != "" }

func runPinAdd(ctx context.Context, o *pinAddOptions) error {
	files, err := o.open(ctx)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if o.path != "" {
		if len(files) != 1 {
			return usagef("--path pins one namespace, and %d were chosen", len(files))
		}
		return o.sayWhere(o.path, explainPin(pin.AddFile(ctx, o.path, files[0])))
	}
	var opts []pin.Option
	if o.replace {
		opts = append(opts, pin.Replace())
	}
	if o.netns {
		opts = append(opts, pin.InNetns())
	}
	err = explainPin(pin.Add(ctx, o.name, files, opts...))
	if errors.Is(err, pin.ErrPinned) {
		return withHint(err, "--replace puts the new set in its place")
	}
	return o.sayWhere(filepath.Join(pin.SystemDir, o.name), err)
}

// sayWhere says that a pin is on the host, if the command was given elsewhere.
func (o *pinAddOptions) sayWhere(path string, err error) error {
	if err == nil && inspect.FindHost().Moved {
		fmt.Fprintf(o.err, "nstool: pinned on the host, as %s\n", path)
	}
	return err
}

// open opens the chosen namespaces.
func (o *pinAddOptions) open(ctx context.Context) (files []*os.File, err error) {
	for t := range o.choice.types.All() {
		if ref, ok := o.choice.words[t]; ok {
			set, err := entry.OpenTypes(ctx, ref, inspect.TypesOf(t))
			if err != nil {
				return files, err
			}
			if set[t] == nil {
				entry.CloseFiles(set)
				return files, fmt.Errorf("%s is no %s namespace", ref.Text, t)
			}
			files = append(files, set[t])
			o.choice.types = o.choice.types.Without(t)
		}
	}
	all := o.choice.all || o.choice.types == 0 && len(files) == 0
	if !all && o.choice.types == 0 {
		return files, nil
	}
	ref, _, err := entry.TargetOf(o.target, o.container, o.pod)
	if err != nil {
		return files, err
	}
	types := o.choice.types
	switch {
	case all && ref.Shared && !o.choice.all:
		types = entry.SharedByPod
	case all:
		types = inspect.AllTypes
	}
	set, err := entry.OpenTypes(ctx, ref, types)
	if err != nil {
		return files, err
	}
	chosen := o.choice.types
	if len(set) == 1 && all {
		chosen, all = inspect.TypesOf(slices.Collect(maps.Keys(set))...), false // one namespace was named
	}
	more, err := entry.Pinnable(ref.Text, set, chosen, all)
	if errors.Is(err, entry.ErrAllShared) {
		err = withHint(fmt.Errorf("%s has no namespaces but the caller's own", ref.Text), "--net, --uts and their like pin a namespace that is shared, too")
	}
	return append(files, more...), err
}

// explainPin adds a hint to an error of package pin, if there is one.
func explainPin(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pin.ErrElsewhere):
		return withHint(err, "change it from there; umount -l %s gives this mount namespace pins of its own", pin.SystemDir)
	case errors.Is(err, pin.ErrOfRoot):
		return err
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() == 0:
		return withHint(err, "this needs CAP_SYS_ADMIN, which a container has only if it is privileged")
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "an ordinary user can pin inside their own user and mount namespaces: nstool run --rootless --mnt")
	}
	return err
}

// pinRmOptions are the options of pin rm.
type pinRmOptions struct {
	*app
	words []string
	path  string
	force bool
}

func newPinRm(a *app, run func(context.Context, *pinRmOptions) error) *cobra.Command {
	o := &pinRmOptions{app: a}
	cmd := &cobra.Command{
		Use:     "rm {NAME[/TYPE]... | --path FILE}",
		Aliases: []string{"remove"},
		Short:   "Remove pins",
		Long: `Remove pins. A namespace exists on as long as something else holds it: a process,
an open file, another pin. Only pins of nstool are removed.`,
		Example: `  nstool pin rm web
  nstool pin rm web/net web/uts
  nstool pin rm --force blue     also one of ip netns
  nstool pin rm --path /tmp/keep`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.words = args
			switch path := cmd.Flags().Changed("path"); {
			case path && o.path == "":
				return usagef("--path needs a file")
			case path && len(args) > 0:
				return usagef("--path takes no name, and %q was given", args[0])
			case !path && len(args) == 0:
				return usagef("no name; see nstool pin rm --help")
			}
			return run(cmd.Context(), o)
		},
		ValidArgsFunction: completePins,
	}
	f := cmd.Flags()
	f.StringVar(&o.path, "path", "", "remove the pin on `FILE`, whoever made it")
	f.BoolVarP(&o.force, "force", "f", false, "also remove a name that ip-netns(8), Docker, CNI or CRI-O made")
	return cmd
}

func runPinRm(ctx context.Context, o *pinRmOptions) error {
	if o.path != "" {
		if by := pin.Whose(o.path); by != "" && !o.force {
			return withHint(fmt.Errorf("%s is a pin of %s, not ours", o.path, by), "--force removes it all the same")
		}
		return explainPin(pin.RemoveFile(ctx, o.path))
	}
	// All arguments are checked before the first pin is removed.
	type removal struct {
		name  string
		types []inspect.Type
	}
	var list []removal
	for _, word := range o.words {
		name, types, err := entry.ParsePinned(word)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(r removal) bool { return r.name == name })
		switch {
		case i < 0:
			list = append(list, removal{name, types})
		case len(types) == 0 || len(list[i].types) == 0:
			list[i].types = nil
		default:
			list[i].types = append(list[i].types, types...)
		}
	}
	var errs []error
	for _, r := range list {
		err := pin.Remove(ctx, r.name, r.types...)
		if errors.Is(err, fs.ErrNotExist) {
			err = o.removeOther(ctx, r.name, err)
		}
		if err != nil {
			errs = append(errs, explainPin(err))
		}
	}
	return o.sayButLast("nstool pin rm", errs)
}

// removeOther removes a pin of another program, if that was asked for.
func (o *pinRmOptions) removeOther(ctx context.Context, name string, notOurs error) error {
	for set, err := range pin.Others(ctx) {
		if err != nil || set.Name != name || set.By == "" {
			continue
		}
		path := set.Pins[0].Path
		if !o.force {
			return withHint(fmt.Errorf("%s is a pin of %s, not ours", path, set.By), "--force removes it all the same")
		}
		return pin.RemoveFile(ctx, path)
	}
	return notOurs
}

// pinLsOptions are the options of pin ls.
type pinLsOptions struct {
	*app
	rowOptions
	names []string
}

func newPinLs(a *app, run func(context.Context, *pinLsOptions) error) *cobra.Command {
	o := &pinLsOptions{app: a}
	cmd := &cobra.Command{
		Use:     "ls [NAME...]",
		Aliases: []string{"list"},
		Short:   "List pins of nstool and of other programs",
		Long: `List pins of nstool, of ip-netns(8), Docker, CNI, CRI-O, and of every other program
that mounted a namespace on a file. A pin is dead if its namespace cannot be
entered any more; the list says why.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				o.names = append(o.names, strings.TrimPrefix(name, "pin:"))
			}
			if err := checkRows(o.rowOptions, output.PinList().Columns); err != nil {
				return err
			}
			return run(cmd.Context(), o)
		},
		ValidArgsFunction: completePins,
	}
	cmd.Flags().SortFlags = false
	rowFlags(cmd, &o.rowOptions, output.PinList().Columns)
	return cmd
}

func runPinLs(ctx context.Context, o *pinLsOptions) error {
	if o.list {
		return writeColumns(o.app, output.PinList().Columns)
	}
	// A killed pin add can leave hidden pins.
	if err := pin.Heal(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) { // otherwise there is no directory for pins
		o.say("nstool pin ls", err)
	}
	rows, errs := o.collect(ctx)
	l, err := describePins(ctx, o.rowOptions, rows)
	if err != nil {
		return err
	}
	for _, err := range errs {
		l.gaps = append(l.gaps, inspect.Gap{What: "pins", Err: err})
	}
	if len(rows) > 0 || o.json {
		dead := slices.ContainsFunc(rows, func(p *output.Pin) bool { return p.Why != "" })
		cols, err := writeList(ctx, o.app, l, output.PinList(), rows, output.PinList().Defaults(when(dead, "WHY")))
		if err != nil {
			return err
		}
		if o.strict || !o.json && output.HasUnknown(l.view, rows, cols) {
			if err := o.reportGaps(l.snap, nil, o.strict); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return o.sayButLast("nstool pin ls", errs)
}

// collect returns the pins that were asked for, those of nstool first.
func (o *pinLsOptions) collect(ctx context.Context) (rows []*output.Pin, errs []error) {
	found := make(map[string]bool)
	for _, list := range []iter.Seq2[pin.Set, error]{pin.All(ctx), pin.Others(ctx)} {
		for set, err := range list {
			found[set.Name] = true
			if len(o.names) > 0 && !slices.Contains(o.names, set.Name) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			for _, p := range set.Pins {
				row := &output.Pin{Name: set.Name, Type: p.Type, Ino: p.ID.Ino, By: set.By, Path: p.Path, UID: set.UID, Made: set.Made}
				if p.Dead != nil {
					row.Why = p.Dead.Error()
				}
				rows = append(rows, row)
			}
		}
	}
	for _, name := range o.names {
		if !found[name] {
			errs = append(errs, fmt.Errorf("nothing is pinned as %s", name))
		}
	}
	return rows, errs
}

// describePins finds the members of the pinned namespaces.
func describePins(ctx context.Context, o rowOptions, rows []*output.Pin) (*listing, error) {
	if len(rows) == 0 {
		return newListing(ctx, o, nil), nil
	}
	snap, err := inspect.Scan(ctx, inspect.WithProc(o.proc))
	if err != nil {
		return nil, err
	}
	l := newListing(ctx, o, snap)
	for _, row := range rows {
		ns, ok := snap.Find(row.Ino)
		if row.Ino == 0 || !ok {
			continue
		}
		row.Namespace = ns
		switch {
		case row.Why != "" || !isDeserted(ns) || knownAlive(ctx, snap, ns):
		case snap.Whole(inspect.Members):
			row.Why = pin.ErrInitGone.Error()
		default:
			row.Unsure = true
		}
	}
	return l, nil
}

// knownAlive reports whether the kernel says that a PID namespace is not dead.
func knownAlive(ctx context.Context, snap *inspect.Snapshot, ns *inspect.Namespace) bool {
	file, err := snap.Open(ctx, ns)
	if err != nil {
		return false
	}
	defer file.Close()
	dead, err := sys.PIDNamespaceDead(int(file.Fd()))
	return err == nil && !dead
}

// isDeserted reports whether ns is a PID namespace without a process. Before Linux 6.11 that is
// the only sign that it is dead: a PID namespace has no file before its first process, which
// stays in it to the end. Descendants of the caller's own are completely visible in /proc.
func isDeserted(ns *inspect.Namespace) bool {
	return ns.Type == inspect.PID && ns.Parent.Known() && len(ns.Members) == 0
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/inspect/network"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/passwd"
	"github.com/nstool/nstool/internal/report"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// showOptions are the options of nstool-show(1).
type showOptions struct {
	targets []target.Ref
	types   inspect.Types
	json    bool
	strict  bool
}

func newShow(a *app) *cobra.Command {
	var o showOptions
	var types []string
	cmd := &cobra.Command{
		Use:     "show [flags] TARGET...",
		Short:   "Show everything about a namespace, process or container",
		GroupID: groupSee,
		Long: `Show everything about each TARGET.

Of a namespace: who owns and encloses it, its members, all that keeps it alive
and what it would take for it to go, and what is inside. Of a process or a
container: whose its namespaces are, its PID in each PID namespace, its users,
capabilities and what else confines it. Nothing is changed by looking.`,
		Example: `  nstool show net:[4026532281]     a namespace
  nstool show web                  a container
  nstool show -t net,uts web       its network and UTS namespaces
  nstool show 4242                 a process
  nstool show pin:blue netns:red   what was pinned`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.types, err = parseTypes(types); err != nil {
				return err
			}
			if o.targets, err = parseTargets(args); err != nil {
				return err
			}
			if len(o.targets) == 0 {
				return usagef("show what? a namespace, a process, a container or a pin")
			}
			return runShow(cmd.Context(), a, o)
		},
		ValidArgsFunction: completeTargets,
	}
	f := cmd.Flags()
	f.SortFlags = false
	typeFlag(cmd, &types, "show the namespaces of this `TYPE` that the targets have")
	f.BoolVarP(&o.json, "json", "J", false, "write JSON")
	f.BoolVar(&o.strict, "strict", false, "fail if something could not be read")
	return cmd
}

// parseTargets parses TARGETs.
func parseTargets(words []string) ([]target.Ref, error) {
	var refs []target.Ref
	for _, word := range words {
		ref, err := target.Parse(word)
		if err != nil {
			return nil, usageError{Err: err}
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

func runShow(ctx context.Context, a *app, o showOptions) error {
	stop := a.progress("still reading")
	defer stop()
	e, failed, err := explain(ctx, o)
	if err != nil {
		return err
	}
	if len(failed) == len(o.targets) {
		return a.sayButLast("nstool show", failed)
	}
	stop()
	if o.json {
		err = report.ShowJSON(a.out, e.view, e.namespaces, e.processes, e.missed())
	} else {
		err = report.Sheets(a.out, e.sheets(), output.Style{Width: width(a.out), Color: a.color()})
	}
	if err != nil {
		return err
	}
	if err := a.reportGaps(e.snap, e.gaps, o.strict); err != nil {
		return err
	}
	return a.sayButLast("nstool show", failed)
}

// explain reads everything about targets, and returns the errors of those that do not exist. If
// a process changed since the scan, everything is read again.
func explain(ctx context.Context, o showOptions) (e *explanation, failed []error, err error) {
	const tries = 3
	for try := range tries {
		snap, err := inspect.Scan(ctx, o.scan()...)
		if err != nil {
			return nil, nil, err
		}
		e, failed = newExplanation(ctx, snap), nil
		e.last, e.uppers = try == tries-1, o.json
		for _, ref := range o.targets {
			if err := e.target(ctx, ref, o.types); err != nil {
				failed = append(failed, err)
			}
		}
		if !slices.ContainsFunc(failed, func(err error) bool { return errors.Is(err, errChanged) }) {
			break
		}
	}
	e.describe(ctx)
	return e, failed, nil
}

// scan returns the options of the scan: sockets only if a network namespace may be shown.
func (o showOptions) scan() []inspect.Option {
	var opts []inspect.Option
	if o.types.Has(inspect.Net) || o.types == 0 && slices.ContainsFunc(o.targets, hardToFind) {
		opts = append(opts, inspect.WithSockets())
	}
	return opts
}

// errChanged reports that a process has changed since the scan.
var errChanged = errors.New("it changed while it was looked at")

// An explanation is what is shown about namespaces and processes, each once, in the order of
// subjects.
type explanation struct {
	snap       *inspect.Snapshot
	view       report.View
	subjects   []subject
	namespaces []report.NamespaceReport
	processes  []report.ProcessReport
	gaps       []inspect.Gap
	last       bool // the last try, which accepts changes

	uppers     bool                   // interfaces on top of others are shown
	interfaces []*network.Interface   // of all network namespaces, once needed
	unread     map[string]inspect.Gap // of these, those that could not be read
}

// A subject is a process or a namespace: an index, the other is -1. A pin is
// neither.
type subject struct {
	process, namespace int
	pin                *pinned
}

// pinned is a set of namespaces with a name.
type pinned struct {
	name       string
	namespaces []*inspect.Namespace
}

func newExplanation(ctx context.Context, snap *inspect.Snapshot) *explanation {
	set := container.Find(ctx, snap, container.WithHidden())
	return &explanation{
		snap: snap, gaps: slices.Clone(set.Gaps),
		view: report.View{View: &output.View{Snapshot: snap, Containers: set, User: passwd.Names(snap.Host().Path("/etc/passwd")), Now: now(), Details: make(map[int]inspect.Detail)}},
	}
}

// missed returns what could not be read, also by the scan.
func (e *explanation) missed() output.Missed { return output.MissedBy(e.snap, e.gaps) }

// find finds a TARGET. A process that the caller may not read, or that does not answer, has no
// namespaces.
func (e *explanation) find(ref target.Ref) (target.Found, error) {
	found, err := target.Find(e.snap, func() *container.Set { return e.view.Containers }, ref)
	if ref.Kind == target.Process && err != nil && !errors.Is(err, fs.ErrNotExist) {
		p, ok := e.snap.Process(ref.PID)
		if !ok {
			p = &inspect.Process{PID: ref.PID}
		}
		return target.Found{Process: p, TID: ref.TID}, nil
	}
	return found, err
}

// target adds a TARGET: with types, its namespaces of these types.
func (e *explanation) target(ctx context.Context, ref target.Ref, types inspect.Types) error {
	found, err := e.find(ref)
	if err != nil {
		return err
	}
	for _, c := range found.Match.Containers {
		if p, ok := e.snap.Process(c.Init); ok {
			if err := entry.Started(found, p); err != nil {
				return err
			}
		}
	}
	switch {
	case types != 0:
		n := 0
		for _, ns := range found.Namespaces(e.snap) {
			if types.Has(ns.Type) {
				e.namespace(ctx, ns)
				n++
			}
		}
		if n == 0 {
			return fmt.Errorf("%s has no namespace of type %s that can be seen", ref.Text, types)
		}
	case found.Namespace != nil:
		e.namespace(ctx, found.Namespace)
	case found.Pinned != nil:
		e.subjects = append(e.subjects, subject{-1, -1, &pinned{ref.Name, found.Pinned}})
		for _, ns := range found.Pinned {
			e.namespace(ctx, ns)
		}
	case len(found.Match.Containers) > 0:
		for _, c := range found.Match.Containers {
			p, ok := e.snap.Process(c.Init)
			if !ok {
				e.gaps = append(e.gaps, inspect.Gap{PID: c.Init, What: c.String(), Err: inspect.ErrGone})
				continue
			}
			if err := e.process(ctx, target.Found{Process: p}, c); err != nil {
				return err
			}
		}
	default:
		return e.process(ctx, found, nil)
	}
	return nil
}

func (e *explanation) namespace(ctx context.Context, ns *inspect.Namespace) {
	if slices.ContainsFunc(e.namespaces, func(r report.NamespaceReport) bool { return r.NS == ns }) {
		return
	}
	r := report.NamespaceReport{NS: ns}
	if ns.Type == inspect.Net {
		r.Net = e.network(ctx, ns)
	} else {
		r.Inside = inside.Read(ctx, e.snap, ns)
		e.gaps = append(e.gaps, r.Inside.Gaps...)
	}
	e.subjects = append(e.subjects, subject{-1, len(e.namespaces), nil})
	e.namespaces = append(e.namespaces, r)
}

// network reads what is inside a network namespace, or returns nil if that cannot be read.
func (e *explanation) network(ctx context.Context, ns *inspect.Namespace) *report.Network {
	n := &report.Network{}
	var gaps []inspect.Gap
	n.Interfaces, gaps = e.interfacesOf(ctx, ns)
	e.gaps = append(e.gaps, gaps...)
	if len(gaps) > 0 {
		return nil
	}
	n.Listeners, gaps = network.Sockets(ctx, e.snap, []*inspect.Namespace{ns}, network.InternetSockets)
	e.gaps = append(e.gaps, gaps...)
	var err error
	if n.Routes, err = routes(ctx, e.snap, ns); err != nil {
		e.gaps = append(e.gaps, inspect.Gap{What: "routes of " + ns.String(), Err: err})
	}
	return n
}

// interfacesOf reads the interfaces of a network namespace. Those of all others are read too,
// once, if interfaces on top of others are shown, or if the other end is not known.
func (e *explanation) interfacesOf(ctx context.Context, ns *inspect.Namespace) (list []*network.Interface, gaps []inspect.Gap) {
	if !e.uppers && e.unread == nil {
		if list, gaps, ok := network.Near(ctx, e.snap, ns); ok {
			return list, gaps
		}
	}
	if e.unread == nil {
		e.unread = make(map[string]inspect.Gap)
		e.interfaces, gaps = network.Interfaces(ctx, e.snap, networks(e.snap))
		for _, g := range gaps {
			e.unread[g.What] = g
		}
	}
	// For others at most a name is missing, which is shown as unknown.
	if g, ok := e.unread["interfaces of "+ns.String()]; ok {
		return nil, []inspect.Gap{g}
	}
	for _, i := range e.interfaces {
		if i.NS == ns {
			list = append(list, i)
		}
	}
	return list, nil
}

func routes(ctx context.Context, snap *inspect.Snapshot, ns *inspect.Namespace) ([]network.Route, error) {
	file, err := snap.Open(ctx, ns)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c, err := network.Dial(file)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Routes()
}

func (e *explanation) process(ctx context.Context, found target.Found, c *container.Container) error {
	p := found.Process
	r := report.ProcessReport{
		Process: p, TID: found.TID, Container: c, AllCaps: task.AllCaps(),
		Namespaces: make(map[inspect.Type]*inspect.Namespace),
	}
	for _, ns := range found.Namespaces(e.snap) {
		r.Namespaces[ns.Type] = ns
	}
	t, err := task.Read(ctx, p.PID, cmp.Or(found.TID, p.Heir()))
	if err == nil && found.TID == 0 && p.Heir() != 0 {
		t.TID, t.NSpid = 0, t.NStgid // it was asked for as a process
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && found.TID != 0:
		return fmt.Errorf("thread %d of process %d has ended", found.TID, p.PID)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("process %d has ended", p.PID)
	case err != nil:
		e.gaps = append(e.gaps, inspect.Gap{PID: p.PID, What: "status", Err: err})
	case !same(r.Namespaces, t) && !e.last:
		return fmt.Errorf("process %d: %w", p.PID, errChanged)
	default:
		if !same(r.Namespaces, t) {
			e.gaps = append(e.gaps, inspect.Gap{PID: p.PID, What: "namespaces", Err: errChanged})
			clear(r.Namespaces)
			for typ, ino := range t.Namespaces {
				if ns, ok := e.snap.Find(ino); ok {
					r.Namespaces[typ] = ns
				}
			}
		}
		r.Task = t
		e.gaps = append(e.gaps, t.Gaps...)
	}
	e.subjects = append(e.subjects, subject{len(e.processes), -1, nil})
	e.processes = append(e.processes, r)
	return nil
}

// same reports whether a task is still in the namespaces of the scan.
func same(seen map[inspect.Type]*inspect.Namespace, t *task.Task) bool {
	for typ, ino := range t.Namespaces {
		if ns := seen[typ]; ns != nil && ns.ID.Ino != ino {
			return false
		}
	}
	return true
}

// describe reads the names of all processes that are mentioned.
func (e *explanation) describe(ctx context.Context) {
	wanted := make(map[*inspect.Process]bool)
	want := func(pid int) {
		if p, ok := e.snap.Process(pid); ok {
			wanted[p] = true
		}
	}
	wantHolders := func(ns *inspect.Namespace) {
		for _, p := range ns.Members[:min(len(ns.Members), report.MaxLines)] {
			wanted[p] = true
		}
		for _, h := range ns.Others() {
			want(h.PID)
		}
	}
	named := func(ns *inspect.Namespace) { // by its leader, or its holder
		if l := ns.Leader(); l != nil {
			wanted[l] = true
			return
		}
		for h := range e.snap.Holders(ns) {
			want(h.PID)
			return
		}
	}
	around := func(ns *inspect.Namespace) {
		wantHolders(ns)
		n := 0
		for h := range e.snap.Holders(ns) {
			if h.Kind == inspect.ByNested {
				named(h.Nested)
				if n++; n == report.MaxLines {
					break
				}
			}
		}
		for at := ns; at != nil; {
			if owner, ok := e.snap.Namespace(at.Owner.ID); ok {
				named(owner)
			}
			if at, _ = e.snap.Namespace(at.Parent.ID); at != nil {
				named(at)
			}
		}
	}
	for _, r := range e.namespaces {
		around(r.NS)
		if r.Inside != nil && r.Inside.PID != nil {
			want(r.Inside.PID.Init)
		}
		if r.Net != nil {
			for _, l := range r.Net.Listeners {
				for _, h := range l.Holders {
					want(h.PID)
				}
			}
		}
	}
	for _, r := range e.processes {
		wanted[r.Process] = true
		for _, ns := range r.Namespaces {
			around(ns)
		}
		if r.Task != nil {
			want(r.Task.PPID)
			want(r.Task.Tracer)
		}
	}
	var procs []*inspect.Process
	for p := range wanted {
		procs = append(procs, p)
	}
	slices.SortFunc(procs, func(a, b *inspect.Process) int { return a.PID - b.PID })
	e.view.Details = e.snap.Describe(ctx, slices.Values(procs))
	if len(e.processes) == 0 {
		return
	}
	subjects := make([]*inspect.Process, len(e.processes))
	for i, r := range e.processes {
		subjects[i] = r.Process
	}
	details := e.snap.Describe(ctx, slices.Values(subjects), inspect.WithArgs())
	for _, r := range e.processes {
		if d, ok := details[r.Process.PID]; ok && (r.Task == nil || d.Ticks == r.Task.Ticks || d.Err != nil) {
			e.view.Details[r.Process.PID] = d
		} else {
			delete(e.view.Details, r.Process.PID) // it has exited
		}
	}
	e.view.Guests = e.view.Containers.Guests(slices.Values(subjects))
}

// sheets returns all sheets.
func (e *explanation) sheets() []report.Sheet {
	var sheets []report.Sheet
	for _, s := range e.subjects {
		switch {
		case s.pin != nil:
			sheets = append(sheets, report.PinSheet(e.view, s.pin.name, s.pin.namespaces))
		case s.process >= 0:
			sheets = append(sheets, report.ProcessSheet(e.view, e.processes[s.process]))
		default:
			sheets = append(sheets, report.NamespaceSheet(e.view, e.namespaces[s.namespace]))
		}
	}
	return sheets
}

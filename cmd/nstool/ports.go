package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/network"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// portsOptions are the options of nstool-ports(1).
type portsOptions struct {
	rowOptions
	ports   []portRange
	targets []target.Ref
	unix    bool
	rawIP   bool
}

// A portRange is a PORT as the user wrote it.
type portRange struct {
	text     string
	protocol network.Protocol // or "" for any
	address  netip.Addr       // or the zero value for any
	from, to uint16
}

func newPorts(a *app) *cobra.Command {
	var o portsOptions
	cmd := &cobra.Command{
		Use:     "ports [flags] [PORT|TARGET...]",
		Aliases: []string{"listen"},
		Short:   "List listening sockets, with process and container",
		GroupID: groupSee,
		Long: `List the sockets of every network namespace that wait for others: TCP sockets
that listen and UDP sockets that are bound, with all processes that have each
open, their user and their container.

A PORT is a number, a range such as 8000-8080, either with a protocol, as tcp/8080
and 8080/tcp, or an address, as 127.0.0.1:8080, several with commas, or a protocol
alone. With a process or container as TARGET, list the sockets that it
has open, and all of its network namespace unless that is the host's; with a
namespace, those that are there.`,
		Example: `  nstool ports                   every listening socket
  nstool ports 8080              who listens there, in which namespace
  nstool ports udp/53 tcp/53     who answers for names
  nstool ports web               what a container listens on
  nstool ports pid:4242          what a process listens on
  nstool ports --unix -Q 'local contains "docker"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var words []string
			for _, word := range args {
				ports, err := parsePorts(word)
				switch {
				case err != nil:
					return usageError{Err: err}
				case ports == nil:
					words = append(words, word)
				}
				o.ports = append(o.ports, ports...)
			}
			var err error
			if o.targets, err = parseTargets(words); err != nil {
				return err
			}
			if err := checkRows(o.rowOptions, output.ListenerList().Columns); err != nil {
				return err
			}
			return runPorts(cmd.Context(), a, o)
		},
		ValidArgsFunction: completePorts,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.unix, "unix", "x", false, "list unix sockets too")
	f.BoolVarP(&o.rawIP, "raw-sockets", "w", false, "list raw and packet sockets too")
	rowFlags(cmd, &o.rowOptions, output.ListenerList().Columns)
	return cmd
}

// completePorts completes protocols and targets.
func completePorts(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	list, directive := completeTargets(cmd, args, word)
	o := offers{word: word, list: list}
	for _, p := range portProtocols {
		o.add(string(p), "protocol")
	}
	return o.list, directive
}

// portProtocols are the protocols that have ports.
var portProtocols = []network.Protocol{network.TCP, network.MPTCP, network.SCTP, network.UDP, network.UDPLite}

// parsePorts parses one PORT or several with commas between them. It returns none for a TARGET.
func parsePorts(word string) (ports []portRange, err error) {
	for part := range strings.SplitSeq(word, ",") {
		p, ok, err := parsePort(part)
		if err != nil {
			return nil, err
		}
		if !ok {
			if len(ports) > 0 {
				return nil, badPort(part)
			}
			return nil, nil
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// parsePort parses a PORT: 8080, :8080, 8000-8080, tcp/8080, tcp:8080, 8080/tcp, tcp,
// 127.0.0.1:8080, [::1]:8080. It reports whether the word is a PORT, and not a TARGET.
func parsePort(word string) (p portRange, ok bool, err error) {
	p.text = word
	if at, err := netip.ParseAddrPort(word); err == nil {
		if at.Port() == 0 {
			return p, false, badPort(word)
		}
		return portRange{word, "", at.Addr(), at.Port(), at.Port()}, true, nil
	}
	if number, protocol, both := strings.Cut(word, "/"); both && slices.Contains(portProtocols, network.Protocol(protocol)) {
		word = protocol + "/" + number
	}
	if slices.Contains(portProtocols, network.Protocol(word)) {
		p.protocol, p.to = network.Protocol(word), math.MaxUint16
		return p, true, nil
	}
	rest := word
	if i := strings.IndexAny(word, "/:"); i >= 0 {
		p.protocol = network.Protocol(word[:i])
		if !slices.Contains(portProtocols, p.protocol) && word[:i+1] != ":" {
			return p, false, nil
		}
		rest = word[i+1:]
	}
	explicit := rest != word
	first, last, isRange := strings.Cut(rest, "-")
	if !isRange {
		last = first
	}
	digits := func(s string) bool {
		return s != "" && strings.Trim(s, "0123456789") == ""
	}
	if !digits(first) || !digits(last) {
		if explicit {
			return p, false, badPort(word)
		}
		return p, false, nil
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil {
		if explicit || isRange {
			return p, false, badPort(word)
		}
		return p, false, nil // a process or a namespace
	}
	if from == 0 || to < from {
		return p, false, badPort(word)
	}
	p.from, p.to = uint16(from), uint16(to)
	return p, true, nil
}

func badPort(word string) error {
	return fmt.Errorf("bad port %q: a port is a number from 1 to 65535, or two with a dash between, the smaller first", word)
}

// has reports whether a socket is at one of the ports.
func (p portRange) has(l *network.Listener) bool {
	if !l.HasPort() || l.Local.Port() < p.from || l.Local.Port() > p.to || p.address.IsValid() && p.address != l.Local.Addr() {
		return false
	}
	return p.protocol == "" || p.protocol == l.Protocol || p.protocol == network.MPTCP && l.MPTCP
}

func (o portsOptions) which() network.Which {
	which := network.InternetSockets
	if o.unix {
		which |= network.UnixSockets
	}
	if o.rawIP {
		which |= network.RawSockets
	}
	return which
}

func runPorts(ctx context.Context, a *app, o portsOptions) error {
	if o.list {
		return writeColumns(a, output.ListenerList().Columns)
	}
	stop := a.progress("still reading network namespaces")
	defer stop()
	snap, err := inspect.Scan(ctx, append(networkScan(o.rowOptions, o.targets), inspect.WithSockets())...)
	if err != nil {
		return err
	}
	l := networkListing(ctx, o.rowOptions, snap, o.targets)
	wanted, err := choosePorts(l, o.targets)
	if err != nil {
		return err
	}
	rows, gaps := network.Sockets(ctx, snap, networks(snap), o.which())
	l.gaps = gaps
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := wanted.unread(snap, gaps); err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r *network.Listener) bool {
		return len(o.ports) > 0 && !slices.ContainsFunc(o.ports, func(p portRange) bool { return p.has(r) }) || !wanted.has(r)
	})
	unheard := unheard(rows, o.ports)
	stop()
	if o.json || len(rows) > 0 || len(unheard) == 0 {
		if _, err := writeList(ctx, a, l, output.ListenerList(), rows, output.ListenerList().Defaults(when(l.containers(), "CONTAINER"))); err != nil {
			return err
		}
	}
	err = a.reportGaps(snap, l.gaps, o.strict)
	if len(unheard) > 0 {
		return nobodyListens(snap, unheard, o.targets, len(gaps) == 0 && snap.Whole(inspect.AllFacts))
	}
	return err
}

// unheard returns the ports on which nobody listens.
func unheard(rows []*network.Listener, ports []portRange) (none []portRange) {
	for _, p := range ports {
		if !slices.ContainsFunc(rows, p.has) {
			none = append(none, p)
		}
	}
	return none
}

// nobodyListens returns the error for ports on which nobody listens. A number may have been
// meant as a process.
func nobodyListens(snap *inspect.Snapshot, ports []portRange, targets []target.Ref, whole bool) error {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = p.text
	}
	where := ""
	if len(targets) > 0 {
		where = " there"
	}
	err := fmt.Errorf("nobody listens%s on %s", where, strings.Join(words, ", "))
	if !whole && len(targets) == 0 {
		err = fmt.Errorf("nobody that can be seen listens on %s", strings.Join(words, ", "))
	}
	for _, p := range ports {
		if n, e := strconv.Atoi(p.text); e == nil {
			if _, ok := snap.Process(n); ok {
				err = withHint(err, "process %d is written pid:%d", n, n)
			}
		}
	}
	return err
}

// wantedSockets are the sockets that the targets ask for: those in namespaces, and those that
// processes have open. nil is all.
type wantedSockets struct {
	spaces map[*inspect.Namespace]bool
	pids   map[int]bool
	asked  []askedFor
}

// askedFor is what one target asks for.
type askedFor struct {
	ref    target.Ref
	spaces []*inspect.Namespace
	pids   map[int]bool
}

// unread returns an error if something that was asked for could not be read, since an empty
// result would be wrong.
func (w *wantedSockets) unread(snap *inspect.Snapshot, gaps []inspect.Gap) error {
	if w == nil {
		return nil
	}
	for _, a := range w.asked {
		if err := unreadNetwork(gaps, "sockets", a.spaces, a.ref); err != nil {
			return err
		}
		for _, g := range snap.Gaps() {
			if a.pids[g.PID] && (g.What == "ns" || g.What == "fd") && !errors.Is(g.Err, inspect.ErrGone) {
				return fmt.Errorf("which sockets %s has open cannot be read: %s", a.ref.Text, g)
			}
		}
	}
	return nil
}

func (w *wantedSockets) has(l *network.Listener) bool {
	return w == nil || w.spaces[l.NS] || slices.ContainsFunc(l.Holders, func(h inspect.Holder) bool { return w.pids[h.PID] })
}

// choosePorts finds the sockets that the targets ask for.
func choosePorts(l *listing, targets []target.Ref) (*wantedSockets, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	w := &wantedSockets{spaces: make(map[*inspect.Namespace]bool), pids: make(map[int]bool)}
	for _, ref := range targets {
		found, err := target.Find(l.snap, l.lookup, ref)
		if err != nil {
			return nil, err
		}
		spaces, err := networksOf(l.snap, found, ref)
		if err != nil {
			return nil, err
		}
		asked := askedFor{ref: ref, spaces: spaces}
		if found.Process != nil {
			// The sockets of the host are not those of a process or container.
			spaces = slices.DeleteFunc(spaces, func(ns *inspect.Namespace) bool {
				return ns == ownNetwork(l.snap) || l.lookup().IsHost(inspect.Net, ns.ID)
			})
			asked.spaces, asked.pids = spaces, processesOf(l.snap, found)
			maps.Copy(w.pids, asked.pids)
		}
		w.asked = append(w.asked, asked)
		for _, ns := range spaces {
			w.spaces[ns] = true
		}
	}
	return w, nil
}

// processesOf returns the process that was found, or all processes of the containers.
func processesOf(snap *inspect.Snapshot, found target.Found) map[int]bool {
	pids := map[int]bool{found.Process.PID: true}
	if len(found.Match.Containers) == 0 {
		return pids
	}
	for p := range snap.Processes() {
		if c := found.Containers.Of(p).Container; c != nil && slices.ContainsFunc(found.Match.Containers, func(m *container.Container) bool { return m == c }) {
			pids[p.PID] = true
		}
	}
	return pids
}

package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect/network"
	"github.com/nstool/nstool/output"
)

// A Network is what is inside a network namespace.
type Network struct {
	Interfaces []*network.Interface
	Routes     []network.Route
	Listeners  []*network.Listener
}

// interfaceLines lists interfaces with state, addresses and the other end.
func (v View) interfaceLines(n *Network) []string {
	var lines []string
	for _, i := range n.Interfaces {
		words := []string{i.Link.Name, i.State()}
		if list := output.Cell(v.View, output.InterfaceList().Columns, "ADDRESSES", i); list != "-" {
			words = append(words, strings.Split(list, ",")...)
		}
		if i.Kind != "" && i.Kind != "loopback" && i.Kind != "ether" && i.Kind != "veth" {
			words = append(words, "("+i.Kind+")")
		}
		if i.Far != nil {
			name := i.Far.Name
			if name == "" {
				name = "?"
			}
			if i.Far.NS != i.NS && (i.Far.NS != nil || i.Far.Name != "") {
				name += "@" + v.Place(i.Far.NS)
			}
			word := "on"
			if i.Paired() {
				word = "↔"
			}
			words = append(words, word, name)
		}
		if i.Master != nil {
			words = append(words, "port of", i.Master.Link.Name)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// routeLines lists routes as ip-route(8) does.
func routeLines(n *Network) []string {
	names := make(map[int]string)
	for _, i := range n.Interfaces {
		names[i.Index] = i.Link.Name
	}
	var lines []string
	for _, r := range n.Routes {
		words := []string{r.Dst.String()}
		if r.Dst.Bits() == 0 {
			words[0] = "default"
		}
		if r.Type != "unicast" {
			words = append([]string{r.Type}, words...)
		}
		if r.Gateway.IsValid() {
			words = append(words, "via", r.Gateway.String())
		}
		if r.Link != 0 {
			name := names[r.Link]
			if name == "" {
				name = "interface " + strconv.Itoa(r.Link)
			}
			words = append(words, "dev", name)
		}
		if r.Metric != 0 {
			words = append(words, "metric", strconv.FormatUint(uint64(r.Metric), 10))
		}
		if r.Hops > 1 {
			words = append(words, fmt.Sprintf("and %d more hops", r.Hops-1))
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// listenerLines lists sockets with the processes that have them open.
func (v View) listenerLines(n *Network) []string {
	var lines []string
	for _, l := range n.Listeners {
		line := string(l.Protocol) + " " + output.Cell(v.View, output.ListenerList().Columns, "LOCAL", l) + " of "
		seen := make(map[int]bool)
		var who []string
		for _, h := range l.Holders {
			if !seen[h.PID] {
				seen[h.PID] = true
				who = append(who, v.Process(h.PID))
			}
		}
		const maxNames = 3
		switch {
		case len(who) == 0:
			if line += "no process"; output.Cell(v.View, output.ListenerList().Columns, "PID", l) == "?" {
				line += " that can be seen"
			}
		case len(who) > maxNames:
			line += strings.Join(who[:maxNames], ", ") + fmt.Sprintf(" and %d more", len(who)-maxNames)
		default:
			line += strings.Join(who, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

func (v View) networkFacts(n *Network) []fact {
	routeList := []output.Object{}
	for _, r := range n.Routes {
		gateway := any(nil)
		if r.Gateway.IsValid() {
			gateway = r.Gateway.String()
		}
		routeList = append(routeList, output.Object{{"dst", r.Dst.String()}, {"gateway", gateway}, {"link", numberOr(r.Link, 1)}, {"metric", r.Metric}, {"type", r.Type}, {"hops", r.Hops}})
	}
	interfaces, routes, listeners := v.interfaceLines(n), routeLines(n), v.listenerLines(n)
	compared := func(lines []string) []string { return append([]string{}, lines...) } // never nil
	return []fact{
		{
			key: "interfaces", shown: orNone(interfaces), compared: compared(interfaces),
			name: "interfaces", value: output.Rows(v.View, n.Interfaces, withoutNamespace(output.InterfaceList().Columns)),
		},
		{key: "routes", shown: orNone(routes), compared: compared(routes), name: "routes", value: routeList},
		{key: "listens", shown: orNone(listeners), name: "sockets", value: output.Rows(v.View, n.Listeners, withoutNamespace(output.ListenerList().Columns))},
		{key: "listening sockets", compared: compared(listeners)},
	}
}

// withoutNamespace returns the columns that are not about the namespace of a row, which is described
// elsewhere, and that need no further reading.
func withoutNamespace[R any](cols []output.Column[R]) []output.Column[R] {
	at := slices.IndexFunc(cols, func(c output.Column[R]) bool { return c.Name == "NS" })
	return slices.DeleteFunc(slices.Clone(cols[:at]), func(c output.Column[R]) bool { return c.Needs&output.NeedArgs != 0 })
}

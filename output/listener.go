package output

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/network"
)

// listenerColumns returns the columns of sockets that wait for others.
func listenerColumns() []Column[*network.Listener] {
	return []Column[*network.Listener]{
		{"PROTO", "protocol: tcp, sctp, udp, udplite, raw, packet, unix-stream, unix-seqpacket or unix-dgram", kindText, 0, func(_ *View, l *network.Listener) cellValue { return textValue(string(l.Protocol)) }},
		{"LOCAL", "where it waits: address and port, with the interface it is bound to; of a unix socket its path, or @ and its abstract name", kindText, 0, func(_ *View, l *network.Listener) cellValue { return textValue(localOf(l)) }},
		{"ADDRESS", "address", kindText, 0, func(_ *View, l *network.Listener) cellValue {
			if !l.Local.IsValid() {
				return cellValue{}
			}
			return textValue(l.Local.Addr().String())
		}},
		{"PORT", "port", kindNumber, 0, func(_ *View, l *network.Listener) cellValue {
			if !l.HasPort() {
				return cellValue{}
			}
			return numberValue(int(l.Local.Port()))
		}},
		{"FAMILY", "ipv4, ipv6, unix or packet; \"both\" for a socket of IPv6 that takes IPv4 as well", kindText, 0, func(_ *View, l *network.Listener) cellValue { return textValue(familyOf(l)) }},
		{"MPTCP", "\"mptcp\" for a socket of TCP that takes connections of MPTCP as well", kindText, 0, func(_ *View, l *network.Listener) cellValue {
			if l.MPTCP {
				return textValue("mptcp")
			}
			return cellValue{}
		}},
		{"LINK", "interface that it is bound to", kindText, 0, func(_ *View, l *network.Listener) cellValue {
			if l.Link != 0 && l.LinkName == "" {
				return cellValue{state: hidden}
			}
			return textValue(l.LinkName)
		}},
		{"PATH", "name of a unix socket, as the process gave it; an abstract one without @", kindText, 0, func(_ *View, l *network.Listener) cellValue { return textValue(l.Name) }},
		{"ABSTRACT", "\"abstract\" for a unix socket whose name is no path", kindText, 0, func(_ *View, l *network.Listener) cellValue {
			if l.Abstract {
				return textValue("abstract")
			}
			return cellValue{}
		}},
		{"PROCESSES", "all processes that have it open, and as which descriptor", kindHolders, NeedDetail, holdersOfListener},
		{"PID", "the one with the lowest PID", kindNumber, 0, firstHolderValue(func(_ *View, h inspect.Holder) cellValue { return numberValue(h.PID) })},
		{"FD", "its descriptor", kindNumber, 0, firstHolderValue(func(_ *View, h inspect.Holder) cellValue { return numberValue(h.FD) })},
		{"COMM", "name of its command, as the kernel cuts it", kindText, NeedDetail, firstHolderValue(func(v *View, h inspect.Holder) cellValue {
			return detailValue(v, h.PID, func(_ *View, d inspect.Detail) cellValue { return textValue(d.Comm) })
		})},
		{"COMMAND", "its command line", kindText, NeedDetail | NeedArgs, firstHolderValue(func(v *View, h inspect.Holder) cellValue {
			return detailValue(v, h.PID, func(_ *View, d inspect.Detail) cellValue { return textValue(d.Command()) })
		})},
		{"USER", "user that it runs as; of a socket without a process, who made it", kindText, NeedDetail, func(v *View, l *network.Listener) cellValue {
			if h, ok := first(l); ok {
				return detailValue(v, h.PID, func(_ *View, d inspect.Detail) cellValue { return textValue(v.UserName(d.UID)) })
			}
			return v.makerOf(l)
		}},
		{"OWNER", "user that made the socket", kindText, 0, func(v *View, l *network.Listener) cellValue { return v.makerOf(l) }},
		{"UID", "its number", kindNumber, 0, func(_ *View, l *network.Listener) cellValue { return numberFrom(l.UID, 0) }},
		{"RECVQ", "connections that wait to be accepted, or bytes to be read", kindNumber, 0, func(_ *View, l *network.Listener) cellValue { return numberValue(l.Recv) }},
		{"SENDQ", "connections that may wait, or bytes to be sent", kindNumber, 0, func(_ *View, l *network.Listener) cellValue { return numberValue(l.Send) }},
		{"INODE", "inode number of the socket", kindNumber, 0, func(_ *View, l *network.Listener) cellValue { return numberFrom(l.Inode, 1) }},
		{"NS", "inode number of the network namespace", kindNumber, 0, func(_ *View, l *network.Listener) cellValue { return numberValue(l.NS.ID.Ino) }},
		{"WHERE", "the network namespace in words: host, a container, a name of ip-netns(8), or the namespace", kindText, NeedContainers, func(v *View, l *network.Listener) cellValue { return textValue(v.Place(l.NS)) }},
		{"NSFS", "where the network namespace is mounted in the caller's mount namespace", kindList, 0, func(v *View, l *network.Listener) cellValue { return v.nsfs(l.NS) }},
		listenerContainer("CONTAINER", containerName),
		listenerContainer("ENGINE", containerEngine),
		listenerContainer("CID", containerID),
		listenerContainer("IMAGE", containerImage),
		listenerContainer("POD", containerPod),
	}
}

// listenerContainer returns a column about the container of a socket: that of its process, or without
// one that of its namespace.
//
//go:noinline
func listenerContainer(name string, f containerField) Column[*network.Listener] {
	return Column[*network.Listener]{name, f.help, kindText, NeedContainers, func(v *View, l *network.Listener) cellValue { return f.value(v.containerOfListener(l)) }}
}

func (v *View) containerOfListener(l *network.Listener) *container.Container {
	if v.Containers == nil {
		return nil
	}
	if h, ok := first(l); ok {
		if p, ok := v.Snapshot.Process(h.PID); ok {
			return v.Containers.Of(p).Container
		}
	}
	return v.Containers.With(l.NS)
}

// first returns the holder with the lowest PID.
func first(l *network.Listener) (inspect.Holder, bool) {
	if len(l.Holders) == 0 {
		return inspect.Holder{}, false
	}
	return l.Holders[0], true
}

// firstHolderValue returns a column about the first process that has a socket open.
//
//go:noinline
func firstHolderValue(f func(*View, inspect.Holder) cellValue) func(*View, *network.Listener) cellValue {
	return func(v *View, l *network.Listener) cellValue {
		if h, ok := first(l); ok {
			return f(v, h)
		}
		return v.noHolder(l)
	}
}

// noHolder is the value for a socket without a known process: none, or unknown if descriptors
// of some process could not be read.
func (v *View) noHolder(l *network.Listener) cellValue {
	if l.Inode == 0 {
		return cellValue{}
	}
	return v.absent(inspect.FDs)
}

func (v *View) makerOf(l *network.Listener) cellValue {
	if l.UID < 0 {
		return cellValue{state: hidden}
	}
	return textValue(v.UserName(uint32(l.UID)))
}

// nobodyHas is the cell of a socket that no process has open.
const nobodyHas = "no process"

// holdersOfListener lists the processes that have a socket open: "nginx (812 fd 6)".
func holdersOfListener(v *View, l *network.Listener) cellValue {
	if len(l.Holders) == 0 {
		if n := v.noHolder(l); n.state == hidden {
			return n
		}
		return cellValue{state: known, list: []string{nobodyHas}, holders: slices.Values(l.Holders)}
	}
	val := cellValue{state: known, holders: slices.Values(l.Holders)}
	for _, h := range l.Holders {
		comm := "process"
		if d, ok := v.Details[h.PID]; ok && d.Comm != "" {
			comm = d.Comm
		}
		pid := strconv.Itoa(h.PID)
		if h.TID != 0 {
			pid += "/" + strconv.Itoa(h.TID)
		}
		val.list = append(val.list, fmt.Sprintf("%s (%s fd %d)", comm, pid, h.FD))
	}
	return val
}

// localOf returns the local address of a socket.
func localOf(l *network.Listener) string {
	link := ""
	switch {
	case l.LinkName != "":
		link = "%" + l.LinkName
	case l.Link != 0:
		link = "%" + strconv.Itoa(l.Link)
	}
	switch {
	case l.Protocol == network.Raw:
		return hostOf(l.Local.Addr()) + link + ":" + strconv.Itoa(int(l.Local.Port()))
	case l.Protocol == network.Packet:
		return "*" + link
	case l.Local.IsValid():
		return hostOf(l.Local.Addr()) + link + ":" + strconv.Itoa(int(l.Local.Port()))
	case l.Abstract:
		return "@" + l.Name
	}
	return l.Name
}

// hostOf formats an address before a port.
func hostOf(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}

// familyOf returns the address family of a socket.
func familyOf(l *network.Listener) string {
	switch {
	case strings.HasPrefix(string(l.Protocol), "unix"):
		return "unix"
	case l.Protocol == network.Packet:
		return "packet"
	case l.Local.Addr().Is4():
		return "ipv4"
	case l.Local.Addr().IsUnspecified() && !l.V6Only && l.Protocol != network.Raw:
		return "both"
	}
	return "ipv6"
}

// ListenerList is the list of sockets.
func ListenerList() ListOf[*network.Listener] {
	return ListOf[*network.Listener]{
		Schema: "nstool/ports/2", Key: "sockets", Columns: listenerColumns(),
		Default: []string{"PROTO", "LOCAL", "NS", "WHERE", "CONTAINER?", "USER", "PROCESSES"},
		Dropped: []string{"NS", "USER", "WHERE", "CONTAINER"},
		Subjects: func(v *View, l *network.Listener) ([]*inspect.Process, []*inspect.Namespace) {
			var pids []int
			for _, h := range l.Holders {
				pids = append(pids, h.PID)
			}
			return v.processes(pids...), nil
		},
	}
}

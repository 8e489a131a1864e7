package output

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/network"
)

// Interfaces is the table of columns that say something of a network interface.
var Interfaces = []Column[*network.Interface]{
	{"NAME", "name of the interface", Text, 0, func(_ *View, i *network.Interface) Value { return textValue(i.Link.Name) }},
	{"INDEX", "its number in its namespace", Number, 0, func(_ *View, i *network.Interface) Value { return numberValue(i.Index) }},
	{"KIND", "kind of a virtual interface: veth, bridge, macvlan, vlan, tun ...; of others the hardware: loopback, ether ...", Text, 0, func(_ *View, i *network.Interface) Value { return textValue(i.Kind) }},
	{"STATE", "up, down (switched off), no-carrier (on, but nothing is at the other end) or dormant", Text, 0, func(_ *View, i *network.Interface) Value { return textValue(i.State()) }},
	{"OPERSTATE", "operational state, as ip-link(8) has it, in lower case", Text, 0, func(_ *View, i *network.Interface) Value { return textValue(i.OperState) }},
	{"ADDRESSES", "its addresses, with the length of the prefix", List, 0, func(_ *View, i *network.Interface) Value { return listValue(addresses(i)) }},
	{"MAC", "hardware address", Text, 0, func(_ *View, i *network.Interface) Value { return textValue(hardware(i.Hardware)) }},
	{"MTU", "largest packet it takes, in bytes", Number, 0, func(_ *View, i *network.Interface) Value { return numberValue(i.MTU) }},
	{"ALTNAMES", "alternative names", List, 0, func(_ *View, i *network.Interface) Value { return listValue(i.AltNames) }},
	{"ALIAS", "what somebody wrote about it", Text, 0, func(_ *View, i *network.Interface) Value { return textValue(i.Alias) }},
	{"VLAN", "identifier of a vlan", Number, 0, func(_ *View, i *network.Interface) Value { return numberFrom(i.VLAN, 1) }},
	{"MASTER", "bridge, bond or the like that it is a port of", Text, 0, func(_ *View, i *network.Interface) Value {
		switch {
		case i.Master != nil:
			return textValue(i.Master.Link.Name)
		case i.Link.Master != 0:
			return Value{state: hidden}
		}
		return Value{}
	}},
	{"LINK", "what PEER is: \"pair\" for the other end of one, \"on\" for the interface that this one is on top of", Text, 0, func(_ *View, i *network.Interface) Value {
		switch {
		case i.Far == nil:
			return Value{}
		case i.Paired():
			return textValue("pair")
		}
		return textValue("on")
	}},
	{"PEER", "interface at the other end, or that this one is on top of, and where that is: eth0@docker:web", Text, Identity, func(v *View, i *network.Interface) Value {
		if i.Far == nil {
			return Value{}
		}
		name := i.Far.Name
		if name == "" && i.Lower != 0 {
			name = "?"
		}
		switch {
		case i.Far.NS == i.NS:
			return textValue(name)
		case i.Far.NS == nil && name == "?":
			return Value{state: hidden}
		}
		return textValue(name + "@" + v.Place(i.Far.NS))
	}},
	{"PEERNAME", "name of that interface", Text, 0, func(_ *View, i *network.Interface) Value {
		if i.Far != nil && i.Far.Name == "" && i.Lower != 0 {
			return Value{state: hidden}
		}
		return ofFar(i, func(e *network.End) Value { return textValue(e.Name) })
	}},
	{"PEERINDEX", "its number in its namespace", Number, 0, func(_ *View, i *network.Interface) Value {
		if i.Lower == 0 || i.Far == nil {
			return Value{}
		}
		return numberValue(i.Lower)
	}},
	{"PEERNS", "inode number of the network namespace that it is in", Number, 0, func(_ *View, i *network.Interface) Value {
		return ofFarNS(i, func(ns *inspect.Namespace) Value { return numberValue(ns.ID.Ino) })
	}},
	{"PEERCONTAINER", "container that that namespace belongs to", Text, Identity, func(v *View, i *network.Interface) Value {
		return ofFarNS(i, func(ns *inspect.Namespace) Value { return containerName.value(v.Containers.With(ns)) })
	}},
	{"NETNSID", "number that the interface's namespace has for the one of PEER, if that is another", Number, 0, func(_ *View, i *network.Interface) Value { return numberFrom(i.NetNSID, 0) }},
	{"UPPERS", "interfaces on top of this one, and the ports of a bridge, with where they are if that is elsewhere", List, Identity, func(v *View, i *network.Interface) Value {
		var names []string
		for _, u := range i.Uppers {
			name := u.Link.Name
			if u.NS != i.NS {
				name += "@" + v.Place(u.NS)
			}
			names = append(names, name)
		}
		if names == nil && v.PartNetworks {
			return Value{state: hidden}
		}
		return listValue(names)
	}},
	{"NS", "inode number of the network namespace", Number, 0, func(_ *View, i *network.Interface) Value { return numberValue(i.NS.ID.Ino) }},
	{"PID", "leader of the network namespace: the member with the lowest PID", Number, 0, func(v *View, i *network.Interface) Value { return v.leaderOf(i.NS) }},
	{"COMMAND", "command line of the leader; without one, what holds the namespace", Text, Detail | Args | HolderDetail, func(v *View, i *network.Interface) Value { return commandOf(v, i.NS) }},
	{"NSFS", "where the network namespace is mounted in the caller's mount namespace", List, 0, func(v *View, i *network.Interface) Value { return v.nsfs(i.NS) }},
	{"WHERE", "the network namespace in words: host, a container, a name of ip-netns(8), or the namespace", Text, Identity, func(v *View, i *network.Interface) Value { return textValue(v.Place(i.NS)) }},
	ofInterface("CONTAINER", containerName),
	ofInterface("ENGINE", containerEngine),
	ofInterface("CID", containerID),
	ofInterface("IMAGE", containerImage),
	ofInterface("POD", containerPod),
}

// InterfaceDefaults returns the columns of interfaces that are shown when none are
// asked for.
func InterfaceDefaults() []Column[*network.Interface] {
	return Pick(Interfaces, "NS", "WHERE", "NAME", "KIND", "STATE", "MASTER", "PEER", "ADDRESSES")
}

// ofInterface makes a column of what there is to say of the container that the
// namespace of an interface belongs to.
func ofInterface(name string, f containerField) Column[*network.Interface] {
	return Column[*network.Interface]{name, f.help, Text, Identity, func(v *View, i *network.Interface) Value { return f.value(v.Containers.With(i.NS)) }}
}

func ofFar(i *network.Interface, f func(*network.End) Value) Value {
	if i.Far == nil {
		return Value{}
	}
	return f(i.Far)
}

// ofFarNS makes a value of the namespace in which the other end is.
func ofFarNS(i *network.Interface, f func(*inspect.Namespace) Value) Value {
	return ofFar(i, func(e *network.End) Value {
		if e.NS == nil {
			return Value{state: hidden}
		}
		return f(e.NS)
	})
}

// Place says in words which network namespace ns is.
func (v *View) Place(ns *inspect.Namespace) string {
	if ns == nil {
		return "?"
	}
	if v.places == nil {
		v.places = make(map[*inspect.Namespace]string)
	}
	name, ok := v.places[ns]
	if !ok {
		name = v.findPlace(ns)
		v.places[ns] = name
	}
	return name
}

func (v *View) findPlace(ns *inspect.Namespace) string {
	if v.Containers.IsHost(inspect.Net, ns.ID) {
		return "host"
	}
	if c := v.Containers.With(ns); c != nil {
		return c.String()
	}
	for _, path := range v.ownMounts(ns) {
		if dir, name := filepath.Split(path); dir == "/run/netns/" || dir == "/var/run/netns/" {
			return "netns:" + name
		}
	}
	return ns.String()
}

func addresses(i *network.Interface) (list []string) {
	for _, a := range i.Addresses {
		s := a.Prefix.String()
		if a.Peer.IsValid() {
			s = fmt.Sprintf("%s>%s/%d", a.Prefix.Addr(), a.Peer, a.Prefix.Bits())
		}
		list = append(list, s)
	}
	return list
}

// hardware writes a hardware address as ip-link(8) does: one of a tunnel is an
// address of the internet there, here bytes.
func hardware(b []byte) string {
	var s strings.Builder
	for i, c := range b {
		if i > 0 {
			s.WriteByte(':')
		}
		if c < 0x10 {
			s.WriteByte('0')
		}
		s.WriteString(strconv.FormatUint(uint64(c), 16))
	}
	return s.String()
}

// InterfaceList is the list of network interfaces.
var InterfaceList = ListOf[*network.Interface]{Schema: "nstool/net/2", Key: "interfaces", Columns: Interfaces, Spare: []string{"NS", "MASTER", "KIND", "STATE", "PEER"}}

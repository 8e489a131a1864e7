package output

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/network"
)

// interfaceColumns returns the columns of network interfaces.
func interfaceColumns() []Column[*network.Interface] {
	return []Column[*network.Interface]{
		{"NAME", "name of the interface", kindText, 0, func(_ *View, i *network.Interface) cellValue { return textValue(i.Link.Name) }},
		{"INDEX", "its number in its namespace", kindNumber, 0, func(_ *View, i *network.Interface) cellValue { return numberValue(i.Index) }},
		{"KIND", "kind of a virtual interface: veth, bridge, macvlan, vlan, tun ...; of others the hardware: loopback, ether ...", kindText, 0, func(_ *View, i *network.Interface) cellValue { return textValue(i.Kind) }},
		{"STATE", "up, down (switched off), no-carrier (on, but nothing is at the other end) or dormant", kindText, 0, func(_ *View, i *network.Interface) cellValue { return textValue(i.State()) }},
		{"OPERSTATE", "operational state, as ip-link(8) has it, in lower case", kindText, 0, func(_ *View, i *network.Interface) cellValue { return textValue(i.OperState) }},
		{"ADDRESSES", "its addresses, with the length of the prefix", kindList, 0, func(_ *View, i *network.Interface) cellValue { return listValue(addresses(i)) }},
		{"MAC", "hardware address", kindText, 0, func(_ *View, i *network.Interface) cellValue { return textValue(hardware(i.Hardware)) }},
		{"MTU", "largest packet it takes, in bytes", kindNumber, 0, func(_ *View, i *network.Interface) cellValue { return numberValue(i.MTU) }},
		{"ALTNAMES", "alternative names", kindList, 0, func(_ *View, i *network.Interface) cellValue { return listValue(i.AltNames) }},
		{"ALIAS", "what somebody wrote about it", kindText, 0, func(_ *View, i *network.Interface) cellValue { return textValue(i.Alias) }},
		{"VLAN", "identifier of a vlan", kindNumber, 0, func(_ *View, i *network.Interface) cellValue { return numberFrom(i.VLAN, 1) }},
		{"MASTER", "bridge, bond or the like that it is a port of", kindText, 0, func(_ *View, i *network.Interface) cellValue {
			switch {
			case i.Master != nil:
				return textValue(i.Master.Link.Name)
			case i.Link.Master != 0:
				return cellValue{state: hidden}
			}
			return cellValue{}
		}},
		{"LINK", "what PEER is: \"pair\" for the other end of one, \"on\" for the interface that this one is on top of", kindText, 0, func(_ *View, i *network.Interface) cellValue {
			switch {
			case i.Far == nil:
				return cellValue{}
			case i.Paired():
				return textValue("pair")
			}
			return textValue("on")
		}},
		{"PEER", "interface at the other end, or that this one is on top of, and where that is: eth0@docker:web", kindText, NeedContainers, func(v *View, i *network.Interface) cellValue {
			if i.Far == nil {
				return cellValue{}
			}
			name := i.Far.Name
			if name == "" && i.Lower != 0 {
				name = "?"
			}
			switch {
			case i.Far.NS == i.NS:
				return textValue(name)
			case i.Far.NS == nil && name == "?":
				return cellValue{state: hidden}
			}
			return textValue(name + "@" + v.Place(i.Far.NS))
		}},
		{"PEERNAME", "name of that interface", kindText, 0, func(_ *View, i *network.Interface) cellValue {
			if i.Far != nil && i.Far.Name == "" && i.Lower != 0 {
				return cellValue{state: hidden}
			}
			return peerValue(i, func(e *network.End) cellValue { return textValue(e.Name) })
		}},
		{"PEERINDEX", "its number in its namespace", kindNumber, 0, func(_ *View, i *network.Interface) cellValue {
			if i.Lower == 0 || i.Far == nil {
				return cellValue{}
			}
			return numberValue(i.Lower)
		}},
		{"PEERNS", "inode number of the network namespace that it is in", kindNumber, 0, func(_ *View, i *network.Interface) cellValue {
			return peerNamespaceValue(i, func(ns *inspect.Namespace) cellValue { return numberValue(ns.ID.Ino) })
		}},
		{"PEERCONTAINER", "container that that namespace belongs to", kindText, NeedContainers, func(v *View, i *network.Interface) cellValue {
			return peerNamespaceValue(i, func(ns *inspect.Namespace) cellValue { return containerName.value(v.Containers.With(ns)) })
		}},
		{"NETNSID", "number that the interface's namespace has for the one of PEER, if that is another", kindNumber, 0, func(_ *View, i *network.Interface) cellValue { return numberFrom(i.NetNSID, 0) }},
		{"UPPERS", "interfaces on top of this one, and the ports of a bridge, with where they are if that is elsewhere", kindList, NeedContainers, func(v *View, i *network.Interface) cellValue {
			var names []string
			for _, u := range i.Uppers {
				name := u.Link.Name
				if u.NS != i.NS {
					name += "@" + v.Place(u.NS)
				}
				names = append(names, name)
			}
			if names == nil && v.PartNetworks {
				return cellValue{state: hidden}
			}
			return listValue(names)
		}},
		{"NS", "inode number of the network namespace", kindNumber, 0, func(_ *View, i *network.Interface) cellValue { return numberValue(i.NS.ID.Ino) }},
		{"PID", "leader of the network namespace: the member with the lowest PID", kindNumber, 0, func(v *View, i *network.Interface) cellValue { return v.leaderOf(i.NS) }},
		{"COMMAND", "command line of the leader; without one, what holds the namespace", kindText, NeedDetail | NeedArgs | NeedHolders, func(v *View, i *network.Interface) cellValue { return commandOf(v, i.NS) }},
		{"NSFS", "where the network namespace is mounted in the caller's mount namespace", kindList, 0, func(v *View, i *network.Interface) cellValue { return v.nsfs(i.NS) }},
		{"WHERE", "the network namespace in words: host, a container, a name of ip-netns(8), or the namespace", kindText, NeedContainers, func(v *View, i *network.Interface) cellValue { return textValue(v.Place(i.NS)) }},
		interfaceContainer("CONTAINER", containerName),
		interfaceContainer("ENGINE", containerEngine),
		interfaceContainer("CID", containerID),
		interfaceContainer("IMAGE", containerImage),
		interfaceContainer("POD", containerPod),
	}
}

// interfaceContainer returns a column about the container that the namespace of an interface belongs
// to.
//
//go:noinline
func interfaceContainer(name string, f containerField) Column[*network.Interface] {
	return Column[*network.Interface]{name, f.help, kindText, NeedContainers, func(v *View, i *network.Interface) cellValue { return f.value(v.Containers.With(i.NS)) }}
}

func peerValue(i *network.Interface, f func(*network.End) cellValue) cellValue {
	if i.Far == nil {
		return cellValue{}
	}
	return f(i.Far)
}

// peerNamespaceValue returns a value about the namespace of the other end.
func peerNamespaceValue(i *network.Interface, f func(*inspect.Namespace) cellValue) cellValue {
	return peerValue(i, func(e *network.End) cellValue {
		if e.NS == nil {
			return cellValue{state: hidden}
		}
		return f(e.NS)
	})
}

// Place returns the network namespace ns in words.
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

// hardware formats a hardware address as ip-link(8) does, except that the one of a tunnel is in
// bytes.
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
func InterfaceList() ListOf[*network.Interface] {
	return ListOf[*network.Interface]{
		Schema: "nstool/net/2", Key: "interfaces", Columns: interfaceColumns(),
		Default: []string{"NS", "WHERE", "NAME", "KIND", "STATE", "MASTER", "PEER", "ADDRESSES"},
		Dropped: []string{"NS", "MASTER", "KIND", "STATE", "PEER"},
		Subjects: func(_ *View, i *network.Interface) ([]*inspect.Process, []*inspect.Namespace) {
			return nil, []*inspect.Namespace{i.NS}
		},
	}
}

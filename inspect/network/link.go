package network

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/mdlayher/netlink"
)

// A Link is a network interface.
type Link struct {
	Index    int
	Name     string   // at most 15 bytes, any but slash and blanks
	AltNames []string // alternative names; Linux 5.5
	Alias    string   // a text by its user

	// Kind is the kind of a virtual interface, such as "veth" or "bridge"; of
	// others the kind of hardware, such as "loopback" or "ether".
	Kind string
	// Flags are the IFF_ flags of netdevice(7).
	Flags uint32
	// OperState is its operational state as RFC 2863 has it: "up", "down",
	// "unknown", "lowerlayerdown", "dormant", "testing" or "notpresent".
	OperState string
	MTU       int
	Hardware  []byte // its address
	VLAN      int    // identifier of a vlan; else 0

	// Master is the index of the interface that it is a port of, such as a
	// bridge or bond, or 0.
	Master int
	// Lower is the index of the other end of a pair, or of the interface that
	// it is on top of, or 0. It is in the namespace with the number NetNSID.
	Lower int
	// NetNSID is the number, in the namespace of the interface, of the namespace of Lower, or
	// [SameNamespace], or [NoNumber].
	NetNSID int

	Addresses []Address // IPv4 first, as the kernel lists them
}

// Values of [Link.NetNSID] that are no numbers.
const (
	// SameNamespace: Lower is in the same namespace, or there is none.
	SameNamespace = -2
	// NoNumber: Lower is in another namespace without a number, for example while that is being
	// freed.
	NoNumber = -1
)

// Flags of interfaces, from the kernel's include/uapi/linux/if.h.
const (
	FlagUp      = 1 << 0  // IFF_UP: it was switched on
	FlagRunning = 1 << 6  // IFF_RUNNING: it has a carrier, and nothing to wait for
	FlagDormant = 1 << 17 // IFF_DORMANT
)

// State returns the state of l in a word: "up", "down" (switched off), "no-carrier" (switched
// on, but the other end is missing or switched off) or "dormant" (it waits for something).
func (l *Link) State() string {
	switch {
	case l.Flags&FlagUp == 0:
		return "down"
	case l.Flags&FlagRunning != 0:
		return "up"
	case l.Flags&FlagDormant != 0:
		return "dormant"
	}
	return "no-carrier"
}

// Paired reports whether l and Lower are the ends of a pair.
func (l *Link) Paired() bool { return l.Kind == "veth" || l.Kind == "netkit" || l.Kind == "vxcan" }

// stacked are the kinds of interface that are always on top of another.
var stacked = map[string]bool{
	"vlan": true, "macvlan": true, "macvtap": true, "ipvlan": true, "ipvtap": true, "macsec": true, "ipoib": true, "lowpan": true,
}

// An Address is an address of an interface.
type Address struct {
	Prefix netip.Prefix // the address with the length of the prefix
	Peer   netip.Addr   // the other end of a point-to-point link, or the zero Addr
	Scope  uint8        // 0 global, 253 link, 254 host; see rtnetlink(7)
	Flags  uint32       // IFA_F_ flags
}

// Messages and attributes of rtnetlink(7), from the kernel's
// include/uapi/linux/rtnetlink.h, if_link.h and if_addr.h.
const (
	rtmGetLink  = 18
	rtmGetAddr  = 22
	rtmGetRoute = 26
	rtmGetNSID  = 90

	iflaAddress       = 1
	iflaIfname        = 3
	iflaMTU           = 4
	iflaLink          = 5
	iflaMaster        = 10
	iflaOperstate     = 16
	iflaLinkinfo      = 18
	iflaIfalias       = 20
	iflaExtMask       = 29
	iflaLinkNetnsid   = 37
	iflaTargetNetnsid = 46
	iflaPropList      = 52
	iflaAltIfname     = 53

	iflaInfoKind = 1
	iflaInfoData = 2
	iflaVlanID   = 1

	ifaAddress = 1
	ifaLocal   = 2
	ifaFlags   = 8

	skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS

	afInet  = 2
	afInet6 = 10
)

// Links returns the interfaces of the namespace, by index, with addresses.
func (c *Conn) Links() ([]Link, error) {
	if err := c.openRoute(); err != nil {
		return nil, err
	}
	var links []Link
	err := dump(c.route, rtmGetLink, linkRequest(0), func() { links = links[:0] }, func(b []byte) error {
		l, err := parseLink(b)
		links = append(links, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("RTM_GETLINK: %w", err)
	}
	sort.Slice(links, func(i, j int) bool { return links[i].Index < links[j].Index })
	var found []indexed
	err = dump(c.route, rtmGetAddr, make([]byte, sizeofIfAddrmsg), func() { found = found[:0] }, func(b []byte) error {
		a, err := parseAddress(b)
		found = append(found, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("RTM_GETADDR: %w", err)
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].Prefix.Addr().BitLen() < found[j].Prefix.Addr().BitLen() })
	for _, a := range found {
		if i, ok := slices.BinarySearchFunc(links, a.index, func(l Link, index int) int { return cmp.Compare(l.Index, index) }); ok {
			links[i].Addresses = append(links[i].Addresses, a.Address)
		}
	}
	return links, nil
}

// link returns the interface with the given index.
func (c *Conn) link(index int) (Link, error) {
	if err := c.openRoute(); err != nil {
		return Link{}, err
	}
	b, err := ask(c.route, rtmGetLink, linkRequest(index))
	if err != nil {
		return Link{}, err
	}
	return parseLink(b)
}

// remote returns the interface with the given index in the namespace with the given number. It
// needs CAP_NET_ADMIN in the user namespace that owns that one; Linux 4.15
// (IFLA_TARGET_NETNSID, at first IFLA_IF_NETNSID).
func (c *Conn) remote(nsid, index int) (Link, error) {
	if err := c.openRoute(); err != nil {
		return Link{}, err
	}
	body := linkRequest(index)
	b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: iflaTargetNetnsid, Data: binary.NativeEndian.AppendUint32(nil, uint32(nsid))}})
	if err != nil {
		return Link{}, err
	}
	answer, err := ask(c.route, rtmGetLink, append(body, b...))
	if err != nil {
		return Link{}, err
	}
	return parseLink(answer)
}

const (
	sizeofIfInfomsg = 16
	sizeofIfAddrmsg = 8
)

// linkRequest asks for the interface with an index, or for all with 0.
func linkRequest(index int) []byte {
	body := make([]byte, sizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: iflaExtMask, Data: binary.NativeEndian.AppendUint32(nil, skipStats)}})
	if err != nil {
		panic(err) // an attribute of more than 64 KiB
	}
	return append(body, attrs...)
}

// parseLink reads the payload of RTM_NEWLINK.
func parseLink(b []byte) (Link, error) {
	if len(b) < sizeofIfInfomsg {
		return Link{}, errShort
	}
	ne := binary.NativeEndian
	l := Link{Index: int(int32(ne.Uint32(b[4:]))), Flags: ne.Uint32(b[8:]), NetNSID: SameNamespace, OperState: "unknown"}
	hardware := ne.Uint16(b[2:])
	var info error
	err := attributes(b[sizeofIfInfomsg:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case iflaIfname:
			l.Name = d.String()
		case iflaIfalias:
			l.Alias = d.String()
		case iflaAddress:
			l.Hardware = d.Bytes()
		case iflaMTU:
			l.MTU = int(d.Uint32())
		case iflaLink:
			l.Lower = int(d.Int32())
		case iflaMaster:
			l.Master = int(d.Uint32())
		case iflaOperstate:
			l.OperState = operState(d.Uint8())
		case iflaLinkNetnsid:
			l.NetNSID = max(int(d.Int32()), NoNumber)
		case iflaLinkinfo:
			info = attributes(d.Bytes(), func(d *netlink.AttributeDecoder) { info = errors.Join(info, l.readInfo(d)) })
		case iflaPropList:
			info = errors.Join(info, attributes(d.Bytes(), func(d *netlink.AttributeDecoder) {
				if d.Type() == iflaAltIfname {
					l.AltNames = append(l.AltNames, d.String())
				}
			}))
		}
	})
	if l.Kind == "" {
		l.Kind = hardwareName(hardware)
	}
	// An interface that is not on top of another, such as a tunnel, has its own index.
	if l.Lower == l.Index && !l.Paired() && !stacked[l.Kind] {
		l.Lower = 0
	}
	return l, errors.Join(err, info)
}

// readInfo reads an attribute of IFLA_LINKINFO. The kind comes before its data.
func (l *Link) readInfo(d *netlink.AttributeDecoder) error {
	switch d.Type() {
	case iflaInfoKind:
		l.Kind = d.String()
	case iflaInfoData:
		if l.Kind == "vlan" {
			return attributes(d.Bytes(), func(d *netlink.AttributeDecoder) {
				if d.Type() == iflaVlanID {
					l.VLAN = int(d.Uint16())
				}
			})
		}
	}
	return nil
}

// operState returns the word for a state of IFLA_OPERSTATE; see IF_OPER_UNKNOWN
// in the kernel's include/uapi/linux/if.h.
func operState(n uint8) string {
	words := [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}
	if int(n) < len(words) {
		return words[n]
	}
	return fmt.Sprint(n)
}

// hardwareName returns the word of ip-link(8) for the more common kinds of hardware; see the
// kernel's include/uapi/linux/if_arp.h.
func hardwareName(arphrd uint16) string {
	switch arphrd {
	case 1:
		return "ether"
	case 32:
		return "infiniband"
	case 280:
		return "can"
	case 512:
		return "ppp"
	case 768:
		return "ipip"
	case 769:
		return "tunnel6"
	case 772:
		return "loopback"
	case 776:
		return "sit"
	case 778:
		return "gre"
	case 801:
		return "ieee802.11"
	case 823:
		return "gre6"
	case 824:
		return "netlink"
	case 0xFFFE:
		return "none"
	}
	return fmt.Sprintf("arphrd-%d", arphrd)
}

// An indexed is an address with the index of its interface.
type indexed struct {
	Address
	index int
}

// parseAddress reads the payload of RTM_NEWADDR.
func parseAddress(b []byte) (indexed, error) {
	if len(b) < sizeofIfAddrmsg {
		return indexed{}, errShort
	}
	bits := int(b[1])
	a := indexed{Address: Address{Flags: uint32(b[2]), Scope: b[3]}, index: int(binary.NativeEndian.Uint32(b[4:]))}
	var addr, local netip.Addr
	err := attributes(b[sizeofIfAddrmsg:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case ifaAddress:
			addr, _ = netip.AddrFromSlice(d.Bytes())
		case ifaLocal:
			local, _ = netip.AddrFromSlice(d.Bytes())
		case ifaFlags:
			a.Flags = d.Uint32()
		}
	})
	// On a point-to-point link IFA_ADDRESS is the other end; else both are the same, or there
	// is no IFA_LOCAL.
	if local.IsValid() {
		if addr != local {
			a.Peer = addr
		}
		addr = local
	}
	a.Prefix = netip.PrefixFrom(addr, bits)
	return a, err
}

package network

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"syscall"

	"github.com/mdlayher/netlink"
)

// A Route is an entry of the main routing table.
type Route struct {
	Dst     netip.Prefix // of length 0 for a default route
	Gateway netip.Addr   // the zero Addr if there is none
	Link    int          // the index of the interface, or 0
	Metric  uint32
	// Type is "unicast", "blackhole", "unreachable", "prohibit" or another type of ip-route(8).
	Type string
	// Hops is the number of next hops; Gateway and Link are of the first.
	Hops int
}

// Attributes of routes, from the kernel's include/uapi/linux/rtnetlink.h.
const (
	sizeofRtmsg     = 12
	sizeofRtnexthop = 8

	rtaDst       = 1
	rtaOif       = 4
	rtaGateway   = 5
	rtaPriority  = 6
	rtaMultipath = 9
	rtaTable     = 15
	rtaVia       = 18

	rtTableMain = 254
	rtmFCloned  = 0x200
)

// Routes returns the main routing table, IPv4 first, by destination and metric.
func (c *Conn) Routes() ([]Route, error) {
	if err := c.openRoute(); err != nil {
		return nil, err
	}
	var routes []Route
	for _, family := range []byte{afInet, afInet6} {
		body := make([]byte, sizeofRtmsg)
		body[0], body[4] = family, rtTableMain
		var found []Route
		err := dump(c.route, rtmGetRoute, body, func() { found = found[:0] }, func(b []byte) error {
			r, main, err := parseRoute(b)
			if main {
				found = append(found, r)
			}
			return err
		})
		// A table that never had a route does not exist, and the kernel may not have IPv6.
		if err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.EOPNOTSUPP) {
			return nil, fmt.Errorf("RTM_GETROUTE: %w", err)
		}
		routes = append(routes, found...)
	}
	sort.SliceStable(routes, func(i, j int) bool {
		a, b := &routes[i], &routes[j]
		return cmp.Or(cmp.Compare(a.Dst.Addr().BitLen(), b.Dst.Addr().BitLen()), a.Dst.Addr().Compare(b.Dst.Addr()),
			cmp.Compare(a.Dst.Bits(), b.Dst.Bits()), cmp.Compare(a.Metric, b.Metric)) < 0
	})
	return routes, nil
}

// parseRoute parses the payload of RTM_NEWROUTE, and reports whether it is of the main table.
func parseRoute(b []byte) (r Route, main bool, err error) {
	if len(b) < sizeofRtmsg {
		return r, false, errShort
	}
	ne := binary.NativeEndian
	bits, table, flags := int(b[1]), uint32(b[4]), ne.Uint32(b[8:])
	dst := netip.IPv4Unspecified()
	if b[0] == afInet6 {
		dst = netip.IPv6Unspecified()
	}
	r = Route{Type: routeType(b[7]), Hops: 1}
	err = attributes(b[sizeofRtmsg:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case rtaDst:
			if a, ok := netip.AddrFromSlice(d.Bytes()); ok {
				dst = a
			}
		case rtaGateway:
			r.Gateway, _ = netip.AddrFromSlice(d.Bytes())
		case rtaVia:
			r.Gateway = viaAddr(d.Bytes())
		case rtaOif:
			r.Link = int(d.Uint32())
		case rtaPriority:
			r.Metric = d.Uint32()
		case rtaTable:
			table = d.Uint32()
		case rtaMultipath:
			r.readHops(d.Bytes())
		}
	})
	r.Dst = netip.PrefixFrom(dst, bits)
	return r, table == rtTableMain && flags&rtmFCloned == 0, err
}

// viaAddr reads a gateway of another family than the destination.
func viaAddr(b []byte) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(b[2:])
	return a
}

// readHops reads the next hops of a route that has several.
func (r *Route) readHops(b []byte) {
	ne := binary.NativeEndian
	r.Hops = 0
	for len(b) >= sizeofRtnexthop {
		size := int(ne.Uint16(b))
		if size < sizeofRtnexthop || size > len(b) {
			return
		}
		if r.Hops++; r.Hops == 1 {
			r.Link = int(int32(ne.Uint32(b[4:])))
			_ = attributes(b[sizeofRtnexthop:size], func(d *netlink.AttributeDecoder) {
				switch d.Type() {
				case rtaGateway:
					r.Gateway, _ = netip.AddrFromSlice(d.Bytes())
				case rtaVia:
					r.Gateway = viaAddr(d.Bytes())
				}
			})
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}

// routeType returns the word that ip-route(8) has for a type of route.
func routeType(n uint8) string {
	words := [...]string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve"}
	if int(n) < len(words) {
		return words[n]
	}
	return fmt.Sprint(n)
}

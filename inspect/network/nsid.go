package network

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
)

// Attributes of RTM_GETNSID, from the kernel's include/uapi/linux/net_namespace.h.
const (
	netnsaNSID = 1
	netnsaFD   = 3
)

// ID returns the number of the namespace ns in the namespace of c, or [NoNumber] if work
// returns no error. The number is valid only in the namespace of c. See ip-netns(8), list-id.
func (c *Conn) ID(ns *os.File) (int, error) {
	if err := c.openRoute(); err != nil {
		return NoNumber, err
	}
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: netnsaFD, Data: binary.NativeEndian.AppendUint32(nil, uint32(ns.Fd()))}})
	if err != nil {
		return NoNumber, err
	}
	b, err := ask(c.route, rtmGetNSID, append(make([]byte, 4) /* struct rtgenmsg, padded */, attrs...))
	if err != nil {
		return NoNumber, fmt.Errorf("RTM_GETNSID: %w", err)
	}
	return parseNSID(b)
}

// parseNSID reads the payload of RTM_NEWNSID.
func parseNSID(b []byte) (int, error) {
	if len(b) < 4 {
		return NoNumber, errShort
	}
	id := NoNumber
	err := attributes(b[4:], func(d *netlink.AttributeDecoder) {
		if d.Type() == netnsaNSID {
			id = max(int(d.Int32()), NoNumber)
		}
	})
	return id, err
}

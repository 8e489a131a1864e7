package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/mdlayher/netlink"
)

// A Protocol is the protocol of a socket.
type Protocol string

// The protocols whose sockets can be listed.
const (
	TCP           Protocol = "tcp"
	UDP           Protocol = "udp"
	UDPLite       Protocol = "udplite"
	SCTP          Protocol = "sctp"
	MPTCP         Protocol = "mptcp"
	Raw           Protocol = "raw"
	Packet        Protocol = "packet"
	UnixStream    Protocol = "unix-stream"
	UnixDatagram  Protocol = "unix-dgram"
	UnixSeqpacket Protocol = "unix-seqpacket"
)

// Which selects the sockets to list.
type Which uint8

// The sockets to list, which can be added.
const (
	// InternetSockets are those of TCP, MPTCP and SCTP that listen, and those of UDP and
	// UDP-Lite that are bound and not connected.
	InternetSockets Which = 1 << iota
	// UnixSockets are those that listen, and those for datagrams that have a name and are not
	// connected.
	UnixSockets
	// RawSockets are those of raw(7), and of packet(7).
	RawSockets
)

// A Socket is a socket that waits for others.
type Socket struct {
	Protocol Protocol
	// Local is the local address of internet and raw sockets. The port of a raw socket is the
	// number of its protocol.
	Local netip.AddrPort
	// Link is the index of the interface that it is bound to, or 0.
	Link int
	// V6Only: a socket of IPv6 does not accept IPv4.
	V6Only bool
	// MPTCP: a socket of TCP also accepts connections of MPTCP.
	MPTCP bool

	// Name is the name of a unix socket: its path, which may be relative to an old working
	// directory of its process; with Abstract any bytes, without the zero byte before them. See
	// unix(7).
	Name     string
	Abstract bool

	// PacketType is the protocol that a packet socket gets, 3 for all.
	PacketType uint16

	// Inode is the number in links under /proc/pid/fd, "socket:[...]". It is 0 for a socket
	// that has no descriptor.
	Inode uint64
	// UID is the user that made the socket, in the caller's numbers; -1 if not known, as for
	// unix sockets before Linux 5.3.
	UID int64
	// Recv is the number of bytes to be read, or of connections to be accepted by a socket that
	// listens. Send is the number of bytes to be sent, or the most connections that may wait.
	Recv, Send uint32
}

// HasPort reports whether s has a port.
func (s *Socket) HasPort() bool { return s.Local.IsValid() && s.Protocol != Raw }

// Messages and attributes of sock_diag(7), from the kernel's
// include/uapi/linux/sock_diag.h, inet_diag.h, unix_diag.h and packet_diag.h.
const (
	sockDiagByFamily = 20

	tcpEstablished = 1
	tcpClose       = 7
	tcpListen      = 10

	ipprotoTCP     = 6
	ipprotoUDP     = 17
	ipprotoSCTP    = 132
	ipprotoUDPLite = 136
	ipprotoRaw     = 255
	ipprotoMPTCP   = 262

	inetDiagReqProtocol = 3 // INET_DIAG_REQ_PROTOCOL; Linux 5.9
	inetDiagSkV6Only    = 11
	inetDiagReqSize     = 56
	inetDiagMsgSize     = 72

	afUnix          = 1
	unixDiagReqSize = 24
	unixDiagMsgSize = 16
	udiagShowName   = 0x1
	udiagShowRQLen  = 0x10
	udiagShowUID    = 0x40
	unixDiagName    = 0
	unixDiagRQLen   = 4
	unixDiagUID     = 7
	sockStream      = 1
	sockDgram       = 2
	sockSeqpacket   = 5

	afPacket          = 17
	packetDiagReqSize = 20
	packetDiagMsgSize = 16
	packetShowInfo    = 0x1
	packetDiagInfo    = 0
	packetDiagUID     = 5
)

// inet are the protocols of internet sockets, with the states in which they wait for others.
var inet = []inetProtocol{
	{TCP, ipprotoTCP, tcpListen, InternetSockets, "TCP", "TCPv6", "tcp", false},
	{MPTCP, ipprotoMPTCP, tcpListen, InternetSockets, "MPTCP", "MPTCPv6", "", true},
	{SCTP, ipprotoSCTP, tcpListen, InternetSockets, "SCTP", "SCTPv6", "", true},
	{UDP, ipprotoUDP, tcpClose, InternetSockets, "UDP", "UDPv6", "udp", false},
	{UDPLite, ipprotoUDPLite, tcpClose, InternetSockets, "UDP-Lite", "UDPLITEv6", "udplite", true},
	{Raw, ipprotoRaw, anyState, RawSockets, "RAW", "RAWv6", "raw", false},
}

const anyState = -1

type inetProtocol struct {
	Protocol
	number int
	state  int
	which  Which
	v4, v6 string // the names in /proc/net/protocols
	file   string // under /proc/net, for IPv4, or ""
	seldom bool   // not in every kernel
}

// A lister lists sockets of many namespaces, also at once. It remembers the kinds that the
// kernel cannot list.
type lister struct {
	which  Which
	absent sync.Map // kinds that the kernel cannot list
}

func newLister(which Which) *lister { return &lister{which: which} }

// Sockets returns the sockets of the namespace of c that wait for others, without their
// processes; see [inspect.Snapshot.Sockets]. After an error it also returns what was read
// before.
func (li *lister) Sockets(c *Conn) ([]Socket, error) {
	if err := c.openDiag(); err != nil {
		return nil, err
	}
	// The kernel iterates over the sockets of all namespaces, and looks for missing modules:
	// only existing kinds are requested.
	counts := c.inUse()
	none := func(seldom bool, names ...string) bool {
		n, listed := 0, false
		for _, name := range names {
			if more, ok := counts[name]; ok {
				n, listed = n+more, true
			}
		}
		return listed && n == 0 || !listed && (seldom || counts != nil)
	}
	var all []Socket
	for _, p := range inet {
		for _, family := range []byte{afInet, afInet6} {
			name := p.v4
			if family == afInet6 {
				name = p.v6
			}
			if li.which&p.which == 0 || none(p.seldom, name) {
				continue
			}
			found, err := li.inet(c, p, family)
			if err != nil {
				return all, fmt.Errorf("%s sockets: %w", p.Protocol, err)
			}
			all = append(all, found...)
		}
	}
	if li.which&UnixSockets != 0 && !none(false, "UNIX", "UNIX-STREAM") {
		var found []Socket
		err := dump(c.diag, sockDiagByFamily, unixRequest(), func() { found = found[:0] }, func(b []byte) error {
			s, waits, err := parseUnix(b)
			if waits {
				found = append(found, s)
			}
			return err
		})
		if absent(err) {
			found, err = c.readProcUnix()
		}
		if err != nil {
			return all, fmt.Errorf("unix sockets: %w", err)
		}
		all = append(all, found...)
	}
	if li.which&RawSockets != 0 && !none(false, "PACKET") {
		var found []Socket
		err := dump(c.diag, sockDiagByFamily, packetRequest(), func() { found = found[:0] }, func(b []byte) error {
			s, err := parsePacket(b)
			found = append(found, s)
			return err
		})
		if err != nil && !absent(err) {
			return all, fmt.Errorf("packet sockets: %w", err)
		}
		all = append(all, found...)
	}
	return mergeMPTCP(all), nil
}

// inet returns the sockets of a protocol and a family, from /proc if the kernel has no
// sock_diag(7) for them.
func (li *lister) inet(c *Conn, p inetProtocol, family byte) (found []Socket, err error) {
	type question struct {
		Protocol
		family byte
	}
	q := question{p.Protocol, family}
	_, none := li.absent.Load(q)
	if !none {
		err = dump(c.diag, sockDiagByFamily, inetRequest(family, p.number, p.state), func() { found = found[:0] }, func(b []byte) error {
			s, err := parseInet(b)
			found = append(found, s)
			return err
		})
		if none = absent(err); none {
			li.absent.Store(q, true)
		}
	}
	if none && p.file != "" {
		name := p.file
		if family == afInet6 {
			name += "6"
		}
		found, err = c.readProc(name, p.state)
	} else if none {
		err = nil
	}
	for i := range found {
		found[i].Protocol = p.Protocol
	}
	return found, err
}

// absent reports whether an error is that the kernel has no such sockets, or no module to list
// them.
func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// mergeMPTCP marks the TCP sockets that belong to MPTCP sockets, which have the same inode, and
// leaves out the latter: users who ask for TCP mean them too. Every server written in Go has
// them.
func mergeMPTCP(all []Socket) []Socket {
	mptcp := make(map[uint64]bool)
	for _, s := range all {
		if s.Protocol == MPTCP && s.Inode != 0 {
			mptcp[s.Inode] = true
		}
	}
	if len(mptcp) == 0 {
		return all
	}
	served := make(map[uint64]bool)
	for i := range all {
		if s := &all[i]; s.Protocol == TCP && mptcp[s.Inode] {
			s.MPTCP, served[s.Inode] = true, true
		}
	}
	return slices.DeleteFunc(all, func(s Socket) bool { return s.Protocol == MPTCP && served[s.Inode] })
}

// inetRequest is a struct inet_diag_req_v2 for sockets in a state, or in any state for -1.
func inetRequest(family byte, protocol, state int) []byte {
	b := make([]byte, inetDiagReqSize)
	b[0], b[1] = family, byte(protocol)
	states := ^uint32(0)
	if state >= 0 {
		states = 1 << state
	}
	ne := binary.NativeEndian
	ne.PutUint32(b[4:], states)
	if protocol > 0xFF {
		b[1] = ipprotoRaw
		attr := make([]byte, 8)
		ne.PutUint16(attr[0:], 8)
		ne.PutUint16(attr[2:], inetDiagReqProtocol)
		ne.PutUint32(attr[4:], uint32(protocol))
		b = append(b, attr...)
	}
	return b
}

// parseInet reads a struct inet_diag_msg.
func parseInet(b []byte) (Socket, error) {
	if len(b) < inetDiagMsgSize {
		return Socket{}, errShort
	}
	ne := binary.NativeEndian
	addr := netip.AddrFrom4([4]byte(b[8:]))
	if b[0] == afInet6 {
		addr = netip.AddrFrom16([16]byte(b[8:]))
	}
	s := Socket{
		Local: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[4:])),
		Link:  int(ne.Uint32(b[40:])),
		Recv:  ne.Uint32(b[56:]), Send: ne.Uint32(b[60:]),
		UID: int64(ne.Uint32(b[64:])), Inode: uint64(ne.Uint32(b[68:])),
	}
	err := attributes(b[inetDiagMsgSize:], func(d *netlink.AttributeDecoder) {
		if d.Type() == inetDiagSkV6Only {
			s.V6Only = d.Uint8() != 0
		}
	})
	return s, err
}

// unixRequest is a struct unix_diag_req for sockets that may wait.
func unixRequest() []byte {
	b := make([]byte, unixDiagReqSize)
	ne := binary.NativeEndian
	b[0] = afUnix
	ne.PutUint32(b[4:], 1<<tcpListen|1<<tcpClose)
	ne.PutUint32(b[12:], udiagShowName|udiagShowRQLen|udiagShowUID)
	return b
}

// parseUnix parses a struct unix_diag_msg, and reports whether the socket waits for others.
func parseUnix(b []byte) (s Socket, waits bool, err error) {
	if len(b) < unixDiagMsgSize {
		return s, false, errShort
	}
	ne := binary.NativeEndian
	typ, state := b[1], b[2]
	s = Socket{Protocol: unixProtocol(typ), Inode: uint64(ne.Uint32(b[4:])), UID: -1}
	named := false
	err = attributes(b[unixDiagMsgSize:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case unixDiagName:
			named = true
			s.Name, s.Abstract = unixName(d.Bytes())
		case unixDiagRQLen:
			if q := d.Bytes(); len(q) >= 8 {
				s.Recv, s.Send = ne.Uint32(q), ne.Uint32(q[4:])
			}
		case unixDiagUID:
			s.UID = int64(d.Uint32())
		}
	})
	return s, state == tcpListen || typ == sockDgram && named, err
}

// unixName returns the name of a unix socket: a path ends at a zero byte.
func unixName(b []byte) (name string, abstract bool) {
	if len(b) > 0 && b[0] == 0 {
		return string(b[1:]), true
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b), false
}

func unixProtocol(typ byte) Protocol {
	switch typ {
	case sockStream:
		return UnixStream
	case sockSeqpacket:
		return UnixSeqpacket
	}
	return UnixDatagram
}

// packetRequest is a struct packet_diag_req.
func packetRequest() []byte {
	b := make([]byte, packetDiagReqSize)
	b[0] = afPacket
	binary.NativeEndian.PutUint32(b[8:], packetShowInfo)
	return b
}

// parsePacket reads a struct packet_diag_msg.
func parsePacket(b []byte) (Socket, error) {
	if len(b) < packetDiagMsgSize {
		return Socket{}, errShort
	}
	ne := binary.NativeEndian
	s := Socket{Protocol: Packet, PacketType: ne.Uint16(b[2:]), Inode: uint64(ne.Uint32(b[4:])), UID: -1}
	err := attributes(b[packetDiagMsgSize:], func(d *netlink.AttributeDecoder) {
		switch d.Type() {
		case packetDiagInfo:
			if info := d.Bytes(); len(info) >= 4 {
				s.Link = int(ne.Uint32(info))
			}
		case packetDiagUID:
			s.UID = int64(d.Uint32())
		}
	})
	return s, err
}

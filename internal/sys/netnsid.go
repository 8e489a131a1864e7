package sys

import (
	"encoding/binary"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// rtnetlink messages about identifiers of network namespaces, from the kernel's
// include/uapi/linux/net_namespace.h.
const (
	netnsaNSID = 1
	netnsaFD   = 3
)

// A Route is a socket to rtnetlink(7) in the network namespace of the caller.
// Its zero value is ready for use, by several goroutines.
type Route struct {
	mu   sync.Mutex
	fd   int
	err  error
	open bool
}

// Close closes the socket.
func (r *Route) Close() {
	if r.open && r.err == nil {
		unix.Close(r.fd)
	}
}

// NetNSID returns the number of the network namespace of fd in that of the caller, or -1 if it
// has none. See RTM_GETNSID in rtnetlink(7); Linux 4.0.
func (r *Route) NetNSID(fd int) (int, error) {
	r.mu.Lock() // one question at a time
	defer r.mu.Unlock()
	if !r.open {
		r.open = true
		r.fd, r.err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	}
	if r.err != nil {
		return -1, callError("socket", r.err)
	}
	const size = unix.SizeofNlMsghdr + 4 /* struct rtgenmsg, padded */ + unix.SizeofRtAttr + 4
	var msg [size]byte
	ne := binary.NativeEndian
	ne.PutUint32(msg[0:], size)
	ne.PutUint16(msg[4:], unix.RTM_GETNSID)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	ne.PutUint16(msg[20:], unix.SizeofRtAttr+4)
	ne.PutUint16(msg[22:], netnsaFD)
	ne.PutUint32(msg[24:], uint32(fd))
	if err := unix.Sendto(r.fd, msg[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, callError("sendto", err)
	}
	var reply [256]byte
	var n int
	err := retry(func() (err error) {
		n, _, err = unix.Recvfrom(r.fd, reply[:], 0)
		return err
	})
	if err != nil {
		// The answer may still come, and must not be taken for that of the next question.
		r.Close()
		r.open = false
		return -1, callError("recvfrom", err)
	}
	return parseNSID(reply[:n])
}

// parseNSID reads the answer to RTM_GETNSID.
func parseNSID(msg []byte) (int, error) {
	ne := binary.NativeEndian
	if len(msg) < unix.SizeofNlMsghdr+4 {
		return -1, errors.New("netlink: short answer")
	}
	if ne.Uint16(msg[4:]) == unix.NLMSG_ERROR {
		return -1, callError("RTM_GETNSID", unix.Errno(-int32(ne.Uint32(msg[16:]))))
	}
	for rest := msg[unix.SizeofNlMsghdr+4:]; len(rest) >= unix.SizeofRtAttr+4; {
		size := int(ne.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			break
		}
		if ne.Uint16(rest[2:]) == netnsaNSID && size >= unix.SizeofRtAttr+4 {
			return int(int32(ne.Uint32(rest[4:]))), nil
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return -1, errors.New("netlink: answer without a number")
}

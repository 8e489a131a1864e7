package sys

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// rtnetlink messages about identifiers of network namespaces, from the kernel's
// include/uapi/linux/net_namespace.h.
const (
	netnsaNSID = 1
	netnsaFD   = 3
)

// netlink is a socket in the network namespace of the caller; RTM_GETNSID is
// answered at once, so one is enough.
var netlink struct {
	sync.Mutex
	fd  int
	err error
	ok  bool
}

// NetNSID returns the number that the network namespace of the caller has for
// that of fd, or -1 if it has none. See RTM_GETNSID in rtnetlink(7); Linux 4.0.
func NetNSID(fd int) (int, error) {
	netlink.Lock()
	defer netlink.Unlock()
	if !netlink.ok {
		netlink.ok = true
		netlink.fd, netlink.err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	}
	if netlink.err != nil {
		return -1, os.NewSyscallError("socket", netlink.err)
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
	if err := unix.Sendto(netlink.fd, msg[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, os.NewSyscallError("sendto", err)
	}
	var reply [256]byte
	var n int
	err := retry(func() (err error) {
		n, _, err = unix.Recvfrom(netlink.fd, reply[:], 0)
		return err
	})
	if err != nil {
		return -1, os.NewSyscallError("recvfrom", err)
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
		return -1, os.NewSyscallError("RTM_GETNSID", unix.Errno(-int32(ne.Uint32(msg[16:]))))
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

package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoPeer says that the other end of an interface is not in another network
// namespace, or that it has none.
var ErrNoPeer = errors.New("its other end is in no other network namespace")

// LinkNetNSID returns the number that the caller's network namespace has for
// the one in which the other end of an interface is: IFLA_LINK_NETNSID in the
// kernel's include/uapi/linux/if_link.h, Linux 4.0.
func LinkNetNSID(name string) (int, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return -1, fs.ErrNotExist
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ne := binary.NativeEndian
	const head = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg
	attr := unix.SizeofRtAttr + len(name) + 1
	msg := make([]byte, head+(attr+3)&^3)
	ne.PutUint32(msg[0:], uint32(len(msg)))
	ne.PutUint16(msg[4:], unix.RTM_GETLINK)
	ne.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	ne.PutUint16(msg[head:], uint16(attr))
	ne.PutUint16(msg[head+2:], unix.IFLA_IFNAME)
	copy(msg[head+4:], name)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, os.NewSyscallError("sendto", err)
	}
	reply := make([]byte, 16<<10)
	var n int
	err = retry(func() (err error) {
		n, _, err = unix.Recvfrom(fd, reply, 0)
		return err
	})
	if err != nil {
		return -1, os.NewSyscallError("recvfrom", err)
	}
	return parseLinkNetNSID(reply[:n])
}

// parseLinkNetNSID reads the answer to RTM_GETLINK.
func parseLinkNetNSID(msg []byte) (int, error) {
	ne := binary.NativeEndian
	if len(msg) < unix.SizeofNlMsghdr+4 {
		return -1, errors.New("netlink: short answer")
	}
	if ne.Uint16(msg[4:]) == unix.NLMSG_ERROR {
		errno := unix.Errno(-int32(ne.Uint32(msg[16:])))
		if errno == unix.ENODEV {
			return -1, fmt.Errorf("RTM_GETLINK: %w", fs.ErrNotExist)
		}
		return -1, os.NewSyscallError("RTM_GETLINK", errno)
	}
	if len(msg) < unix.SizeofNlMsghdr+unix.SizeofIfInfomsg {
		return -1, errors.New("netlink: short answer")
	}
	for rest := msg[unix.SizeofNlMsghdr+unix.SizeofIfInfomsg:]; len(rest) >= unix.SizeofRtAttr; {
		size := int(ne.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			break
		}
		if ne.Uint16(rest[2:]) == unix.IFLA_LINK_NETNSID && size >= unix.SizeofRtAttr+4 {
			return int(int32(ne.Uint32(rest[4:]))), nil
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return -1, ErrNoPeer
}

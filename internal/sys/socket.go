package sys

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Pidfd is a descriptor of a process, which stays the same process even if
// its PID is used again. See pidfd_open(2); Linux 5.3.
type Pidfd int

// OpenPidfd returns a descriptor of the process with the given PID.
func OpenPidfd(pid int) (Pidfd, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, callError("pidfd_open", err)
	}
	return Pidfd(fd), nil
}

// OpenThreadPidfd returns a descriptor of the thread with the given TID, for access to its own
// descriptor table. See PIDFD_THREAD in pidfd_open(2); Linux 6.9.
func OpenThreadPidfd(tid int) (Pidfd, error) {
	const pidfdThread = unix.O_EXCL
	fd, err := unix.PidfdOpen(tid, pidfdThread)
	if err != nil {
		return -1, callError("pidfd_open", err)
	}
	return Pidfd(fd), nil
}

// ErrClosed reports that a process no longer has such a descriptor.
var ErrClosed = callError("pidfd_getfd", unix.EBADF)

// Kill kills the process. A process that has ended is no error.
func (p Pidfd) Kill() error {
	err := unix.PidfdSendSignal(int(p), unix.SIGKILL, nil, 0)
	if err == unix.ESRCH {
		return nil
	}
	return callError("pidfd_send_signal", err)
}

// Close closes the descriptor.
func (p Pidfd) Close() error { return callError("close", unix.Close(int(p))) }

// Getfd returns a copy of descriptor fd of the process. See pidfd_getfd(2); Linux 5.6. The
// caller needs the right to attach to the process with ptrace(2).
func (p Pidfd) Getfd(fd int) (int, error) {
	n, err := unix.PidfdGetfd(int(p), fd, 0)
	if err == unix.EBADF {
		return -1, ErrClosed
	}
	if err != nil {
		return -1, callError("pidfd_getfd", noProcess(err))
	}
	return n, nil
}

// SocketInode returns the inode number of a socket, or 0 if fd is no socket.
func SocketInode(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return 0, callError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return 0, nil
	}
	return st.Ino, nil
}

// IsNetDevice reports whether fd is /dev/net/tun, or a tap of macvtap or ipvtap.
func IsNetDevice(fd int) (bool, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return false, callError("fstat", err)
	}
	major, minor := int(unix.Major(st.Rdev)), unix.Minor(st.Rdev)
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && (major<<20|int(minor) == tunDevice || slices.Contains(tapMajors(), major)), nil
}

// SocketNetns returns a descriptor of the network namespace of a socket, or of an open
// /dev/net/tun. See SIOCGSKNS in the kernel's include/uapi/linux/sockios.h; Linux 4.9. It needs
// CAP_NET_ADMIN in the user namespace that owns the network namespace.
func SocketNetns(fd int) (int, error) {
	ns, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGSKNS, 0)
	if e != 0 {
		return -1, callError("ioctl SIOCGSKNS", e)
	}
	return int(ns), nil
}

// SocketCookie returns the cookie of the network namespace of a socket: a number that is not
// used again before the next boot. See SO_NETNS_COOKIE in the kernel's
// include/uapi/asm-generic/socket.h; Linux 5.14. It needs no privilege.
func SocketCookie(fd int) (uint64, error) {
	var cookie uint64
	size := uint32(unsafe.Sizeof(cookie))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE, uintptr(unsafe.Pointer(&cookie)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return 0, callError("getsockopt SO_NETNS_COOKIE", e)
	}
	return cookie, nil
}

// CloseFD closes a descriptor that a function of this package returned.
//
//go:noinline
func CloseFD(fd int) { _ = unix.Close(fd) }

// ProbeSocketCookie reports by its error whether [SocketCookie] works here.
func ProbeSocketCookie() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return callError("socket", err)
	}
	defer unix.Close(fd)
	if _, err = SocketCookie(fd); errors.Is(err, unix.ENOPROTOOPT) {
		err = fmt.Errorf("SO_NETNS_COOKIE: %w", errors.ErrUnsupported)
	}
	return err
}

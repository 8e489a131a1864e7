package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A SocketKind is a kind of socket to make.
type SocketKind struct {
	IPv6, Unix bool // else IPv4
	Datagrams  bool // else a stream
}

// NewSocket makes a non-blocking socket, in the network namespace of the calling thread, where
// it stays.
func NewSocket(kind SocketKind) (int, error) {
	family, typ := kind.numbers()
	fd, err := unix.Socket(family, typ, 0)
	return fd, callError("socket", err)
}

// numbers returns the first two arguments of socket(2).
func (kind SocketKind) numbers() (family, typ int) {
	family, typ = unix.AF_INET, unix.SOCK_STREAM
	switch {
	case kind.Unix:
		family = unix.AF_UNIX
	case kind.IPv6:
		family = unix.AF_INET6
	}
	if kind.Datagrams {
		typ = unix.SOCK_DGRAM
	}
	return family, typ | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
}

// Connect begins to connect a socket to an address of 4 or 16 bytes, or the address of a unix
// socket. If done is false it goes on: when the socket becomes writable, [Connected] returns
// the result.
func Connect(fd int, ip []byte, port uint16, scope uint32) (done bool, err error) {
	var to unix.Sockaddr
	if len(ip) == 4 {
		to = &unix.SockaddrInet4{Port: int(port), Addr: [4]byte(ip)}
	} else {
		to = &unix.SockaddrInet6{Port: int(port), ZoneId: scope, Addr: [16]byte(ip)}
	}
	return connect(fd, to)
}

// ConnectUnix is [Connect] for the socket at a path, or with an abstract name that begins with
// "@". After an [ErrBusy] try again.
func ConnectUnix(fd int, path string) error {
	_, err := connect(fd, &unix.SockaddrUnix{Name: path})
	if errors.Is(err, unix.EAGAIN) {
		return ErrBusy
	}
	return err
}

// ErrBusy reports that the queue of the listener is full.
var ErrBusy = errors.New("its queue is full")

func connect(fd int, to unix.Sockaddr) (done bool, err error) {
	switch err = unix.Connect(fd, to); err {
	case unix.EINPROGRESS, unix.EINTR: // the connection goes on: connect(2)
		return false, nil
	}
	return err == nil, callError("connect", err)
}

// Connected reports whether a connection has been made, or why it failed.
func Connected(fd int) (bool, error) {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return false, callError("getsockopt", err)
	}
	if n != 0 {
		return false, callError("connect", unix.Errno(n))
	}
	_, err = unix.Getpeername(fd) // an error while it goes on
	return err == nil, nil
}

// Ready reports whether fd can be read, or is at its end, without waiting.
func Ready(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1
}

// IsTransient reports whether accept(2) failed for a lack of descriptors or memory, or because
// the connection is gone.
func IsTransient(err error) bool {
	for _, e := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// IsRefused reports whether err is that nobody listens.
func IsRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// MaxFiles returns the most descriptors that the process may have.
func MaxFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<30))
}

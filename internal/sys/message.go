package sys

import (
	"golang.org/x/sys/unix"
)

// MostMessage is the most bytes of a message of [SendMessage].
const MostMessage = 64 << 10

// maxFDs is the most descriptors in a message.
const maxFDs = 4

// MessagePair returns the two ends of a connection of messages, SOCK_SEQPACKET
// of unix(7), that do not block.
func MessagePair() (a, b int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return pair[0], pair[1], callError("socketpair", err)
}

// SendMessage sends a message with descriptors. The error is [ErrAgain] if there is no room
// right now.
func SendMessage(fd int, b []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	err := retry(func() error { return unix.Sendmsg(fd, b, rights, nil, unix.MSG_NOSIGNAL) })
	if err == unix.EAGAIN {
		return ErrAgain
	}
	return callError("sendmsg", err)
}

// ReceiveMessage receives a message into b, which has room for [MostMessage], and its
// descriptors, close-on-exec. At the end n is 0. The error is [ErrAgain] if there is none yet.
// A message that was cut off is an error.
func ReceiveMessage(fd int, b []byte) (n int, fds []int, err error) {
	control := make([]byte, unix.CmsgSpace(4*maxFDs))
	var length, flags int
	err = retry(func() (err error) {
		n, length, flags, _, err = unix.Recvmsg(fd, b, control, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err == unix.EAGAIN {
		return 0, nil, ErrAgain
	}
	if err != nil {
		return 0, nil, callError("recvmsg", err)
	}
	list, err := unix.ParseSocketControlMessage(control[:length])
	for i := range list {
		more, e := unix.ParseUnixRights(&list[i])
		fds = append(fds, more...)
		if e != nil {
			err = e
		}
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = unix.EMSGSIZE
	}
	if err != nil {
		CloseAll(fds...)
		return 0, nil, callError("recvmsg", err)
	}
	return n, fds, nil
}

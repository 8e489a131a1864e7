package network

import (
	"iter"
	"os"
	"syscall"

	"github.com/mdlayher/netlink"

	"github.com/nstool/nstool/internal/sys"
)

// dialFrom returns a connection over a socket of an outpost.
func dialFrom(o *sys.Outpost, family int) (*netlink.Conn, error) {
	f, port, err := o.Netlink(family)
	if err != nil {
		return nil, err
	}
	return netlink.NewConn(&farSocket{f, make([]byte, maxAnswer)}, port), nil
}

// maxAnswer is more bytes than the kernel sends at once.
const maxAnswer = 256 << 10

// A farSocket is a [netlink.Socket] that was made elsewhere.
type farSocket struct {
	*os.File
	buf []byte
}

// Send sends a message to the kernel.
func (s *farSocket) Send(m netlink.Message) error { return s.SendMessages([]netlink.Message{m}) }

// SendMessages sends messages to the kernel, in one.
func (s *farSocket) SendMessages(messages []netlink.Message) error {
	var all []byte
	for _, m := range messages {
		b, err := m.MarshalBinary()
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	_, err := s.Write(all)
	return err
}

// Receive returns the messages that the kernel sends next.
func (s *farSocket) Receive() (messages []netlink.Message, err error) {
	n, err := s.Read(s.buf)
	if err != nil {
		return nil, err
	}
	raw, err := syscall.ParseNetlinkMessage(s.buf[:n])
	for _, m := range raw {
		messages = append(messages, netlink.Message{
			Header: netlink.Header{
				Length: m.Header.Len, Type: netlink.HeaderType(m.Header.Type), Flags: netlink.HeaderFlags(m.Header.Flags),
				Sequence: m.Header.Seq, PID: m.Header.Pid,
			},
			Data: append([]byte(nil), m.Data...),
		})
	}
	return messages, err
}

// ReceiveIter yields the messages one by one.
func (s *farSocket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		messages, err := s.Receive()
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(netlink.Message{}, err)
		}
	}
}

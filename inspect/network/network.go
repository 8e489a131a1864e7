// Package network reads what is in network namespaces: interfaces with their
// addresses, routes, and sockets.
//
// A [Conn] reads one namespace, given as an open file:
//
//	c, err := network.Dial(ns)
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	links, err := c.Links()
//
// A netlink socket stays in the network namespace in which it was made. So only [Dial] enters
// the namespace, on a thread that ends afterwards, and any goroutine can use a Conn. [Dial]
// needs CAP_SYS_ADMIN in the user namespace that owns the network namespace, and in the
// caller's, unless it is the caller's own network namespace. If the caller has made that user
// namespace, as for a rootless container, a process that joins both makes the sockets instead.
// Reading needs no privileges.
//
// [Interfaces] reads all network namespaces of a snapshot, and finds the interfaces that belong
// together.
//
// Reading changes two things only: listing interfaces gives a namespace a number for the
// namespace of the other end of an interface, as ip-link(8) does; and listing sockets may load
// modules of sock_diag(7), as ss(8) does.
//
// # Design
//
// mdlayher/netlink makes sockets, frames messages and parses attributes; the meaning of the
// messages is ours: four requests of rtnetlink and three of sock_diag. vishvananda/netlink and
// jsimonetti/rtnetlink know the messages too, but not all that is asked here (alternative
// names, numbers of other namespaces, listening sockets of every kind), and add 0.65 and 0.62
// MB to a static binary instead of 0.42 MB.
//
// The kernel gives the namespace of the other end of an interface as a number that is valid in
// one namespace alone. Asking each namespace for each other one would be quadratic. So the
// caller's namespace is asked for all numbers, and every namespace for that of the caller's;
// for a number that remains, only namespaces with a fitting interface are asked, one or two in
// practice. Nothing is concluded from indexes that happen to match.
package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mdlayher/netlink"

	"github.com/nstool/nstool/internal/sys"
)

// A Conn reads one network namespace. It is for one goroutine at a time.
type Conn struct {
	route  *netlink.Conn // interfaces, addresses, routes: rtnetlink(7)
	diag   *netlink.Conn // sockets: sock_diag(7)
	counts *os.File      // the numbers of sockets: /proc/net/protocols
	ns     *os.File      // the namespace, or nil for the caller's own
	// outpost makes the sockets if no thread of the caller may join the namespace; else nil.
	outpost *sys.Outpost
}

// Families of netlink(7).
const (
	netlinkRoute    = 0 // NETLINK_ROUTE
	netlinkSockDiag = 4 // NETLINK_SOCK_DIAG
)

// Dial returns a Conn to the network namespace that ns is open on, or to the
// caller's own if it is nil. The file must stay open for as long as the Conn is
// used.
func Dial(ns *os.File) (*Conn, error) {
	c := &Conn{ns: ns}
	err := sys.OnThread(func() error {
		if ns != nil {
			if err := c.join(); err != nil {
				return err
			}
		}
		return errors.Join(c.openRoute(), c.openDiag())
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// join has the calling thread join the namespace of c, or starts a process that joins it.
func (c *Conn) join() error {
	err := sys.JoinNetns(int(c.ns.Fd()))
	if errors.Is(err, fs.ErrPermission) && sys.MayOutpost(int(c.ns.Fd())) {
		var e error
		if c.outpost, e = sys.NewNetOutpost(int(c.ns.Fd())); e == nil {
			return nil
		}
	}
	return err
}

// openRoute and openDiag open the sockets of c, if they are not open. The calling thread or a
// process is in the namespace.
func (c *Conn) openRoute() (err error) {
	if c.route == nil && c.outpost != nil {
		c.route, err = dialFrom(c.outpost, netlinkRoute)
		return err
	}
	if c.route == nil {
		// Strict: the kernel refuses what it does not understand, with a reason, instead of
		// answering something else.
		if c.route, err = netlink.Dial(netlinkRoute, &netlink.Config{Strict: true}); err != nil {
			return fmt.Errorf("rtnetlink socket: %w", err)
		}
	}
	return nil
}

func (c *Conn) openDiag() (err error) {
	if c.diag == nil && c.outpost != nil {
		c.diag, err = dialFrom(c.outpost, netlinkSockDiag)
		c.counts, _ = os.Open(c.proc("protocols"))
		return err
	}
	if c.diag == nil {
		if c.diag, err = netlink.Dial(netlinkSockDiag, nil); err != nil {
			return fmt.Errorf("sock_diag socket: %w", err)
		}
		c.counts, _ = os.Open(c.proc("protocols")) // without it more is listed
	}
	return nil
}

// Close closes the connection.
func (c *Conn) Close() {
	for _, open := range []*netlink.Conn{c.route, c.diag} {
		if open != nil {
			open.Close()
		}
	}
	c.counts.Close() // which may be nil
	if c.outpost != nil {
		c.outpost.Close()
	}
}

// proc returns the path of /proc/net/NAME of the namespace of c, for the calling
// thread if that is in it.
func (c *Conn) proc(name string) string {
	if c.outpost != nil {
		return fmt.Sprintf("/proc/%d/net/%s", c.outpost.PID(), name)
	}
	return "/proc/thread-self/net/" + name
}

// maxTries is the number of tries of a dump that changes interrupt.
const maxTries = 5

// errChanging reports that a list changed all the time, so that the result may never have been
// true at one moment.
var errChanging = errors.New("it kept changing while it was read")

// dump requests a list and calls f with the payload of each message. A list that changed
// meanwhile (NLM_F_DUMP_INTR) is read again, and begin is called before each try.
func dump(c *netlink.Conn, typ netlink.HeaderType, body []byte, begin func(), f func([]byte) error) error {
	for range maxTries {
		begin()
		msgs, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump},
			Data:   body,
		})
		if err != nil {
			return cause(err)
		}
		interrupted := false
		for _, m := range msgs {
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
			if err := f(m.Data); err != nil {
				return err
			}
		}
		if !interrupted {
			return nil
		}
	}
	return errChanging
}

// ask sends a request with one answer, and returns its payload.
func ask(c *netlink.Conn, typ netlink.HeaderType, body []byte) ([]byte, error) {
	msgs, err := c.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request}, Data: body})
	if err != nil {
		return nil, cause(err)
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("netlink: %d answers to one question", len(msgs))
	}
	return msgs[0].Data, nil
}

// cause removes the words of the library from an error: the errno and the words of the kernel
// are enough.
func cause(err error) error {
	op, ok := errors.AsType[*netlink.OpError](err)
	switch {
	case !ok:
		return err
	case op.Message != "":
		return fmt.Errorf("%s: %w", op.Message, op.Err)
	}
	return op.Err
}

// errShort reports a message that ends too early.
var errShort = errors.New("netlink: short message")

// attributes calls f for each attribute of a message.
func attributes(b []byte, f func(*netlink.AttributeDecoder)) error {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	return each(d, f)
}

// each calls f for each attribute of d.
func each(d *netlink.AttributeDecoder, f func(*netlink.AttributeDecoder)) error {
	for d.Next() {
		f(d)
	}
	return d.Err()
}

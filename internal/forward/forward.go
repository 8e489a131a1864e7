// Package forward carries connections and datagrams from sockets of the caller
// to addresses in a network namespace, as seen from in there.
//
//	f, err := forward.New(ns)
//	if err != nil {
//		return err
//	}
//	defer f.Close()
//	spec, err := port.Parse("8080:80")
//	if err != nil {
//		return err
//	}
//	addr, err := f.Listen(ctx, spec)
//	if err != nil {
//		return err
//	}
//	fmt.Println(addr)
//	f.Serve(ctx)
//
// One thread of the caller joins the namespace and makes sockets, which stay in it. If that is
// not permitted, a process does so that first joins the user namespace that owns the network,
// and shows nothing of the caller: see [sys.Outpost]. The sockets keep the namespace alive,
// also after its last process has exited.
//
// Each direction of a connection ends on its own, and a reset is passed on as a reset. Data
// goes through splice(2) and is not copied.
//
// A socket stays in the namespace in which it was made, so any thread outside can connect it
// and wait. A unix socket is connected by a deputy with the rights of the target: the kernel
// then decides where a link or a mount of the target may lead.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/deputy"
	"github.com/nstool/nstool/internal/forward/port"
	"github.com/nstool/nstool/internal/sys"
)

// A Spec is one port to forward.
type Spec = port.Spec

// maxConnections is the most connections at a time: further ones wait to be accepted. It is
// less if the process may not have so many descriptors.
const maxConnections = 4096

// perConnection is the number of descriptors of a connection: two sockets, and a pipe for each
// direction.
const perConnection = 6

// A Forwarder carries connections into one network namespace.
type Forwarder struct {
	// Failed, if not nil, is called with the error of a connection, by many goroutines.
	Failed func(spec Spec, err error)

	dialer    *dialer
	idle      time.Duration // of a UDP session
	listeners []*listener
	places    chan struct{} // one for each possible connection

	mu     sync.Mutex
	open   map[aborter]bool
	closed bool
	wg     sync.WaitGroup
}

// An aborter is an open connection or listener that can be closed at once.
type aborter interface{ Close() error }

// A listener is one socket of the caller.
type listener struct {
	spec Spec
	tcp  *net.TCPListener
	udp  *net.UDPConn
}

// New returns a Forwarder into the network namespace ns, or the caller's if that is nil. The
// caller may close ns afterwards. It takes CAP_SYS_ADMIN in the user namespace that owns ns, as
// its creator has, and in the caller's unless a process may join the former.
func New(ns *os.File) (*Forwarder, error) {
	d, err := newDialer(ns)
	if err != nil {
		return nil, err
	}
	places := max(1, min(maxConnections, (sys.MaxFiles()-64)/perConnection))
	return &Forwarder{dialer: d, idle: sessionTimeout, places: make(chan struct{}, places), open: make(map[aborter]bool)}, nil
}

// ConnectAs sets the rights with which unix sockets are connected, and the root directory of
// their paths, if not nil. The Forwarder closes both. Without it only abstract sockets can be
// connected, with the caller as their peer.
func (f *Forwarder) ConnectAs(rights *deputy.Rights, root *os.File) (err error) {
	f.dialer.unix, err = newUnixDialer(rights, root)
	return err
}

// Listen opens the caller's socket for a spec, and returns its address. A spec without an
// address gets the loopback address. Connections are carried once Serve is called.
func (f *Forwarder) Listen(ctx context.Context, spec Spec) (netip.AddrPort, error) {
	if !spec.Listen.IsValid() {
		spec.Listen = port.Loopback4
	}
	at := netip.AddrPortFrom(spec.Listen, spec.Port)
	l := &listener{spec: spec}
	family := "4" // else the wildcard of IPv4 would also be that of IPv6
	if spec.Listen.Is6() {
		family = "6"
	}
	// net.ListenConfig would bring the resolver, a quarter of package net, into the program.
	var err error
	if spec.UDP {
		if l.udp, err = net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(at)); err == nil {
			at = l.udp.LocalAddr().(*net.UDPAddr).AddrPort()
		}
	} else {
		if l.tcp, err = net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(at)); err == nil {
			at = l.tcp.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	if err != nil {
		return at, listenError(at, spec, err)
	}
	f.listeners = append(f.listeners, l)
	return at, nil
}

// listenError returns why the caller cannot listen on an address.
func listenError(at netip.AddrPort, spec Spec, err error) error {
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	protocol := ""
	if spec.UDP {
		protocol = "/udp"
	}
	return fmt.Errorf("listen on %s%s: %w", at, protocol, err)
}

// patience is the longest time to wait for connections to end. A blocked one is left behind.
const patience = time.Second

// Serve carries connections until ctx is done, and then closes those that are open.
func (f *Forwarder) Serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, f.abort)
	defer stop()
	for _, l := range f.listeners {
		f.wg.Add(1)
		go func() {
			defer f.wg.Done()
			if l.udp != nil {
				f.serveUDP(ctx, l)
			} else {
				f.serveTCP(ctx, l)
			}
		}()
	}
	f.wait(ctx)
}

// wait waits until no connection is left, at most for the patience once ctx is done.
func (f *Forwarder) wait(ctx context.Context) {
	all := make(chan struct{})
	go func() {
		defer close(all)
		f.wg.Wait()
	}()
	select {
	case <-all:
		return
	case <-ctx.Done():
	}
	select {
	case <-all:
	case <-time.After(patience):
	}
}

// abort resets all connections.
func (f *Forwarder) abort() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, l := range f.listeners {
		if l.udp != nil {
			l.udp.Close()
		} else {
			l.tcp.Close()
		}
	}
	for c := range f.open {
		reset(c)
	}
}

// Close closes everything. Call it after Serve.
func (f *Forwarder) Close() {
	f.abort()
	f.dialer.close() // every request to it has an answer by now
	done, cancel := context.WithCancel(context.Background())
	cancel()
	f.wait(done)
}

// keep adds an aborter to those that abort closes, and returns false if that was done already.
func (f *Forwarder) keep(c aborter) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.open[c] = true
	}
	return !f.closed
}

func (f *Forwarder) forget(c aborter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

func (f *Forwarder) failed(spec Spec, err error) {
	if f.Failed != nil {
		f.Failed(spec, err)
	}
}

func (f *Forwarder) serveTCP(ctx context.Context, l *listener) {
	for {
		conn, err := l.tcp.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			f.failed(l.spec, cause(err))
			if !sys.IsTransient(err) {
				return
			}
			pause(ctx)
			continue
		}
		// Not earlier: without a client the place is free for another port.
		select {
		case f.places <- struct{}{}:
		case <-ctx.Done():
			reset(conn)
			return
		}
		f.wg.Add(1)
		go func() {
			defer f.wg.Done()
			defer func() { <-f.places }()
			f.carry(ctx, l.spec, conn)
		}()
	}
}

// pause waits until descriptors or memory may be free again.
func pause(ctx context.Context) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
}

// A stream is one side of a connection: a TCP connection, or one of a unix
// socket.
type stream interface {
	net.Conn
	CloseWrite() error
}

// carry carries one connection until it ends.
func (f *Forwarder) carry(ctx context.Context, spec Spec, from *net.TCPConn) {
	defer from.Close()
	if !f.keep(from) {
		reset(from)
		return
	}
	defer f.forget(from)
	conn, err := f.dialer.dial(ctx, spec)
	if err != nil {
		reset(from)
		if ctx.Err() == nil {
			f.failed(spec, cause(err))
		}
		return
	}
	to := conn.(stream)
	defer to.Close()
	if !f.keep(to) {
		reset(to)
		return
	}
	defer f.forget(to)

	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(to, from)
	}()
	pass(from, to)
	<-done
}

// Stdio connects to the destination of a spec, and carries in to it and what it sends to out. The
// end of in is passed on, and the connection goes on; it ends when the destination has sent its
// end, also if in has not ended, or when nobody reads out any more. in must not be used afterwards.
func (f *Forwarder) Stdio(ctx context.Context, spec Spec, in, out *os.File) error {
	conn, err := f.dialer.dial(ctx, spec)
	if err != nil {
		return cause(err)
	}
	to := conn.(stream)
	defer to.Close()
	ended := make(chan error, 3)
	go func() {
		_, err := io.Copy(out, to)
		ended <- err
	}()
	go func() {
		_, err := io.Copy(to, in)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			ended <- err
		}
	}()
	go func() {
		sys.WaitHangup(int(out.Fd()))
		ended <- errors.New("nobody reads the output any more")
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		reset(to)
	}
	return cause(err)
}

// pass copies data from one side to the other, and then its end. If either side is reset, or
// stops reading, both are reset.
func pass(to, from stream) {
	if _, err := io.Copy(to, from); err != nil {
		reset(from)
		reset(to)
		return
	}
	// It fails if the other side is gone, which the other direction reports.
	_ = to.CloseWrite()
}

// reset closes a connection with a reset, so that the other side sees that it did not end
// normally.
func reset(c aborter) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// cause returns the errno of err, or err.
func cause(err error) error {
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	return err
}

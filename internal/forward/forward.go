// Package forward carries connections and datagrams from sockets of the caller
// to addresses in a network namespace, as seen from in there.
//
//	f, err := forward.New(ns)
//	if err != nil {
//		return err
//	}
//	defer f.Close()
//	spec, err := forward.ParseSpec("8080:80")
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
// One thread of the caller joins the namespace and makes sockets, which stay in
// there. If it may not, that is done by a process that first joins the user
// namespace which owns the network, and shows nothing of the caller: see
// [sys.Outpost]. The namespace lives for as long as there are sockets in it, also
// when its last process has gone.
//
// Of a connection all is passed on: each direction ends for itself, and a reset
// is passed on as one. Data goes through splice(2) and is not copied.
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
	"github.com/nstool/nstool/internal/sys"
)

// maxConnections is how many connections are carried at a time, at most: the
// next wait to be accepted. There are fewer where the process may not have so
// many descriptors.
const maxConnections = 4096

// perConnection is how many descriptors a connection takes: two sockets, and
// for each direction a pipe to splice through.
const perConnection = 6

// A Forwarder carries connections into one network namespace.
type Forwarder struct {
	// Failed is told what goes wrong with a connection, if it is not nil. It
	// is called by many goroutines.
	Failed func(spec Spec, err error)

	dialer    *dialer
	idle      time.Duration // of a UDP session
	listeners []*listener
	places    chan struct{} // one for each connection there may be

	mu     sync.Mutex
	open   map[aborter]bool
	closed bool
	wg     sync.WaitGroup
}

// An aborter is something that is open and can be ended at once.
type aborter interface{ Close() error }

// A listener is one socket of the caller's.
type listener struct {
	spec Spec
	tcp  *net.TCPListener
	udp  *net.UDPConn
}

// New returns a Forwarder into the network namespace ns, or the caller's if that
// is nil. It may be closed then. Another namespace takes CAP_SYS_ADMIN in the user
// namespace that owns it, as its creator has, and in the caller's unless a process
// may join the former.
func New(ns *os.File) (*Forwarder, error) {
	d, err := newDialer(ns)
	if err != nil {
		return nil, err
	}
	places := max(1, min(maxConnections, (sys.MaxFiles()-64)/perConnection))
	return &Forwarder{dialer: d, idle: sessionTimeout, places: make(chan struct{}, places), open: make(map[aborter]bool)}, nil
}

// ConnectAs says with whose rights unix sockets are connected to, and in which
// root directory they are found, if that is not nil. The Forwarder closes both.
// Without it there are only abstract ones, and the caller is their peer.
func (f *Forwarder) ConnectAs(rights *deputy.Rights, root *os.File) (err error) {
	f.dialer.unix, err = newUnixDialer(rights, root)
	return err
}

// Listen opens the caller's socket for a spec, and returns its address. A spec
// without an address is given the loopback address. What comes is carried when
// Serve is called.
func (f *Forwarder) Listen(ctx context.Context, spec Spec) (netip.AddrPort, error) {
	if !spec.Listen.IsValid() {
		spec.Listen = loopback4
	}
	at := netip.AddrPortFrom(spec.Listen, spec.Port)
	l := &listener{spec: spec}
	family := "4" // else the wildcard of IPv4 would be that of IPv6 too
	if spec.Listen.Is6() {
		family = "6"
	}
	var config net.ListenConfig
	var got net.Addr
	if spec.UDP {
		conn, err := config.ListenPacket(ctx, "udp"+family, at.String())
		if err != nil {
			return at, listenError(at, spec, err)
		}
		l.udp = conn.(*net.UDPConn)
		got = conn.LocalAddr()
	} else {
		tcp, err := config.Listen(ctx, "tcp"+family, at.String())
		if err != nil {
			return at, listenError(at, spec, err)
		}
		l.tcp = tcp.(*net.TCPListener)
		got = tcp.Addr()
	}
	f.listeners = append(f.listeners, l)
	if a, err := netip.ParseAddrPort(got.String()); err == nil {
		at = a
	}
	return at, nil
}

// listenError says why there is no listening on an address.
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

// patience is how long what is ended is waited for. What waits for somebody who
// does not answer is left behind.
const patience = time.Second

// Serve carries all that comes, until ctx is done. Then it ends what is open.
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

// wait waits until nothing is carried any more: no longer than the patience once
// ctx is done.
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

// abort closes what is open: connections are reset.
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

// Close ends all there is. It is to be called after Serve.
func (f *Forwarder) Close() {
	f.abort()
	f.dialer.close() // whoever waits for it has an answer
	done, cancel := context.WithCancel(context.Background())
	cancel()
	f.wait(done)
}

// keep remembers what is open, to be ended with the rest. It returns false if
// that has been done already.
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
		// Not before: while nobody comes the place is free for another port.
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

// pause waits for what is short to be there again.
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

// carry carries one connection to its end.
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

// pass passes what one side says on to the other, and then that it has said all.
// If either is reset, or will not hear any more, both are.
func pass(to, from stream) {
	if _, err := io.Copy(to, from); err != nil {
		reset(from)
		reset(to)
		return
	}
	// It fails if the other side is gone, which the other direction finds out.
	_ = to.CloseWrite()
}

// reset closes a connection so that the other side learns that it was not to
// its end.
func reset(c aborter) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// cause returns the errno that err is about, or err.
func cause(err error) error {
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	return err
}

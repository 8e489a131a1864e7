package forward

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/internal/forward/port"
	"github.com/nstool/nstool/internal/sys"
)

// dialTimeout is the longest time to wait for an address that does not answer.
const dialTimeout = 10 * time.Second

// A dialer makes connections in a network namespace. One thread is in it while the dialer is
// open, and makes sockets. A socket stays in its namespace, so all waiting is done outside.
type dialer struct {
	requests chan request
	stop     chan struct{}
	done     chan error   // of the thread
	outpost  *sys.Outpost // in place of the thread, or nil
	unix     *unixDialer  // connects to unix sockets; nil: the caller connects, to abstract ones only
}

type request struct {
	kind  sys.SocketKind
	reply chan socket
}

type socket struct {
	fd  int
	err error
}

// newDialer has a thread join the namespace ns, unless that is nil, and returns afterwards. If
// that is not permitted, a process first joins the user namespace that owns ns, as its creator
// may; a thread cannot do that.
func newDialer(ns *os.File) (*dialer, error) {
	d, err := newThread(ns)
	if ns != nil && errors.Is(err, fs.ErrPermission) {
		if o, e := sys.NewNetOutpost(int(ns.Fd())); e == nil {
			return &dialer{outpost: o}, nil
		}
	}
	return d, err
}

func newThread(ns *os.File) (*dialer, error) {
	d := &dialer{requests: make(chan request), stop: make(chan struct{}), done: make(chan error, 1)}
	joined := make(chan struct{})
	var join []*os.File
	if ns != nil {
		join = []*os.File{ns}
	}
	go func() {
		d.done <- enter.Do(context.Background(), func() error {
			close(joined)
			for {
				select {
				case r := <-d.requests:
					fd, err := sys.NewSocket(r.kind)
					r.reply <- socket{fd, err}
				case <-d.stop:
					return nil
				}
			}
		}, join...)
	}()
	select {
	case <-joined:
		return d, nil
	case err := <-d.done:
		return nil, err
	}
}

// close ends the thread. The dialer must not be used afterwards.
func (d *dialer) close() {
	if d.unix != nil {
		d.unix.close()
	}
	if d.outpost != nil {
		d.outpost.Close()
		return
	}
	close(d.stop)
	select {
	case <-d.done:
	case <-time.After(patience):
	}
}

// socket makes a socket in the namespace.
func (d *dialer) socket(ctx context.Context, kind sys.SocketKind) (*os.File, error) {
	var s socket
	if d.outpost != nil {
		s.fd, s.err = d.outpost.Socket(kind)
	} else {
		reply := make(chan socket, 1)
		select {
		case d.requests <- request{kind, reply}:
			s = <-reply
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	return os.NewFile(uintptr(s.fd), "socket"), nil
}

// dial connects to the destination of a spec.
func (d *dialer) dial(ctx context.Context, s Spec) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s.ToPath != "" {
		return d.dialUnix(ctx, s.ToPath)
	}
	if s.To.IsValid() {
		return d.dialIP(ctx, s.UDP, netip.AddrPortFrom(s.To, s.ToPort))
	}
	conn, err := d.dialIP(ctx, s.UDP, netip.AddrPortFrom(port.Loopback4, s.ToPort))
	if sys.IsRefused(err) {
		// The server may listen on IPv6 only.
		if conn, e := d.dialIP(ctx, s.UDP, netip.AddrPortFrom(port.Loopback6, s.ToPort)); e == nil {
			return conn, nil
		}
	}
	return conn, err
}

func (d *dialer) dialIP(ctx context.Context, datagrams bool, to netip.AddrPort) (net.Conn, error) {
	scope, err := scopeOf(to.Addr())
	if err != nil {
		return nil, err
	}
	f, err := d.socket(ctx, sys.SocketKind{IPv6: to.Addr().Is6(), Datagrams: datagrams})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = connect(ctx, f, func(fd int) (bool, error) {
		return sys.Connect(fd, to.Addr().AsSlice(), to.Port(), scope)
	})
	if to.Addr().IsLoopback() && errors.Is(err, syscall.ENETUNREACH) {
		return nil, fmt.Errorf("%w: the loopback interface is not up there", syscall.ENETUNREACH)
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// scopeOf returns the interface number of an address. A name would have to be looked up inside.
func scopeOf(a netip.Addr) (uint32, error) {
	if a.Zone() == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(a.Zone(), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the interface of %s is to be given by its number", a)
	}
	return uint32(n), nil
}

// dialUnix connects to a unix socket of the target.
func (d *dialer) dialUnix(ctx context.Context, path string) (net.Conn, error) {
	f, err := d.socket(ctx, sys.SocketKind{Unix: true})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch {
	case d.unix != nil:
		return d.unix.dial(ctx, f, path)
	case path[0] != '@':
		return nil, errors.New("the target has no file system to find the socket in")
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err = connect(ctx, f, func(fd int) (bool, error) { return true, sys.ConnectUnix(fd, path) })
		if !errors.Is(err, sys.ErrBusy) {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// connect begins to connect the socket f, and waits until that is done.
func connect(ctx context.Context, f *os.File, begin func(fd int) (bool, error)) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var done bool
	if e := raw.Control(func(fd uintptr) { done, err = begin(int(fd)) }); e != nil || err != nil || done {
		return errors.Join(e, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := f.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	e := raw.Write(func(fd uintptr) bool {
		done, err = sys.Connected(int(fd))
		return done || err != nil
	})
	if errors.Is(e, os.ErrDeadlineExceeded) {
		e = errors.New("no answer")
	}
	return errors.Join(e, err)
}

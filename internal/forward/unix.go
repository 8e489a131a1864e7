package forward

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/deputy"
	"github.com/nstool/nstool/internal/sys"
)

// unixRole is the role of a deputy that connects sockets.
const unixRole = "unix"

// maxWaiting is the most connections of a deputy that may wait for file systems: each takes a
// thread.
const maxWaiting = 64

// A unixRequest asks a deputy to connect the socket that comes with it.
type unixRequest struct {
	N    uint64
	Path string // below the root directory of the target, or with "@" an abstract name
}

// A unixAnswer is the answer to request N.
type unixAnswer struct {
	N     uint64
	Call  string // the call that failed: "openat2" or "connect"
	Errno int    // its errno, or 0
}

func init() { deputy.Serve(unixRole, serveUnix) }

// serveUnix is the main function of the deputy. Its only file is the root directory of the
// target, if there is one.
func serveUnix(conn *deputy.Conn, files []*os.File) {
	places := make(chan struct{}, maxWaiting)
	for {
		var r unixRequest
		with, err := conn.Receive(&r, 1)
		if err != nil || len(with) != 1 {
			return
		}
		select {
		case places <- struct{}{}:
		default:
			with[0].Close()
			_ = conn.Send(unixAnswer{N: r.N, Call: "openat2", Errno: int(syscall.EAGAIN)})
			continue
		}
		go func() {
			call, err := connectUnix(files, with[0], r.Path)
			with[0].Close()
			<-places
			a := unixAnswer{N: r.N, Call: call}
			if err != nil {
				a.Errno = int(syscall.EIO)
				if errno, ok := errors.AsType[syscall.Errno](err); ok {
					a.Errno = int(errno)
				}
				if errors.Is(err, sys.ErrBusy) {
					a.Errno = int(syscall.EAGAIN)
				}
			}
			_ = conn.Send(a)
		}()
	}
}

// connectUnix connects a socket, with the rights of the process.
func connectUnix(files []*os.File, socket *os.File, path string) (call string, err error) {
	if path != "" && path[0] != '@' {
		if len(files) == 0 {
			return "openat2", syscall.ENOENT
		}
		at, err := sys.OpenInRoot(int(files[0].Fd()), path, true)
		if err != nil {
			return "openat2", err
		}
		defer sys.CloseFD(at)
		path = fmt.Sprintf("/proc/self/fd/%d", at)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return "connect", err
	}
	e := raw.Control(func(fd uintptr) {
		if err = sys.SetNonblock(int(fd)); err == nil {
			err = sys.ConnectUnix(int(fd), path)
		}
	})
	return "connect", errors.Join(e, err)
}

// A unixDialer has a deputy with the rights of the target connect sockets: a link or a mount of
// the target leads no further than the target may go. The server sees the target's user as its
// peer (SO_PEERCRED).
type unixDialer struct {
	rights *deputy.Rights
	root   *os.File // or nil

	mu      sync.Mutex
	deputy  *deputy.Deputy
	last    uint64
	waiting map[uint64]chan unixAnswer
	closed  bool
}

// newUnixDialer starts the deputy. Rights and root are closed with it.
func newUnixDialer(rights *deputy.Rights, root *os.File) (*unixDialer, error) {
	u := &unixDialer{rights: rights, root: root}
	u.mu.Lock()
	err := u.start()
	u.mu.Unlock()
	if err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

// start starts the deputy, with u locked.
func (u *unixDialer) start() error {
	var files []*os.File
	if u.root != nil {
		files = append(files, u.root)
	}
	d, err := deputy.Start(u.rights, unixRole, files...)
	if err != nil {
		return err
	}
	waiting := make(map[uint64]chan unixAnswer)
	u.deputy, u.waiting = d, waiting
	go u.receive(d, waiting)
	return nil
}

// receive passes answers on until the deputy ends. An answer is trusted only for whether the
// connection was made, which the socket shows too.
func (u *unixDialer) receive(d *deputy.Deputy, waiting map[uint64]chan unixAnswer) {
	for {
		var a unixAnswer
		_, err := d.Receive(&a, 0)
		u.mu.Lock()
		if err != nil {
			for _, reply := range waiting {
				close(reply)
			}
			clear(waiting)
			if u.deputy == d {
				u.deputy = nil
			}
			closed := u.closed
			u.mu.Unlock()
			if !closed {
				d.Close(0)
			}
			return
		}
		reply := waiting[a.N]
		delete(waiting, a.N)
		u.mu.Unlock()
		if reply != nil {
			reply <- a
		}
	}
}

// ask has the deputy connect a socket, and waits for its answer until ctx is done. A deputy
// that was killed is started again.
func (u *unixDialer) ask(ctx context.Context, socket *os.File, path string) error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return net.ErrClosed
	}
	if u.deputy == nil {
		if err := u.start(); err != nil {
			u.mu.Unlock()
			return err
		}
	}
	d, waiting := u.deputy, u.waiting
	u.last++
	n, reply := u.last, make(chan unixAnswer, 1)
	waiting[n] = reply
	u.mu.Unlock()
	if err := d.Send(unixRequest{N: n, Path: path}, socket); err != nil {
		return err
	}
	select {
	case a, ok := <-reply:
		switch {
		case !ok:
			return errors.New("the process that connects has ended")
		case a.Errno == 0:
			return nil
		case a.Errno == int(syscall.EAGAIN):
			return sys.ErrBusy
		case a.Call == "openat2":
			return os.NewSyscallError("openat2", syscall.Errno(a.Errno))
		default:
			return os.NewSyscallError("connect", syscall.Errno(a.Errno))
		}
	case <-ctx.Done():
		u.mu.Lock()
		delete(waiting, n)
		u.mu.Unlock()
		return errors.New("its file system does not answer")
	}
}

// dial connects to a unix socket of the target, by its path in the target's file system, out of
// which no link leads, or by its abstract name.
func (u *unixDialer) dial(ctx context.Context, socket *os.File, path string) (net.Conn, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := u.ask(ctx, socket, path)
		if err == nil {
			return net.FileConn(socket)
		}
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w, for %s", err, u.rights.Of)
		}
		if !errors.Is(err, sys.ErrBusy) {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// close ends the deputy, even if it is blocked.
func (u *unixDialer) close() {
	u.mu.Lock()
	u.closed = true
	d := u.deputy
	u.mu.Unlock()
	if d != nil {
		d.Close(0)
	}
	u.rights.Close()
	if u.root != nil {
		u.root.Close()
	}
}

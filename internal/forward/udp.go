package forward

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// maxSessions is the most clients of one UDP port. A further one replaces the one that has been
// silent longest.
const maxSessions = 4096

// sessionTimeout is the time without datagrams from either side after which a client is
// forgotten: its next datagram comes from another port.
const sessionTimeout = time.Minute

// maxDatagram is more than the bytes of any datagram.
const maxDatagram = 1 << 16

// A session is one client of a UDP port. Its datagrams come from one port in the namespace, to
// which the answers go.
type session struct {
	client netip.AddrPort
	conn   *net.UDPConn
	used   atomic.Int64 // time of the last datagram, in nanoseconds
	place  *list.Element
}

// sessions are the sessions of one port, the least recently used last.
type sessions struct {
	mu     sync.Mutex
	by     map[netip.AddrPort]*session
	recent *list.List
}

func newSessions() *sessions {
	return &sessions{by: make(map[netip.AddrPort]*session), recent: list.New()}
}

// serveUDP carries datagrams until the socket is closed.
func (f *Forwarder) serveUDP(ctx context.Context, l *listener) {
	all := newSessions()
	// Fewer if the process may not have so many descriptors.
	most := max(1, min(maxSessions, cap(f.places)*perConnection/2))
	buf := make([]byte, maxDatagram)
	for {
		n, client, err := l.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			f.failed(l.spec, cause(err))
			pause(ctx)
			continue
		}
		s := all.of(client)
		if s == nil {
			if s, err = f.newSession(ctx, l, client); err != nil {
				if ctx.Err() == nil {
					f.failed(l.spec, cause(err))
				}
				continue
			}
			for _, old := range all.add(s, most) {
				old.conn.Close()
			}
			f.wg.Add(1)
			go func() {
				defer f.wg.Done()
				f.answer(l, s)
				all.remove(s)
				f.forget(s.conn)
				s.conn.Close()
			}()
		}
		// The error may be about an earlier datagram that was refused.
		if _, err := s.conn.Write(buf[:n]); err != nil {
			if _, err = s.conn.Write(buf[:n]); err != nil && !errors.Is(err, net.ErrClosed) {
				f.failed(l.spec, cause(err))
			}
		}
	}
}

func (f *Forwarder) newSession(ctx context.Context, l *listener, client netip.AddrPort) (*session, error) {
	conn, err := f.dialer.dial(ctx, l.spec)
	if err != nil {
		return nil, err
	}
	s := &session{client: client, conn: conn.(*net.UDPConn)}
	if !f.keep(s.conn) {
		s.conn.Close()
		return nil, net.ErrClosed
	}
	s.touch()
	return s, nil
}

// answer passes datagrams back to a client, until the session times out.
func (f *Forwarder) answer(l *listener, s *session) {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		rest := f.idle - time.Since(time.Unix(0, s.used.Load()))
		if rest <= 0 || s.conn.SetReadDeadline(time.Now().Add(rest)) != nil {
			return
		}
		err = nil
		e := raw.Read(func(fd uintptr) bool {
			buf := datagrams.Get().(*[maxDatagram]byte)
			defer datagrams.Put(buf)
			var n int
			if n, err = sys.Read(int(fd), buf[:]); errors.Is(err, sys.ErrAgain) {
				return false
			}
			if err == nil {
				s.touch()
				_, err = l.udp.WriteToUDPAddrPort(buf[:n], s.client)
			}
			return true
		})
		switch {
		case errors.Is(e, os.ErrDeadlineExceeded):
		case e != nil, errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			f.failed(l.spec, cause(err)) // nobody listens yet
		}
	}
}

// datagrams are buffers; a waiting session needs none.
var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

func (s *session) touch() { s.used.Store(time.Now().UnixNano()) }

// of returns the session of a client, or nil.
func (all *sessions) of(client netip.AddrPort) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.by[client]
	if s != nil {
		s.touch()
		all.recent.MoveToFront(s.place)
	}
	return s
}

// add adds a session, and returns those that it replaces.
func (all *sessions) add(s *session, most int) (old []*session) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for len(all.by) >= most {
		last := all.recent.Remove(all.recent.Back()).(*session)
		delete(all.by, last.client)
		old = append(old, last)
	}
	all.by[s.client] = s
	s.place = all.recent.PushFront(s)
	return old
}

func (all *sessions) remove(s *session) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.by[s.client] == s {
		delete(all.by, s.client)
		all.recent.Remove(s.place)
	}
}

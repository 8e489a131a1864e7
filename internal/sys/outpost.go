package sys

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An Outpost is a process in namespaces that no thread of this program can join, and makes
// sockets there. Only the stub of [Script] runs in it, in a session of its own; it ends with
// this program.
type Outpost struct {
	pid int

	mu   sync.Mutex
	conn int  // request and answer are one message each
	dead bool // ended, or stopped
}

// errOutpost reports that an outpost was ended or stopped.
var errOutpost = errors.New("the process that makes the sockets does not answer")

// NewOutpost starts a process that joins these namespaces, in this order.
func NewOutpost(joins []Join) (*Outpost, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, callError("socketpair", err)
	}
	ours, theirs := FD(pair[0]), FD(pair[1])
	defer ours.Close()
	defer theirs.Close()
	null, err := OpenNull()
	if err != nil {
		return nil, err
	}
	defer unix.Close(null)

	s := NewScript()
	s.Stdio(null, null, null)
	s.SetName("nstool")
	s.Undumpable() // processes in a joined namespace could trace this one
	s.Setsid()     // it gets no signals of the terminal
	conn := s.File(int(theirs))
	for _, j := range joins {
		s.Setns(s.File(j.FD), j.Flag)
	}
	s.CloseFrom(conn + 1)
	s.Ready(conn)
	s.makeSockets(conn)
	s.Report(conn, 1)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := s.Start()
	if err != nil {
		return nil, err
	}
	theirs.Close() // else the end of the connection would never be seen
	o := &Outpost{pid: pid, conn: ours.Take()}
	_ = unix.SetsockoptTimeval(o.conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	r, ok := ReadReport(o.conn)
	switch {
	case ok && r.Err != nil:
		_, call := s.Failed(r.Failed)
		err = callError(call, r.Err)
	case !ok:
		err = errOutpost
	}
	if err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// NewNetOutpost starts a process in a network namespace that the caller may join only from the
// user namespace that owns it, which the caller made. No thread of this program can join a user
// namespace.
func NewNetOutpost(netns int) (*Outpost, error) {
	owner, err := Owner(netns)
	if err != nil {
		return nil, err
	}
	defer CloseFD(owner)
	return NewOutpost([]Join{{FD: owner, Flag: CLONE_NEWUSER}, {FD: netns, Flag: CLONE_NEWNET}})
}

// MayOutpost reports whether [NewNetOutpost] is likely to be permitted: the caller
// has made the user namespace that owns the network namespace, or one that encloses
// it. See user_namespaces(7).
func MayOutpost(netns int) bool {
	ns, err := Owner(netns)
	for err == nil {
		uid, e := CreatorUID(ns)
		up, above := Parent(ns)
		CloseFD(ns)
		if e == nil && uid == uint32(os.Geteuid()) {
			if above == nil {
				CloseFD(up)
			}
			return true
		}
		ns, err = up, above // the kernel allows 32 levels
	}
	return false
}

// PID returns the PID of the process.
func (o *Outpost) PID() int { return o.pid }

// The layout of a message with one descriptor, see cmsg(3) and recvmsg(2).
const (
	cmsgHeader = 16
	cmsgSpace  = 24
	requestLen = 24 // the arguments of socket(2)
	answerLen  = 8  // 0, or an errno
)

// makeSockets appends a loop that makes a socket for each request from conn, until conn is
// closed.
func (s *Script) makeSockets(conn int) {
	header := binary.NativeEndian.AppendUint64(nil, cmsgHeader+4)
	header = binary.NativeEndian.AppendUint32(header, unix.SOL_SOCKET)
	header = binary.NativeEndian.AppendUint32(header, unix.SCM_RIGHTS)
	control := s.Bytes(append(header, make([]byte, cmsgSpace-cmsgHeader)...))
	errno := s.Space(answerLen)
	message := func(answer, control Addr, size uint64) uint64 { // struct msghdr
		iov := s.Pointers(uint64(answer), answerLen)
		return uint64(s.Pointers(0, 0, uint64(iov), 1, uint64(control), size, 0))
	}
	good, bad := message(s.Space(answerLen), control, cmsgSpace), message(errno, 0, 0)

	loop, refused := s.mark("next request"), s.label("no socket")
	read := s.Call("read", unix.SYS_READ, uint64(conn), 0, requestLen)
	asked := s.label("asked")
	s.onOther(read, asked)
	s.onZero(read, s.mark("end of requests"))
	s.Exit(0)
	s.place(asked)
	socket := s.Call("socket", unix.SYS_SOCKET)
	s.setArg(read, 1, s.Arg(socket, 0))
	s.Store(socket, control+cmsgHeader)
	s.IgnoreAll(socket)
	s.keepAll(socket, errno)
	s.onError(socket, refused)
	made := s.own("socket", ownLoad, uint64(control+cmsgHeader), 0)
	s.Call("sendmsg", unix.SYS_SENDMSG, uint64(conn), good, 0)
	closing := s.Close(0)
	s.Store(made, s.Arg(closing, 0))
	s.onZero(closing, loop)
	s.place(refused)
	tell := s.Call("sendmsg", unix.SYS_SENDMSG, uint64(conn), bad, 0)
	s.onOther(tell, loop)
}

// Socket makes a socket there, as [NewSocket] does here.
func (o *Outpost) Socket(kind SocketKind) (int, error) {
	family, typ := kind.numbers()
	return o.socket(family, typ, 0)
}

// Netlink makes a socket of netlink(7) there, and returns its port too.
func (o *Outpost) Netlink(family int) (socket *os.File, port uint32, err error) {
	fd, err := o.socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, 0, err
	}
	err = callError("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	if err == nil {
		// As the netlink library does: the kernel then refuses attributes that it does not
		// know.
		err = callError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1))
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if at, ok := name.(*unix.SockaddrNetlink); ok && err == nil {
		return os.NewFile(uintptr(fd), "netlink"), at.Pid, nil
	}
	CloseFD(fd)
	return nil, 0, err
}

func (o *Outpost) socket(family, typ, protocol int) (int, error) {
	var request []byte
	for _, arg := range []int{family, typ, protocol} {
		request = binary.NativeEndian.AppendUint64(request, uint64(arg))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var answer [recordSize]byte
	control := make([]byte, cmsgSpace)
	var n, rights int
	if !o.dead {
		err := retry(func() error { return unix.Sendto(o.conn, request, unix.MSG_NOSIGNAL, nil) })
		if err == nil {
			err = retry(func() (err error) {
				n, rights, _, _, err = unix.Recvmsg(o.conn, answer[:], control, unix.MSG_CMSG_CLOEXEC)
				return err
			})
		}
		o.dead = err != nil || n != answerLen
	}
	if o.dead {
		return -1, errOutpost
	}
	if errno := unix.Errno(binary.NativeEndian.Uint64(answer[:])); errno != 0 {
		return -1, callError("socket", errno)
	}
	list, err := unix.ParseSocketControlMessage(control[:rights])
	if err == nil && len(list) == 1 {
		if fds, err := unix.ParseUnixRights(&list[0]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, callError("recvmsg", unix.EMFILE) // there was no free descriptor for it
}

// Close kills the process. A frozen process ends later.
func (o *Outpost) Close() {
	_ = unix.Kill(o.pid, unix.SIGKILL)        // it may be stopped
	_ = unix.Shutdown(o.conn, unix.SHUT_RDWR) // wakes a caller that waits for an answer
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = true
	CloseAll(o.conn)
	o.conn = -1
	reaped := make(chan struct{})
	go func() {
		_ = Reap(o.pid)
		close(reaped)
	}()
	select {
	case <-reaped:
	case <-time.After(100 * time.Millisecond):
	}
}

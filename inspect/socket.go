package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// askSockets finds the network namespaces of the sockets, and notes those that a process holds
// without being a member. A socket of a member's own namespace is closed when the member exits.
func (s *scanner) askSockets(ctx context.Context, _ []int) {
	if len(s.sockets) == 0 || !s.proc.real {
		return
	}
	if !s.proc.ours {
		s.gap(Gap{What: "socket", Err: fmt.Errorf("sockets of processes in another PID namespace cannot be asked: %w", ErrNotAsked)})
		return
	}
	sort.Slice(s.sockets, func(i, j int) bool { return s.sockets[i].pid < s.sockets[j].pid })
	// A socket that several processes share is asked for once.
	first := make(map[uint64]bool, len(s.sockets))
	var procs [][]socketRef // to be asked, by process
	for _, r := range s.sockets {
		if first[r.ino] {
			continue
		}
		first[r.ino] = true
		if n := len(procs); n > 0 && procs[n-1][0].pid == r.pid {
			procs[n-1] = append(procs[n-1], r)
		} else {
			procs = append(procs, []socketRef{r})
		}
	}
	netns := make(map[uint64]uint64, len(first)) // socket -> network namespace
	kept := make(map[uint64]bool)                // network namespaces of which a descriptor is kept
	silent := wait.Many(ctx, &s.stuck, len(procs),
		func() func(int) socketAnswers {
			cookies := make(map[uint64]uint64)
			return func(i int) socketAnswers { return askProcess(procs[i], cookies) }
		},
		func(i int, a socketAnswers) {
			if pid := procs[i][0].pid; a.err != nil && !s.proc.closed(pid, a.err) {
				s.gap(Gap{pid, "socket", a.err})
			}
			for k, r := range procs[i] {
				ino, fd := a.netns[k], a.fds[k]
				if ino != 0 {
					netns[r.ino] = ino
				}
				if fd >= 0 && s.known[ino] == nil && !kept[ino] {
					kept[ino] = true
					s.keep(ino, fd)
				} else if fd >= 0 {
					sys.CloseFD(fd)
				}
			}
		},
		func(a socketAnswers) { sys.CloseAll(a.fds...) })
	for _, i := range silent {
		s.gap(Gap{procs[i][0].pid, "socket", ErrSlow})
	}
	for _, r := range s.sockets {
		if ino := netns[r.ino]; ino != 0 && ino != r.netns {
			s.hold(Net, ino, Holder{Kind: BySocket, PID: r.pid, TID: r.tid, FD: r.fd}, opener{})
		}
	}
}

func compareSockets(a, b socketRef) int {
	return cmp.Or(cmp.Compare(a.ino, b.ino), cmp.Compare(a.pid, b.pid), cmp.Compare(a.tid, b.tid), cmp.Compare(a.fd, b.fd))
}

// keep takes fd as the opener of a network namespace.
func (s *scanner) keep(ino uint64, fd int) {
	s.find(Net, ino).opener = ownOpener(fd)
	if k, ok := s.kernel.(*realKernel); ok {
		k.owned = append(k.owned, fd)
	}
}

// errThreadSocket reports a socket of a process whose first thread has exited: a pidfd reaches
// only the table of that thread.
var errThreadSocket = sys.ErrorOf(ErrNotAsked, "its first thread has ended, and those of others cannot be asked")

// socketAnswers are the network namespaces of several sockets of a process, or 0, and a descriptor
// of each, or -1.
type socketAnswers struct {
	netns []uint64
	fds   []int
	err   error // the last that is not about an exit or a closed socket
}

// askProcess asks for sockets of one process. The kernel may block: pidfd_getfd(2) takes a lock
// that the process holds during execve(2), which in turn waits for its old memory map.
func askProcess(refs []socketRef, cookies map[uint64]uint64) socketAnswers {
	a := socketAnswers{netns: make([]uint64, len(refs)), fds: slices.Repeat([]int{-1}, len(refs))}
	pidfd, err := sys.OpenPidfd(refs[0].pid)
	if err != nil {
		a.err = err
		return a
	}
	defer pidfd.Close()
	for i, r := range refs {
		if r.tid != 0 {
			a.err = errThreadSocket
			continue
		}
		ino, fd, err := askSocket(pidfd, r, cookies)
		if err == nil {
			a.netns[i], a.fds[i] = ino, fd
		} else if !errors.Is(err, ErrGone) && !errors.Is(err, sys.ErrClosed) {
			a.err = err
		}
	}
	return a
}

// askSocket returns the inode number of the network namespace of a socket, and a descriptor of it
// or -1.
func askSocket(pidfd sys.Pidfd, r socketRef, cookies map[uint64]uint64) (ino uint64, fd int, err error) {
	sock, err := pidfd.Getfd(r.fd)
	if err != nil {
		return 0, -1, err
	}
	defer sys.CloseFD(sock)
	now, err := sys.SocketInode(sock)
	if err != nil {
		return 0, -1, err
	}
	if now != r.ino {
		return 0, -1, ErrGone // the number is of another descriptor now
	}
	cookie, cookieErr := sys.SocketCookie(sock)
	if cookieErr == nil && cookies[cookie] != 0 {
		return cookies[cookie], -1, nil
	}
	fd, err = sys.SocketNetns(sock)
	if err != nil {
		return 0, -1, err
	}
	id, err := sys.Fstat(fd)
	if err != nil {
		sys.CloseFD(fd)
		return 0, -1, err
	}
	if cookieErr == nil {
		cookies[cookie] = id.Ino
	}
	return id.Ino, fd, nil
}

package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nstool/nstool/internal/sys"
)

// askSockets finds the network namespaces of the sockets that were seen, and
// notes those that a process holds without being in them: a socket of a
// member's own namespace goes when the member goes, and says nothing new.
func (s *scanner) askSockets(ctx context.Context, _ []int) {
	if len(s.sockets) == 0 || !s.proc.real {
		return
	}
	if !s.proc.ours {
		s.gap(Gap{What: "socket", Err: fmt.Errorf("sockets of processes in another PID namespace cannot be asked: %w", ErrNotAsked)})
		return
	}
	slices.SortFunc(s.sockets, func(a, b socketRef) int { return a.pid - b.pid })
	// A socket that many processes share is asked once.
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
	type answers struct {
		netns   map[uint64]uint64 // socket -> network namespace
		cookies map[uint64]uint64 // cookie -> network namespace
		taken   map[uint64]int    // network namespace -> a descriptor
		gaps    []Gap
	}
	netns := make(map[uint64]uint64, len(first))
	var taken []int
	parallel(s.workers, len(procs),
		func() *answers {
			return &answers{make(map[uint64]uint64), make(map[uint64]uint64), make(map[uint64]int), nil}
		},
		func(a *answers, i int) {
			refs := procs[i]
			if ctx.Err() != nil {
				return
			}
			pidfd, err := sys.OpenPidfd(refs[0].pid)
			if err != nil {
				if !sys.Gone(err) {
					a.gaps = append(a.gaps, Gap{refs[0].pid, "socket", err})
				}
				return
			}
			defer pidfd.Close()
			var failed error
			for _, r := range refs {
				if r.tid != 0 {
					continue // its table is not the one that a pidfd reaches
				}
				ino, fd, err := askSocket(pidfd, r, a.cookies)
				switch {
				case err == nil:
					a.netns[r.ino] = ino
					if fd >= 0 && s.known[ino] == nil && a.taken[ino] == 0 {
						a.taken[ino] = fd
					} else if fd >= 0 {
						sys.CloseFD(fd)
					}
				case !sys.Gone(err) && !errors.Is(err, sys.ErrClosed):
					failed = err
				}
			}
			if failed != nil {
				a.gaps = append(a.gaps, Gap{refs[0].pid, "socket", failed})
			}
		},
		func(a *answers) {
			s.gaps = append(s.gaps, a.gaps...)
			for socket, ino := range a.netns {
				netns[socket] = ino
			}
			for ino, fd := range a.taken {
				taken = append(taken, fd)
				if f := s.find(Net, ino); f.way.kind == noWay {
					f.way = takenWay(fd)
				}
			}
		})
	if k, ok := s.kernel.(*realKernel); ok {
		k.taken = append(k.taken, taken...)
	}
	for _, r := range s.sockets {
		if ino := netns[r.ino]; ino != 0 && ino != r.netns {
			s.hold(Net, ino, Holder{Kind: BySocket, PID: r.pid, TID: r.tid, FD: r.fd}, way{})
		}
	}
}

// askSocket returns the inode number of the network namespace of a socket, and
// a descriptor of it if it took one.
func askSocket(pidfd sys.Pidfd, r socketRef, cookies map[uint64]uint64) (ino uint64, fd int, err error) {
	sock, err := pidfd.Getfd(r.fd)
	if err != nil {
		return 0, -1, err
	}
	defer sys.CloseFD(sock)
	if now, ok := sys.SocketInode(sock); !ok || now != r.ino {
		return 0, -1, ErrGone // the descriptor is another one's by now
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

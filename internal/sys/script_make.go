package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Wait appends what tells by the pipe report that the process is ready, and
// waits for a byte from the pipe gate. If nobody will ever write one, the
// process ends.
func (s *Script) Wait(report, gate int) {
	s.WriteAt(report, s.Pointers(readyIndex, 0), recordSize)
	s.Await(gate)
}

// Await appends what waits for a byte from the pipe gate. If nobody will ever
// write one, the process ends.
func (s *Script) Await(gate int) {
	i := s.Call("read", unix.SYS_READ, uint64(gate), uint64(s.Space(8)), 1)
	s.calls[i][wordOnZero/8] = callAddr(int(i) + 1)
	s.calls[i][wordGoto/8] = callAddr(int(i) + 2)
	s.Exit(125)
}

// Dumpable undoes [Script.Undumpable]: others of the same user can write files
// of the process in procfs, such as uid_map.
func (s *Script) Dumpable() Index { return s.Prctl(unix.PR_SET_DUMPABLE, 1) }

// Sethostname appends sethostname(2).
func (s *Script) Sethostname(name string) Index {
	return s.Call("sethostname", unix.SYS_SETHOSTNAME, uint64(s.String(name)), uint64(len(name)))
}

// Setdomainname appends setdomainname(2).
func (s *Script) Setdomainname(name string) Index {
	return s.Call("setdomainname", unix.SYS_SETDOMAINNAME, uint64(s.String(name)), uint64(len(name)))
}

// SetPropagation appends what sets the propagation of the mounts below path.
func (s *Script) SetPropagation(path string, p Propagation) Index {
	return s.Mount("", path, "", uintptr(p|Recursive), "")
}

// LinkUp appends what brings a network interface up, by SIOCSIFFLAGS of
// netdevice(7). The socket stays open, close-on-exec.
func (s *Script) LinkUp(name string) {
	var req [40]byte // struct ifreq: a name of 16 bytes, and the flags
	copy(req[:15], name)
	*(*uint16)(unsafe.Pointer(&req[16])) = unix.IFF_UP
	open := s.Call("socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	up := s.Ioctl(0, unix.SIOCSIFFLAGS, uint64(s.Bytes(req[:])))
	s.Store(open, s.Arg(up, 0))
}

// Init appends what the first process of a PID namespace does: it starts a
// child, which takes the calls that follow, passes signals on to it, reaps
// whoever ends, and ends as the child did: with its status, or 128 and the
// number of the signal.
//
// It holds no descriptor but report, the last of the numbers in use or -1, by
// which it tells when the child is stopped. A signal that the kernel sent, as
// for a key of the terminal, has reached the child too and is not passed on.
func (s *Script) Init(report int) {
	const siCode, siPID, siStatus = 8, 16, 24 // of siginfo_t, on 64 bits
	word := func(n uint32) uint64 { return uint64(s.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&n)), 4))) }
	all := uint64(s.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	info, old := uint64(s.Space(128)), uint64(s.Space(8))
	mask := func(set, old uint64) {
		s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, set, old, 8)
	}
	equal := func(a, b uint64) Index { return s.own("init", ownEqual, a, b) }
	// to makes call i, if its result is 0, go on with what comes next now.
	to := func(i Index) { s.calls[i][wordOnZero/8] = s.next() }
	back := func(i Index, at uint64) { s.calls[i][wordGoto/8] = at }

	s.Prctl(unix.PR_SET_NAME, uint64(s.String("nstool-init")))
	mask(all, old)
	child := s.clone(0)
	if report > 0 {
		s.Ignore(s.Call("close_range", unix.SYS_CLOSE_RANGE, 0, uint64(report-1), 0), unix.ENOSYS)
	}
	s.CloseFrom(report + 1)

	loop := s.next()
	signal := s.Call("rt_sigtimedwait", unix.SYS_RT_SIGTIMEDWAIT, all, info, 0, 8)
	s.IgnoreAll(signal)
	s.calls[signal][wordOnError/8] = loop
	isChild := equal(info, word(uint32(unix.SIGCHLD)))
	typed := equal(info+siCode, word(0x80)) // SI_KERNEL
	s.calls[typed][wordOnZero/8] = loop
	kill := s.Call("kill", unix.SYS_KILL, 0, 0)
	s.Store(child, s.Arg(kill, 0))
	s.Store(signal, s.Arg(kill, 1))
	s.IgnoreAll(kill)
	s.calls[kill][wordOnError/8] = loop
	s.calls[kill][wordOnZero/8] = loop

	to(isChild)
	reap := s.next()
	wait := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WALL, 0)
	s.IgnoreAll(wait)
	s.calls[wait][wordOnError/8] = loop
	none := equal(info+siPID, word(0))
	s.calls[none][wordOnZero/8] = loop
	ours := equal(info+siPID, uint64(s.Arg(kill, 0)))
	back(ours, reap)

	to(ours)
	const exited, trapped, stopped = 1, 4, 5 // CLD_EXITED and the like
	stops := []Index{equal(info+siCode, word(stopped)), equal(info+siCode, word(trapped))}
	status := equal(info+siCode, word(exited))
	end := func(plus uint64) {
		load := s.own("init", ownLoad, info+siStatus, plus)
		s.Store(load, s.Arg(s.Exit(0), 0))
	}
	end(128)
	to(status)
	end(0)

	for _, stop := range stops {
		to(stop)
	}
	tell := s.Call("write", unix.SYS_WRITE, uint64(max(report, 0)), uint64(s.Pointers(stoppedIndex, 0)), recordSize)
	s.IgnoreAll(tell)
	s.calls[tell][wordOnError/8] = reap
	back(tell, reap)

	to(child)
	s.Prctl(unix.PR_SET_NAME, uint64(s.String("nstool")))
	mask(old, 0)
}

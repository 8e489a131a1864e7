package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// keeperName is what a keeper calls itself in /proc/pid/comm.
const keeperName = "nstool-keeper"

// deathSignal is what a keeper gets when the one who started it has ended. It
// is none that anybody sends.
const deathSignal = 64

// Init appends what the first process of a PID namespace does: it starts a
// child, which takes the calls that follow, passes signals on to it, reaps
// whoever ends, and ends as the child did: with its status, or 128 and the
// number of the signal.
//
// It holds no descriptor but report, the last of the numbers in use or -1, by
// which it tells when the child is stopped. A signal that the kernel sent, as
// for a key of the terminal, has reached the child too and is not passed on.
func (s *Script) Init(report int) { s.parent("nstool-init", report, false) }

// Keeper appends a fork and what the parent does from then on, as [Script.Init]
// does: it also becomes the parent of all that the child leaves behind, kills
// the child if whoever started the script ends, and ends when nobody is left.
// It is in a session of its own, where no terminal has signals for it. By report
// it also tells when the child has ended, as that is the time to end those who
// are left.
func (s *Script) Keeper(report int) { s.parent(keeperName, report, true) }

// parent appends a process between the caller and the program.
//
// What a terminal would send to a whole group goes to that of the child if it
// leads one, and SIGTSTP as SIGSTOP: a session with nobody in it who would
// continue the child is one in which the kernel ignores SIGTSTP.
func (s *Script) parent(name string, report int, keeper bool) {
	const siCode, siPID, siStatus = 8, 16, 24 // of siginfo_t, on 64 bits
	word := func(n uint32) uint64 { return uint64(s.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&n)), 4))) }
	all := uint64(s.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	info, old := uint64(s.Space(128)), uint64(s.Space(8))
	mask := func(set, old uint64) {
		s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, set, old, 8)
	}
	equal := func(a, b uint64) Index { return s.own("parent", ownEqual, a, b) }
	// to makes call i, if its result is 0, go on with what comes next now.
	to := func(i Index) { s.calls[i][wordOnZero/8] = s.next() }
	// always makes call i go on at one place, whatever comes of it.
	always := func(i Index, at uint64) {
		s.IgnoreAll(i)
		s.calls[i][wordOnZero/8], s.calls[i][wordOnError/8], s.calls[i][wordGoto/8] = at, at, at
	}
	tell := func(index uint64) Index {
		i := s.WriteAt(max(report, 0), s.Pointers(index, 0), recordSize)
		s.IgnoreAll(i)
		return i
	}
	// become makes the signal that came another one.
	become := func(signal unix.Signal) Index {
		i := s.own("parent", ownValue, uint64(signal))
		s.Store(i, Addr(info))
		return i
	}

	s.Prctl(unix.PR_SET_NAME, uint64(s.String(name)))
	mask(all, old)
	if keeper {
		s.Setsid()
		s.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1)
		s.Prctl(unix.PR_SET_PDEATHSIG, deathSignal)
	}
	child := s.clone(0)
	// A filter of the target's may permit no close_range(2).
	if report > 0 {
		s.IgnoreAll(s.Call("close_range", unix.SYS_CLOSE_RANGE, 0, uint64(report-1), 0))
	}
	s.IgnoreAll(s.CloseFrom(report + 1))
	pid := uint64(s.Space(8))
	s.Store(child, Addr(pid))
	group := s.own("parent", ownNegate, pid)

	loop := s.next()
	signal := s.Call("rt_sigtimedwait", unix.SYS_RT_SIGTIMEDWAIT, all, info, 0, 8)
	s.IgnoreAll(signal)
	s.calls[signal][wordOnError/8] = loop
	isChild := equal(info, word(uint32(unix.SIGCHLD)))
	var orphaned Index
	if keeper {
		orphaned = equal(info, word(deathSignal))
	} else {
		typed := equal(info+siCode, word(0x80)) // SI_KERNEL
		s.calls[typed][wordOnZero/8] = loop
	}
	suspended := equal(info, word(uint32(unix.SIGTSTP)))
	var whole []Index
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGCONT, unix.SIGWINCH} {
		whole = append(whole, equal(info, word(uint32(sig))))
	}
	single := s.next()
	sig := s.own("parent", ownLoad, info, 0)
	to1 := s.own("parent", ownLoad, pid, 0)
	kill := s.Call("kill", unix.SYS_KILL, 0, 0)
	s.Store(to1, s.Arg(kill, 0))
	s.Store(sig, s.Arg(kill, 1))
	always(kill, loop)

	to(suspended)
	become(unix.SIGSTOP)
	for _, i := range whole {
		to(i)
	}
	sig = s.own("parent", ownLoad, info, 0)
	kill = s.Call("kill", unix.SYS_KILL, 0, 0)
	s.Store(group, s.Arg(kill, 0))
	s.Store(sig, s.Arg(kill, 1))
	always(kill, loop)
	s.calls[kill][wordOnError/8] = single // there is no such group

	if keeper {
		to(orphaned)
		always(become(unix.SIGKILL), single)
	}

	to(isChild)
	reap := s.next()
	wait := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WALL, 0)
	s.IgnoreAll(wait)
	s.calls[wait][wordOnError/8] = loop
	none := equal(info+siPID, word(0))
	s.calls[none][wordOnZero/8] = loop
	ours := equal(info+siPID, pid)
	s.calls[ours][wordGoto/8] = reap

	to(ours)
	const exited, trapped, stopped = 1, 4, 5 // CLD_EXITED and the like
	stops := []Index{equal(info+siCode, word(stopped)), equal(info+siCode, word(trapped))}
	left := equal(info+siCode, word(exited))
	killed := s.own("parent", ownLoad, info+siStatus, 128)
	to(left)
	status := s.own("parent", ownLoad, info+siStatus, 0)
	s.calls[killed][wordGoto/8] = s.next()
	if keeper {
		tell(overIndex)
		rest := s.next()
		last := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WALL, 0)
		s.calls[last][wordOnZero/8] = rest
		s.IgnoreAll(last)
	}
	exit := s.Exit(0)
	s.Store(killed, s.Arg(exit, 0))
	s.Store(status, s.Arg(exit, 0))

	for _, stop := range stops {
		to(stop)
	}
	always(tell(stoppedIndex), reap)

	to(child)
	s.Prctl(unix.PR_SET_NAME, uint64(s.String("nstool")))
	mask(old, 0)
}

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

	s.SetName(name)
	mask(all, old)
	if keeper {
		s.Setsid()
		s.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1)
		s.Prctl(unix.PR_SET_PDEATHSIG, deathSignal)
	}
	child, forked := s.clone(0)
	for fd := range max(report, 0) {
		s.IgnoreAll(s.Close(fd)) // a keeper may be under a filter of the target's by now
	}
	if !keeper { // before which they have been closed
		s.CloseFrom(report + 1)
	}
	pid := uint64(s.Space(8))
	s.Store(child, Addr(pid))
	group := s.own("parent", ownNegate, pid)

	loop, reap := s.mark("next signal"), s.label("reap")
	ended, alone, suspend, asGroup := s.label("child"), s.label("orphaned"), s.label("suspend"), s.label("group")
	signal := s.Call("rt_sigtimedwait", unix.SYS_RT_SIGTIMEDWAIT, all, info, 0, 8)
	s.IgnoreAll(signal)
	s.onError(signal, loop)
	s.onZero(equal(info, word(uint32(unix.SIGCHLD))), ended)
	if keeper {
		s.onZero(equal(info, word(deathSignal)), alone)
	} else {
		s.onZero(equal(info+siCode, word(0x80)), loop) // SI_KERNEL: it was typed
	}
	s.onZero(equal(info, word(uint32(unix.SIGTSTP))), suspend)
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGCONT, unix.SIGWINCH} {
		s.onZero(equal(info, word(uint32(sig))), asGroup)
	}
	single := s.mark("one process")
	sig := s.own("parent", ownLoad, info, 0)
	to := s.own("parent", ownLoad, pid, 0)
	kill := s.Call("kill", unix.SYS_KILL, 0, 0)
	s.Store(to, s.Arg(kill, 0))
	s.Store(sig, s.Arg(kill, 1))
	s.always(kill, loop)

	s.place(suspend)
	become(unix.SIGSTOP)
	s.place(asGroup)
	sig = s.own("parent", ownLoad, info, 0)
	kill = s.Call("kill", unix.SYS_KILL, 0, 0)
	s.Store(group, s.Arg(kill, 0))
	s.Store(sig, s.Arg(kill, 1))
	s.always(kill, loop)
	s.onError(kill, single) // there is no such group

	if keeper {
		s.place(alone)
		s.always(become(unix.SIGKILL), single)
	}

	s.place(ended)
	s.place(reap)
	ours, stopped := s.label("the child"), s.label("stopped")
	wait := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WALL, 0)
	s.IgnoreAll(wait)
	s.onError(wait, loop)
	s.onZero(equal(info+siPID, word(0)), loop) // none is left
	is := equal(info+siPID, pid)
	s.onZero(is, ours)
	s.onOther(is, reap)

	s.place(ours)
	left, over := s.label("exited"), s.label("over")
	const cldExited, cldTrapped, cldStopped = 1, 4, 5
	s.onZero(equal(info+siCode, word(cldStopped)), stopped)
	s.onZero(equal(info+siCode, word(cldTrapped)), stopped)
	s.onZero(equal(info+siCode, word(cldExited)), left)
	killed := s.own("parent", ownLoad, info+siStatus, 128)
	s.onOther(killed, over)
	s.place(left)
	status := s.own("parent", ownLoad, info+siStatus, 0)
	s.place(over)
	if keeper {
		tell(overIndex)
		rest := s.mark("the rest")
		last := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WALL, 0)
		s.onZero(last, rest)
		s.IgnoreAll(last)
	}
	exit := s.Exit(0)
	s.Store(killed, s.Arg(exit, 0))
	s.Store(status, s.Arg(exit, 0))

	s.place(stopped)
	s.always(tell(stoppedIndex), reap)

	s.place(forked)
	s.SetName("nstool")
	mask(old, 0)
}

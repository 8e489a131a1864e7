package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// keeperName is the name of a keeper in /proc/pid/comm.
const keeperName = "nstool-keeper"

// deathSignal is the signal to a keeper when the process that started it has ended. No program
// sends it.
const deathSignal = 64

// Init appends the calls of the first process of a PID namespace: it starts a child, which
// makes the calls that follow, passes signals on to it, reaps orphans, and exits as the child
// did: with its status, or 128 and the number of the signal.
//
// It has no descriptor but report, the last of the numbers in use or -1, to which it writes
// when the child is stopped. A signal of the kernel, as for a key of the terminal, has reached
// the child too and is not passed on.
func (s *Script) Init(report int) { s.parent("nstool-init", report, false) }

// Keeper appends a fork after which the parent does as [Script.Init]. It also becomes the
// parent of the child's orphans, kills the child if the process that started the script ends,
// and exits with its last child. It is in a session of its own, without signals of a terminal.
// It also writes to report when the child has ended, since then the orphans are to be killed.
func (s *Script) Keeper(report int) { s.parent(keeperName, report, true) }

// parent appends the calls of a process between the caller and the program.
//
// Signals that a terminal sends to a group go to the group of the child if it leads one.
// SIGTSTP becomes SIGSTOP: the kernel ignores SIGTSTP in a session in which nobody would
// continue the child.
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
	// become replaces the signal that came.
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
		s.IgnoreAll(s.Close(fd)) // a keeper may be under the target's filter by now
	}
	if !keeper { // a keeper's are closed before
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
	s.onError(kill, single) // the child leads no group

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
	s.onZero(equal(info+siPID, word(0)), loop) // no child is left
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

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

// Keeper appends a fork and what the parent does from then on: it becomes the
// parent of all that the child leaves behind, passes signals on to the child and
// reaps, kills the child if whoever started the script ends, and ends as the
// child did when nobody is left. All that is appended next is the child's.
//
// It has two descriptors, the last of the numbers in use: over, which it closes
// when the child has ended, as that is the time to end those who are left, and
// then report, by which it tells when the child is stopped.
func (s *Script) Keeper(over, report int) {
	const siCode, siPID, siStatus = 8, 16, 24 // of siginfo_t, on 64 bits
	word := func(n uint32) uint64 { return uint64(s.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&n)), 4))) }
	all := uint64(s.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	info, old := uint64(s.Space(128)), uint64(s.Space(8))
	mask := func(set, old uint64) {
		s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, set, old, 8)
	}
	equal := func(a, b uint64) Index { return s.own("keeper", ownEqual, a, b) }
	to := func(i Index) { s.calls[i][wordOnZero/8] = s.next() } // if its result is 0, go on with what comes next
	closeRange := func(from, to uint64) {
		s.IgnoreAll(s.Call("close_range", unix.SYS_CLOSE_RANGE, from, to, 0))
	}

	s.Prctl(unix.PR_SET_NAME, uint64(s.String(keeperName)))
	mask(all, old)
	s.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1)
	s.Prctl(unix.PR_SET_PDEATHSIG, deathSignal)
	child := s.clone(0)
	closeRange(0, uint64(over-1))
	closeRange(uint64(report+1), uint64(^uint32(0)))

	loop := s.next()
	signal := s.Call("rt_sigtimedwait", unix.SYS_RT_SIGTIMEDWAIT, all, info, 0, 8)
	s.IgnoreAll(signal)
	s.calls[signal][wordOnError/8] = loop
	isChild := equal(info, word(uint32(unix.SIGCHLD)))
	typed := equal(info+siCode, word(0x80)) // SI_KERNEL: the child has got it too
	s.calls[typed][wordOnZero/8] = loop
	orphaned := equal(info, word(deathSignal))
	kill := s.Call("kill", unix.SYS_KILL, 0, 0)
	s.Store(child, s.Arg(kill, 0))
	s.Store(signal, s.Arg(kill, 1))
	s.IgnoreAll(kill)
	s.calls[kill][wordOnError/8] = loop
	s.calls[kill][wordOnZero/8] = loop
	to(orphaned)
	force := s.own("keeper", ownValue, uint64(unix.SIGKILL))
	s.Store(force, s.Arg(kill, 1))
	s.calls[force][wordGoto/8] = callAddr(int(kill))

	to(isChild)
	reap := s.next()
	wait := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WALL, 0)
	s.IgnoreAll(wait)
	s.calls[wait][wordOnError/8] = loop
	none := equal(info+siPID, word(0))
	s.calls[none][wordOnZero/8] = loop
	ours := equal(info+siPID, uint64(s.Arg(kill, 0)))
	s.calls[ours][wordGoto/8] = reap

	to(ours)
	stops := []Index{equal(info+siCode, word(5)), equal(info+siCode, word(4))} // CLD_STOPPED, CLD_TRAPPED
	exited := equal(info+siCode, word(1))                                      // CLD_EXITED
	killed := s.own("keeper", ownLoad, info+siStatus, 128)
	to(exited)
	status := s.own("keeper", ownLoad, info+siStatus, 0)
	s.calls[killed][wordGoto/8] = s.next()
	s.CloseFrom(0)
	rest := s.next()
	last := s.Call("waitid", unix.SYS_WAITID, unix.P_ALL, 0, info, unix.WEXITED|unix.WALL, 0)
	s.calls[last][wordOnZero/8] = rest
	s.IgnoreAll(last)
	exit := s.Exit(0)
	s.Store(killed, s.Arg(exit, 0))
	s.Store(status, s.Arg(exit, 0))

	for _, stop := range stops {
		to(stop)
	}
	tell := s.Call("write", unix.SYS_WRITE, uint64(report), uint64(s.Pointers(stoppedIndex, 0)), recordSize)
	s.IgnoreAll(tell)
	s.calls[tell][wordOnError/8] = reap
	s.calls[tell][wordGoto/8] = reap

	to(child)
	s.Prctl(unix.PR_SET_NAME, uint64(s.String("nstool")))
	mask(old, 0)
}

// Watch starts a process that waits for the end of a pipe. If it comes without a
// byte before it, whoever had the other end was killed, and the process becomes
// program, which is run with words and nothing else. Its PID is to be reaped.
func Watch(pipe int, program string, words []string) (pid int, err error) {
	exe, err := OpenWay(program, true)
	if err != nil {
		return 0, err
	}
	defer unix.Close(exe)
	null, err := OpenNull()
	if err != nil {
		return 0, err
	}
	defer unix.Close(null)
	s := NewScript()
	s.Stdio(null, null, null)
	in, run := s.File(pipe), s.File(exe)
	s.CloseOnExec(in)
	s.CloseOnExec(run)
	s.Setsid()
	wait := s.Call("read", unix.SYS_READ, uint64(in), uint64(s.Space(8)), 1)
	s.calls[wait][wordOnZero/8] = callAddr(int(wait) + 2)
	s.Exit(0)
	s.Exec([]Program{{Path: FDPath(run), Argv: words}}, nil)
	s.OnFailure(func(Addr) { s.Exit(1) })
	return s.Start()
}

// WaitEnd waits until nobody can write to the pipe any more.
func WaitEnd(pipe int) {
	b := make([]byte, 1)
	for {
		n, err := unix.Read(pipe, b)
		if err != unix.EINTR && n <= 0 {
			return
		}
	}
}

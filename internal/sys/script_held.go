package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Held makes what [Script.Fork] starts later stop before its first instruction,
// until [Release]: the process is traced by the thread that started it, and what
// it forks is too, from birth (ptrace(2), CLONE_PTRACE of clone(2)). Who can see a
// process that is held can neither continue nor trace it.
//
// A signal for a process that is traced stops it, so all but SIGKILL and SIGSTOP
// wait until it has ended; what it forked has the mask from before.
func (s *Script) Held() {
	s.held = s.Space(8)
	all := s.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(all), uint64(s.held), 8)
	s.Call("ptrace", unix.SYS_PTRACE, unix.PTRACE_TRACEME)
}

// WaitHeld waits until a process that is forked held has stopped. It is false for
// one that has been killed. From then on it ends if the caller does. The caller is
// the thread that started the script.
func WaitHeld(pid int) (bool, error) {
	change, err := WaitChange(pid)
	if err != nil || !change.Stopped {
		return false, err
	}
	return true, os.NewSyscallError("ptrace PTRACE_SETOPTIONS", unix.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL))
}

// Release lets a process go on that is held, and traces it no more. The caller is
// the thread that started the script.
func Release(pid int) error {
	return os.NewSyscallError("ptrace PTRACE_DETACH", unix.PtraceDetach(pid))
}

package sys

import (
	"golang.org/x/sys/unix"
)

// Held stops processes that [Script.Fork] starts later before their first instruction, until
// [Release]: the starting thread traces the process, and also its forks, from birth (ptrace(2),
// CLONE_PTRACE of clone(2)). Other processes can neither continue nor trace a held process.
//
// A signal stops a traced process, so all but SIGKILL and SIGSTOP are blocked in it; its forks
// get the mask from before.
func (s *Script) Held() {
	s.held = s.Space(8)
	all := s.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(all), uint64(s.held), 8)
	s.Call("ptrace", unix.SYS_PTRACE, unix.PTRACE_TRACEME)
}

// WaitHeld waits until a held process has stopped, and returns false if it was killed. From
// then on the process ends if the caller does. The caller is the thread that started the
// script.
func WaitHeld(pid int) (bool, error) {
	change, err := WaitChange(pid)
	if err != nil || !change.Stopped {
		return false, err
	}
	return true, callError("ptrace PTRACE_SETOPTIONS", unix.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL))
}

// Release continues a held process, and stops tracing it. The caller is the thread that started
// the script.
func Release(pid int) error {
	return callError("ptrace PTRACE_DETACH", unix.PtraceDetach(pid))
}

package sys

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nstool/nstool/internal/procfile"
)

// A Report is a message of a script through its pipe.
type Report struct {
	// Started is the PID of a process that was started, or 0.
	Started int
	// Ready: the process waits at a [Script.Wait].
	Ready bool
	// Stopped: the child of a [Script.Init] or [Script.Keeper] was stopped.
	Stopped bool
	// Over: the child of a [Script.Keeper] has ended.
	Over bool
	// Failed is the call that failed, and Err its error, if Err is not nil.
	Failed Index
	Err    error
}

// ReadReport reads one report from fd. It is false at the end of the pipe, and
// for a pipe with nothing in it that does not block.
func ReadReport(fd int) (r Report, ok bool) {
	// A script writes whole records: less is from another process, which could block us.
	var b [recordSize]byte
	if n, err := Read(fd, b[:]); err != nil || n != len(b) {
		return r, false
	}
	index, value := binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])
	switch index {
	case startedIndex:
		r.Started = int(value)
	case readyIndex:
		r.Ready = true
	case stoppedIndex:
		r.Stopped = true
	case overIndex:
		r.Over = true
	default:
		if index > startedIndex || value >= 4096 { // no index of a call, or no errno
			return r, false
		}
		r.Failed, r.Err = Index(index), unix.Errno(value)
	}
	return r, true
}

// SetNonblock makes reads from fd return at once.
func SetNonblock(fd int) error { return callError("fcntl", unix.SetNonblock(fd, true)) }

// A Change is a change of state of a child.
type Change struct {
	Stopped bool // by a signal; else it has ended
	Signal  syscall.Signal
	Status  int // exit status, if Signal is 0
}

// WaitChange waits until a child of the caller stops or ends. A child that has ended is not
// reaped: its PID is not used again before [Reap].
func WaitChange(pid int) (Change, error) {
	// struct siginfo of waitid(2), as the kernel lays it out on 64 bits.
	var info [128]byte
	const cldExited, cldStopped, cldTrapped = 1, 5, 4
	wait := func(options uintptr) error {
		for {
			_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid), uintptr(unsafe.Pointer(&info[0])), options|unix.WALL, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return callError("waitid", errno)
			}
			return nil
		}
	}
	if err := wait(unix.WEXITED | unix.WSTOPPED | unix.WNOWAIT); err != nil {
		return Change{}, err
	}
	code := int32(binary.NativeEndian.Uint32(info[8:]))
	status := int(binary.NativeEndian.Uint32(info[24:]))
	switch code {
	case cldExited:
		return Change{Status: status}, nil
	case cldStopped, cldTrapped:
		err := wait(unix.WSTOPPED | unix.WNOHANG)
		return Change{Stopped: true, Signal: syscall.Signal(status)}, err
	}
	return Change{Signal: syscall.Signal(status)}, nil
}

// IsChild reports whether a process is a child of the caller that has not been
// reaped.
func IsChild(pid int) bool {
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid), 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0, 0)
	return errno == 0
}

// Reap waits for a child that has ended.
func Reap(pid int) error {
	var ws unix.WaitStatus
	return retry(func() error {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		return err
	})
}

// ReapRunning is [Reap] for a child that must not stop: if it is stopped it is killed.
// Otherwise a process that may signal it could block the caller for ever.
func ReapRunning(pid int) error {
	for {
		var ws unix.WaitStatus
		err := retry(func() error {
			_, err := unix.Wait4(pid, &ws, unix.WALL|unix.WUNTRACED, nil)
			return err
		})
		if err != nil || !ws.Stopped() {
			return err
		}
		if err := Kill(pid, unix.SIGKILL); err != nil {
			return err
		}
	}
}

// Kill sends a signal to a process that the caller has not reaped.
func Kill(pid int, signal syscall.Signal) error {
	if err := unix.Kill(pid, signal); err != nil {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	return nil
}

// CloneParent gives the child of a [Script.Fork] the parent of its caller.
const CloneParent = unix.CLONE_PARENT

// CloneFS is the flag of unshare(2) for root and working directory. A thread that shares them
// cannot join a mount namespace.
const CloneFS = unix.CLONE_FS

// StopSelf stops the calling process, and returns when it is continued.
func StopSelf() {
	// The signal goes to this thread: another thread could take one to the process, and this
	// one would run on for a moment.
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
}

// WriteByte writes a zero byte to a pipe.
func WriteByte(fd int) error {
	err := retry(func() error { _, err := unix.Write(fd, []byte{0}); return err })
	return callError("write", err)
}

// HasStoppedChild reports whether the first child of a process, which it started itself, is
// stopped by a signal.
func HasStoppedChild(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(dir + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		return false
	}
	child, _, _ := bytes.Cut(text, []byte(" "))
	stat, err := os.ReadFile("/proc/" + string(child) + "/stat")
	s, bad := procfile.ParseStat(stat)
	return err == nil && bad == nil && s.State == 'T'
}

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
)

// A Report is what a script told by its pipe.
type Report struct {
	// Started is the PID of a process that was started, or 0.
	Started int
	// Ready says that the process waits at a [Script.Wait].
	Ready bool
	// Stopped says that the child of a [Script.Init] or [Script.Keeper] was
	// stopped.
	Stopped bool
	// Over says that the child of a [Script.Keeper] has ended.
	Over bool
	// Failed and Err are the call that failed, if Err is not nil.
	Failed Index
	Err    error
}

// ReadReport reads one report from fd. It is false at the end of the pipe, and
// for a pipe with nothing in it that does not block.
func ReadReport(fd int) (r Report, ok bool) {
	// A record is written as a whole: who writes less is none of ours, and would
	// have us wait.
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
		if index > startedIndex || value >= 4096 { // no call of ours, or no errno
			return r, false
		}
		r.Failed, r.Err = Index(index), unix.Errno(value)
	}
	return r, true
}

// SetNonblock makes reads from fd return at once.
func SetNonblock(fd int) error { return os.NewSyscallError("fcntl", unix.SetNonblock(fd, true)) }

// A Change is what became of a child.
type Change struct {
	Stopped bool // by a signal; else it has ended
	Signal  syscall.Signal
	Status  int // with which it ended, if Signal is 0
}

// WaitChange waits until a child of the caller stops or ends. One that has
// ended is not reaped: its PID stays its own until [Reap].
func WaitChange(pid int) (Change, error) {
	// struct siginfo of waitid(2) as the kernel lays it out on 64 bits.
	var info [128]byte
	const cldExited, cldStopped, cldTrapped = 1, 5, 4
	wait := func(options uintptr) error {
		for {
			_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid), uintptr(unsafe.Pointer(&info[0])), options|unix.WALL, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return os.NewSyscallError("waitid", errno)
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

// Reap lets the kernel forget a child that has ended.
func Reap(pid int) error {
	var ws unix.WaitStatus
	return retry(func() error {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		return err
	})
}

// ReapRunning is [Reap] of a child that is never to stop: if somebody stops it, it
// is ended. Who may send it signals could else have the caller wait for ever, and
// leave it behind.
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

// CloneParent makes the child of a [Script.Fork] a sister: its parent is the
// caller's.
const CloneParent = unix.CLONE_PARENT

// CloneFS is the flag of unshare(2) for root and working directory: a thread
// that shares them cannot join a mount namespace.
const CloneFS = unix.CLONE_FS

// StopSelf stops the calling process, and returns when it is continued.
func StopSelf() {
	// To the thread, since a signal to the process may be taken by another
	// one, and this one would go on for a moment.
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
}

// WriteByte writes a zero byte to a pipe.
func WriteByte(fd int) error {
	err := retry(func() error { _, err := unix.Write(fd, []byte{0}); return err })
	return os.NewSyscallError("write", err)
}

// HasStoppedChild reports whether the first child of a process is stopped by a
// signal: the one it started before it took in any others.
func HasStoppedChild(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(dir + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		return false
	}
	child, _, _ := bytes.Cut(text, []byte(" "))
	stat, err := os.ReadFile("/proc/" + string(child) + "/stat")
	end := bytes.LastIndexByte(stat, ')')
	return err == nil && end >= 0 && bytes.HasPrefix(stat[end:], []byte(") T"))
}

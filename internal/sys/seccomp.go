package sys

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of ptrace(2) that golang.org/x/sys/unix does not have everywhere.
const (
	ptraceSeize     = 0x4206
	ptraceInterrupt = 0x4207
	ptraceGetFilter = 0x420c
	ptraceEventStop = 128
)

// stopWait is the longest time for a process to stop for its tracer. It stops at once unless it
// is frozen or waits for a dead device.
const stopWait = time.Second

// SeccompFilters returns the seccomp filters of a thread, oldest first, as
// [Script.Seccomp] takes them: classic BPF, eight bytes an instruction.
//
// The thread is traced and stops for some microseconds; it may see system calls that return
// EINTR, see signal(7) on stop signals. It takes CAP_SYS_ADMIN in the initial user namespace, a
// caller without filters of its own, a thread without another tracer, and a kernel with
// CONFIG_CHECKPOINT_RESTORE, else the error is an [errors.ErrUnsupported]. See
// PTRACE_SECCOMP_GET_FILTER in ptrace(2); Linux 4.4.
func SeccompFilters(tid int) ([][]byte, error) {
	type answer struct {
		filters [][]byte
		err     error
	}
	done := make(chan answer)
	go func() {
		// A tracer is a thread. On failure this one ends, since it is not unlocked, and the
		// kernel detaches it.
		runtime.LockOSThread()
		filters, err := seccompFilters(tid)
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- answer{filters, err}
	}()
	a := <-done
	return a.filters, a.err
}

func seccompFilters(tid int) ([][]byte, error) {
	if _, err := ptrace(ptraceSeize, tid, 0, 0); err != nil {
		return nil, callError("ptrace SEIZE", err)
	}
	if _, err := ptrace(ptraceInterrupt, tid, 0, 0); err != nil {
		return nil, callError("ptrace INTERRUPT", err)
	}
	signal, err := waitStop(tid)
	if err != nil {
		return nil, err
	}
	filters, err := stoppedFilters(tid)
	if _, derr := ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(signal)); derr != nil && err == nil {
		err = callError("ptrace DETACH", derr)
	}
	return filters, err
}

// waitStop waits until the thread has stopped, and returns the signal to continue it with, if
// it stopped for one.
func waitStop(tid int) (signal int, err error) {
	pause := 20 * time.Microsecond
	for end := time.Now().Add(stopWait); ; {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(tid, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, callError("wait4", err)
		case pid == tid && ws.Stopped() && uint32(ws)>>16 == ptraceEventStop:
			return 0, nil
		case pid == tid && ws.Stopped():
			return int(ws.StopSignal()), nil
		case pid == tid:
			return 0, callError("wait4", unix.ESRCH)
		case time.Now().After(end):
			return 0, errors.New("it does not stop for a tracer: it is frozen, or waits for a device")
		}
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Millisecond)
	}
}

// stoppedFilters reads the filters of a thread that is stopped. The kernel counts from the
// newest, 0; installing them again starts with the oldest.
func stoppedFilters(tid int) ([][]byte, error) {
	var filters [][]byte
	for i := 0; ; i++ {
		n, err := ptrace(ptraceGetFilter, tid, uintptr(i), 0)
		if err == unix.ENOENT || err == unix.EINVAL && i == 0 {
			break // the end; EINVAL: no filter at all
		}
		if err == nil && n > 0 {
			filter := make([]byte, 8*n)
			_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetFilter, uintptr(tid), uintptr(i), uintptr(unsafe.Pointer(&filter[0])), 0, 0)
			if errno == 0 {
				filters = append([][]byte{filter}, filters...)
				continue
			}
			err = errno
		}
		switch err {
		case unix.EIO:
			return nil, fmt.Errorf("ptrace SECCOMP_GET_FILTER: the kernel has no CONFIG_CHECKPOINT_RESTORE: %w", errors.ErrUnsupported)
		case unix.EMEDIUMTYPE:
			return nil, fmt.Errorf("ptrace SECCOMP_GET_FILTER: a filter was not kept by the kernel: %w", errors.ErrUnsupported)
		}
		return nil, callError("ptrace SECCOMP_GET_FILTER", err)
	}
	return filters, nil
}

func ptrace(request, tid int, addr, data uintptr) (int, error) {
	r, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

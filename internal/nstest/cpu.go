package nstest

import (
	"math/bits"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// OneCPU ties the calling goroutine to a thread, and that to one processor;
// processes that it starts inherit this. Linux 6.18 numbers namespaces from a
// batch for each processor, so only of those made on one does it know the
// older, as it must when a mount namespace is bind-mounted in another.
func OneCPU() error {
	runtime.LockOSThread()
	var set [128]uint64
	n, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return os.NewSyscallError("sched_getaffinity", errno)
	}
	for i, word := range set[:n/8] {
		if word == 0 {
			continue
		}
		set = [len(set)]uint64{}
		set[i] = 1 << bits.TrailingZeros64(word)
		break
	}
	_, _, errno = syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return os.NewSyscallError("sched_setaffinity", errno)
	}
	return nil
}

package sys

import (
	"golang.org/x/sys/unix"
)

// The ioctls of PID namespaces that take a PID as their argument, from the
// kernel's include/uapi/linux/nsfs.h; Linux 6.11.
const (
	NS_GET_TGID_FROM_PIDNS = 0x8004b707
	NS_GET_PID_IN_PIDNS    = 0x8004b708
	NS_GET_TGID_IN_PIDNS   = 0x8004b709
)

// PIDFrom returns, as numbers of the caller's PID namespace, the task that is pid in the PID
// namespace of fd, and the process of that task, which differs for a thread. See
// NS_GET_PID_FROM_PIDNS in ioctl_nsfs(2); Linux 6.11, older kernels answer
// [errors.ErrUnsupported]. The error is an [fs.ErrNotExist] if there is no such task, or if it
// is outside the caller's namespace.
func PIDFrom(fd, pid int) (tid, tgid int, err error) {
	return pidPair(fd, pid, NS_GET_PID_FROM_PIDNS, NS_GET_TGID_FROM_PIDNS, "NS_GET_PID_FROM_PIDNS")
}

// PIDIn returns, as numbers of the PID namespace of fd, the task that is pid in the caller's,
// and the process of that task. See NS_GET_PID_IN_PIDNS in ioctl_nsfs(2), and [PIDFrom].
func PIDIn(fd, pid int) (tid, tgid int, err error) {
	return pidPair(fd, pid, NS_GET_PID_IN_PIDNS, NS_GET_TGID_IN_PIDNS, "NS_GET_PID_IN_PIDNS")
}

func pidPair(fd, pid int, task, process uintptr, name string) (tid, tgid int, err error) {
	for _, ask := range []struct {
		request uintptr
		to      *int
	}{{task, &tid}, {process, &tgid}} {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ask.request, uintptr(pid))
		switch {
		case errno == unix.ESRCH:
			return 0, 0, noProcess(callError("ioctl "+name, errno))
		case errno != 0:
			return 0, 0, nsfsError(name, errno)
		}
		*ask.to = int(r)
	}
	return tid, tgid, nil
}

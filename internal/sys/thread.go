package sys

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InMountNamespace calls f on a thread of its own that has joined the mount
// namespace of fd and that is given up afterwards. f must not start goroutines
// and opens paths of that mount namespace: it must trust none of them. It needs
// CAP_SYS_ADMIN in the user namespace that owns the mount namespace, and
// CAP_SYS_CHROOT and CAP_SYS_ADMIN in the caller's.
func InMountNamespace(fd int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the runtime ends a thread that is locked when its goroutine ends
		done <- func() error {
			// setns(2) refuses a mount namespace to a thread that shares root
			// and working directory with others.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
				return os.NewSyscallError("setns", err)
			}
			return f()
		}()
	}()
	return <-done
}

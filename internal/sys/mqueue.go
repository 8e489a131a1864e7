package sys

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenMessageQueues opens the directory of the POSIX message queues of the IPC
// namespace that the calling thread is in: see mq_overview(7). It is mounted
// nowhere, so nobody sees that, and it need not be mounted anywhere. It takes
// CAP_SYS_ADMIN in the user namespace that owns the IPC namespace; Linux 5.2,
// and where the kernel has no such queues the error is an [errors.ErrUnsupported].
func OpenMessageQueues() (int, error) {
	fs, err := unix.Fsopen("mqueue", unix.FSOPEN_CLOEXEC)
	if err != nil {
		if err == unix.ENODEV || err == unix.ENOSYS {
			return -1, fmt.Errorf("fsopen mqueue: %w", errors.ErrUnsupported)
		}
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(mount)
	return openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
}

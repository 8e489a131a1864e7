package sys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenMessageQueues opens the directory of the POSIX message queues of the IPC namespace that
// the calling thread is in: see mq_overview(7). It is not attached to any mount namespace, so
// nobody sees it. It takes CAP_SYS_ADMIN in the user namespace that owns the IPC namespace;
// Linux 5.2. The error is [errors.ErrUnsupported] if the kernel has no such queues.
func OpenMessageQueues() (int, error) {
	mount, err := NewFilesystem("mqueue", NoDevices|NoExec)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOSYS) {
		return -1, fmt.Errorf("fsopen mqueue: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(mount)
	return openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
}

package sys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenMessageQueues opens the directory of the POSIX message queues of the IPC
// namespace that the calling thread is in: see mq_overview(7). It is mounted
// nowhere, so nobody sees that, and it need not be mounted anywhere. It takes
// CAP_SYS_ADMIN in the user namespace that owns the IPC namespace; Linux 5.2,
// and where the kernel has no such queues the error is an [errors.ErrUnsupported].
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

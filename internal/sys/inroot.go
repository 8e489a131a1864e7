package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens what path leads to, O_PATH, as if root were the root
// directory: no link leads out, whoever changes the way meanwhile, and none of
// procfs is followed. Without follow a link at the end is itself what is opened.
// See RESOLVE_IN_ROOT in openat2(2); Linux 5.6.
func OpenInRoot(root int, path string, follow bool) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	// EAGAIN: something on the way was renamed, so that ".." could not be
	// trusted. Whoever never stops is not waited for.
	for range 1000 {
		err = retry(func() error {
			fd, err = unix.Openat2(root, path, &how)
			return err
		})
		if err != unix.EAGAIN {
			break
		}
	}
	if err != nil {
		return -1, os.NewSyscallError("openat2", err)
	}
	return fd, nil
}

package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// OwnNetns returns an open file of the network namespace of the calling thread.
func OwnNetns() (*os.File, error) {
	const path = "/proc/thread-self/ns/net"
	fd, err := OpenLink(CurrentDir, path)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// JoinNetns makes the calling thread join the network namespace of fd; see
// [OnThread]. It needs CAP_SYS_ADMIN in the user namespace that owns it and in
// the caller's own, unless the thread is in it.
func JoinNetns(fd int) error {
	err := unix.Setns(fd, unix.CLONE_NEWNET)
	if errors.Is(err, unix.EPERM) {
		var own, want unix.Stat_t
		if unix.Stat("/proc/thread-self/ns/net", &own) == nil && unix.Fstat(fd, &want) == nil && own.Dev == want.Dev && own.Ino == want.Ino {
			return nil
		}
	}
	return callError("setns", err)
}

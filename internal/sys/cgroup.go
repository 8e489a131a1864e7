package sys

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenCgroup opens the file of the cgroup at path by which a thread that writes
// "0" moves there: the tasks file of version 1, the cgroup.procs file of
// version 2, by which all threads of its process move. The process is to have
// no other thread, or to lose them at the exec that follows.
//
// A move of one's own single thread does not wait until no process of the
// machine forks or ends, which costs a grace period of RCU: 6 to 30 ms where
// nobody moved lately (Linux 5.5, commit 9a3284fad42f).
//
// Nothing but a cgroup file system will do: what else may lie at path is not
// opened. See cgroups(7).
func OpenCgroup(path string) (fd int, err error) {
	dir, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	kind, err := filesystemOf(dir)
	if err != nil {
		return -1, err
	}
	if kind != unix.CGROUP_SUPER_MAGIC && kind != unix.CGROUP2_SUPER_MAGIC {
		return -1, fmt.Errorf("%s is not on a cgroup file system: %w", path, unix.ENOTSUP)
	}
	// What enters a frozen cgroup is frozen, and could not say so.
	if state, err := ReadAt(dir, "cgroup.events", 4096); err == nil && hasLine(state, "frozen 1") {
		return -1, fmt.Errorf("%s is frozen: %w", path, unix.EBUSY)
	}
	if state, err := ReadAt(dir, "freezer.state", 64); err == nil && !hasLine(state, "THAWED") {
		return -1, fmt.Errorf("%s is frozen: %w", path, unix.EBUSY)
	}
	if kind == unix.CGROUP_SUPER_MAGIC {
		// Who delegates a cgroup may have given away the other file alone.
		if fd, err := openat(dir, "tasks", unix.O_WRONLY|unix.O_CLOEXEC); err == nil {
			return fd, nil
		}
	}
	return openat(dir, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC)
}

func hasLine(text []byte, want string) bool {
	for line := range bytes.Lines(text) {
		if string(bytes.TrimRight(line, "\n")) == want {
			return true
		}
	}
	return false
}

package sys

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenCgroup opens the file through which a thread that writes "0" moves to the cgroup at path:
// the tasks file of version 1, or the cgroup.procs file of version 2, which moves all threads
// of the process. The process should have no other thread, or lose them at the exec that
// follows.
//
// A process with one thread that moves itself by the tasks file does not wait for an RCU grace
// period: 6 to 30 ms if there was no recent move (Linux 5.5, commit 9a3284fad42f).
//
// A path on any other file system is not opened. See cgroups(7).
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
	// A process that enters a frozen cgroup is frozen, and cannot report it.
	if state, err := ReadAt(dir, "cgroup.events", 4096); err == nil && hasLine(state, "frozen 1") {
		return -1, fmt.Errorf("%s is frozen: %w", path, unix.EBUSY)
	}
	if state, err := ReadAt(dir, "freezer.state", 64); err == nil && !hasLine(state, "THAWED") {
		return -1, fmt.Errorf("%s is frozen: %w", path, unix.EBUSY)
	}
	if kind == unix.CGROUP_SUPER_MAGIC {
		// A delegated cgroup may have only the other file writable.
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

package sys

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctls of nsfs files, from the kernel's include/uapi/linux/nsfs.h, which
// golang.org/x/sys/unix does not have. The first four came with Linux 4.9 and
// 4.11, NS_GET_ID as NS_GET_MNTNS_ID in 6.11 and for all types in 6.18.
const (
	NS_GET_USERNS    = 0xb701
	NS_GET_PARENT    = 0xb702
	NS_GET_NSTYPE    = 0xb703
	NS_GET_OWNER_UID = 0xb704
	NS_GET_ID        = 0x8008b70d

	NS_GET_PID_FROM_PIDNS = 0x8004b706
)

// ErrHidden reports that the caller may not see the namespace, or that there is none:
// NS_GET_PARENT and NS_GET_USERNS fail with EPERM for both.
var ErrHidden = ErrorOf(fs.ErrPermission, "outside the caller's namespaces")

// ErrNotNamespace reports that a file is no namespace: it is not on nsfs.
var ErrNotNamespace = errors.New("not a namespace file")

// FileID identifies a file: its device, as stat(2) encodes it, and inode.
type FileID struct{ Dev, Ino uint64 }

// CurrentDir is the descriptor of the current directory (AT_FDCWD).
const CurrentDir = unix.AT_FDCWD

// Fstat returns the device and inode of fd.
func Fstat(fd int) (FileID, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return FileID{}, callError("fstat", err)
	}
	return FileID{Dev: st.Dev, Ino: st.Ino}, nil
}

// IsNsfs reports whether fd is on nsfs, the file system of namespaces. It also works on O_PATH
// descriptors.
func IsNsfs(fd int) (bool, error) { return isOn(fd, unix.NSFS_MAGIC) }

// isOn reports whether fd is on a file system of that kind.
func isOn(fd int, magic int64) (bool, error) {
	kind, err := filesystemOf(fd)
	return err == nil && kind == magic, err
}

// filesystemOf returns the type of the file system of fd: see statfs(2).
func filesystemOf(fd int) (magic int64, err error) {
	var st unix.Statfs_t
	err = retry(func() error { return unix.Fstatfs(fd, &st) })
	return int64(st.Type), callError("fstatfs", err)
}

// OpenNamespace opens the namespace file at path, relative to the directory
// dirfd unless it is absolute, for ioctls and setns(2).
//
// The path may be hostile: it is first opened with O_PATH, which has no effect on a FIFO, a
// device or a dead network mount, and opened for real only if it is on nsfs. For anything else
// the error is [ErrNotNamespace]. An automount point is not triggered by O_PATH, and the last
// component may be a symbolic link, as /proc/pid/ns/net is.
func OpenNamespace(dirfd int, path string) (fd int, err error) {
	return openNamespace(dirfd, path, 0)
}

// OpenNamespaceOn is [OpenNamespace] for a link to an open file of a process, which may be on a
// file system that does not answer. The file system is not asked: a namespace is recognised by
// dev, the device of nsfs.
func OpenNamespaceOn(dirfd int, path string, dev uint64) (int, error) {
	probe, err := openat(dirfd, path, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	var st unix.Statx_t
	err = retry(func() error {
		return unix.Statx(probe, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st)
	})
	if err == nil && unix.Mkdev(st.Dev_major, st.Dev_minor) == dev {
		return reopen(probe)
	}
	unix.Close(probe)
	if err != nil {
		return -1, callError("statx", err)
	}
	return -1, ErrNotNamespace
}

// openNamespace is OpenNamespace with more flags for the last component.
func openNamespace(dirfd int, path string, flags int) (int, error) {
	var probe int
	var err error
	if dirfd == CurrentDir && !strings.HasPrefix(path, "/proc/") {
		probe, err = ownTree().openPathAnswering(path, unix.OpenHow{Flags: uint64(unix.O_PATH | unix.O_CLOEXEC | flags)})
	} else {
		probe, err = openat(dirfd, path, unix.O_PATH|unix.O_CLOEXEC|flags)
	}
	if err != nil {
		return -1, err
	}
	return reopen(probe)
}

// OpenLink opens a namespace by its link under /proc/pid/ns, relative to dirfd, which must be
// on procfs: there such a link can only lead to a namespace.
func OpenLink(dirfd int, path string) (int, error) {
	return openat(dirfd, path, unix.O_RDONLY|unix.O_CLOEXEC)
}

// ErrNotCached reports that a path cannot be looked up without asking a file system.
var ErrNotCached = errors.New("only by asking a file system that may never answer")

// resolveCached is RESOLVE_CACHED of include/uapi/linux/openat2.h, which
// golang.org/x/sys/unix does not have.
const resolveCached = 0x20

// OpenNamespaceCached is [OpenNamespace] for a path that may cross a file system that does not
// answer: it uses only what the kernel has in memory. Else the error is [ErrNotCached], or an
// [fs.ErrPermission] if a directory on the way may not be searched. It follows no magic link of
// procfs. See RESOLVE_CACHED in openat2(2); before Linux 5.12 the error is
// [errors.ErrUnsupported]. proc is the caller's own /proc: the one in the mount namespace of
// the thread may be another.
func OpenNamespaceCached(proc ProcDir, dirfd int, path string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolveCached}
	var probe int
	var err error
	for range 4 { // mounts and renames elsewhere can disturb a lookup
		err = retry(func() (err error) {
			probe, err = unix.Openat2(dirfd, path, &how)
			return err
		})
		if err != unix.EAGAIN {
			break
		}
	}
	switch err {
	case nil:
		defer unix.Close(probe)
		if ok, err := IsNsfs(probe); err != nil || !ok {
			return -1, cmp.Or(err, ErrNotNamespace)
		}
		return openat(int(proc), fmt.Sprintf("self/fd/%d", probe), unix.O_RDONLY|unix.O_CLOEXEC)
	case unix.EAGAIN:
		return -1, cmp.Or(deniedOnWay(dirfd, path), ErrNotCached)
	case unix.EACCES:
		return -1, cmp.Or(deniedOnWay(dirfd, path), callError("openat2", err))
	case unix.EINVAL, unix.ENOSYS, unix.EPERM: // EPERM: from a seccomp filter
		return -1, errors.ErrUnsupported
	}
	return -1, callError("openat2", err)
}

// deniedOnWay returns an error if the caller may not search a directory on the way to path, by
// owner, group and mode as the kernel has them in memory: with RESOLVE_CACHED newer kernels,
// such as 6.12, return EAGAIN for that too.
func deniedOnWay(dirfd int, path string) error {
	if capable(unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE) {
		return nil
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: resolveCached}
	at, done := dirfd, 0
	defer func() {
		if at != dirfd {
			unix.Close(at)
		}
	}()
	for done < len(path) {
		if !searchable(at) {
			return &os.PathError{Op: "search", Path: "/" + path[:max(done-1, 0)], Err: unix.EACCES}
		}
		name, _, more := strings.Cut(path[done:], "/")
		next, err := unix.Openat2(at, name, &how)
		if err != nil || !more {
			CloseAll(next)
			return nil
		}
		if at != dirfd {
			unix.Close(at)
		}
		at, done = next, done+len(name)+1
	}
	return nil
}

// searchable reports whether the mode of a directory lets the caller search it. A server is not
// asked.
func searchable(dir int) bool {
	var st unix.Statx_t
	const what = unix.STATX_MODE | unix.STATX_UID | unix.STATX_GID
	if unix.Statx(dir, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, what, &st) != nil {
		return true
	}
	groups, _ := unix.Getgroups()
	switch {
	case int(st.Uid) == unix.Geteuid():
		return st.Mode&0o100 != 0
	case int(st.Gid) == unix.Getegid(), slices.Contains(groups, int(st.Gid)):
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}

// ProbeCached reports by its error whether [OpenNamespaceCached] can work here.
func ProbeCached() error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolveCached}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &how)
	switch err {
	case nil:
		unix.Close(fd)
	case unix.EINVAL, unix.ENOSYS:
		return fmt.Errorf("openat2 with RESOLVE_CACHED: %w", errors.ErrUnsupported)
	}
	return nil
}

// reopen opens the file of probe, an O_PATH descriptor, if it is a namespace, and closes probe.
func reopen(probe int) (int, error) {
	defer unix.Close(probe)
	ok, err := IsNsfs(probe)
	if err != nil {
		return -1, err
	}
	if !ok {
		return -1, ErrNotNamespace
	}
	return openat(unix.AT_FDCWD, FDPath(probe), unix.O_RDONLY|unix.O_CLOEXEC)
}

//go:noinline
func openat(dirfd int, path string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dirfd, path, flags, 0)
		return err
	})
	if err != nil {
		return -1, callError("openat", err)
	}
	return fd, nil
}

// NamespaceFlag returns the CLONE_NEW* flag of the type of the namespace that
// fd refers to. See NS_GET_NSTYPE in ioctl_nsfs(2); Linux 4.11.
func NamespaceFlag(fd int) (int, error) { return nsIoctl(fd, NS_GET_NSTYPE, "NS_GET_NSTYPE") }

// Owner returns a descriptor of the user namespace that owns the namespace of fd. See
// NS_GET_USERNS in ioctl_nsfs(2); Linux 4.9. The error is [ErrHidden] if the owner is outside
// the caller's user namespace, and also if there is none: the initial user namespace has no
// owner.
func Owner(fd int) (int, error) { return nsIoctl(fd, NS_GET_USERNS, "NS_GET_USERNS") }

// Parent returns a descriptor of the parent of a PID or user namespace. See NS_GET_PARENT in
// ioctl_nsfs(2); Linux 4.9. The error is [ErrHidden] if the parent is outside the caller's
// namespace, and also if there is none.
func Parent(fd int) (int, error) { return nsIoctl(fd, NS_GET_PARENT, "NS_GET_PARENT") }

// CreatorUID returns the effective user ID of the process that made a user
// namespace, as the caller's user namespace maps it. See NS_GET_OWNER_UID in
// ioctl_nsfs(2); Linux 4.11. It is defined for user namespaces only.
func CreatorUID(fd int) (uint32, error) {
	var uid uint32
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), NS_GET_OWNER_UID, uintptr(unsafe.Pointer(&uid))); errno != 0 {
		return 0, nsfsError("NS_GET_OWNER_UID", errno)
	}
	return uid, nil
}

// NamespaceID returns the 64-bit identifier of the namespace of fd, which is not used again
// before the next boot. See NS_GET_ID in the kernel's include/uapi/linux/nsfs.h; Linux 6.18. On
// older kernels the error is [errors.ErrUnsupported].
func NamespaceID(fd int) (uint64, error) {
	var id uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), NS_GET_ID, uintptr(unsafe.Pointer(&id))); errno != 0 {
		return 0, nsfsError("NS_GET_ID", errno)
	}
	return id, nil
}

// nsIoctl makes an ioctl without an argument that returns a number.
func nsIoctl(fd int, req uintptr, name string) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, 0)
	if errno != 0 {
		return -1, nsfsError(name, errno)
	}
	return int(r), nil
}

// PIDNamespaceDead reports whether the first process of the PID namespace of fd has exited, so
// that no process can be started in it. It uses NS_GET_PID_FROM_PIDNS, Linux 6.11; on older
// kernels the error is [errors.ErrUnsupported]. For a namespace that is not inside the caller's
// the error is [ErrHidden].
func PIDNamespaceDead(fd int) (bool, error) {
	parent, err := Parent(fd)
	if err != nil {
		return false, err
	}
	unix.Close(parent)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), NS_GET_PID_FROM_PIDNS, 1)
	switch errno {
	case 0:
		return false, nil
	case unix.ESRCH:
		return true, nil
	}
	return false, nsfsError("NS_GET_PID_FROM_PIDNS", errno)
}

func nsfsError(name string, errno unix.Errno) error {
	switch errno {
	case unix.EPERM:
		return fmt.Errorf("ioctl %s: %w", name, ErrHidden)
	case unix.ENOTTY:
		return fmt.Errorf("ioctl %s: %w", name, errors.ErrUnsupported)
	}
	return callError("ioctl "+name, errno)
}

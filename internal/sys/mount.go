package sys

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Fault, if set, is called before every call in this file that changes the system. Tests set it
// to fail, or to kill the process, at each step in turn.
var Fault func(call string) error

// change makes a call that changes the system. The error names it.
func change(call string, f func() error) error {
	if Fault != nil {
		if err := Fault(call); err != nil {
			return callError(call, err)
		}
	}
	return callError(call, retry(f))
}

// OpenDir opens the directory at path, with no symbolic link anywhere in it: by
// RESOLVE_NO_SYMLINKS of openat2(2) (Linux 5.6), or component by component where a filter of
// system calls refuses that one. A directory with a server is an [ErrServer] or [ErrNoAnswer]:
// its use could block for ever.
func OpenDir(path string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err = ownTree().open(unix.AT_FDCWD, path, unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return walkDir(path, flags)
	}
	return fd, err
}

// walkDir is OpenDir without openat2(2).
func walkDir(path string, flags int) (int, error) {
	start := "."
	if strings.HasPrefix(path, "/") {
		start = "/"
	}
	fd, err := openat(unix.AT_FDCWD, start, flags)
	for name := range strings.SplitSeq(path, "/") {
		if err != nil {
			return -1, err
		}
		if name == "" || name == "." {
			continue
		}
		parent := fd
		fd, err = openat(parent, name, flags)
		if errors.Is(err, unix.ENOTDIR) {
			// O_DIRECTORY is checked before O_NOFOLLOW: distinguish links from files.
			if st, e := StatAt(parent, name); e == nil && st.IsLink() {
				err = callError("openat", unix.ELOOP)
			}
		}
		unix.Close(parent)
	}
	return fd, err
}

// OpenAt opens name in the directory dirfd, without following a symbolic link. With path it is
// opened with O_PATH, which has no side effects.
func OpenAt(dirfd int, name string, path bool) (int, error) {
	flags := unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if path {
		flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	}
	return openat(dirfd, name, flags)
}

// OpenNamespaceAt opens the namespace that is mounted on name in the directory dirfd. Unlike
// [OpenNamespace] it does not follow a symbolic link. The error is [ErrNotNamespace] for any
// other file.
func OpenNamespaceAt(dirfd int, name string) (int, error) {
	return openNamespace(dirfd, name, unix.O_NOFOLLOW)
}

// A FileStat is the status of a file.
type FileStat struct {
	FileID
	UID, GID uint32
	Mode     uint32 // type and permissions, as in stat(2)
	Links    uint64
	Size     int64
	Changed  time.Time // modification time
}

// RegularStat is the status of a regular file with these permissions.
func RegularStat(perm uint32, id FileID) FileStat {
	return FileStat{FileID: id, Mode: unix.S_IFREG | perm&0o7777, Links: 1}
}

// DirStat is the status of a directory with these permissions, of user and group 0.
func DirStat(perm uint32) FileStat { return FileStat{Mode: unix.S_IFDIR | perm&0o7777} }

// IsDir reports whether the file is a directory.
func (s FileStat) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether the file is a regular file.
func (s FileStat) IsRegular() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// IsLink reports whether the file is a symbolic link.
func (s FileStat) IsLink() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// Perm returns the permission bits, with set-ID and sticky bits.
func (s FileStat) Perm() uint32 { return s.Mode & 0o7777 }

// StatFD returns the status of the file of fd.
func StatFD(fd int) (FileStat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return FileStat{}, callError("fstat", err)
	}
	return fileStat(&st), nil
}

// StatAt returns the status of name in the directory dirfd, without following a symbolic link.
func StatAt(dirfd int, name string) (FileStat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return FileStat{}, callError("fstatat", err)
	}
	return fileStat(&st), nil
}

func fileStat(st *unix.Stat_t) FileStat {
	return FileStat{
		FileID: FileID{Dev: st.Dev, Ino: st.Ino},
		UID:    st.Uid, GID: st.Gid, Mode: st.Mode, Links: uint64(st.Nlink), Size: st.Size,
		Changed: time.Unix(st.Mtim.Unix()),
	}
}

// ReadlinkAt returns the text of the symbolic link at name.
func ReadlinkAt(dirfd int, name string) (string, error) {
	buf := make([]byte, 4096)
	var n int
	err := retry(func() (err error) { n, err = unix.Readlinkat(dirfd, name, buf); return err })
	return string(buf[:max(n, 0)]), callError("readlinkat", err)
}

// MountID returns the identifier of the mount that fd was opened through. It has 64 bits and is
// not used again if the kernel has such (STATX_MNT_ID_UNIQUE, Linux 6.8), and else is that of
// mountinfo (5.8), which may be.
func MountID(fd int) (uint64, error) {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE, &st)
	})
	if err == nil && st.Mask&(unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE) == 0 {
		err = unix.ENOSYS
	}
	return st.Mnt_id, callError("statx", err)
}

// MountInfoID returns the identifier in proc_pid_mountinfo(5) of the mount that fd was opened
// through (Linux 5.8).
func MountInfoID(fd int) (uint64, error) {
	var st unix.Statx_t
	err := retry(func() error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) })
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = unix.ENOSYS
	}
	return st.Mnt_id, callError("statx", err)
}

// TryLock takes the lock of flock(2) on fd, until fd is closed. It returns false at once if
// another process has it.
func TryLock(fd int) (bool, error) {
	err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, callError("flock", err)
}

// Mkdir makes the directory name in dirfd.
func Mkdir(dirfd int, name string, perm uint32) error {
	return change("mkdirat", func() error { return unix.Mkdirat(dirfd, name, perm) })
}

// Chmod sets the permissions of the file of fd, without the umask.
func Chmod(fd int, perm uint32) error {
	return change("fchmod", func() error { return unix.Fchmod(fd, perm) })
}

// ChmodDirAt sets the permissions of the directory name in dirfd, which must be neither a link
// nor on another mount. It goes through a descriptor, since fchmodat(2) would follow a link
// that has replaced the directory; fchmodat2(2) came with Linux 6.6.
func ChmodDirAt(dirfd int, name string, perm uint32) error {
	fd, err := openSame(dirfd, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return change("fchmodat", func() error { return unix.Fchmodat(unix.AT_FDCWD, FDPath(fd), perm, 0) })
}

// Create makes an empty file at name in dirfd, which must not exist, and opens
// it for reading.
func Create(dirfd int, name string, perm uint32) (fd int, err error) {
	err = change("openat", func() error {
		fd, err = unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	return fd, err
}

// OpenLockFile opens the file name in dirfd for [TryLock], and makes it if it does not exist.
func OpenLockFile(dirfd int, name string) (fd int, err error) {
	err = change("openat", func() error {
		fd, err = unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

// Symlink makes a symbolic link with the given text at name in dirfd.
func Symlink(text string, dirfd int, name string) error {
	return change("symlinkat", func() error { return unix.Symlinkat(text, dirfd, name) })
}

// Rename renames from to to in dirfd. The name to must not exist.
func Rename(dirfd int, from, to string) error {
	return change("renameat2", func() error { return unix.Renameat2(dirfd, from, dirfd, to, unix.RENAME_NOREPLACE) })
}

// Exchange swaps two names in dirfd, which both exist.
func Exchange(dirfd int, a, b string) error {
	return change("renameat2", func() error { return unix.Renameat2(dirfd, a, dirfd, b, unix.RENAME_EXCHANGE) })
}

// Unlink removes the name of a file in dirfd. Copies of a mount on it are
// detached in other mount namespaces (detach_mounts in fs/namei.c; Linux 3.18);
// one in the caller's own is an error.
func Unlink(dirfd int, name string) error {
	return change("unlinkat", func() error { return unix.Unlinkat(dirfd, name, 0) })
}

// Rmdir removes an empty directory in dirfd.
func Rmdir(dirfd int, name string) error {
	return change("unlinkat", func() error { return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR) })
}

// SetTime sets the modification time of the file of fd.
func SetTime(fd int, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return change("utimensat", func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, FDPath(fd), []unix.Timespec{ts, ts}, 0)
	})
}

// BindNamespace mounts the namespace of fd on the file of target, by open_tree(2) and
// move_mount(2) (Linux 5.2), without looking up a path.
//
// The kernel refuses with EINVAL to mount a mount namespace inside itself, inside a younger
// one, since they could keep each other alive for ever, or on a shared mount: see
// [ErrMountLoop].
func BindNamespace(fd, target int) error {
	var tree int
	err := change("open_tree", func() (err error) {
		tree, err = unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		return err
	})
	if err == nil {
		defer unix.Close(tree)
		err = Attach(tree, target, "")
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ELOOP) {
		if flag, e := NamespaceFlag(fd); e == nil && flag == CLONE_NEWNS {
			return mountLoop{err}
		}
	}
	return err
}

// ErrMountLoop reports that a mount namespace cannot be mounted there.
var ErrMountLoop = errors.New("a mount namespace can be pinned only inside an older one, and on a mount that is not shared")

// mountLoop is an ErrMountLoop that hides the kernel's error.
type mountLoop struct{ err error }

func (mountLoop) Error() string     { return ErrMountLoop.Error() }
func (e mountLoop) Unwrap() []error { return []error{ErrMountLoop, e.err} }

// Unmount detaches the mount at name in dirfd, which must not be a symbolic link. The mount is
// gone at once, and its file system when it is no longer used.
func Unmount(dirfd int, name string) error {
	return change("umount2", func() error {
		return unix.Unmount(FDPath(dirfd)+"/"+name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	})
}

// MountTmpfs mounts an empty tmpfs on the directory of dirfd, with permissions perm, and
// returns a descriptor of its root. source is its source in mountinfo.
func MountTmpfs(dirfd int, source, perm string) (root int, err error) {
	root, err = NewFilesystem("tmpfs", NoDevices|NoExec, Option{"source", source}, Option{"mode", perm})
	if err != nil {
		return -1, err
	}
	if err := Attach(root, dirfd, ""); err != nil {
		unix.Close(root)
		return -1, err
	}
	return root, nil
}

// A Propagation is a propagation type of mounts. See mount_namespaces(7).
type Propagation uintptr

// The propagation types.
const (
	Private    Propagation = unix.MS_PRIVATE
	Shared     Propagation = unix.MS_SHARED
	Slave      Propagation = unix.MS_SLAVE
	Unbindable Propagation = unix.MS_UNBINDABLE
	// Recursive is added to one of the others, for all mounts below.
	Recursive Propagation = unix.MS_REC
)

// SetPropagation sets the propagation of the mount whose root fd is.
func SetPropagation(fd int, p Propagation) error {
	return change("mount", func() error { return unix.Mount("", FDPath(fd), "", uintptr(p), "") })
}

// BindSelf mounts the directory of fd, and what is mounted below it, on itself.
func BindSelf(fd int) error {
	return change("mount", func() error { return unix.Mount(FDPath(fd), FDPath(fd), "", unix.MS_BIND|unix.MS_REC, "") })
}

// Uncover returns a descriptor of the same directory without the mounts below it, to see the
// files under them. It needs CAP_SYS_ADMIN, and changes nothing that others see.
func Uncover(fd int) (int, error) {
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, callError("open_tree", err)
	}
	return tree, nil
}

// FDPath returns a path of the file of fd, for this process.
//
//go:noinline
func FDPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// IsNotMountPoint reports whether an error of [SetPropagation] is that the directory is not the
// root of a mount.
func IsNotMountPoint(err error) bool { return errors.Is(err, unix.EINVAL) }

// IsLoop reports whether an error of [OpenDir] or [OpenAt] is about a symbolic link.
func IsLoop(err error) bool { return errors.Is(err, unix.ELOOP) }

// IsTmpfs reports whether fd is on a tmpfs.
func IsTmpfs(fd int) (bool, error) { return isOn(fd, unix.TMPFS_MAGIC) }

// ReadNames returns the names in the directory of fd, sorted.
func ReadNames(fd int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, callError("lseek", err)
	}
	var names []string
	buf := make([]byte, 8192)
	for {
		var n int
		err := retry(func() (err error) { n, err = unix.ReadDirent(fd, buf); return err })
		if err != nil {
			return nil, callError("getdents64", err)
		}
		if n <= 0 {
			slices.Sort(names)
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Makedev returns a device number as stat(2) encodes it.
func Makedev(major, minor uint64) uint64 { return unix.Mkdev(uint32(major), uint32(minor)) }

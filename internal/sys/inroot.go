package sys

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens path with O_PATH, as if root were the root directory: no link leads out of
// it, even if directories change meanwhile, and magic links of procfs are not followed. Without
// follow, a link at the end is opened itself. See RESOLVE_IN_ROOT in openat2(2); Linux 5.6.
func OpenInRoot(root int, path string, follow bool) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	// EAGAIN: a directory on the way was renamed, so that ".." was not safe. The number of
	// tries is bounded.
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
		return -1, callError("openat2", err)
	}
	return fd, nil
}

// OpenInRootAnswering is [OpenInRoot] for a file that may be on a file system that does not
// answer: then the error is [ErrNoAnswer].
func OpenInRootAnswering(root int, path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if ownTree().hasRoot(root) {
		same := how
		same.Resolve |= unix.RESOLVE_NO_XDEV
		if fd, err := openat2(root, path, &same); !errors.Is(err, unix.EXDEV) {
			return fd, err
		}
	}
	if _, err := (&tree{root: root}).ask(question{dirfd: root, name: path, how: how}); err != nil {
		return -1, err
	}
	return OpenInRoot(root, path, true)
}

// OpenWay opens path with O_PATH. Without follow, a link at the end is opened itself. The error
// is [ErrNoAnswer] if the file system does not answer.
func OpenWay(path string, follow bool) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	return ownTree().openPathAnswering(path, how)
}

// IsMountPoint reports whether something is mounted on name in dirfd, in the mount namespace of
// dirfd. The kernel lets a process in another mount namespace rename and unlink it, which
// removes the mount. See RESOLVE_NO_XDEV in openat2(2).
func IsMountPoint(dirfd int, name string) (bool, error) {
	fd, err := openSame(dirfd, name, unix.O_PATH)
	if errors.Is(err, unix.EXDEV) {
		return true, nil
	}
	if err == nil {
		unix.Close(fd)
	}
	return false, err
}

// OpenSameMount opens the directory name in dirfd, which must be neither a link
// nor on another mount.
func OpenSameMount(dirfd int, name string) (int, error) {
	return openSame(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

func openSame(dirfd int, name string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
	if flags&unix.O_PATH != 0 {
		how.Resolve &^= unix.RESOLVE_NO_SYMLINKS // a link is opened itself
	}
	err = retry(func() error {
		fd, err = unix.Openat2(dirfd, name, &how)
		return err
	})
	return fd, callError("openat2", err)
}

// Reopen opens for reading the file of fd, an O_PATH descriptor, even if its name leads to
// another file by now. Only a regular file or a directory is opened, without waiting.
func Reopen(fd int) (*os.File, error) { return reopenFile(fd, unix.O_RDONLY) }

// ReopenToWrite is [Reopen] for reading and writing.
func ReopenToWrite(fd int) (*os.File, error) { return reopenFile(fd, unix.O_RDWR) }

func reopenFile(fd, flags int) (*os.File, error) {
	st, err := StatFD(fd)
	if err != nil {
		return nil, err
	}
	if !st.IsRegular() && !st.IsDir() {
		return nil, callError("open", unix.EINVAL)
	}
	n, err := openat(unix.AT_FDCWD, FDPath(fd), flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), "file"), nil
}

// CreateFile makes an empty file at name in dirfd, which must not exist, and opens it for
// reading and writing.
func CreateFile(dirfd int, name string) (f *os.File, err error) {
	var fd int
	err = retry(func() error {
		fd, err = unix.Openat(dirfd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, callError("openat", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// RenameOver renames from to to in dirfd, and replaces a file of that name.
func RenameOver(dirfd int, from, to string) error {
	return callError("renameat", retry(func() error { return unix.Renameat(dirfd, from, dirfd, to) }))
}

// RenameTo moves a name from one directory to another, and replaces a file of that name there,
// or with isNew fails if there is one. On a file system without RENAME_NOREPLACE it is checked
// before.
func RenameTo(fromDir int, from string, toDir int, to string, isNew bool) error {
	if !isNew {
		return change("renameat", func() error { return unix.Renameat(fromDir, from, toDir, to) })
	}
	err := change("renameat2", func() error { return unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE) })
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if _, e := StatAt(toDir, to); e == nil {
		return callError("renameat", unix.EEXIST)
	}
	return RenameTo(fromDir, from, toDir, to, false)
}

// OpenPrivateDir opens the directory name in dirfd, which the caller has just made, if it
// belongs to the caller and no other user may enter it. A user who may write to dirfd can have
// replaced it.
func OpenPrivateDir(dirfd int, name string) (int, error) {
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	st, err := StatFD(fd)
	if err == nil && (st.Mode&0o777 != 0o700 || st.UID != uint32(os.Geteuid())) {
		err = callError("openat", unix.ESTALE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// RegularID returns the device and inode of the regular file of fd.
func RegularID(fd int) (id FileID, regular bool) {
	st, err := StatFD(fd)
	if err != nil || !st.IsRegular() {
		return FileID{}, false
	}
	return st.FileID, true
}

// Reserve reserves room for a file of size bytes, if the file system can do so: a full disk is
// an error before anything is written. See fallocate(2).
func Reserve(fd int, size int64) error {
	err := retry(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size) })
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return callError("fallocate", err)
}

// MemoryFile returns a file in memory without a name.
func MemoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("nstool", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, callError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "memory"), nil
}

// HardLink gives the file from in fromDir another name. A symbolic link is not followed.
func HardLink(fromDir int, from string, dirfd int, name string) error {
	return callError("linkat", retry(func() error { return unix.Linkat(fromDir, from, dirfd, name, 0) }))
}

// Chown sets user and group of the file of fd.
func Chown(fd int, uid, gid uint32) error {
	return callError("fchown", retry(func() error { return unix.Fchown(fd, int(uid), int(gid)) }))
}

// ChownLink sets user and group of name in dirfd. A symbolic link is not followed.
func ChownLink(dirfd int, name string, uid, gid uint32) error {
	return callError("fchownat", retry(func() error {
		return unix.Fchownat(dirfd, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// SetLinkTime sets the modification time of name in dirfd. A symbolic link is not followed.
func SetLinkTime(dirfd int, name string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return callError("utimensat", retry(func() error {
		return unix.UtimesNanoAt(dirfd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// NextData returns the start and end of the next data in a file from offset on. It is false if
// there is only a hole. A file system that does not report holes has only data.
func NextData(fd int, offset, size int64) (from, to int64, ok bool) {
	from, err := unix.Seek(fd, offset, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return 0, 0, false
	case err != nil || from < offset:
		return offset, size, true
	}
	to, err = unix.Seek(fd, from, unix.SEEK_HOLE)
	if err != nil || to <= from {
		to = size
	}
	return from, to, true
}

// kernelFiles are file systems whose files the kernel generates.
var kernelFiles = map[int64]string{
	unix.PROC_SUPER_MAGIC:    "proc",
	unix.SYSFS_MAGIC:         "sysfs",
	unix.CGROUP_SUPER_MAGIC:  "cgroup",
	unix.CGROUP2_SUPER_MAGIC: "cgroup2",
	unix.DEVPTS_SUPER_MAGIC:  "devpts",
	unix.DEBUGFS_MAGIC:       "debugfs",
	unix.TRACEFS_MAGIC:       "tracefs",
	unix.SECURITYFS_MAGIC:    "securityfs",
	unix.BPF_FS_MAGIC:        "bpf",
	unix.PSTOREFS_MAGIC:      "pstore",
	unix.EFIVARFS_MAGIC:      "efivarfs",
	unix.SELINUX_MAGIC:       "selinuxfs",
	unix.BINFMTFS_MAGIC:      "binfmt_misc",
	unix.NSFS_MAGIC:          "nsfs",
	0x62656570:               "configfs",
	0x19800202:               "mqueue",
}

// KernelFiles returns the name of the file system of fd if the kernel generates its files, such
// as proc, and else "".
func KernelFiles(fd int) string {
	kind, err := filesystemOf(fd)
	if err != nil {
		return ""
	}
	return kernelFiles[kind]
}

// IsFull reports whether err is that nothing more can be written to a file system: it is full,
// a quota is used up, or it is read-only.
func IsFull(err error) bool {
	for _, e := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EFBIG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// IsReadOnly reports whether err is that a file system is read-only.
func IsReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

// KindOf returns the kind of file in a mode of stat(2): "a FIFO".
func KindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a regular file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK, unix.S_IFCHR:
		return "a device"
	}
	return "a file of a kind that is not known"
}

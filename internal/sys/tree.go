package sys

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Calls to compose a mount namespace by descriptors: open_tree(2), move_mount(2), fsopen(2) and
// fsmount(2), Linux 5.2. Only [OpenTree] looks up paths outside a tmpfs of our own.

// LeaveMounts gives the calling thread a mount namespace of its own, a copy of its old one
// without propagation. The thread must be one of [OnThread].
func LeaveMounts() error {
	if err := change("unshare", func() error { return unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS) }); err != nil {
		return err
	}
	unix.Umask(0o022)
	return change("mount", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") })
}

// OwnMountNamespace opens the mount namespace of the calling thread.
func OwnMountNamespace() (int, error) {
	return openat(unix.AT_FDCWD, "/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC)
}

// TreeOf copies the mounts from root on, a directory of the mount namespace ns, as a tree that
// is not attached yet. A thread of its own joins ns: see [InMountNamespace] for the privileges.
func TreeOf(ns, root int) (tree int, err error) {
	err = InMountNamespace(ns, func() error {
		tree, err = OpenTree(root, "")
		return err
	})
	return tree, err
}

// OpenTree copies the mounts from name in dirfd on, or from dirfd if name is "", as a tree that
// is not attached yet. A symbolic link is not followed. dirfd must be in the mount namespace of
// the calling thread.
func OpenTree(dirfd int, name string) (tree int, err error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT)
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err = change("open_tree", func() error {
		tree, err = unix.OpenTree(dirfd, name, flags)
		return err
	})
	return tree, err
}

// Attach mounts a tree on name in dirfd, or on the file of dirfd if name is "". A symbolic link
// is not followed.
func Attach(tree, dirfd int, name string) error {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if name == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	return change("move_mount", func() error { return unix.MoveMount(tree, "", dirfd, name, flags) })
}

// Detach unmounts what is mounted on the directory of fd, and below it.
func Detach(fd int) error {
	return change("umount2", func() error { return unix.Unmount(FDPath(fd), unix.MNT_DETACH) })
}

// An Option is an option of a new file system, as in mount(8).
type Option struct{ Key, Value string }

// Restrictions of a new file system: flags of [NewFilesystem].
const (
	NoWrites  = unix.MOUNT_ATTR_RDONLY
	NoDevices = unix.MOUNT_ATTR_NODEV
	NoExec    = unix.MOUNT_ATTR_NOEXEC
)

// NewFilesystem makes a file system that is not attached yet. Set-user-ID bits have no effect
// on it.
func NewFilesystem(kind string, without int, options ...Option) (tree int, err error) {
	var fs int
	err = change("fsopen", func() error { fs, err = unix.Fsopen(kind, unix.FSOPEN_CLOEXEC); return err })
	if errors.Is(err, unix.ENODEV) {
		return -1, fmt.Errorf("the kernel has no file system %s, or its module is not loaded: %w", kind, err)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, o := range options {
		set := func() error { return unix.FsconfigSetString(fs, o.Key, o.Value) }
		if o.Value == "" {
			set = func() error { return unix.FsconfigSetFlag(fs, o.Key) }
		}
		if err := set(); err != nil {
			return -1, callError("fsconfig "+o.Key, err)
		}
	}
	if err := change("fsconfig", func() error { return unix.FsconfigCreate(fs) }); err != nil {
		return -1, err
	}
	err = change("fsmount", func() error {
		tree, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|without)
		return err
	})
	return tree, err
}

// NewOverlay makes an overlay of directories, the first on top, that nobody can write to,
// whatever their rights: it has no upper layer. At least two directories are needed, in the
// mount namespace of the calling thread.
func NewOverlay(layers ...int) (tree int, err error) {
	var dirs []string
	for _, fd := range layers {
		dirs = append(dirs, FDPath(fd))
	}
	return NewFilesystem("overlay", NoWrites|NoDevices, Option{"source", "nstool"},
		Option{"redirect_dir", "nofollow"}, Option{"lowerdir", strings.Join(dirs, ":")})
}

// ReadOnly makes the mount whose root fd is read-only.
func ReadOnly(fd int) error {
	return change("mount", func() error {
		return unix.Mount("", FDPath(fd), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
	})
}

// PivotTo makes the mount whose root fd is the root of the mount namespace of
// the calling thread, with nothing else in it.
func PivotTo(fd int) error {
	if err := unix.Fchdir(fd); err != nil {
		return callError("fchdir", err)
	}
	err := change("pivot_root", func() error { return unix.PivotRoot(".", ".") })
	if errors.Is(err, unix.EINVAL) {
		// The initial root file system of the kernel (rootfs) cannot be detached, only covered.
		if err := change("mount", func() error { return unix.Mount(".", "/", "", unix.MS_MOVE, "") }); err != nil {
			return err
		}
		return change("chroot", func() error { return unix.Chroot(".") })
	}
	if err != nil {
		return err
	}
	return change("umount2", func() error { return unix.Unmount(".", unix.MNT_DETACH) })
}

// A DirEntry is an entry of a directory, with its type as far as the directory has it.
type DirEntry struct {
	Name string
	Type uint8 // one of the constants Type
}

// The types of a [DirEntry], as in getdents(2).
const (
	TypeUnknown = unix.DT_UNKNOWN
	TypeDir     = unix.DT_DIR
	TypeFile    = unix.DT_REG
	TypeLink    = unix.DT_LNK
)

// List returns the entries of the directory of fd, which may be an O_PATH descriptor, in the
// order of the directory. More than most entries are an error.
func List(fd, most int) ([]DirEntry, error) {
	dir, err := openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var list []DirEntry
	buf := make([]byte, 32768)
	for {
		var n int
		err := retry(func() (err error) { n, err = unix.ReadDirent(dir, buf); return err })
		if err != nil {
			return nil, callError("getdents64", err)
		}
		if n <= 0 {
			return list, nil
		}
		if list = parseDirents(buf[:n], list); len(list) > most {
			return nil, callError("getdents64", unix.EFBIG)
		}
	}
}

// IsProcfs reports whether fd is on a proc file system.
func IsProcfs(fd int) bool {
	is, err := isOn(fd, unix.PROC_SUPER_MAGIC)
	return err == nil && is
}

// IsProcfsRoot reports whether fd is the root directory of a proc file system:
// PROC_ROOT_INO of the kernel.
func IsProcfsRoot(fd int) bool {
	id, err := Fstat(fd)
	return err == nil && id.Ino == 1 && IsProcfs(fd)
}

// WriteFile makes a file in dirfd, which must not exist, that everybody can read.
func WriteFile(dirfd int, name string, text []byte) error {
	var fd int
	err := change("openat", func() (err error) {
		fd, err = unix.Openat(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o444)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(text) > 0 {
		n, err := unix.Write(fd, text)
		if err != nil && err != unix.EINTR {
			return callError("write", err)
		}
		text = text[max(n, 0):]
	}
	return nil
}

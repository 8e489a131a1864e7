package sys

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadRegular reads a file of another user, up to most bytes. A longer file is an error, and so
// is anything but a regular file, such as a FIFO, which may never end.
func ReadRegular(path string, most int64) ([]byte, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC}
	t := ownTree()
	fd, err := t.openPath(path, how)
	var text []byte
	var mode uint32
	switch {
	case errors.Is(err, ErrServer):
		var a answer
		a, err = t.ask(question{dirfd: unix.AT_FDCWD, name: path, how: how, do: askContent, most: int(most) + 1})
		text, mode = a.data, uint32(a.st.Mode)
	case err == nil:
		defer unix.Close(fd)
		var st FileStat
		if st, err = StatFD(fd); err == nil && st.IsRegular() {
			text, err = io.ReadAll(io.LimitReader(File(fd), most+1))
		}
		mode = st.Mode
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s: not a regular file", path)
	case int64(len(text)) > most:
		return nil, fmt.Errorf("%s: longer than %d bytes", path, most)
	}
	return text, nil
}

// A Place is the mount and the file system of a file.
type Place struct {
	Mount        uint64 // as in proc_pid_mountinfo(5), or 0 before Linux 5.8
	Major, Minor uint32 // of the file system
	Ino          uint64
	IsBlock      bool   // the file is a block device
	DevMajor     uint32 // with this number
	DevMinor     uint32
}

// KindAt is [KindOf] of the file at path, or "". It follows links, and opens
// nothing.
func KindAt(path string) string {
	st, err := StatPath(path, true)
	if err != nil {
		return ""
	}
	return KindOf(st.Mode)
}

// Statx returns the place of path from what the kernel has in memory, without asking a server.
// It follows links.
func Statx(path string) (Place, error) {
	at, name, flags := unix.AT_FDCWD, path, 0
	if !strings.HasPrefix(path, "/proc/") { // a link there leads to an open file
		fd, err := OpenWay(path, true)
		if err != nil {
			return Place{}, pathError("statx", path, err)
		}
		defer unix.Close(fd)
		at, name, flags = fd, "", unix.AT_EMPTY_PATH
	}
	st, err := statMemory(at, name, flags, unix.STATX_TYPE|unix.STATX_INO|unix.STATX_MNT_ID)
	if err != nil {
		return Place{}, pathError("statx", path, err)
	}
	p := Place{Major: st.Dev_major, Minor: st.Dev_minor, IsBlock: st.Mode&unix.S_IFMT == unix.S_IFBLK, DevMajor: st.Rdev_major, DevMinor: st.Rdev_minor}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		p.Mount = st.Mnt_id
	}
	return p, nil
}

// near are the types of file system without a server.
const near = " ext2 ext3 ext4 xfs btrfs bcachefs f2fs zfs jfs vfat exfat ntfs3 hfsplus udf iso9660 squashfs erofs overlay " +
	"tmpfs ramfs rootfs devtmpfs devpts proc sysfs cgroup cgroup2 mqueue debugfs tracefs securityfs " +
	"nsfs bpf configfs fusectl pstore hugetlbfs binfmt_misc efivarfs selinuxfs "

// IsNear reports whether a file system of that type, as mountinfo has it, has no server to wait
// for.
func IsNear(fstype string) bool { return fstype != "" && strings.Contains(near, " "+fstype+" ") }

// Inherit leaves a descriptor open across execve(2).
func Inherit(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return callError("fcntl", err)
}

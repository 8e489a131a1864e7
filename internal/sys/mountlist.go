package sys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctls of mount namespaces, and their result; Linux 6.12.
const (
	NS_MNT_GET_INFO = 0x8010b70a
	NS_MNT_GET_NEXT = 0x8010b70b
	NS_MNT_GET_PREV = 0x8010b70c
)

// A MountInfo is struct mnt_ns_info of include/uapi/linux/nsfs.h.
type MountInfo struct {
	size   uint32
	Mounts uint32 // the number of mounts
	ID     uint64 // of the mount namespace, for [NamespaceMounts]
}

func mountIoctl(fd int, req uintptr, name string) (info MountInfo, r int, err error) {
	info.size = uint32(unsafe.Sizeof(info))
	n, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(&info)))
	if e != 0 {
		return info, -1, nsfsError(name, e)
	}
	return info, int(n), nil
}

// MountInfoOf returns identifier and size of the mount namespace of fd. See NS_MNT_GET_INFO in
// ioctl_nsfs(2); Linux 6.12. On older kernels the error is [errors.ErrUnsupported].
func MountInfoOf(fd int) (MountInfo, error) {
	info, _, err := mountIoctl(fd, NS_MNT_GET_INFO, "NS_MNT_GET_INFO")
	return info, err
}

// NextMountNamespace opens the mount namespace after that of fd in the kernel's order, or the
// one before. See NS_MNT_GET_NEXT and NS_MNT_GET_PREV in ioctl_nsfs(2); Linux 6.12. On older
// kernels the error is [errors.ErrUnsupported], after the last one [io/fs.ErrNotExist]. It
// takes CAP_SYS_ADMIN in the initial user and PID namespaces; kernels before 2026 skip
// namespaces in whose owner the caller does not have it.
func NextMountNamespace(fd int, before bool) (int, MountInfo, error) {
	req, name := uintptr(NS_MNT_GET_NEXT), "NS_MNT_GET_NEXT"
	if before {
		req, name = NS_MNT_GET_PREV, "NS_MNT_GET_PREV"
	}
	info, next, err := mountIoctl(fd, req, name)
	return next, info, err
}

// mntIDReq is struct mnt_id_req of include/uapi/linux/mount.h.
type mntIDReq struct {
	size  uint32
	_     uint32
	mntID uint64
	param uint64
	nsID  uint64
}

// From include/uapi/linux/mount.h: the mask of statmount(2), the mount that all others are
// below, and the offsets of fields in struct statmount.
const (
	statmountSB    = 0x1
	statmountRoot  = 0x8
	statmountPoint = 0x10
	allMounts      = ^uint64(0) // LSMT_ROOT

	statmountMagicAt = 24
	statmountRootAt  = 104
	statmountPointAt = 108
	statmountTextAt  = 512
)

// NamespaceMounts calls f for each namespace that is mounted in the mount namespace with that
// identifier, with its text, such as "net:[4026532281]", and the mount point as seen from the
// root. It does not join the mount namespace. See listmount(2) and statmount(2); Linux 6.11. On
// older kernels the error is [errors.ErrUnsupported]. It takes CAP_SYS_ADMIN in the user
// namespace that owns the mount namespace.
func NamespaceMounts(mntns uint64, f func(root, point string)) error {
	req := mntIDReq{mntID: allMounts, nsID: mntns}
	req.size = uint32(unsafe.Sizeof(req))
	ids := make([]uint64, 512)
	buf := make([]byte, 4<<10)
	var lost error
	for {
		n, _, e := unix.Syscall6(unix.SYS_LISTMOUNT, uintptr(unsafe.Pointer(&req)), uintptr(unsafe.Pointer(&ids[0])), uintptr(len(ids)), 0, 0, 0)
		switch e {
		case 0:
		case unix.EINTR:
			continue
		case unix.ENOSYS, unix.EINVAL, unix.E2BIG:
			return fmt.Errorf("listmount: %w", errors.ErrUnsupported)
		default:
			return callError("listmount", e)
		}
		for _, id := range ids[:n] {
			if err := statmount(mntns, id, statmountSB, &buf); err != nil {
				if !Gone(err) { // it was unmounted
					lost = err
				}
				continue
			}
			if binary.NativeEndian.Uint64(buf[statmountMagicAt:]) != unix.NSFS_MAGIC {
				continue
			}
			if err := statmount(mntns, id, statmountSB|statmountRoot|statmountPoint, &buf); err != nil {
				if !Gone(err) {
					lost = err
				}
				continue
			}
			f(statmountText(buf, statmountRootAt), statmountText(buf, statmountPointAt))
		}
		if int(n) < len(ids) {
			return lost
		}
		req.param = ids[n-1]
	}
}

// statmount reads one mount, with as much memory as the result needs.
func statmount(mntns, mount, mask uint64, buf *[]byte) error {
	req := mntIDReq{mntID: mount, param: mask, nsID: mntns}
	req.size = uint32(unsafe.Sizeof(req))
	for {
		_, _, e := unix.Syscall6(unix.SYS_STATMOUNT, uintptr(unsafe.Pointer(&req)), uintptr(unsafe.Pointer(&(*buf)[0])), uintptr(len(*buf)), 0, 0, 0)
		switch {
		case e == 0:
			return nil
		case e == unix.EINTR:
		case e == unix.EOVERFLOW && len(*buf) < 1<<20: // a mount point may be longer than any path that can be opened
			*buf = make([]byte, 4*len(*buf))
		default:
			return callError("statmount", e)
		}
	}
}

// statmountText returns the text at the offset that is stored at that place.
func statmountText(buf []byte, at int) string {
	start := statmountTextAt + int(binary.NativeEndian.Uint32(buf[at:]))
	if start >= len(buf) {
		return ""
	}
	text, _, _ := bytes.Cut(buf[start:], []byte{0})
	return string(text)
}

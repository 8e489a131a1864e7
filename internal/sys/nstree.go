package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nsIDReq is struct ns_id_req of include/uapi/linux/nsfs.h. golang.org/x/sys/unix has no
// listns(2).
type nsIDReq struct {
	size   uint32
	_      uint32
	nsID   uint64 // the list starts after this one
	nsType uint32 // CLONE_NEW* flags, or 0 for all types
	_      uint32
	user   uint64 // the user namespace that owns them, or 0
}

// listPage is the number of namespaces to read at once.
const listPage = 1024

// OwnUser is the caller's user namespace in [ListNamespaces]: LISTNS_CURRENT_USER.
const OwnUser = ^uint64(0)

// ListNamespaces returns the identifiers of the namespaces that are in use, in
// their order: those of the types in flags (CLONE_NEW*, 0 for all), and of those
// that the user namespace with the identifier user owns, if that is not 0. See
// listns(2); Linux 6.19. Older kernels answer [errors.ErrUnsupported].
//
// A namespace is in use if a process is in it, if a file of it is open or mounted anywhere, or
// if it is a user namespace that owns such a one. A socket alone does not count. A caller with
// CAP_SYS_ADMIN in the initial user and PID namespaces gets all of them, others only their own.
func ListNamespaces(flags int, user uint64) ([]uint64, error) {
	req := nsIDReq{nsType: uint32(flags), user: user} //nolint:gosec // flags of 32 bits
	req.size = uint32(unsafe.Sizeof(req))
	var ids []uint64
	page := make([]uint64, listPage)
	for {
		n, _, e := unix.Syscall6(unix.SYS_LISTNS, uintptr(unsafe.Pointer(&req)), uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), 0, 0, 0)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.ENOENT: // the end of the list, or there is no such user namespace
			return ids, nil
		case e == unix.ENOSYS || e == unix.EPERM && len(ids) == 0: // EPERM: from a seccomp filter
			return nil, fmt.Errorf("listns: %w", errors.ErrUnsupported)
		case e != 0:
			return ids, callError("listns", e)
		}
		last := req.nsID
		for _, id := range page[:n] {
			if id > req.nsID {
				ids, req.nsID = append(ids, id), id
			}
		}
		if int(n) < len(page) || req.nsID == last { // the second condition prevents an endless loop
			return ids, nil
		}
	}
}

// A Handle is a file handle of a namespace: struct nsfs_file_handle of
// include/uapi/linux/nsfs.h; Linux 6.18. Since Linux 6.19 the ID alone is enough.
type Handle struct {
	ID  uint64 // as [NamespaceID] returns it
	Typ uint32 // CLONE_NEW* flag, or 0
	Ino uint32 // inode number, or 0 with Typ
}

const (
	fileidNSFS = 0xf1   // FILEID_NSFS of enum fid_type
	nsfsRoot   = -10003 // FD_NSFS_ROOT of include/uapi/linux/fcntl.h
)

// HandleOf returns the handle of the namespace that path leads to, without
// opening it. The path is relative to dir, which must be on procfs: see
// [OpenLink]. See name_to_handle_at(2); Linux 6.18. Older kernels answer
// [errors.ErrUnsupported].
func HandleOf(dir ProcDir, path Name) (h Handle, err error) {
	var raw struct {
		bytes uint32
		typ   int32
		h     Handle
	}
	raw.bytes = uint32(unsafe.Sizeof(raw.h))
	var mount int32
	for {
		_, _, e := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
			uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&mount)), unix.AT_SYMLINK_FOLLOW, 0)
		switch e {
		case unix.EINTR:
			continue
		case 0:
			if raw.typ != fileidNSFS {
				return h, ErrNotNamespace
			}
			return raw.h, nil
		case unix.EOPNOTSUPP, unix.ENOSYS, unix.EOVERFLOW:
			return h, fmt.Errorf("name_to_handle_at: %w", errors.ErrUnsupported)
		}
		return h, callError("name_to_handle_at", e)
	}
}

// OpenHandle opens a namespace by its handle, without a file or process that leads to it. See
// open_by_handle_at(2); Linux 6.18, or 6.19 for an ID alone. On older kernels the error is
// [errors.ErrUnsupported], for a namespace that is gone [fs.ErrNotExist]. A namespace that the
// caller is not in takes CAP_SYS_ADMIN in the initial user and PID namespaces, else the error
// is [fs.ErrPermission].
//
// Some kernels log a warning if inode number and ID do not belong together, so both must come
// from the kernel.
func OpenHandle(h Handle) (fd int, err error) {
	raw := binary.NativeEndian.AppendUint64(nil, h.ID)
	raw = binary.NativeEndian.AppendUint32(raw, h.Typ)
	raw = binary.NativeEndian.AppendUint32(raw, h.Ino)
	err = retry(func() error {
		fd, err = unix.OpenByHandleAt(nsfsRoot, unix.NewFileHandle(fileidNSFS, raw), unix.O_RDONLY|unix.O_CLOEXEC)
		return err
	})
	switch err {
	case nil:
		return fd, nil
	case unix.ESTALE:
		if h.Ino == 0 && !opensByID() {
			return -1, fmt.Errorf("open_by_handle_at: %w", errors.ErrUnsupported)
		}
		return -1, fmt.Errorf("open_by_handle_at: %w", fs.ErrNotExist)
	case unix.EBADF, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL:
		return -1, fmt.Errorf("open_by_handle_at: %w", errors.ErrUnsupported)
	}
	return -1, callError("open_by_handle_at", err)
}

// opensByID reports whether the kernel opens namespaces by ID alone. It tries one of the
// caller's.
func opensByID() bool {
	own, err := openat(unix.AT_FDCWD, "/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(own)
	id, err := NamespaceID(own)
	if err != nil {
		return false
	}
	raw := binary.NativeEndian.AppendUint64(nil, id)
	fd, err := unix.OpenByHandleAt(nsfsRoot, unix.NewFileHandle(fileidNSFS, append(raw, make([]byte, 8)...)), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// IsAdmin reports whether the calling thread has CAP_SYS_ADMIN in its user
// namespace.
func IsAdmin() bool { return capable(unix.CAP_SYS_ADMIN) }

// capable reports whether the calling thread has one of some capabilities, of the first 32, in
// its user namespace.
func capable(caps ...int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && slices.ContainsFunc(caps, func(c int) bool { return data[0].Effective>>c&1 != 0 })
}

// Capabilities returns the effective and the permitted capabilities of the
// calling thread, bit N for capability N of capabilities(7).
func Capabilities() (effective, permitted uint64) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0, 0
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)
}

package sys

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ProcDir is an open directory of procfs, for very many small reads.
//
// Most of its methods make raw system calls, without the Go scheduler, which saves a third of
// the time of such a short call. They are for calls that the kernel answers from memory without
// waiting: directory entries and the number of links. Other calls can wait for the process: the
// target of a link, /proc/pid/stat and pidfd_getfd(2) wait for a running execve(2), which may
// be stuck (exec_update_lock; the first two since Linux 6.18), and /proc/pid/cmdline waits for
// the memory map.
type ProcDir int

// A Name is the name of a directory entry with a zero byte at its end, as the kernel takes it,
// so that no copy is needed.
type Name []byte

// NewName returns s as a Name.
func NewName(s string) Name { return append([]byte(s), 0) }

// AppendName appends the number n, and then s and a zero byte, to buf: "1234/ns".
func AppendName(buf []byte, n int, s string) Name {
	return append(append(strconv.AppendInt(buf, int64(n), 10), s...), 0)
}

func (n Name) String() string { return string(n[:len(n)-1]) }

// OpenProc opens the directory at path for reading.
func OpenProc(path string) (ProcDir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	return ProcDir(fd), err
}

// errno makes an error of the errno of a raw call, nil for 0.
func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func (d ProcDir) open(name Name, flags int) (ProcDir, error) {
	for {
		fd, _, e := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(d), uintptr(unsafe.Pointer(&name[0])), uintptr(flags|unix.O_CLOEXEC), 0, 0, 0)
		if e != unix.EINTR {
			return ProcDir(fd), errno(e)
		}
	}
}

// Open opens a directory in d for [ProcDir.Entries].
func (d ProcDir) Open(name Name) (ProcDir, error) {
	return d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// OpenPath opens a directory in d to look up names, not to list it.
func (d ProcDir) OpenPath(name Name) (ProcDir, error) {
	return d.open(name, unix.O_PATH|unix.O_DIRECTORY)
}

// Close closes d.
func (d ProcDir) Close() error { return callError("close", unix.Close(int(d))) }

// CloseRaw closes d with a raw call.
func (d ProcDir) CloseRaw() { unix.RawSyscall(unix.SYS_CLOSE, uintptr(d), 0, 0) }

// Readlink reads the link name in d into buf and returns the number of bytes. It may block for
// ever.
func (d ProcDir) Readlink(name Name, buf []byte) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_READLINKAT, uintptr(d), uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// Entries reads as many entries of d as fit into buf, starting where the last call ended, and
// calls f with each name, which is valid only during f. It returns false at the end, which is
// an empty result: the kernel also ends a call early if a signal is pending, such as Go's own
// SIGURG.
func (d ProcDir) Entries(buf []byte, f func(name Name)) (more bool, err error) {
	n, _, e := unix.RawSyscall(unix.SYS_GETDENTS64, uintptr(d), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	if e != 0 {
		return false, e
	}
	for rest := buf[:n]; len(rest) > direntHeader; {
		// struct linux_dirent64: d_ino (8), d_off (8), d_reclen (2), d_type (1), d_name.
		size := int(*(*uint16)(unsafe.Pointer(&rest[16])))
		if size <= direntHeader || size > len(rest) {
			break
		}
		name := rest[direntHeader:size]
		for i, c := range name {
			if c == 0 {
				f(Name(name[:i+1]))
				break
			}
		}
		rest = rest[size:]
	}
	return n > 0, nil
}

const direntHeader = 19

// A Stat is the part of stat(2) that is useful for procfs.
type Stat struct {
	UID   uint32
	Nlink uint64
	ID    FileID
}

// Stat returns the status of name in d.
func (d ProcDir) Stat(name Name) (Stat, error) {
	var st unix.Stat_t
	_, _, e := unix.RawSyscall6(sysFstatat, uintptr(d), uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&st)), 0, 0, 0)
	if e != 0 {
		return Stat{}, e
	}
	return Stat{UID: st.Uid, Nlink: uint64(st.Nlink), ID: FileID{Dev: st.Dev, Ino: st.Ino}}, nil
}

// ReadFile reads the file name in d into buf, up to the end of either, and returns the number
// of bytes. A FIFO in its place does not block it.
func (d ProcDir) ReadFile(name Name, buf []byte) (int, error) {
	f, err := d.OpenFile(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	for n < len(buf) {
		got, err := f.Read(buf[n:])
		n += got
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// InodeOf reads the inode number of an open file of a process from the file name in
// /proc/pid/fdinfo, without asking the file system of the open file. buf is used as memory.
// Before Linux 5.14 the error is [errors.ErrUnsupported].
func (d ProcDir) InodeOf(name Name, buf []byte) (uint64, error) {
	n, err := d.ReadFile(name, buf)
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(buf[:n], []byte("\nino:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	ino, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 64)
	if !ok || err != nil {
		return 0, errors.ErrUnsupported
	}
	return ino, nil
}

// OpenFile opens the file name in d for [File.Read].
func (d ProcDir) OpenFile(name Name) (File, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	return File(fd), err
}

// A File is an open file of procfs. It is an [io.Reader].
type File int

// Read reads the next bytes of f.
func (f File) Read(buf []byte) (n int, err error) {
	err = retry(func() error {
		n, err = unix.Read(int(f), buf)
		return err
	})
	if err == nil && n == 0 && len(buf) > 0 {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// Close closes f.
func (f File) Close() error { return callError("close", unix.Close(int(f))) }

// IsProcfs reports whether d is on procfs.
func (d ProcDir) IsProcfs() (bool, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(d), &st) }); err != nil {
		return false, callError("fstatfs", err)
	}
	return st.Type == unix.PROC_SUPER_MAGIC, nil
}

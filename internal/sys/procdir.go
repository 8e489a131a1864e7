package sys

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ProcDir is an open directory of procfs, for reading very many small things.
//
// Most of its methods make raw system calls: the Go scheduler is not told, which
// saves a third of the time of so short a call. They are for what the kernel
// answers from memory and never waits for: directory entries and the number of
// links. What can wait for the process it is about is not among that: the target
// of a link, /proc/pid/stat and pidfd_getfd(2) wait for an execve(2) that is
// under way (exec_update_lock; the former two since Linux 6.18), which may be
// stuck, and /proc/pid/cmdline for the memory map.
type ProcDir int

// A Name is the name of a directory entry with a zero byte behind it, as the
// kernel wants it, so that reading needs no copy of it.
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

// OpenPath opens a directory in d to look names up in, not to list it.
func (d ProcDir) OpenPath(name Name) (ProcDir, error) {
	return d.open(name, unix.O_PATH|unix.O_DIRECTORY)
}

// Close closes d.
func (d ProcDir) Close() error { return os.NewSyscallError("close", unix.Close(int(d))) }

// CloseRaw closes d with a raw call.
func (d ProcDir) CloseRaw() { unix.RawSyscall(unix.SYS_CLOSE, uintptr(d), 0, 0) }

// Readlink reads the link name in d into buf and returns how many bytes of buf
// it took. It may wait for ever.
func (d ProcDir) Readlink(name Name, buf []byte) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_READLINKAT, uintptr(d), uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// Entries reads as many entries of d as fit into buf, from where the last call
// ended, and calls f with the name of each; the name is valid during f alone.
// It returns false when there are no more, which only a call that returns
// nothing tells: the kernel also ends one early when a signal is pending, as
// Go's own SIGURG often is.
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

// A Stat is what stat(2) says of a file, as far as it is of use for procfs.
type Stat struct {
	UID   uint32
	Nlink uint64
	ID    FileID
}

// Stat returns what stat(2) says of name in d.
func (d ProcDir) Stat(name Name) (Stat, error) {
	var st unix.Stat_t
	_, _, e := unix.RawSyscall6(sysFstatat, uintptr(d), uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&st)), 0, 0, 0)
	if e != 0 {
		return Stat{}, e
	}
	return Stat{UID: st.Uid, Nlink: uint64(st.Nlink), ID: FileID{Dev: st.Dev, Ino: st.Ino}}, nil
}

// ReadFile reads the file name in d into buf, up to its end or the end of buf,
// and returns how many bytes it read. A FIFO in its place is not waited for.
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

// InodeOf reads the inode number of an open file of a process, from its file name
// below /proc/pid/fdinfo, which asks nothing of the file system that it is on. buf
// is the memory to use. Before Linux 5.14 the error is [errors.ErrUnsupported].
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
func (f File) Close() error { return os.NewSyscallError("close", unix.Close(int(f))) }

// IsProcfs reports whether d is on procfs.
func (d ProcDir) IsProcfs() (bool, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(int(d), &st) }); err != nil {
		return false, os.NewSyscallError("fstatfs", err)
	}
	return st.Type == unix.PROC_SUPER_MAGIC, nil
}

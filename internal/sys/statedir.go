package sys

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A StateDir is a directory in which somebody else, such as a container engine,
// keeps files: it may hold anything, and what is read in it leads nowhere else.
// It is open with O_PATH.
type StateDir int

// OpenStateDir opens a directory as a StateDir. Links are followed, also those
// of procfs, such as /proc/pid/root.
func OpenStateDir(path string) (StateDir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return StateDir(fd), nil
}

// Open opens a directory in d as if d were the root: links are followed, unless
// plain says that there must be none, and absolute ones and ".." end inside it.
// Links of /proc that lead elsewhere are not followed. See RESOLVE_IN_ROOT in
// openat2(2); Linux 5.6.
func (d StateDir) Open(path string, plain bool) (StateDir, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if plain {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	fd, err := openat2(d, path, &how)
	return StateDir(fd), err
}

// ReadFile reads a regular file below d into buf and returns what
// was read. No component of the path is followed if it is a link, and none can
// lead out. Opening has no effect on a FIFO. A file that does not fit in buf
// is an error that names its size. See RESOLVE_BENEATH in openat2(2); Linux 5.6.
func (d StateDir) ReadFile(path string, buf []byte) ([]byte, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := openat2(d, path, &how)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, fmt.Errorf("%s: %w", path, os.NewSyscallError("fstat", err))
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s: no regular file: %w", path, fs.ErrInvalid)
	case st.Size > int64(len(buf)):
		return nil, fmt.Errorf("%s: %d bytes are more than the %d expected: %w", path, st.Size, len(buf), fs.ErrInvalid)
	}
	n, err := readAll(fd, buf[:st.Size])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return buf[:n], nil
}

// ReadProc reads a file of procfs into buf, where d is in procfs: such a file
// has no size, and comes whole in one read. What does not fit is cut off.
func (d StateDir) ReadProc(path string, buf []byte) ([]byte, error) {
	fd, err := openat(int(d), path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var n int
	err = retry(func() (err error) {
		n, err = unix.Read(fd, buf)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, os.NewSyscallError("read", err))
	}
	return buf[:n], nil
}

// readAll reads until the end of the file or of buf.
func readAll(fd int, buf []byte) (n int, err error) {
	for n < len(buf) {
		var m int
		err := retry(func() (err error) {
			m, err = unix.Read(fd, buf[n:])
			return err
		})
		if err != nil {
			return n, os.NewSyscallError("read", err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// Readlink returns the text of a link below d.
func (d StateDir) Readlink(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(d), path, buf)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, os.NewSyscallError("readlinkat", err))
	}
	return string(buf[:n]), nil
}

// List returns the names in a directory below d, at most max of them, by the
// rules of [StateDir.ReadFile]. The order is that of the file system.
func (d StateDir) List(path string, max int) ([]string, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := openat2(d, path, &how)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	names, err := f.Readdirnames(max)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

// Exists reports whether there is something below d. No link leads out of d,
// and one in the last component is itself what is there.
func (d StateDir) Exists(path string) bool {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := openat2(d, path, &how)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Close closes d.
func (d StateDir) Close() { unix.Close(int(d)) }

func openat2(dir StateDir, path string, how *unix.OpenHow) (fd int, err error) {
	// EAGAIN: something was renamed meanwhile, so ".." could not be trusted.
	for range 8 {
		err = retry(func() error {
			fd, err = unix.Openat2(int(dir), path, how)
			return err
		})
		if err != unix.EAGAIN {
			break
		}
	}
	switch {
	case err == unix.ELOOP && how.Resolve&unix.RESOLVE_NO_SYMLINKS != 0:
		return -1, fmt.Errorf("%s: a link, which is not followed: %w", path, os.NewSyscallError("openat2", err))
	case err != nil:
		return -1, fmt.Errorf("%s: %w", path, os.NewSyscallError("openat2", err))
	}
	return fd, nil
}

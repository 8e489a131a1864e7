package sys

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

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

// A FileStatus says who may have written a file or directory, and when it was
// written last.
type FileStatus struct {
	UID, GID uint32 // as the caller's user namespace maps them
	Mode     uint32 // as stat(2) has it
	Changed  time.Time
	id       FileID
}

func statusOf(st *unix.Stat_t) FileStatus {
	return FileStatus{
		UID: st.Uid, GID: st.Gid, Mode: st.Mode, Changed: time.Unix(st.Mtim.Unix()),
		id: FileID{Dev: st.Dev, Ino: st.Ino},
	}
}

// ReadFile reads a regular file below d into buf and returns what
// was read, and whose the file is. No component of the path is followed if it is
// a link, and none can lead out. Opening has no effect on a FIFO. A file that
// does not fit in buf is an error that names its size. See RESOLVE_BENEATH in
// openat2(2); Linux 5.6.
func (d StateDir) ReadFile(path string, buf []byte) ([]byte, FileStatus, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := openat2(d, path, &how)
	if err != nil {
		return nil, FileStatus{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, FileStatus{}, fmt.Errorf("%s: %w", path, os.NewSyscallError("fstat", err))
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, FileStatus{}, fmt.Errorf("%s: no regular file: %w", path, fs.ErrInvalid)
	case st.Size > int64(len(buf)):
		return nil, FileStatus{}, fmt.Errorf("%s: %d bytes are more than the %d expected: %w", path, st.Size, len(buf), fs.ErrInvalid)
	}
	n, err := readAll(fd, buf[:st.Size])
	if err != nil {
		return nil, FileStatus{}, fmt.Errorf("%s: %w", path, err)
	}
	return buf[:n], statusOf(&st), nil
}

// Stat says whose a file below d is. A link in the last component is followed
// only if follow says so, also one of procfs.
func (d StateDir) Stat(path string, follow bool) (FileStatus, error) {
	flags := unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(int(d), path, &st, flags) }); err != nil {
		return FileStatus{}, fmt.Errorf("%s: %w", path, os.NewSyscallError("fstatat", err))
	}
	return statusOf(&st), nil
}

// mostAbove is how deep a directory may lie of which [StateDir.Above] is asked.
const mostAbove = 128

// Above asks fits of d and of every directory above it, up to the root that it
// was opened in, until it says no. It reports whether all fit. Those in known fit,
// with all above them; if it is not nil, others that do are added.
func (d StateDir) Above(fits func(FileStatus) bool, known map[FileID]bool) (bool, error) {
	fd := int(d)
	defer func() {
		if fd != int(d) {
			unix.Close(fd)
		}
	}()
	var below FileID
	var passed []FileID
	fit := func() (bool, error) {
		for _, id := range passed {
			if known != nil {
				known[id] = true
			}
		}
		return true, nil
	}
	for range mostAbove {
		var st unix.Stat_t
		if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
			return false, os.NewSyscallError("fstat", err)
		}
		status := statusOf(&st)
		if status.id == below || known[status.id] {
			return fit() // the root is above itself
		}
		if !fits(status) {
			return false, nil
		}
		passed = append(passed, status.id)
		below = status.id
		up, err := openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if err != nil {
			return false, err
		}
		if fd != int(d) {
			unix.Close(fd)
		}
		fd = up
	}
	return false, fmt.Errorf("more than %d directories are above it", mostAbove)
}

// IsCgroups reports whether d is in a hierarchy of control groups, of either
// version.
func (d StateDir) IsCgroups() bool {
	kind, err := filesystemOf(int(d))
	return err == nil && (kind == unix.CGROUP_SUPER_MAGIC || kind == unix.CGROUP2_SUPER_MAGIC)
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

// Uptime returns how long ago the system started, as /proc counts it: see
// CLOCK_BOOTTIME in clock_gettime(2).
func Uptime() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(now.Nano()), nil
}

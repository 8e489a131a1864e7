package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A StateDir is a directory of another program, such as a container engine. Its content is not
// trusted: no read leads out of it, and none waits for a server: without an answer the error is
// [ErrNoAnswer].
type StateDir struct {
	fd   int    // O_PATH, or -1 if only a helper process opens the directory
	path string // from the root of the tree
	tree *tree  // nil on the kernel's own file systems, such as procfs
}

// OpenKernelDir opens a directory on procfs or on a cgroup file system as a StateDir.
func OpenKernelDir(path string) (StateDir, error) { return openTop(path, nil) }

// OpenStateRoot opens a root directory as a StateDir. Links are followed, also those of procfs,
// such as /proc/pid/root. mountinfo is the file of procfs with the mounts below it. If it is
// "", other users may mount there, and only helper processes open files.
func OpenStateRoot(path, mountinfo string) (StateDir, error) {
	d, err := openTop(path, &tree{mounts: mountsIn(mountinfo)})
	if err == nil {
		d.tree.root = d.fd
	}
	return d, err
}

func openTop(path string, t *tree) (StateDir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return StateDir{fd: -1}, fmt.Errorf("%s: %w", path, err)
	}
	return StateDir{fd: fd, path: "/", tree: t}, nil
}

// Open opens a directory in d, the root of a tree, as if d were the root: links are
// followed, unless plain says that there must be none, and absolute ones and ".."
// end inside it. Links of /proc that lead elsewhere are not followed. See
// RESOLVE_IN_ROOT in openat2(2); Linux 5.6.
func (d StateDir) Open(name string, plain bool) (StateDir, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if plain {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	in := StateDir{fd: -1, path: path.Join(d.path, name), tree: d.tree}
	fd, err := d.tree.open(d.fd, name, how)
	switch {
	case errors.Is(err, ErrServer):
		// Only whether it answers is of interest.
		if _, err = d.tree.ask(question{dirfd: d.tree.root, name: in.path, how: how}); err != nil {
			return in, fmt.Errorf("%s: %w", name, err)
		}
		return in, nil
	case err != nil:
		return in, err
	}
	in.fd = fd
	return in, nil
}

// openFile opens a file below d, by the rules of how. The error is ErrServer if only a helper
// process may open it.
func (d StateDir) openFile(name string, how unix.OpenHow) (int, error) {
	if d.fd < 0 {
		return -1, ErrServer
	}
	return d.tree.open(d.fd, name, how)
}

// ask has a helper process read a file below d.
func (d StateDir) ask(name string, how unix.OpenHow, do asked, most int) (answer, error) {
	q := question{dirfd: d.fd, name: name, how: how, do: do, most: most}
	if d.fd != d.tree.root {
		q.dirfd, q.dir = d.tree.root, d.path
	}
	a, err := d.tree.ask(q)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return a, err
}

// A FileStatus says who can have written a file or directory, and when it was written last.
type FileStatus struct {
	UID, GID uint32 // as the caller's user namespace maps them
	Mode     uint32 // as stat(2) has it
	Changed  time.Time
	id       FileID
}

// IsDir reports whether it is a directory.
func (s FileStatus) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

func statusOfX(st *unix.Statx_t) FileStatus {
	return FileStatus{
		UID: st.Uid, GID: st.Gid, Mode: uint32(st.Mode), Changed: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
		id: FileID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino},
	}
}

func statusOf(st *unix.Stat_t) FileStatus {
	return FileStatus{
		UID: st.Uid, GID: st.Gid, Mode: st.Mode, Changed: time.Unix(st.Mtim.Unix()),
		id: FileID{Dev: st.Dev, Ino: st.Ino},
	}
}

// ReadFile reads a regular file below d into buf, and returns its content and its status. Links
// are not followed. A FIFO is not opened. A file that does not fit into buf is an error with
// its size. See RESOLVE_BENEATH in openat2(2); Linux 5.6.
func (d StateDir) ReadFile(path string, buf []byte) ([]byte, FileStatus, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := d.openFile(path, how)
	if errors.Is(err, ErrServer) {
		return d.readApart(path, how, buf)
	}
	if err != nil {
		return nil, FileStatus{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, FileStatus{}, fmt.Errorf("%s: %w", path, callError("fstat", err))
	}
	if err := fits(path, st.Mode, st.Size, len(buf)); err != nil {
		return nil, FileStatus{}, err
	}
	n, err := readAll(fd, buf[:st.Size])
	if err != nil {
		return nil, FileStatus{}, fmt.Errorf("%s: %w", path, err)
	}
	return buf[:n], statusOf(&st), nil
}

func (d StateDir) readApart(path string, how unix.OpenHow, buf []byte) ([]byte, FileStatus, error) {
	a, err := d.ask(path, how, askContent, len(buf))
	if err != nil {
		return nil, FileStatus{}, err
	}
	if err := fits(path, uint32(a.st.Mode), int64(a.st.Size), len(buf)); err != nil {
		return nil, FileStatus{}, err
	}
	return buf[:copy(buf[:a.st.Size], a.data)], statusOfX(&a.st), nil
}

// fits returns an error unless a file is a regular one of at most most bytes.
func fits(path string, mode uint32, size int64, most int) error {
	switch {
	case mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s: no regular file: %w", path, fs.ErrInvalid)
	case size > int64(most):
		return fmt.Errorf("%s: %d bytes are more than the %d expected: %w", path, size, most, fs.ErrInvalid)
	}
	return nil
}

// Stat returns the status of a file below d. A link at the end is followed only with follow,
// also a magic link of procfs.
func (d StateDir) Stat(path string, follow bool) (FileStatus, error) {
	if d.tree == nil {
		flags := unix.AT_NO_AUTOMOUNT
		if !follow {
			flags |= unix.AT_SYMLINK_NOFOLLOW
		}
		var st unix.Stat_t
		if err := retry(func() error { return unix.Fstatat(d.fd, path, &st, flags) }); err != nil {
			return FileStatus{}, fmt.Errorf("%s: %w", path, callError("fstatat", err))
		}
		return statusOf(&st), nil
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	if d.fd >= 0 && d.tree.mounts != nil && !follow && !strings.Contains(path, "/") {
		// No other mount is on the way, and a server of one at the end is not asked.
		st, err := statMemory(d.fd, path, unix.AT_SYMLINK_NOFOLLOW, statuses)
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return statusOfX(&st), err
	}
	fd, err := d.openFile(path, how)
	if errors.Is(err, ErrServer) {
		a, err := d.ask(path, how, askStatus, 0)
		return statusOfX(&a.st), err
	}
	if err != nil {
		return FileStatus{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return FileStatus{}, fmt.Errorf("%s: %w", path, callError("fstat", err))
	}
	return statusOf(&st), nil
}

// ID identifies d itself.
func (d StateDir) ID() (FileID, error) {
	st, err := d.Stat(".", true)
	return st.id, err
}

// maxAbove is the most directories above one for [StateDir.Above].
const maxAbove = 128

// Above calls fits for d and every directory above it, up to the root that it was opened in,
// until it returns false, and reports whether it never did. Directories in known fit, and all
// above them; if known is not nil, others that fit are added.
func (d StateDir) Above(fits func(FileStatus) bool, known map[FileID]bool) (bool, error) {
	var below FileID
	var passed []FileID
	for status, err := range d.above {
		switch {
		case err != nil:
			return false, err
		case status.id == below || known[status.id]: // the root is above itself
			for _, id := range passed {
				if known != nil {
					known[id] = true
				}
			}
			return true, nil
		case !fits(status):
			return false, nil
		}
		passed = append(passed, status.id)
		below = status.id
	}
	return false, fmt.Errorf("more than %d directories are above it", maxAbove)
}

// above yields the status of d, and of every directory above it, and then the root again and
// again. The kernel has them in memory, since they are open.
func (d StateDir) above(yield func(FileStatus, error) bool) {
	if d.fd < 0 {
		a, err := d.ask(".", unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC}, askAbove, 0)
		if err != nil {
			yield(FileStatus{}, err)
			return
		}
		for i := range a.above {
			if !yield(statusOfX(&a.above[i]), nil) {
				return
			}
		}
		return
	}
	fd := d.fd
	defer func() {
		if fd != d.fd {
			unix.Close(fd)
		}
	}()
	for range maxAbove {
		st, err := statMemory(fd, "", unix.AT_EMPTY_PATH, statuses)
		if !yield(statusOfX(&st), err) {
			return
		}
		up, err := openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if err != nil {
			yield(FileStatus{}, err)
			return
		}
		if fd != d.fd {
			unix.Close(fd)
		}
		fd = up
	}
}

// IsCgroups reports whether d is on a cgroup file system, of either version.
func (d StateDir) IsCgroups() bool {
	kind, err := filesystemOf(d.fd)
	return err == nil && (kind == unix.CGROUP_SUPER_MAGIC || kind == unix.CGROUP2_SUPER_MAGIC)
}

// ReadProc reads a file of procfs into buf, where d is on procfs: such a file has no size, and
// is complete in one read. The part that does not fit is cut off.
func (d StateDir) ReadProc(path string, buf []byte) ([]byte, error) {
	fd, err := openat(d.fd, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
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
		return nil, fmt.Errorf("%s: %w", path, callError("read", err))
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
			return n, callError("read", err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// Readlink returns the text of a link below d, on a file system of the kernel.
func (d StateDir) Readlink(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd, path, buf)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, callError("readlinkat", err))
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
	fd, err := d.openFile(path, how)
	var entries []DirEntry
	if errors.Is(err, ErrServer) {
		var a answer
		a, err = d.ask(path, how, askNames, maxListed)
		entries = parseDirents(a.data, nil)
	} else if err == nil {
		entries, err = readDirents(fd, max)
		unix.Close(fd)
	}
	var names []string
	for _, e := range entries[:min(max, len(entries))] {
		names = append(names, e.Name)
	}
	return names, err
}

// Exists reports whether there is a file name below d. No link leads out of d, and a link at
// the end is not followed.
func (d StateDir) Exists(path string) bool {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := d.openFile(path, how)
	if errors.Is(err, ErrServer) {
		_, err = d.ask(path, how, askStatus, 0)
	} else if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// Close closes d.
func (d StateDir) Close() { CloseAll(d.fd) }

func openat2(dir int, path string, how *unix.OpenHow) (fd int, err error) {
	// EAGAIN: a directory was renamed meanwhile, so ".." was not safe.
	for range 8 {
		err = retry(func() error {
			fd, err = unix.Openat2(dir, path, how)
			return err
		})
		if err != unix.EAGAIN || how.Resolve&resolveCached != 0 {
			break
		}
	}
	switch {
	case err == unix.ELOOP && how.Resolve&unix.RESOLVE_NO_SYMLINKS != 0:
		return -1, fmt.Errorf("%s: a link, which is not followed: %w", path, callError("openat2", err))
	case err != nil:
		return -1, fmt.Errorf("%s: %w", path, callError("openat2", err))
	}
	return fd, nil
}

// Uptime returns the time since the system started, as /proc counts it: see CLOCK_BOOTTIME in
// clock_gettime(2).
func Uptime() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, callError("clock_gettime", err)
	}
	return time.Duration(now.Nano()), nil
}

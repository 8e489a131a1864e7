package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstool/nstool/internal/procfile"
)

// ErrForeignProc reports that /proc is no proc file system, or that of another PID namespace,
// whose numbers are not the caller's.
var ErrForeignProc = errors.New("/proc is not the proc file system of this PID namespace")

// A Process is a process that is open: by a pidfd, so that it stays the same process even if
// its PID is used again, and by its directory in procfs, through which everything about it is
// read. All descriptors are close-on-exec.
type Process struct {
	PID, TID int // TID is a thread of it, or 0
	Pidfd    int // Linux 5.3
	Proc     int // the root of procfs, O_PATH
	Dir      int // /proc/PID, or /proc/PID/task/TID
}

// OpenProcess opens a process, or its thread tid if that is not 0. It needs no privileges. The
// error is [ErrForeignProc], or an [fs.ErrNotExist] if there is no such process or thread.
func OpenProcess(pid, tid int) (*Process, error) {
	p := &Process{PID: pid, TID: tid, Pidfd: -1, Proc: -1, Dir: -1}
	if err := p.open(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// OpenLive is [OpenProcess] for a whole process. If its first thread has exited and others run
// on, it opens one of those: a thread that has exited has no namespaces.
func OpenLive(pid int) (*Process, error) {
	p, err := OpenProcess(pid, 0)
	if err != nil {
		return nil, err
	}
	tid := p.heir()
	if tid == 0 {
		return p, nil
	}
	if t, err := OpenProcess(pid, tid); err == nil {
		p.Close()
		return t, nil
	}
	return p, nil
}

// heir returns the first running thread of a process whose first thread has exited, or 0.
func (p *Process) heir() int {
	if !hasExited(p.ReadFile("stat", 4096)) {
		return 0
	}
	tasks, err := openat(p.Dir, "task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return 0
	}
	dir := os.NewFile(uintptr(tasks), "task")
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) //nolint:errcheck // a part of them is enough
	first := 0
	for _, name := range names {
		tid, err := strconv.Atoi(name)
		if err == nil && (first == 0 || tid < first) && !hasExited(p.ReadFile("task/"+name+"/stat", 4096)) {
			first = tid
		}
	}
	return first
}

// Numbers returns the names in a directory of procfs that are numbers, in order.
func Numbers(proc int, dir string) (numbers []int) {
	fd, err := openat(proc, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, _ := f.Readdirnames(-1) //nolint:errcheck // a part of them is enough
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// hasExited reports whether the text of /proc/pid/stat is that of a thread that has exited, or
// could not be read.
func hasExited(text []byte, err error) bool {
	s, bad := procfile.ParseStat(text)
	return err != nil || bad != nil || s.Exited()
}

func (p *Process) open() (err error) {
	if p.Proc, err = openProc(); err != nil {
		return err
	}
	// The pidfd comes first: what is opened after it, and before it shows that the process is
	// alive, belongs to that process.
	if p.Pidfd, err = unix.PidfdOpen(p.PID, 0); err != nil {
		return noProcess(callError("pidfd_open", err))
	}
	dir := strconv.Itoa(p.PID)
	if p.TID != 0 {
		dir += "/task/" + strconv.Itoa(p.TID)
	}
	if p.Dir, err = openat(p.Proc, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC); err != nil {
		return noProcess(err)
	}
	return p.Alive()
}

// openProc opens the root of the proc file system, O_PATH, if it is the
// caller's own: else the error is [ErrForeignProc].
func openProc() (int, error) {
	fd, err := openat(unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if !IsProcfs(fd) {
		unix.Close(fd)
		return -1, ErrForeignProc
	}
	var buf [16]byte
	n, err := unix.Readlinkat(fd, "self", buf[:])
	if err != nil || string(buf[:n]) != strconv.Itoa(os.Getpid()) {
		unix.Close(fd)
		return -1, ErrForeignProc
	}
	return fd, nil
}

// noProcess returns one error for all errors of a missing process.
func noProcess(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return err
}

// Close releases the process.
func (p *Process) Close() {
	for _, fd := range []*int{&p.Pidfd, &p.Proc, &p.Dir} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// Alive returns nil if the process has not ended: everything that was read through p before is
// about this process. It also works for processes of other users.
func (p *Process) Alive() error {
	err := unix.PidfdSendSignal(p.Pidfd, 0, nil, 0)
	if err == nil || err == unix.EPERM {
		return nil
	}
	return noProcess(callError("pidfd_send_signal", err))
}

// Path returns the path of name in procfs, for messages.
func (p *Process) Path(name string) string {
	dir := "/proc/" + strconv.Itoa(p.PID)
	if p.TID != 0 {
		dir += "/task/" + strconv.Itoa(p.TID)
	}
	return dir + "/" + name
}

// Open opens name with O_PATH, through a link: "root", "cwd" or a file.
func (p *Process) Open(name string) (int, error) {
	fd, err := openat(p.Dir, name, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: p.Path(name), Err: noProcess(errors.Unwrap(err))}
	}
	return fd, nil
}

// OpenNamespace opens the namespace name, such as "net", of the process. The caller needs
// ptrace access to it (PTRACE_MODE_READ_FSCREDS).
func (p *Process) OpenNamespace(name string) (int, error) {
	fd, err := openat(p.Dir, "ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: p.Path("ns/" + name), Err: noProcess(errors.Unwrap(err))}
	}
	return fd, nil
}

// Readlink returns the text of the link name.
func (p *Process) Readlink(name string) (string, error) {
	return p.readlink(p.Dir, name, p.Path(name))
}

// Own returns the text of the link name of the calling thread, which should be locked.
func (p *Process) Own(name string) (string, error) {
	return p.readlink(p.Proc, "thread-self/"+name, "/proc/thread-self/"+name)
}

func (p *Process) readlink(dir int, name, path string) (string, error) {
	var buf [4096]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: path, Err: noProcess(err)}
	}
	return string(buf[:n]), nil
}

// ReadFile returns the first most bytes of a file of the process.
func (p *Process) ReadFile(name string, most int) ([]byte, error) {
	return readFile(p.Dir, name, p.Path(name), most)
}

// ReadOwn is ReadFile for the calling thread.
func (p *Process) ReadOwn(name string, most int) ([]byte, error) {
	return readFile(p.Proc, "thread-self/"+name, "/proc/thread-self/"+name, most)
}

func readFile(dir int, name, path string, most int) ([]byte, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: noProcess(errors.Unwrap(err))}
	}
	defer unix.Close(fd)
	b, err := readUpTo(fd, most)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: noProcess(err)}
	}
	return b, nil
}

// readUpTo reads from fd to its end, or to most bytes.
func readUpTo(fd, most int) ([]byte, error) {
	b := make([]byte, 0, min(most, 4096))
	for len(b) < most {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := unix.Read(fd, b[len(b):min(cap(b), most)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		b = b[:len(b)+n]
	}
	return b, nil
}

// PidfdInode returns the inode number of the pidfd, which is not used again before the next
// boot (pidfs, Linux 6.9). On older kernels the error is [errors.ErrUnsupported].
func (p *Process) PidfdInode() (uint64, error) {
	const pidfsMagic = 0x50494446
	if ok, err := isOn(p.Pidfd, pidfsMagic); err != nil {
		return 0, err
	} else if !ok {
		return 0, fmt.Errorf("the inode number of a pidfd: %w", errors.ErrUnsupported)
	}
	id, err := Fstat(p.Pidfd)
	return id.Ino, err
}

// ProbePidfs reports by its error whether pidfds have inode numbers here.
func ProbePidfs() error {
	p, err := OpenProcess(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = p.PidfdInode()
	return err
}

// ReadBeneath opens a regular file below root, O_RDONLY, as a process with that root directory
// would see it, and returns up to most bytes of it. It follows no magic link and opens only a
// regular file (openat2(2), Linux 5.6).
func ReadBeneath(root int, path string, most int) ([]byte, error) {
	fail := func(op string, err error) ([]byte, error) {
		if e := errors.Unwrap(err); e != nil {
			err = e
		}
		return nil, &fs.PathError{Op: op, Path: "/" + strings.TrimLeft(path, "/"), Err: err}
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	near, err := -1, error(ErrServer)
	if ownTree().hasRoot(root) {
		same := how
		same.Resolve |= unix.RESOLVE_NO_XDEV
		near, err = openat2(root, path, &same)
	}
	if errors.Is(err, ErrServer) || errors.Is(err, unix.EXDEV) {
		how.Flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
		a, err := (&tree{root: root}).ask(question{dirfd: root, name: path, how: how, do: askContent, most: most})
		switch {
		case err != nil:
			return fail("open", err)
		case a.st.Mode&unix.S_IFMT != unix.S_IFREG:
			return fail("open", errors.New("not a regular file"))
		}
		return a.data[:min(most, len(a.data))], nil
	}
	if err != nil {
		return fail("open", err)
	}
	probe := near
	defer unix.Close(probe)
	st, err := StatFD(probe)
	if err != nil {
		return fail("stat", err)
	}
	if !st.IsRegular() {
		return fail("open", errors.New("not a regular file"))
	}
	fd, err := openat(unix.AT_FDCWD, FDPath(probe), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return fail("open", err)
	}
	defer unix.Close(fd)
	b, err := readUpTo(fd, most)
	if err != nil {
		return fail("read", err)
	}
	return b, nil
}

// SameFile reports whether two descriptors are open on the same file.
func SameFile(a, b int) bool {
	ida, err := Fstat(a)
	if err != nil {
		return false
	}
	idb, err := Fstat(b)
	return err == nil && ida == idb
}

// OpenDirectory opens a directory with O_PATH, by a path of the caller.
func OpenDirectory(path string) (int, error) {
	fd, err := ownTree().openPathAnswering(path, unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC})
	if err != nil {
		return -1, pathError("open", path, err)
	}
	return fd, nil
}

// CloseAll closes descriptors.
//
//go:noinline
func CloseAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// SpareFDs reports whether n more descriptors could be opened.
func SpareFDs(n int) bool {
	if n == 0 {
		return true
	}
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return !errors.Is(err, unix.EMFILE) // standard input may be closed
	}
	defer unix.Close(fd)
	return SpareFDs(n - 1)
}

// CloseOnExecFrom makes all descriptors from first on close-on-exec, at once
// (Linux 5.11) or one by one.
func CloseOnExecFrom(first int) error {
	if err := unix.CloseRange(uint(first), uint(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Children returns the children that the first thread of the process has started, if the kernel
// lists them (CONFIG_PROC_CHILDREN).
func (p *Process) Children() (pids []int) {
	text, err := p.ReadFile("task/"+strconv.Itoa(p.PID)+"/children", 1<<16)
	if err != nil {
		return nil
	}
	for f := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Pipe returns the two ends of a pipe, close-on-exec.
func Pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, callError("pipe2", err)
	}
	return p[0], p[1], nil
}

// Owner returns the user of the process: its effective user in the caller's numbers, or root if
// the process is not dumpable.
func (p *Process) Owner() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(p.Dir, &st); err != nil {
		return 0, callError("fstat", noProcess(err))
	}
	return st.Uid, nil
}

// Dup returns a copy of fd, close-on-exec, or -1.
func Dup(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return n
}

// ReadAt returns the first most bytes of a file below dirfd.
func ReadAt(dirfd int, name string, most int) ([]byte, error) {
	return readFile(dirfd, name, name, most)
}

// OpenNull opens /dev/null.
func OpenNull() (int, error) {
	return openat(unix.AT_FDCWD, "/dev/null", unix.O_RDWR|unix.O_CLOEXEC)
}

// OnMainThread reports whether the calling thread is the first of the process.
func OnMainThread() bool { return unix.Gettid() == unix.Getpid() }

// Where returns the file that the link name, "root" or "exe", leads to, from what the kernel
// has in memory: no server is asked.
func (p *Process) Where(name string) (FileID, error) {
	id, err := WhereAt(p.Dir, name)
	if err != nil {
		return id, &fs.PathError{Op: "statx", Path: p.Path(name), Err: noProcess(err)}
	}
	return id, nil
}

// WhereAt is [Process.Where] for a path below a directory.
func WhereAt(dirfd int, path string) (FileID, error) {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(dirfd, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st)
	})
	return FileID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}, err
}

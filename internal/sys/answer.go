package sys

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nstool/nstool/internal/procfile"
)

// A file system with a server, such as FUSE and NFS, may never answer. A thread that waits for
// it cannot be killed, and a process with such a thread never exits, so its parent waits for
// ever. Therefore every path of the host or of a target that is not the kernel's own is opened
// here; a test forbids package os elsewhere. A file on the mount of "/", or of a directory
// that is open, is opened by one openat2(2) with RESOLVE_NO_XDEV, at no extra cost. Otherwise
// the mount table is read. Only if it has a mount with a server is it found out, from what the
// kernel has in memory (RESOLVE_CACHED, statx(2)), on which mount the path ends. If that mount
// has a server, or the path is not in memory, a helper process of the stub alone opens and
// reads the file (0.4 ms). Without an answer within a second it is left behind: it holds
// nothing of the caller. In a container mounts can change meanwhile, so every question there
// goes to a helper.

// ErrNoAnswer reports that a file system has not answered in time.
var ErrNoAnswer = errors.New("the file system does not answer")

// patience is the longest time for one answer, and maxPatience for all missing answers
// together. After that no question is asked for the time memory.
const (
	patience    = time.Second
	maxPatience = 3 * patience / 2
	memory      = 10 * time.Second
)

// ErrServer reports that a file is on a file system with a server, so only a helper process may
// open it.
var ErrServer = errors.New("on a file system with a server, which may never answer")

// A tree is a root directory, with the knowledge which mounts below it have no server. The
// mount of "/" is trusted: this program was read from there.
type tree struct {
	root   int
	mounts *mountTable // of a process with this root; nil: a helper does everything
}

// A mountTable is a mount table, read when it is first needed.
type mountTable struct {
	file string // mountinfo
	once sync.Once
	made time.Time

	near  map[uint64]bool // IDs of mounts without a server
	disks map[uint64]bool // their devices
	far   []farMount      // mounts with a server
}

// A farMount is a mount with a server.
type farMount struct {
	id    uint64
	point string
}

// silent is what has not answered, and is not asked again for a while. Mounts of other users do
// not use up the patience for the rest.
var silent struct {
	sync.Mutex
	since  time.Time
	at     map[any]bool // mounts, and paths of trees
	waited map[bool]time.Duration
}

// mayWait returns the longest time for an answer.
func (t *tree) mayWait(where any) time.Duration {
	silent.Lock()
	defer silent.Unlock()
	if time.Since(silent.since) > memory {
		silent.since, silent.at, silent.waited = time.Now(), make(map[any]bool), make(map[bool]time.Duration)
	}
	if silent.at[where] {
		return 0
	}
	return min(patience, maxPatience-silent.waited[t.mounts == nil])
}

// hasWaited notes that no answer came.
func (t *tree) hasWaited(where any, long time.Duration) {
	silent.Lock()
	defer silent.Unlock()
	silent.at[where] = true
	silent.waited[t.mounts == nil] += long
}

// ownMounts is the mount table of the caller.
const ownMounts = "/proc/thread-self/mountinfo"

// tables caches the tables of the caller and of process 1, which are used often.
var tables struct {
	sync.Mutex
	of map[string]*mountTable
}

// mountsIn returns the mount table in a file of procfs, or nil for none.
func mountsIn(file string) *mountTable {
	switch file {
	case "":
		return nil
	case ownMounts, "/proc/1/mountinfo":
	default:
		return &mountTable{file: file}
	}
	tables.Lock()
	defer tables.Unlock()
	t := tables.of[file]
	if t == nil || time.Since(t.made) > memory {
		if tables.of == nil {
			tables.of = make(map[string]*mountTable)
		}
		t = &mountTable{file: file, made: time.Now()}
		tables.of[file] = t
	}
	return t
}

// ownTree returns the tree of the caller.
func ownTree() *tree { return &tree{root: unix.AT_FDCWD, mounts: mountsIn(ownMounts)} }

func (t *mountTable) read() {
	t.near, t.disks = make(map[uint64]bool), make(map[uint64]bool)
	text, err := os.ReadFile(t.file)
	if err != nil {
		t.far = []farMount{{0, "/"}} // nothing is known, so everything may have a server
		return
	}
	for m := range procfile.Mounts(text) {
		switch id := uint64(m.ID); {
		case m.Point == "/" || IsNear(m.Type):
			t.near[id] = true
			t.disks[unix.Mkdev(m.Major, m.Minor)] = true
		case !strings.HasPrefix(m.Point, "/proc/"): // systemd mounts one there, and no engine has state there
			t.far = append(t.far, farMount{id, m.Point})
		}
	}
}

// open calls openat2(2) if no server is needed for that. Else the error is ErrServer.
func (t *tree) open(dirfd int, name string, how unix.OpenHow) (int, error) {
	switch {
	case t == nil:
		return openat2(dirfd, name, &how)
	case t.mounts == nil:
		return -1, ErrServer
	}
	if dirfd != unix.AT_FDCWD || path.IsAbs(name) {
		// The mount of the directory, or of "/", answers, and no other is used.
		same := how
		same.Resolve |= unix.RESOLVE_NO_XDEV
		fd, err := openat2(dirfd, name, &same)
		if !errors.Is(err, unix.EXDEV) {
			return fd, err
		}
	}
	if t.mounts.once.Do(t.mounts.read); len(t.mounts.far) == 0 {
		return openat2(dirfd, name, &how)
	}
	look := how
	look.Flags = unix.O_PATH | unix.O_CLOEXEC | how.Flags&(unix.O_NOFOLLOW|unix.O_DIRECTORY)
	look.Resolve |= resolveCached
	n, err := openat2(dirfd, name, &look)
	fd := FD(n)
	defer fd.Close()
	switch {
	case err == nil && !t.isNear(n):
		return -1, ErrServer
	case err == nil && how.Flags&unix.O_PATH != 0:
		return fd.Take(), nil
	case err == nil:
		return openat(unix.AT_FDCWD, FDPath(n), int(how.Flags)&^unix.O_NOFOLLOW)
	case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINVAL): // EINVAL: before Linux 5.12
		return -1, err
	}
	if above, last := path.Split(name); above != "" && last != "" {
		// Many file systems do not keep missing names in memory, but the directory above may be
		// there.
		above = cmp.Or(strings.TrimRight(above, "/"), "/")
		up, err := t.open(dirfd, above, unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: how.Resolve})
		if err != nil {
			return -1, err
		}
		same := how
		same.Resolve |= unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS
		fd, err := openat2(up, last, &same)
		unix.Close(up)
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ELOOP) {
			return fd, err
		}
	}
	look.Resolve = how.Resolve
	a, err := t.ask(question{dirfd: dirfd, name: name, how: look})
	if err != nil {
		return -1, err
	}
	if a.st.Mask&unix.STATX_MNT_ID == 0 || !t.mounts.near[a.st.Mnt_id] {
		return -1, ErrServer
	}
	return openat2(dirfd, name, &how)
}

// isNear reports whether the file system of fd has no server.
func (t *tree) isNear(fd int) bool {
	st, err := statMemory(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID)
	return err == nil && st.Mask&unix.STATX_MNT_ID != 0 && t.mounts.near[st.Mnt_id]
}

// hasRoot reports whether a root directory is on a file system without a server that is also
// mounted in t.
func (t *tree) hasRoot(fd int) bool {
	st, err := statMemory(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID)
	if err != nil {
		return false
	}
	t.mounts.once.Do(t.mounts.read)
	return t.mounts.disks[unix.Mkdev(st.Dev_major, st.Dev_minor)]
}

// openAnswering is open, also for a file with a server, if that answers now.
func (t *tree) openAnswering(dirfd int, name string, how unix.OpenHow) (int, error) {
	fd, err := t.open(dirfd, name, how)
	if errors.Is(err, ErrServer) {
		look := how
		look.Flags = unix.O_PATH | unix.O_CLOEXEC | how.Flags&(unix.O_NOFOLLOW|unix.O_DIRECTORY)
		if _, err = t.ask(question{dirfd: dirfd, name: name, how: look}); err == nil {
			fd, err = openat2(dirfd, name, &how)
		}
	}
	return fd, err
}

// A question is what a helper process reads of a file.
type question struct {
	dirfd int
	dir   string // if not "", the directory of name
	name  string
	how   unix.OpenHow
	do    asked
	most  int // bytes
}

// What is asked about a file, in addition to its status.
type asked int

const (
	askStatus asked = iota
	askContent
	askNames
	askText  // of a link
	askAbove // the statuses of the directories above it
)

// An answer is the answer to a question.
type answer struct {
	st    unix.Statx_t
	above []unix.Statx_t // the first is its own
	data  []byte
}

const statxSize = int(unsafe.Sizeof(unix.Statx_t{}))

// ask has a helper process answer a question, and waits no longer than patience.
func (t *tree) ask(q question) (a answer, err error) {
	where := t.where(path.Join("/", q.dir, q.name))
	long := t.mayWait(where)
	if long <= 0 {
		return a, ErrNoAnswer
	}
	begin := time.Now()
	data, err := q.ask(begin.Add(long))
	if errors.Is(err, ErrNoAnswer) {
		t.hasWaited(where, time.Since(begin))
	}
	if err != nil {
		return a, err
	}
	if len(data) < statxSize {
		return a, fmt.Errorf("ask what it is: %d bytes came: %w", len(data), fs.ErrInvalid)
	}
	for n := 0; n == 0 || q.do == askAbove && n+statxSize <= len(data); n += statxSize {
		a.above = append(a.above, *(*unix.Statx_t)(unsafe.Pointer(&append([]byte(nil), data[n:n+statxSize]...)[0])))
	}
	a.st, a.data = a.above[0], data[statxSize:]
	return a, nil
}

// where returns the key in silent for a path: the mount that it is below, by its text, or else
// the path itself.
func (t *tree) where(name string) any {
	type file struct {
		in   any
		path string
	}
	if t.mounts == nil {
		return file{t, name}
	}
	t.mounts.once.Do(t.mounts.read)
	var in any = file{t.mounts, name}
	longest := 0
	for _, far := range t.mounts.far {
		if far.id != 0 && len(far.point) >= longest && (name == far.point || strings.HasPrefix(name, far.point+"/")) {
			in, longest = far.id, len(far.point)
		}
	}
	return in
}

// statuses are the fields to read of a file's status.
const statuses = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID

// statMemory returns the status of a file as far as the kernel has it in memory. Sizes and
// times must not be asked for a file with a server: cifs writes to the server to know them.
func statMemory(dirfd int, path string, flags, what int) (st unix.Statx_t, err error) {
	err = retry(func() error {
		return unix.Statx(dirfd, path, flags|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, what, &st)
	})
	return st, callError("statx", err)
}

// ask is tree.ask without the memory of silent mounts.
func (q question) ask(until time.Time) ([]byte, error) {
	data, w, err := Pipe()
	if err != nil {
		return nil, err
	}
	defer unix.Close(data)
	out := FD(w)
	defer out.Close()
	report, w, err := Pipe()
	if err != nil {
		return nil, err
	}
	defer unix.Close(report)
	told := FD(w)
	defer told.Close()
	null, err := OpenNull()
	if err != nil {
		return nil, err
	}
	defer unix.Close(null)

	s := NewScript()
	s.Stdio(null, null, null)
	s.Undumpable() // it has what only the caller may read
	at, to, tell := uint64(int64(q.dirfd)), s.File(int(out)), s.File(int(told))
	if q.dirfd != unix.AT_FDCWD {
		at = uint64(s.File(q.dirfd))
	}
	s.askFile(q, at, to)
	s.Exit(0)
	s.Report(tell, 1)
	reapLeft()
	pid, err := s.Start()
	out.Close()
	told.Close()
	if err != nil {
		return nil, err
	}
	text, err := readUntil(data, until, q.most+statxSize*maxAbove)
	if errors.Is(err, ErrNoAnswer) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	leave(pid)
	if err != nil {
		return nil, err
	}
	if SetNonblock(report) == nil {
		if r, failed := ReadReport(report); failed && r.Err != nil && r.Err != unix.EPIPE {
			_, call := s.Failed(r.Failed)
			return nil, callError(call, r.Err)
		}
	}
	return text, nil
}

// askFile appends the calls that open the file of a question and write the answer to a pipe.
func (s *Script) askFile(q question, at uint64, to int) {
	fd := s.Space(8)
	with := func(call func() Index) Index { // a call with the descriptor as its first argument
		load := s.own("load", ownLoad, uint64(fd), 0)
		i := call()
		s.Store(load, s.Arg(i, 0))
		return i
	}
	open := func(name string, how unix.OpenHow) Index {
		words := s.Pointers(how.Flags, 0, how.Resolve)
		return s.Call("openat2", unix.SYS_OPENAT2, at, uint64(s.String(name)), uint64(words), 24)
	}
	if q.dir != "" {
		s.Store(open(q.dir, unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}), fd)
		s.Store(with(func() Index { return open(q.name, q.how) }), fd)
	} else {
		s.Store(open(q.name, q.how), fd)
	}
	const size = 16 << 10
	buf, empty := uint64(s.Space(size)), uint64(s.String(""))
	status := s.mark("status")
	with(func() Index {
		return s.Call("statx", unix.SYS_STATX, 0, empty, unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_FORCE_SYNC, statuses, buf)
	})
	s.WriteAt(to, Addr(buf), statxSize)
	end := s.label("end")
	copied := func(get func() Index) Index { // returns what is read into buf
		i := with(get)
		s.Ignore(i, unix.EISDIR, unix.EAGAIN, unix.EINVAL) // the file is of another kind, see its status
		s.onError(i, end)
		write := s.Call("write", unix.SYS_WRITE, uint64(to), buf, 0)
		s.Store(i, s.Arg(write, 2))
		s.onZero(i, end)
		return write
	}
	loop := s.mark("next piece")
	switch q.do {
	case askStatus:
	case askContent:
		s.onOther(copied(func() Index { return s.Call("read", unix.SYS_READ, 0, buf, size) }), loop)
	case askNames:
		s.onOther(copied(func() Index { return s.Call("getdents64", unix.SYS_GETDENTS64, 0, buf, size) }), loop)
	case askText:
		copied(func() Index { return s.Call("readlinkat", unix.SYS_READLINKAT, 0, empty, buf, size) })
	case askAbove: // until the reader has closed the pipe
		up := with(func() Index {
			return s.Call("openat", unix.SYS_OPENAT, 0, uint64(s.String("..")), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		})
		s.Store(up, fd)
		s.onOther(up, status)
	}
	s.place(end)
}

// readUntil reads a pipe until its end, or up to most bytes.
func readUntil(fd int, until time.Time, most int) (text []byte, err error) {
	buf := make([]byte, 64<<10)
	for len(text) < most {
		left := time.Until(until)
		if left <= 0 {
			return nil, ErrNoAnswer
		}
		wait := unix.NsecToTimespec(left.Nanoseconds())
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, &wait, nil)
		if err == unix.EINTR || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return nil, callError("ppoll", err)
		}
		n, err = Read(fd, buf)
		if err != nil || n == 0 {
			return text, callError("read", err)
		}
		text = append(text, buf[:n]...)
	}
	return text, nil
}

// left are helper processes that have not ended. Nothing waits for them.
var left struct {
	sync.Mutex
	pids []int
}

// leave notes a helper process that has answered, or never will.
func leave(pid int) {
	left.Lock()
	left.pids = append(left.pids, pid)
	left.Unlock()
	reapLeft()
}

// reapLeft reaps those that have ended.
func reapLeft() {
	left.Lock()
	defer left.Unlock()
	kept := left.pids[:0]
	for _, pid := range left.pids {
		if n, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil); err == nil && n == 0 || err == unix.EINTR {
			kept = append(kept, pid)
		}
	}
	left.pids = kept
}

// IsRegular reports whether the name is known to be that of a regular file.
func (e DirEntry) IsRegular() bool { return e.Type == TypeFile }

// IsLink reports whether the name is known to be that of a symbolic link.
func (e DirEntry) IsLink() bool { return e.Type == TypeLink }

// maxListed is the most bytes of names that a helper reads of a directory.
const maxListed = 4 << 20

// readDirents reads the names in the directory of fd, at least most if there are as many, in
// the order of the file system.
func readDirents(fd, most int) (list []DirEntry, err error) {
	buf := make([]byte, 8192)
	for len(list) < most {
		var n int
		err := retry(func() (err error) { n, err = unix.ReadDirent(fd, buf); return err })
		if err != nil {
			return list, callError("getdents64", err)
		}
		if n <= 0 {
			break
		}
		list = parseDirents(buf[:n], list)
	}
	return list, nil
}

// parseDirents appends the entries that getdents64(2) has written.
func parseDirents(buf []byte, list []DirEntry) []DirEntry {
	const lengthAt, typeAt, nameAt = 16, 18, 19
	for len(buf) > nameAt {
		n := int(binary.NativeEndian.Uint16(buf[lengthAt:]))
		if n <= nameAt || n > len(buf) {
			break
		}
		name, _, _ := bytes.Cut(buf[nameAt:n], []byte{0})
		if s := string(name); s != "." && s != ".." {
			list = append(list, DirEntry{Name: s, Type: buf[typeAt]})
		}
		buf = buf[n:]
	}
	return list
}

// ---- paths of the caller

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if errno, ok := errors.AsType[unix.Errno](err); ok { // the path is in the error already
		err = errno
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// StatPath returns the status of the file at path, with follow also through a link at the end.
func StatPath(path string, follow bool) (FileStat, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	t := ownTree()
	fd, err := t.openPath(path, how)
	if errors.Is(err, ErrServer) {
		a, err := t.ask(question{dirfd: unix.AT_FDCWD, name: path, how: how})
		st := &a.st
		return FileStat{
			FileID: FileID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino},
			UID:    st.Uid, GID: st.Gid, Mode: uint32(st.Mode), Links: uint64(st.Nlink), Size: int64(st.Size),
			Changed: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
		}, pathError("stat", path, err)
	}
	if err != nil {
		return FileStat{}, pathError("stat", path, err)
	}
	defer unix.Close(fd)
	st, err := StatFD(fd)
	return st, pathError("stat", path, err)
}

// Readlink returns the text of the link at path.
func Readlink(path string) (string, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC}
	t := ownTree()
	fd, err := t.openPath(path, how)
	if errors.Is(err, ErrServer) {
		a, err := t.ask(question{dirfd: unix.AT_FDCWD, name: path, how: how, do: askText})
		return string(a.data), pathError("readlink", path, err)
	}
	if err != nil {
		return "", pathError("readlink", path, err)
	}
	defer unix.Close(fd)
	text, err := ReadlinkAt(fd, "")
	return text, pathError("readlink", path, err)
}

// ReadDir returns the names in the directory at path, sorted.
func ReadDir(path string) ([]DirEntry, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC}
	t := ownTree()
	fd, err := t.openPath(path, how)
	var list []DirEntry
	if errors.Is(err, ErrServer) {
		var a answer
		a, err = t.ask(question{dirfd: unix.AT_FDCWD, name: path, how: how, do: askNames, most: maxListed})
		list = parseDirents(a.data, nil)
	} else if err == nil {
		list, err = readDirents(fd, math.MaxInt)
		unix.Close(fd)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, pathError("open", path, err)
}

// RealPath returns path without links. The file must exist.
func RealPath(path string) (string, error) {
	fd, err := OpenWay(path, true)
	if err != nil {
		return "", pathError("open", path, err)
	}
	defer unix.Close(fd)
	return os.Readlink(FDPath(fd))
}

// Answers returns an error if the file at path cannot be opened, or does not answer now. It may
// stop answering later.
func Answers(path string) error {
	fd, err := OpenWay(path, true)
	CloseAll(fd)
	return err
}

// openPath is open for a path of the caller. A seccomp filter may deny openat2(2).
func (t *tree) openPath(path string, how unix.OpenHow) (int, error) {
	if strings.HasPrefix(path, "/proc/sys/") || strings.HasPrefix(path, "/sys/") { // the kernel's own
		return openat(unix.AT_FDCWD, path, int(how.Flags))
	}
	return withoutOpenat2(path, how)(t.open(unix.AT_FDCWD, path, how))
}

func (t *tree) openPathAnswering(path string, how unix.OpenHow) (int, error) {
	return withoutOpenat2(path, how)(t.openAnswering(unix.AT_FDCWD, path, how))
}

func withoutOpenat2(path string, how unix.OpenHow) func(fd int, err error) (int, error) {
	return func(fd int, err error) (int, error) {
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			return openat(unix.AT_FDCWD, path, int(how.Flags))
		}
		return fd, err
	}
}

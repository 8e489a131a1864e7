package sys

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// A Script is a list of system calls that are prepared in advance with all their data: the way
// of a process into namespaces. It allocates nothing and looks up no path but those of its
// calls, so that a small interpreter can run it: [Script.Start] in a process of its own,
// [Script.RunHere] on the calling thread.
//
// Each method appends a call and returns its [Index]. Calls run in the order in which they were
// appended. A failure ends the script: the interpreter runs the calls of [Script.OnFailure],
// and reports index and errno to the process that started the script. After an error given to
// [Script.Ignore] the script goes on.
//
// Descriptors in a Script are the child's: [Script.File] returns the child's number for a
// descriptor of ours. Text and bytes become addresses by [Script.String], [Script.Bytes] and
// [Script.Strings].
//
// Script only builds calls, with the numbers and layouts of the kernel. Their meaning is up to
// the caller (package enter).
type Script struct {
	calls   []call
	names   []string // of the calls, for messages
	steps   []int    // of the calls: their step of the plan
	data    []byte
	ptrs    []int // offsets in data of words that are addresses
	files   []int // files[n] is n in the child
	labels  []place
	step    int
	failure label // of the failure handler
	here    bool  // for RunHere: descriptors are ours
	argv    []string
	become  bool // see Become
	sealed  bool // see Undumpable
	held    Addr // the signal mask of forked processes, or 0: see Held
}

// An Index is the number of a call in a [Script].
type Index int

// An Addr is an address that a call can take as an argument: of the script's
// data, or of an argument of another call.
type Addr uint64

// The addresses of the parts of a script in its process: fixed, so that every pointer is known
// in advance, and below 2^39, since arm64 kernels may have no more. An argument in the range of
// data or calls is an address, which [Script.RunHere] adjusts.
const (
	textBase   = 0x10_0000_0000
	dataBase   = 0x11_0000_0000
	callBase   = 0x12_0000_0000
	scriptEnd  = 0x13_0000_0000
	headerSize = 64 // index and errno of what failed, address of the failure handler
)

// The layout of a call, in bytes: the assembler functions know it too.
const (
	wordOp      = 8 * iota // number of the system call, or of one of our operations
	wordArgs               // six arguments
	_                      //
	_                      //
	_                      //
	_                      //
	_                      //
	wordIgnore             // bit set of the errors to go on after: two words
	_                      //
	wordKeep               // bit set of the ignored errors to store: two words
	_                      //
	wordErrno              // where to store those, or 0
	wordStore              // where to store the result, or 0
	wordOnZero             // where to go on after the result 0; 0 is the next call
	wordOnError            // the same after an ignored error
	wordGoto               // the same after any other success
	wordIndex              // the index of this call
	callSize
)

type call [callSize / 8]uint64

// Operations of ours have bit 32 set.
const (
	own        = 1 << 32
	ownValue   = 0 // result: the first argument
	ownFail    = 1 // error: the first argument
	ownCompare = 2 // 0 if the memory is the same, else errnoMismatch
	ownLoad    = 3 // result: four bytes of memory, and the second argument
	ownEqual   = 4 // 0 if four bytes of memory are the same, else 1
	ownNegate  = 5 // result: four bytes of memory, negated, as four bytes
	ownReturn  = 6 // leave the script: see [Script.Become]

	// Never an errno of Linux.
	errnoMismatch      = 4000
	errnoNoInterpreter = 4001
)

// ErrMismatch reports that a namespace that was read back after a join is not the intended one.
const ErrMismatch = unix.Errno(errnoMismatch)

// NewScript returns an empty script.
func NewScript() *Script {
	s := &Script{data: make([]byte, 8, 4096), argv: []string{"nstool"}}
	s.failure = s.label("failure handler")
	return s
}

// Here prepares the script for [Script.RunHere].
func (s *Script) Here() { s.here = true }

// Step assigns the following calls to step n of the plan.
func (s *Script) Step(n int) { s.step = n }

// Failed returns the name of call i and the step it belongs to.
func (s *Script) Failed(i Index) (step int, name string) {
	if i < 0 || int(i) >= len(s.calls) {
		return -1, ""
	}
	return s.steps[i], s.names[i]
}

// Call appends any system call. Both architectures must have it: use the *at
// forms, and ppoll, dup3, clone.
//
// It is not inlined, and neither are other functions of this package with many callers: the
// program would be 0.2 MB larger.
//
//go:noinline
func (s *Script) Call(name string, number uintptr, args ...uint64) Index {
	var c call
	c[wordOp/8] = uint64(number)
	copy(c[wordArgs/8:wordArgs/8+6], args)
	i := len(s.calls)
	c[wordIndex/8] = uint64(i)
	s.calls = append(s.calls, c)
	s.names = append(s.names, name)
	s.steps = append(s.steps, s.step)
	return Index(i)
}

func (s *Script) own(name string, op uint64, args ...uint64) Index {
	return s.Call(name, uintptr(own|op), args...)
}

func callAddr(i int) uint64 { return callBase + headerSize + uint64(i)*callSize }

// Ignore lets the script go on after these errors of call i.
func (s *Script) Ignore(i Index, errs ...unix.Errno) {
	for _, e := range errs {
		s.calls[i][wordIgnore/8+int(e)/64] |= 1 << (e % 64)
	}
}

// IgnoreAll lets the script go on after any error of call i.
func (s *Script) IgnoreAll(i Index) {
	s.calls[i][wordIgnore/8] = ^uint64(0)
	s.calls[i][wordIgnore/8+1] = ^uint64(0)
}

// keep makes call i store these of its ignored errors at addr.
func (s *Script) keep(i Index, addr Addr, errs ...unix.Errno) {
	for _, e := range errs {
		s.calls[i][wordKeep/8+int(e)/64] |= 1 << (e % 64)
	}
	s.calls[i][wordErrno/8] = uint64(addr)
}

// keepAll is keep of every error.
func (s *Script) keepAll(i Index, addr Addr) {
	s.calls[i][wordKeep/8] = ^uint64(0)
	s.calls[i][wordKeep/8+1] = ^uint64(0)
	s.calls[i][wordErrno/8] = uint64(addr)
}

// setArg makes addr argument n of call i, for an address that is known later.
func (s *Script) setArg(i Index, n int, addr Addr) { s.calls[i][wordArgs/8+n] = uint64(addr) }

// Store makes call i store its result, eight bytes, at addr: in data from
// [Script.Space], or in an argument of a later call, see [Script.Arg].
func (s *Script) Store(i Index, addr Addr) { s.calls[i][wordStore/8] = uint64(addr) }

// Arg returns the address of argument n, from 0, of call i.
func (s *Script) Arg(i Index, n int) Addr { return Addr(callAddr(int(i)) + wordArgs + 8*uint64(n)) }

// Else appends the calls of body, which are skipped if call i, the last one appended, succeeds,
// and run after an ignored error of it.
func (s *Script) Else(i Index, body func()) {
	failed, end := s.label("else"), s.label("end of else")
	s.onError(i, failed)
	s.onOther(i, end)
	if s.calls[i][wordOnZero/8] == 0 {
		s.onZero(i, end)
	}
	s.place(failed)
	body()
	s.place(end)
}

// Fork appends a clone(2) with flags, with SIGCHLD unless they have a signal. parent appends
// the parent's calls, which end with [Script.Exit]; pid is the address of the child's PID,
// eight bytes, in the parent. The calls after Fork are the child's.
func (s *Script) Fork(flags uint64, parent func(pid Addr)) Index {
	if s.held != 0 {
		flags |= unix.CLONE_PTRACE
	}
	i, child := s.clone(flags)
	record := s.Pointers(startedIndex, 0)
	pid := record + 8
	s.Store(i, pid)
	parent(pid)
	s.place(child)
	if s.held != 0 {
		s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(s.held), 0, 8)
	}
	return i
}

// Spawn appends a clone(2). child appends the child's calls, which end with [Script.Exit]. The
// parent waits for the child and goes on if its status is 0.
func (s *Script) Spawn(flags uint64, child func()) Index {
	i, forked := s.clone(flags)
	parent := s.label("parent")
	s.onOther(i, parent)
	s.place(forked)
	child()
	s.place(parent)
	status := s.Space(8)
	wait := s.Call("wait4", unix.SYS_WAIT4, 0, uint64(status), unix.WALL, 0)
	s.Store(i, s.Arg(wait, 0))
	s.own("wait4", ownCompare, uint64(status), uint64(s.Bytes(make([]byte, 4))), 4)
	return i
}

// clone appends a clone(2); the child goes on at the label.
func (s *Script) clone(flags uint64) (Index, label) {
	if flags&0xff == 0 {
		flags |= uint64(unix.SIGCHLD)
	}
	i, child := s.Call("clone", unix.SYS_CLONE, flags), s.label("child")
	s.onZero(i, child)
	return i, child
}

// Reports are records of sixteen bytes: for a failure the index and the errno, for a process
// that was started startedIndex and its PID.
const (
	recordSize   = 16
	startedIndex = 1 << 32
	readyIndex   = startedIndex + 1
	stoppedIndex = startedIndex + 2
	overIndex    = startedIndex + 3
)

// Started appends a report that a process was started, with the PID at pid.
func (s *Script) Started(report int, pid Addr) {
	// The record is around the PID: its first word is stored before it.
	s.WriteAt(report, pid-8, recordSize)
}

// Report appends a failure handler that writes the failure to the pipe report and exits with
// status. It must be appended last.
func (s *Script) Report(report, status int) {
	s.OnFailure(func(at Addr) {
		s.WriteAt(report, at, recordSize)
		s.Exit(status)
	})
}

// OnFailure appends the failure handler, body: a report, and [Script.Exit]. It must be appended
// last. index is the address of the index and the errno of the call that failed, eight bytes
// each.
func (s *Script) OnFailure(body func(index Addr)) {
	s.place(s.failure)
	first := len(s.calls)
	body(callBase)
	for i := first; i < len(s.calls); i++ {
		s.IgnoreAll(Index(i))
	}
}

// Space returns the address of n zero bytes of data.
//
//go:noinline
func (s *Script) Space(n int) Addr {
	s.align()
	at := len(s.data)
	s.data = append(s.data, make([]byte, n)...)
	return Addr(dataBase + at)
}

// Bytes returns the address of a copy of b.
//
//go:noinline
func (s *Script) Bytes(b []byte) Addr {
	s.align()
	at := len(s.data)
	s.data = append(s.data, b...)
	return Addr(dataBase + at)
}

//go:noinline
func (s *Script) align() {
	for len(s.data)%8 != 0 {
		s.data = append(s.data, 0)
	}
}

// String returns the address of text with a zero byte at its end, as C has it.
//
//go:noinline
func (s *Script) String(text string) Addr {
	at := len(s.data)
	s.data = append(append(s.data, text...), 0)
	return Addr(dataBase + at)
}

// Strings returns the address of an array of pointers to list, as execve(2)
// takes it.
func (s *Script) Strings(list []string) Addr {
	addrs := make([]uint64, len(list)+1)
	for i, text := range list {
		addrs[i] = uint64(s.String(text))
	}
	return s.Pointers(addrs...)
}

// Pointers returns the address of an array of words. Addresses of the script are adjusted to
// where it runs.
func (s *Script) Pointers(words ...uint64) Addr {
	addr := s.Space(8 * len(words))
	at := int(addr) - dataBase
	for i, w := range words {
		binary.NativeEndian.PutUint64(s.data[at+8*i:], w)
		if w >= dataBase && w < scriptEnd {
			s.ptrs = append(s.ptrs, at+8*i)
		}
	}
	return addr
}

// File returns the child's number for our descriptor fd. 0, 1 and 2 are the same, unless
// [Script.Stdio] sets them.
//
//go:noinline
func (s *Script) File(fd int) int {
	if s.here {
		return fd
	}
	s.standard()
	if i := slices.Index(s.files[3:], fd); i >= 0 {
		return 3 + i
	}
	s.files = append(s.files, fd)
	return len(s.files) - 1
}

// standard maps 0, 1 and 2 to themselves, unless they are set.
func (s *Script) standard() {
	if s.files == nil {
		s.files = []int{0, 1, 2}
	}
}

// Stdio sets our descriptors for the child's 0, 1 and 2; -1 leaves one closed.
func (s *Script) Stdio(in, out, err int) {
	s.standard()
	s.files = slices.Delete(s.files, 3, len(s.files))
	s.files[0], s.files[1], s.files[2] = in, out, err
}

// ---- the calls

// Setns appends setns(2).
func (s *Script) Setns(fd, flags int) Index {
	return s.resealed(s.Call("setns", unix.SYS_SETNS, uint64(fd), uint64(flags)))
}

// Unshare appends unshare(2).
func (s *Script) Unshare(flags int) Index { return s.Call("unshare", unix.SYS_UNSHARE, uint64(flags)) }

// Verify appends a readlinkat(2) of path relative to dirfd, and a comparison
// with want: anything else fails with [ErrMismatch].
func (s *Script) Verify(dirfd int, path, want string) Index {
	const size = 64
	buf := s.Space(size)
	s.Call("readlinkat", unix.SYS_READLINKAT, uint64(dirfd), uint64(s.String(path)), uint64(buf), size-1)
	return s.own("compare", ownCompare, uint64(buf), uint64(s.String(want)), uint64(len(want)+1))
}

// Prctl appends prctl(2).
func (s *Script) Prctl(option int, args ...uint64) Index {
	return s.Call("prctl", unix.SYS_PRCTL, append([]uint64{uint64(option)}, args...)...)
}

// Write appends a write(2) of b. A short write is not an error: use it for files that are
// written as a whole, such as those of procfs.
func (s *Script) Write(fd int, b []byte) Index {
	return s.Call("write", unix.SYS_WRITE, uint64(fd), uint64(s.Bytes(b)), uint64(len(b)))
}

// WriteAt appends a write(2) of n bytes at addr.
func (s *Script) WriteAt(fd int, addr Addr, n int) Index {
	return s.Call("write", unix.SYS_WRITE, uint64(fd), uint64(addr), uint64(n))
}

// Capset appends capset(2) of the calling process.
func (s *Script) Capset(effective, permitted, inheritable uint64) Index {
	var b bytes.Buffer
	for _, w := range []uint32{
		uint32(effective), uint32(permitted), uint32(inheritable),
		uint32(effective >> 32), uint32(permitted >> 32), uint32(inheritable >> 32),
	} {
		b.Write(binary.NativeEndian.AppendUint32(nil, w))
	}
	header := binary.NativeEndian.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3)
	header = binary.NativeEndian.AppendUint32(header, 0)
	return s.Call("capset", unix.SYS_CAPSET, uint64(s.Bytes(header)), uint64(s.Bytes(b.Bytes())))
}

// Seccomp appends seccomp(2) SECCOMP_SET_MODE_FILTER of a filter of classic
// BPF, eight bytes an instruction. The process needs no_new_privs or
// CAP_SYS_ADMIN.
func (s *Script) Seccomp(filter []byte, flags uint) Index {
	prog := s.Pointers(uint64(len(filter)/8), uint64(s.Bytes(filter))) // struct sock_fprog: u16, padding, pointer
	return s.Call("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uint64(flags), uint64(prog))
}

// Setrlimit appends prlimit64(2) of the calling process.
func (s *Script) Setrlimit(resource int, soft, hard uint64) Index {
	lim := s.Pointers(soft, hard)
	return s.Call("prlimit64", unix.SYS_PRLIMIT64, 0, uint64(resource), uint64(lim), 0)
}

// Setgroups appends setgroups(2).
func (s *Script) Setgroups(gids []uint32) Index {
	var b []byte
	for _, g := range gids {
		b = binary.NativeEndian.AppendUint32(b, g)
	}
	return s.Call("setgroups", unix.SYS_SETGROUPS, uint64(len(gids)), uint64(s.Bytes(b)))
}

// Setgid appends setresgid(2) with three times the same.
func (s *Script) Setgid(gid uint32) Index {
	return s.resealed(s.Call("setresgid", unix.SYS_SETRESGID, uint64(gid), uint64(gid), uint64(gid)))
}

// Setuid appends setresuid(2) with three times the same.
func (s *Script) Setuid(uid uint32) Index {
	return s.resealed(s.Call("setresuid", unix.SYS_SETRESUID, uint64(uid), uint64(uid), uint64(uid)))
}

// Fchdir appends fchdir(2).
func (s *Script) Fchdir(fd int) Index { return s.Call("fchdir", unix.SYS_FCHDIR, uint64(fd)) }

// Chdir appends chdir(2).
func (s *Script) Chdir(path string) Index {
	return s.Call("chdir", unix.SYS_CHDIR, uint64(s.String(path)))
}

// Chroot appends chroot(2).
func (s *Script) Chroot(path string) Index {
	return s.Call("chroot", unix.SYS_CHROOT, uint64(s.String(path)))
}

// Mount appends mount(2).
func (s *Script) Mount(source, target, fstype string, flags uintptr, data string) Index {
	text := func(t string) uint64 {
		if t == "" {
			return 0
		}
		return uint64(s.String(t))
	}
	return s.Call("mount", unix.SYS_MOUNT, text(source), uint64(s.String(target)), text(fstype), uint64(flags), text(data))
}

// Setsid appends setsid(2).
func (s *Script) Setsid() Index { return s.Call("setsid", unix.SYS_SETSID) }

// Ioctl appends ioctl(2).
func (s *Script) Ioctl(fd int, request, arg uint64) Index {
	return s.Call("ioctl", unix.SYS_IOCTL, uint64(fd), request, arg)
}

// Close appends close(2).
func (s *Script) Close(fd int) Index { return s.Call("close", unix.SYS_CLOSE, uint64(fd)) }

// CloseOnExec appends the call that makes fd close-on-exec.
func (s *Script) CloseOnExec(fd int) Index {
	return s.Call("fcntl", unix.SYS_FCNTL, uint64(fd), unix.F_SETFD, unix.FD_CLOEXEC)
}

// Undumpable keeps processes of the same user from tracing the process, and the process from
// dumping core, until the next execve(2). A change of user or of user namespace sets the value
// of fs.suid_dumpable, so the call is repeated after each.
func (s *Script) Undumpable() Index {
	s.sealed = true
	return s.Prctl(unix.PR_SET_DUMPABLE, 0)
}

// resealed repeats it after call i.
func (s *Script) resealed(i Index) Index {
	if s.sealed {
		s.Undumpable()
	}
	return i
}

// CloseFrom closes all descriptors from fd on: by close_range(2), Linux 5.9, and one by one if
// the kernel does not have it, or a seccomp filter denies or fakes it. Each is checked
// afterwards: the script ends if one is still open. Only the files of the script, and those
// that its calls have opened, exist at that point.
func (s *Script) CloseFrom(fd int) {
	s.IgnoreAll(s.Call("close_range", unix.SYS_CLOSE_RANGE, uint64(fd), uint64(^uint32(0)), 0))
	for n := fd; n < s.maxFiles(); n++ {
		gone := s.label("closed")
		for _, again := range []bool{false, true} {
			is := s.Call("fcntl", unix.SYS_FCNTL, uint64(n), unix.F_GETFD)
			s.Ignore(is, unix.EBADF)
			s.onError(is, gone)
			if !again {
				s.Close(n)
			}
		}
		s.own("close", ownFail, uint64(unix.EBUSY))
		s.place(gone)
	}
}

// maxFiles is above the number of every descriptor that the process can have at that point.
func (s *Script) maxFiles() int {
	n := len(s.files)
	for i := range s.calls {
		switch s.calls[i][wordOp/8] {
		case unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_TREE, unix.SYS_SOCKET, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MEMFD_CREATE:
			n++
		}
	}
	return n
}

// Umask appends umask(2).
func (s *Script) Umask(mask int) Index { return s.Call("umask", unix.SYS_UMASK, uint64(mask)) }

// Personality appends personality(2).
func (s *Script) Personality(persona uint32) Index {
	return s.Call("personality", unix.SYS_PERSONALITY, uint64(persona))
}

// DefaultSignals gives every signal its default action and empties the signal mask.
func (s *Script) DefaultSignals() {
	action := s.Space(32)
	for sig := 1; sig <= 64; sig++ {
		if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
			continue
		}
		s.Call("rt_sigaction", unix.SYS_RT_SIGACTION, uint64(sig), uint64(action), 0, 8)
	}
	s.Call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(action), 0, 8)
}

// DieWithParent requests a signal for the end of the thread that started the script
// (PR_SET_PDEATHSIG). It must follow the last change of credentials, which undoes it, and is
// not inherited by a child. pipe is the writing end of a pipe whose reading end that process
// has: if it is closed already, the signal would never come, and the process exits at once.
func (s *Script) DieWithParent(signal unix.Signal, pipe int) {
	s.Prctl(unix.PR_SET_PDEATHSIG, uint64(signal))
	poll := s.Pointers(uint64(uint32(pipe))) // struct pollfd with no events: POLLERR is always reported
	i := s.Call("ppoll", unix.SYS_PPOLL, uint64(poll), 1, uint64(s.Space(16)), 0, 8)
	s.Ignore(i, unix.EINVAL) // RLIMIT_NOFILE is 0
	alive := s.label("alive")
	s.onZero(i, alive)
	s.onError(i, alive)
	s.Exit(int(128 + signal))
	s.place(alive)
}

// Exit appends exit_group(2).
func (s *Script) Exit(status int) Index {
	return s.Call("exit_group", unix.SYS_EXIT_GROUP, uint64(status))
}

// A Program is a path for [Script.Exec] to try.
type Program struct {
	Path string
	Argv []string
	// Script: /bin/sh reads a file that the kernel cannot execute, since it may be a script
	// without a header. All programs of a row with Script have the same Argv.
	Script bool
}

// ErrNoInterpreter reports that a program exists, but not its interpreter, or its dynamic
// loader.
const ErrNoInterpreter = unix.Errno(errnoNoInterpreter)

// Exec appends a row of execve(2), one for each program until one works, as execvp(3) does: a
// missing file is skipped. If none works the error is ENOENT if there is no such file, else
// EACCES or [ErrNoInterpreter], or ENOEXEC for a file that neither the kernel nor a shell can
// execute.
func (s *Script) Exec(programs []Program, env []string) {
	environ := uint64(s.Strings(env))
	// A second row follows, which checks whether each path exists: a directory that may not be
	// searched is EACCES too.
	paths := make([]uint64, len(programs))
	why := s.Space(8) // the error for a path that exists
	s.putErrno(why, errnoNoInterpreter)
	format := s.Space(8)
	s.putErrno(format, unix.ENOEXEC)
	var args uint64
	var script Addr // the arguments of the shell
	shell, found := s.label("shell"), s.label("found")
	for i, p := range programs {
		if i == 0 || !slices.Equal(p.Argv, programs[i-1].Argv) {
			args = uint64(s.Strings(p.Argv))
		}
		paths[i] = uint64(s.String(p.Path))
		if p.Script {
			if script == 0 {
				script = s.Strings(append([]string{"/bin/sh", p.Path}, p.Argv[min(1, len(p.Argv)):]...))
			}
			s.Store(s.own("execve", ownValue, paths[i]), script+8)
		}
		e := s.Call("execve", unix.SYS_EXECVE, paths[i], args, environ)
		s.Ignore(e, unix.ENOENT)
		if p.Script {
			s.Ignore(e, unix.ENOEXEC)
			s.keep(e, why, unix.ENOEXEC)
		}
		if len(programs) > 1 { // a single path has the right error itself
			s.Ignore(e, unix.ENOTDIR, unix.EACCES, unix.ENAMETOOLONG, unix.ELOOP)
			s.keep(e, why, unix.EACCES)
		}
		if p.Script {
			s.onZero(s.own("execve", ownEqual, uint64(why), uint64(format)), shell)
		}
	}
	at := unix.AT_FDCWD
	for _, path := range paths {
		e := s.Call("faccessat", unix.SYS_FACCESSAT, uint64(at), path, unix.F_OK)
		s.IgnoreAll(e)
		s.onZero(e, found)
	}
	s.own("execve", ownFail, uint64(unix.ENOENT))
	s.place(found)
	load := s.own("execve", ownLoad, uint64(why), 0)
	s.Store(load, s.Arg(s.own("execve", ownFail, 0), 0))
	if s.place(shell); script != 0 {
		s.IgnoreAll(s.Call("execve", unix.SYS_EXECVE, uint64(s.String("/bin/sh")), uint64(script), environ))
	}
	s.own("execve", ownFail, uint64(unix.ENOEXEC))
}

// putErrno puts an errno at addr of the data.
func (s *Script) putErrno(addr Addr, e unix.Errno) {
	binary.NativeEndian.PutUint64(s.data[int(addr)-dataBase:], uint64(e))
}

// ChdirPlain appends a change of the working directory to path without magic links, since those
// of procfs lead out of any root directory (openat2(2), Linux 5.6).
func (s *Script) ChdirPlain(path string) Index {
	how := s.Pointers(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, unix.RESOLVE_NO_MAGICLINKS)
	at := unix.AT_FDCWD
	open := s.Call("openat2", unix.SYS_OPENAT2, uint64(at), uint64(s.String(path)), uint64(how), 24)
	to := s.Fchdir(0)
	s.Store(open, s.Arg(to, 0))
	return to
}

// KeepCaps appends PR_SET_KEEPCAPS: a change of user keeps the permitted
// capabilities.
func (s *Script) KeepCaps() Index { return s.Prctl(unix.PR_SET_KEEPCAPS, 1) }

// RaiseAmbient appends a PR_CAP_AMBIENT_RAISE of each capability up to last.
func (s *Script) RaiseAmbient(last int) {
	for n := range last + 1 {
		s.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uint64(n))
	}
}

// MakePrivate makes the mounts below path private: they propagate nothing.
func (s *Script) MakePrivate(path string) Index {
	return s.Mount("", path, "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// MountProc appends a mount of procfs, of the PID namespace of the process.
func (s *Script) MountProc(path string) Index {
	return s.Mount("proc", path, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// Bind appends a bind mount of a file.
func (s *Script) Bind(from, to string) Index { return s.Mount(from, to, "", unix.MS_BIND, "") }

// MountSysfs appends a mount of sysfs, of the network namespace of the process, with copies of
// the mounts below the old one (open_tree(2), Linux 5.2), such as those of control groups and
// BPF. Each is copied with the mounts below it, since a less privileged mount namespace cannot
// separate them: see mount_namespaces(7).
func (s *Script) MountSysfs(path string, submounts []string) {
	at := unix.AT_FDCWD
	copies := make([]Index, len(submounts))
	for i, sub := range submounts {
		copies[i] = s.Call("open_tree", unix.SYS_OPEN_TREE, uint64(at), uint64(s.String(sub)),
			unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	}
	s.Mount("sysfs", path, "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	empty := uint64(s.String(""))
	for i, sub := range submounts {
		move := s.Call("move_mount", unix.SYS_MOVE_MOUNT, 0, empty, uint64(at), uint64(s.String(sub)), unix.MOVE_MOUNT_F_EMPTY_PATH)
		s.Store(copies[i], s.Arg(move, 0))
	}
}

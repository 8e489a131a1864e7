package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The stub is the program that runs a [Script] in a process of its own: a few kilobytes of ELF,
// made when needed, in a sealed file that nobody can write and that is freed with the process.
// It has an interpreter (the assembler function stub, copied from our own text), the calls and
// their data.
//
// So nothing of this program is in a process that others can see: its /proc/PID/exe is a file
// that is used once. It has one thread, which setns(2) requires for user and time namespaces,
// and no runtime to start.

// stubMark ends the text of stub.
const (
	stubMark0 = 0x5afe4a11
	stubMark1 = 0x600dbeef
	stubMost  = 4096 // bytes, more than the stub has
)

func stub() //nolint:unused // its text is what stubAddr points at
func stubAddr() *[stubMost]byte

// stubText returns the machine code of the interpreter.
func stubText() []byte {
	text := stubAddr()
	for i := 0; i+8 <= stubMost; i++ {
		if binary.NativeEndian.Uint32(text[i:]) == stubMark0 && binary.NativeEndian.Uint32(text[i+4:]) == stubMark1 {
			return text[:i]
		}
	}
	panic("sys: the stub has no end")
}

// pageSize is the largest page of our architectures: parts of the file with different
// permissions are on different pages.
const pageSize = 0x10000

// image returns the ELF file of the script without holes, as parts with their offsets.
func (s *Script) image() ([]part, error) {
	text := stubText()
	calls, err := s.callBytes()
	if err != nil {
		return nil, err
	}
	align := func(n int) int64 { return (int64(n) + pageSize - 1) &^ (pageSize - 1) }

	const headers, segments = 64 + 4*56, 4
	dataAt := int64(pageSize)
	callsAt := dataAt + align(len(s.data))

	// Header and segments of elf(5). debug/elf could write them too, but imports much.
	b := make([]byte, 0, headers+len(text))
	u16 := func(list ...uint16) {
		for _, x := range list {
			b = binary.NativeEndian.AppendUint16(b, x)
		}
	}
	u32 := func(list ...uint32) {
		for _, x := range list {
			b = binary.NativeEndian.AppendUint32(b, x)
		}
	}
	u64 := func(list ...uint64) {
		for _, x := range list {
			b = binary.NativeEndian.AppendUint64(b, x)
		}
	}
	const (
		class64, lsb, current = 2, 1, 1
		execFile              = 2 // ET_EXEC
		load, stack           = 1, 0x6474e551
		x, w, r               = 1, 2, 4
	)
	b = append(b, "\x7fELF"...)
	b = append(b, class64, lsb, current, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	u16(execFile, elfMachine)
	u32(current)
	u64(textBase+headers, 64, 0) // entry, segments, no sections
	u32(0)
	u16(64, 56, segments, 0, 0, 0)
	segment := func(kind, flags uint32, at int64, addr uint64, n int) {
		u32(kind, flags)
		u64(uint64(at), addr, addr, uint64(n), uint64(n), pageSize)
	}
	segment(load, r|x, 0, textBase, headers+len(text))
	segment(load, r|w, dataAt, dataBase, len(s.data))
	segment(load, r|w, callsAt, callBase, len(calls))
	segment(stack, r|w, 0, 0, 0)
	return []part{{0, append(b, text...)}, {dataAt, s.data}, {callsAt, calls}}, nil
}

type part struct {
	at int64
	b  []byte
}

// callBytes returns header and calls in the form that the interpreter reads.
func (s *Script) callBytes() ([]byte, error) {
	calls, failure, err := s.assembleProcess()
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerSize, headerSize+len(calls)*callSize)
	binary.NativeEndian.PutUint64(b[16:], failure)
	for i := range calls {
		b = append(b, unsafe.Slice((*byte)(unsafe.Pointer(&calls[i])), callSize)...)
	}
	return b, nil
}

// program writes the script into an executable file that nobody can change: a sealed memfd, or
// a file without a name if the kernel does not execute memfds (vm.memfd_noexec).
func (s *Script) program() (fd int, err error) {
	write, err := s.writer()
	if err != nil {
		return -1, err
	}
	fd, err = memfd()
	if err != nil {
		return unnamed(write)
	}
	if err := write(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		unix.Close(fd)
		return -1, callError("fcntl F_ADD_SEALS", err)
	}
	return fd, nil
}

// writer returns a function that writes the program into an empty file.
func (s *Script) writer() (func(fd int) error, error) {
	if s.become {
		return writeSelf, nil
	}
	parts, err := s.image()
	return func(fd int) error { return writeParts(fd, parts) }, err
}

// memfd returns an anonymous file that can be executed. MFD_EXEC is of Linux
// 6.3; kernels before it do not know the flag and execute every memfd.
func memfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("nstool", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("nstool", flags)
	}
	return fd, callError("memfd_create", err)
}

// unnamed is program for a kernel that executes no memfd. Its directories are writable by root
// alone.
func unnamed(write func(fd int) error) (int, error) {
	var all []error
	for _, dir := range []string{"/run", "/dev/shm", os.Getenv("XDG_RUNTIME_DIR"), os.TempDir()} {
		if dir == "" {
			continue
		}
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o500)
		if err != nil {
			all = append(all, &fs.PathError{Op: "open O_TMPFILE", Path: dir, Err: err})
			continue
		}
		// A file that is open for writing cannot be executed.
		path := FDPath(fd)
		err = write(fd)
		ro := -1
		if err == nil {
			ro, err = openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_CLOEXEC)
		}
		unix.Close(fd)
		if err == nil {
			err = unix.Access(FDPath(ro), unix.X_OK) // EACCES on a noexec mount
		}
		if err == nil {
			return ro, nil
		}
		if ro >= 0 {
			unix.Close(ro)
		}
		all = append(all, &fs.PathError{Op: "execute", Path: dir, Err: err})
	}
	return -1, fmt.Errorf("no file to execute: %w", errors.Join(all...))
}

func writeParts(fd int, parts []part) error {
	for _, p := range parts {
		for b, at := p.b, p.at; len(b) > 0; {
			n, err := unix.Pwrite(fd, b, at)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return callError("pwrite", err)
			}
			b, at = b[n:], at+int64(n)
		}
	}
	return nil
}

// Start starts a process that runs the script, and returns its PID. The child has the
// descriptors of [Script.File], close-on-exec but for 0, 1 and 2 only if the script makes them
// so, and an empty environment.
//
// With [Script.DieWithParent] the caller must keep its thread (runtime.LockOSThread) for as
// long as the child lives.
func (s *Script) Start() (pid int, err error) {
	fd, err := s.program()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	s.standard()
	if s.become {
		script, err := s.script()
		if err != nil {
			return 0, err
		}
		defer unix.Close(script)
		s.files[becomeFD] = script
	}
	files := make([]uintptr, len(s.files))
	for i, f := range s.files {
		files[i] = uintptr(f)
	}
	// While it arranges its descriptors the child uses twice as many numbers: the descriptor of
	// the program must be above them.
	far, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, slices.Max(s.files)+2*len(s.files)+16)
	if err == unix.EINVAL { // there is no such number: RLIMIT_NOFILE
		err = unix.EMFILE
	}
	if err != nil {
		return 0, callError("fcntl F_DUPFD_CLOEXEC", err)
	}
	defer unix.Close(far)
	pid, err = syscall.ForkExec(FDPath(far), s.argv, &syscall.ProcAttr{Files: files, Env: []string{}})
	if err != nil {
		return 0, &fs.PathError{Op: "execute", Path: "the stub", Err: err}
	}
	return pid, nil
}

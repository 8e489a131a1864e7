package sys

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A script can run before this program, in one process and one execve(2): a copy of our
// executable, in a sealed memfd, starts at the assembler function begin. That runs the script,
// with one thread and before the Go runtime, and then jumps to the entry of the Go program.
//
// So the program runs with credentials and in namespaces that no thread of Go could take. Its
// memory was made before the join: after [Script.Undumpable], reading it takes CAP_SYS_PTRACE
// in the caller's user namespace (mm_struct.user_ns in the kernel). After a join and an
// execve(2), CAP_SYS_PTRACE in the joined user namespace would be enough.

const (
	becomeFD   = 3       // the descriptor of data and calls that begin reads
	becomePart = 1 << 20 // bytes, the most of each
)

func begin() //nolint:unused // beginAddr points at it
func beginAddr() uintptr

// Become makes the script continue as this program, at [Script.Return], with these arguments
// and an empty environment. It is called before the first [Script.File] and after
// [Script.Stdio].
func (s *Script) Become(argv ...string) {
	s.standard()
	s.become, s.argv = true, argv
	s.files = append(s.files, -1)
}

// Return appends the end of the script: the process continues as this program.
func (s *Script) Return() error {
	entry, err := entryAddr()
	if err != nil {
		return err
	}
	s.Close(becomeFD)
	s.own("return", ownReturn, uint64(entry-beginAddr()))
	return nil
}

// entryAddr returns the address of the entry of this program.
func entryAddr() (uintptr, error) {
	aux, err := unix.Auxv()
	if err != nil {
		return 0, fmt.Errorf("the auxiliary vector: %w", err)
	}
	const atEntry = 9
	for _, a := range aux {
		if a[0] == atEntry {
			return a[1], nil
		}
	}
	return 0, errors.New("the auxiliary vector: it has no AT_ENTRY")
}

// script writes data and calls into a file, in the form that begin reads.
func (s *Script) script() (fd int, err error) {
	calls, err := s.callBytes()
	if err != nil {
		return -1, err
	}
	if max(len(s.data), len(calls)) > becomePart {
		return -1, errors.New("script: it is too long")
	}
	fd, err = unix.MemfdCreate("nstool", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, callError("memfd_create", err)
	}
	if err := writeParts(fd, []part{{0, s.data}, {becomePart, calls}}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// writeSelf writes a copy of our executable with begin as its entry.
func writeSelf(to int) error {
	exe, err := openat(unix.AT_FDCWD, "/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(exe)
	for {
		n, err := unix.Sendfile(to, exe, nil, 1<<30)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return callError("sendfile", err)
		}
		if n == 0 {
			break
		}
	}
	entry, err := entryAddr()
	if err != nil {
		return err
	}
	const offset = 24 // of e_entry in an ELF header of 64 bits
	var b [8]byte
	if n, err := unix.Pread(exe, b[:], offset); err != nil || n != len(b) {
		return callError("pread", cmp.Or(err, error(unix.ENOEXEC)))
	}
	at := binary.NativeEndian.Uint64(b[:]) + uint64(beginAddr()-entry)
	return writeParts(to, []part{{offset, binary.NativeEndian.AppendUint64(nil, at)}})
}

package sys

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Stream is the kind of a standard descriptor.
type Stream uint8

// The kinds of stream, as far as they differ in what their owner can do with them.
const (
	StreamClosed   Stream = iota // nothing
	StreamTerminal               // a terminal
	StreamSocket                 // a socket or /dev/null: opening it again gains nothing
	StreamPipe                   // a pipe, or FIFO
	StreamFile                   // anything else: a file, a directory, a device
)

// StreamOf returns the kind of descriptor fd.
func StreamOf(fd int) Stream {
	var st unix.Stat_t
	if fd < 0 || unix.Fstat(fd, &st) != nil {
		return StreamClosed
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return StreamSocket
	case unix.S_IFIFO:
		return StreamPipe
	case unix.S_IFCHR:
		if st.Rdev == unix.Mkdev(1, 3) { // /dev/null, see devices.txt of the kernel
			return StreamSocket
		}
		if _, err := GetTermios(fd); err == nil {
			return StreamTerminal
		}
	}
	return StreamFile
}

// WereClosed returns which of the descriptors 0, 1 and 2 were closed when the program was
// started. The Go runtime opens /dev/null in their place, for reading and writing, each on its
// own and without O_CLOEXEC, as F_GETFL shows: all together distinguishes it from a /dev/null
// that the caller gave.
func WereClosed() (closed [3]bool) {
	const mask = unix.O_ACCMODE | unix.O_CLOEXEC | unix.O_APPEND | unix.O_NONBLOCK | unix.O_PATH
	for fd := range closed {
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			closed[fd] = true
			continue
		}
		if flags&mask != unix.O_RDWR || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
			continue
		}
		closed[fd] = true
		for other := range closed {
			if other != fd && sameDescription(fd, other) {
				closed[fd] = false
			}
		}
	}
	return closed
}

// OpenUnwritable returns a descriptor to which every write fails with EBADF, as to a closed
// one.
func OpenUnwritable() (int, error) {
	return openat(unix.AT_FDCWD, "/dev/null", unix.O_RDONLY|unix.O_CLOEXEC)
}

// sameDescription reports whether two descriptors share an open file description, see kcmp(2).
// Without that call (CONFIG_KCMP) the answer is yes.
func sameDescription(a, b int) bool {
	const kcmpFile = 0
	pid := uintptr(os.Getpid())
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	if errno == unix.EBADF {
		return false
	}
	return errno != 0 || r == 0
}

// OwnFiles reports whether two tasks have different descriptor tables, as the threads of a
// process seldom do; see kcmp(2). Without that call (CONFIG_KCMP), or without ptrace access to
// both, the answer is no.
func OwnFiles(a, b int) bool {
	const kcmpFiles = 2
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return errno == 0 && r != 0
}

// GrowPipe makes a pipe as large as an ordinary user may have it. It may fail without an error,
// for example after too many large pipes.
func GrowPipe(fd int) { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 1<<20) }

// Unread returns the number of bytes in a pipe, by either end, see FIONREAD in ioctl(2), or
// unknown if the kernel does not say.
func Unread(fd, unknown int) int {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return unknown
	}
	return n
}

// Unwind moves the position of a file back by n bytes.
func Unwind(fd, n int) error {
	_, err := unix.Seek(fd, -int64(n), io.SeekCurrent)
	return callError("lseek", err)
}

// Tee copies the content of a pipe to another pipe, and leaves it there: see tee(2). It does
// not wait: the error is [ErrAgain] if there is nothing, or no room.
func Tee(from, to int) (n int, err error) {
	err = retry(func() error {
		m, err := unix.Tee(from, to, 1<<20, unix.SPLICE_F_NONBLOCK)
		n = int(m)
		return err
	})
	return max(n, 0), err
}

// Discard removes n bytes from a pipe, or as many as there are.
func Discard(pipe, n int) error {
	null, err := OpenNull()
	if err != nil {
		return err
	}
	defer unix.Close(null)
	for n > 0 {
		m, err := unix.Splice(pipe, nil, null, nil, n, unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN || err == nil && m == 0:
			return nil
		case err != nil:
			return callError("splice", err)
		}
		n -= int(m)
	}
	return nil
}

// Read reads from fd. At the end it returns 0 and no error. The error is [ErrAgain] if a
// non-blocking fd has nothing yet.
func Read(fd int, b []byte) (n int, err error) {
	err = retry(func() error {
		n, err = unix.Read(fd, b)
		return err
	})
	return max(n, 0), err
}

// ReadNow is Read for a non-blocking descriptor, by a raw call without the Go scheduler.
func ReadNow(fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// Write writes to fd, perhaps less than b.
func Write(fd int, b []byte) (n int, err error) {
	err = retry(func() error {
		n, err = unix.Write(fd, b)
		return err
	})
	return max(n, 0), err
}

// Errors of Read and Write that are no failures.
const (
	ErrAgain  = unix.EAGAIN // nothing to read, or no room to write, right now
	ErrIO     = unix.EIO    // the other end of the terminal is closed
	ErrBroken = unix.EPIPE  // the reading end of the pipe is closed
)

// WaitReadable waits until one of the descriptors can be read without blocking, or is at its
// end, and returns which. A negative one never is. A timeout in milliseconds that is not
// negative ends the wait.
func WaitReadable(timeout int, fds ...int) []bool { return wait(timeout, unix.POLLIN, fds) }

// WaitWritable waits until to can be written to, or stop be read from.
func WaitWritable(to, stop int) (writable bool) {
	p := []unix.PollFd{{Fd: int32(to), Events: unix.POLLOUT}, {Fd: int32(stop), Events: unix.POLLIN}}
	poll(p, -1)
	return p[0].Revents != 0
}

// WaitHangup waits until a pipe or socket is closed at the other end. For a file of another
// kind it does not return.
func WaitHangup(fd int) {
	poll([]unix.PollFd{{Fd: int32(fd)}}, -1)
}

func wait(timeout int, events int16, fds []int) []bool {
	p := make([]unix.PollFd, len(fds))
	for i, fd := range fds {
		p[i] = unix.PollFd{Fd: int32(fd), Events: events}
	}
	poll(p, timeout)
	ready := make([]bool, len(fds))
	for i := range p {
		ready[i] = p[i].Revents != 0
	}
	return ready
}

func poll(p []unix.PollFd, timeout int) {
	for {
		if _, err := unix.Poll(p, timeout); err != unix.EINTR {
			return
		}
	}
}

// Fchown sets the user of a file, and leaves its group.
func Fchown(fd int, uid uint32) error {
	return callError("fchown", unix.Fchown(fd, int(uid), -1))
}

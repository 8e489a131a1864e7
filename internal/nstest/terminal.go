package nstest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// RunOnTerminal runs cmd in a session of its own on a new terminal of that
// many columns and rows, and returns what [exec.Cmd.Run] does. What the program
// writes goes to out as the terminal gives it, lines ending in "\r\n"; in, if
// not nil, is what is typed.
func RunOnTerminal(cmd *exec.Cmd, cols, rows uint16, in io.Reader, out io.Writer) error {
	ptmx, tty, err := openTerminal(cols, rows)
	if err != nil {
		return err
	}
	defer ptmx.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	err = cmd.Start()
	tty.Close()
	if err != nil {
		return err
	}
	if in != nil {
		go io.Copy(ptmx, in) // ends when in does, or ptmx is closed
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, ptmx)
		if errors.Is(err, syscall.EIO) { // the last to have it open closed it
			err = nil
		}
		read <- err
	}()
	err = cmd.Wait()
	return errors.Join(err, <-read)
}

// openTerminal returns both ends of a new pseudo-terminal; see pty(7).
func openTerminal(cols, rows uint16) (ptmx, tty *os.File, err error) {
	ptmx, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			ptmx.Close()
		}
	}()
	var number, zero uint32
	size := [4]uint16{rows, cols}
	for _, c := range []struct {
		name string
		req  uintptr
		arg  unsafe.Pointer
	}{
		{"TIOCGPTN", syscall.TIOCGPTN, unsafe.Pointer(&number)},
		{"TIOCSPTLCK", syscall.TIOCSPTLCK, unsafe.Pointer(&zero)},
		{"TIOCSWINSZ", syscall.TIOCSWINSZ, unsafe.Pointer(&size)},
	} {
		if err := ioctl(ptmx, c.req, c.arg); err != nil {
			return nil, nil, fmt.Errorf("ioctl %s: %w", c.name, err)
		}
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	return ptmx, tty, err
}

// ioctl does not take the descriptor out of Go's poller, as File.Fd would.
func ioctl(f *os.File, req uintptr, arg unsafe.Pointer) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	if err := conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, req, uintptr(arg))
	}); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

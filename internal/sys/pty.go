package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Termios is the state of a terminal; see termios(3).
type Termios = unix.Termios

// Winsize is the size of a terminal; see TIOCGWINSZ(2const).
type Winsize = unix.Winsize

const ptyFlags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC

// OpenPty makes a pseudo-terminal. Both ends are close-on-exec. The program's end is opened
// through the other (TIOCGPTPEER, Linux 4.13), not by a path in a /dev that others may have
// made.
//
// On a host without pseudo-terminals, for example while it starts, it makes a devpts that is
// not attached anywhere, which takes CAP_SYS_ADMIN.
func OpenPty() (master, slave int, err error) {
	master, err = openat(unix.AT_FDCWD, "/dev/ptmx", ptyFlags)
	if err != nil {
		if master = openOwnPtmx(); master < 0 {
			return -1, -1, fmt.Errorf("no pseudo-terminals: /dev/ptmx: %w", err)
		}
	}
	return openPeer(master)
}

// FindPtmx opens /dev/pts/ptmx or /dev/ptmx below root with O_PATH, which has no side effects,
// or returns -1. The result is on a devpts.
func FindPtmx(root int) int {
	for _, path := range []string{"dev/pts/ptmx", "dev/ptmx"} {
		fd, err := OpenInRootAnswering(root, path)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		on, e := isOn(fd, unix.DEVPTS_SUPER_MAGIC)
		if err == nil && e == nil && on && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(5, 2) {
			return fd
		}
		unix.Close(fd)
	}
	return -1
}

// OpenPtyOf is [OpenPty] in the devpts of a descriptor of [FindPtmx].
func OpenPtyOf(ptmx int) (master, slave int, err error) {
	master, err = openat(unix.AT_FDCWD, FDPath(ptmx), ptyFlags)
	if err != nil {
		return -1, -1, err
	}
	return openPeer(master)
}

// openPeer opens the program's end, and closes ours on failure.
func openPeer(master int) (_, slave int, err error) {
	if err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		unix.Close(master)
		return -1, -1, callError("ioctl TIOCSPTLCK", err)
	}
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, ptyFlags)
	if errno != 0 {
		unix.Close(master)
		return -1, -1, callError("ioctl TIOCGPTPEER", errno)
	}
	return master, int(r), nil
}

// openOwnPtmx returns our end of a pseudo-terminal in a new devpts, or -1.
func openOwnPtmx() int {
	tree, err := NewFilesystem("devpts", 0)
	if err != nil {
		return -1
	}
	defer unix.Close(tree)
	master, err := openat(tree, "ptmx", ptyFlags)
	if err != nil {
		return -1
	}
	return master
}

// GetTermios returns the state of the terminal fd. For any other file it is an error.
func GetTermios(fd int) (*Termios, error) {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return t, callError("ioctl TCGETS", err)
}

// SetTermios sets the state of a terminal at once. It stops a process in the background, see
// [Foreground].
func SetTermios(fd int, t *Termios) error {
	return callError("ioctl TCSETS", retry(func() error { return unix.IoctlSetTermios(fd, unix.TCSETS, t) }))
}

// Raw returns t with the settings of cfmakeraw(3): every byte is passed on unchanged.
func Raw(t Termios) *Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return &t
}

// Silent returns t without echo and without changes to output, for a terminal behind another
// that does both.
func Silent(t Termios) *Termios {
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL
	return &t
}

// EndOfFile returns the end-of-file character of a terminal.
func EndOfFile(t *Termios) byte { return t.Cc[unix.VEOF] }

// Foreground reports whether the caller is in the foreground process group of
// the terminal fd, or the terminal is not the one that controls it.
func Foreground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// CopyWinsize gives terminal to the size of terminal from.
func CopyWinsize(to, from int) error {
	size, err := unix.IoctlGetWinsize(from, unix.TIOCGWINSZ)
	if err != nil {
		return callError("ioctl TIOCGWINSZ", err)
	}
	return callError("ioctl TIOCSWINSZ", unix.IoctlSetWinsize(to, unix.TIOCSWINSZ, size))
}

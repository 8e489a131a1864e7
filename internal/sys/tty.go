package sys

import "golang.org/x/sys/unix"

// TerminalWidth returns the columns of the terminal of fd, or false if fd is no terminal. A
// terminal of unknown width has 80.
func TerminalWidth(fd uintptr) (int, bool) {
	size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Col == 0 {
		return 80, true
	}
	return int(size.Col), true
}

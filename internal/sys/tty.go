package sys

import "golang.org/x/sys/unix"

// TerminalWidth returns how many columns the terminal of fd has, and false if
// fd is no terminal. A terminal that does not say has 80.
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

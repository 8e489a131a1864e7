package enter

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A stdio connects the caller's standard files with those of a program that must not have them.
//
// In place of a terminal the program gets a pseudo-terminal, of the target if it has some and
// else of the host: with the caller's it could type into the caller's shell (TIOCSTI), or stay
// and read what is typed there. In place of a file it gets a pipe: a file that is open for
// reading can be opened again for writing through /proc/self/fd. So can a pipe, and the program
// could write the rest of a script that a shell reads from it: it gets another pipe. A socket
// cannot be opened again, and /dev/null does no harm: the program gets these as they are. A
// closed descriptor stays closed.
type stdio struct {
	// child are the program's descriptors; -1 is closed.
	child [3]int
	// terminal is the program's end of the pseudo-terminal, or -1. It controls the program's
	// session.
	terminal int

	outer     [3]int       // the caller's
	direct    bool         // the program gets the caller's
	master    int          // our end of the pseudo-terminal, or -1
	callerTTY int          // the caller's terminal, for size and state
	state     *sys.Termios // its state, to restore at the end
	// wholeTerminal: input and output are the terminal, so it can be in raw mode. Else it keeps
	// editing lines and handling signals, since other programs of the same pipeline may use it.
	wholeTerminal bool

	childFDs, ownFDs []int // to close after the start, and at the end
	pumps            []*pump
	stopR, stopW     int // what becomes readable when the program has ended

	mu  sync.Mutex // guards raw
	raw bool       // the caller's terminal is in raw mode
}

// newStdio prepares the files of a program. outer are the caller's; -1 is closed. With direct
// the program gets them as they are. The caller calls finish at the end, also without start.
//
// The files belong to owner, in the caller's numbers, so that the program can open /dev/stdout.
func newStdio(outer [3]int, direct bool, owner uint32, ptmx int) (s *stdio, err error) {
	s = &stdio{child: outer, terminal: -1, outer: outer, master: -1, callerTTY: -1, stopR: -1, stopW: -1}
	if s.direct = direct; direct {
		return s, nil
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.stopR, s.stopW, err = sys.Pipe(); err != nil {
		return s, err
	}
	s.ownFDs = append(s.ownFDs, s.stopR, s.stopW)

	kinds := [3]sys.Stream{}
	for i, fd := range outer {
		kinds[i] = sys.StreamOf(fd)
		if kinds[i] == sys.StreamTerminal && s.callerTTY < 0 {
			s.callerTTY = fd
		}
	}
	s.wholeTerminal = kinds[0] == sys.StreamTerminal && kinds[1] == sys.StreamTerminal
	if s.callerTTY >= 0 {
		if err := s.openTerminal(ptmx); err != nil {
			return s, err
		}
	}
	for i, fd := range outer {
		switch {
		case kinds[i] == sys.StreamClosed:
			s.child[i] = -1
		case kinds[i] == sys.StreamTerminal:
			s.child[i] = s.terminal
		case kinds[i] == sys.StreamSocket:
		case i == 2 && kinds[1] == kinds[2] && sys.SameFile(outer[1], fd):
			s.child[2] = s.child[1] // one pipe for both keeps the order of the output
		default:
			if err := s.openPipe(i, fd, kinds[i]); err != nil {
				return s, err
			}
		}
	}
	if int(owner) != os.Geteuid() {
		for i, fd := range s.child {
			if fd >= 0 && fd != outer[i] {
				_ = sys.Fchown(fd, owner) //nolint:errcheck // then the program cannot open it again
			}
		}
	}
	if s.master >= 0 {
		if kinds[0] == sys.StreamTerminal {
			s.pumps = append(s.pumps, &pump{what: "read standard input", kind: typedToTerminal, from: outer[0], to: s.master, stop: s.stopR, polite: !s.wholeTerminal, end: sys.EndOfFile(s.state)})
		}
		to := outer[1]
		if kinds[1] != sys.StreamTerminal {
			to = s.callerTTY
			if kinds[2] == sys.StreamTerminal {
				to = outer[2]
			}
		}
		s.pumps = append(s.pumps, &pump{what: "write to the terminal", kind: terminalOut, from: s.master, to: to, stop: s.stopR})
	}
	return s, nil
}

// openTerminal makes the pseudo-terminal, with the settings of the caller's.
func (s *stdio) openTerminal(ptmx int) (err error) {
	if s.state, err = sys.GetTermios(s.callerTTY); err != nil {
		return err
	}
	if ptmx >= 0 {
		s.master, s.terminal, err = sys.OpenPtyOf(ptmx)
	}
	if ptmx < 0 || err != nil { // there may be none left
		s.master, s.terminal, err = sys.OpenPty()
	}
	if err != nil {
		return fmt.Errorf("make a pseudo-terminal: %w", err)
	}
	s.ownFDs, s.childFDs = append(s.ownFDs, s.master), append(s.childFDs, s.terminal)
	inner := *s.state
	if !s.wholeTerminal {
		inner = *sys.Silent(inner)
	}
	if err := sys.SetTermios(s.terminal, &inner); err != nil {
		return err
	}
	_ = sys.CopyWinsize(s.terminal, s.callerTTY) //nolint:errcheck // a terminal may have no size
	return sys.SetNonblock(s.master)
}

// openPipe puts a pipe in the place of descriptor i.
func (s *stdio) openPipe(i, fd int, kind sys.Stream) error {
	r, w, err := sys.Pipe()
	if err != nil {
		return err
	}
	sys.GrowPipe(w)
	if i == 0 {
		s.child[0] = r
		s.ownFDs = append(s.ownFDs, r) // to see what is not read
		p := &pump{what: "read standard input", kind: fileToPipe, from: fd, to: w, stop: s.stopR, peek: r}
		if kind == sys.StreamPipe {
			p.kind = pipeToPipe
		}
		s.pumps = append(s.pumps, p)
		return sys.SetNonblock(w)
	}
	s.child[i] = w
	s.childFDs = append(s.childFDs, w)
	s.pumps = append(s.pumps, &pump{what: [...]string{1: "write standard output", 2: "write standard error"}[i], kind: pipeOut, from: r, to: fd, stop: s.stopR})
	return sys.SetNonblock(r)
}

// start is called when the program has been started with its files.
func (s *stdio) start() {
	sys.CloseAll(s.childFDs...)
	s.childFDs = nil
	s.resume()
	for _, p := range s.pumps {
		p.start()
	}
}

// resume puts the caller's terminal into raw mode, unless another process group has it in the
// foreground.
func (s *stdio) resume() {
	if !s.wholeTerminal || !sys.Foreground(s.callerTTY) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = sys.SetTermios(s.callerTTY, sys.Raw(*s.state)) == nil
	s.resize()
}

// restore takes the caller's terminal out of raw mode.
func (s *stdio) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw && sys.Foreground(s.callerTTY) {
		_ = sys.SetTermios(s.callerTTY, s.state) //nolint:errcheck // there is nothing else to try
	}
	s.raw = false
}

// resize passes on the size of the caller's terminal. The kernel sends SIGWINCH to the program.
func (s *stdio) resize() {
	if s.master >= 0 {
		_ = sys.CopyWinsize(s.master, s.callerTTY) //nolint:errcheck // a terminal may have no size
	}
}

// shared reports whether the caller's terminal sends its signals to the program too: the
// program has the terminal, in the foreground.
func (s *stdio) shared() bool {
	for _, fd := range s.child {
		if s.direct && sys.StreamOf(fd) == sys.StreamTerminal && sys.Foreground(fd) {
			return true
		}
	}
	return false
}

// hasTerminal reports whether the program has a pseudo-terminal.
func (s *stdio) hasTerminal() bool { return s.master >= 0 }

// finish is called when the program has ended, or was never started. Everything that the
// program has written is passed on; output of processes that it left behind is not waited for.
// The error is about what could not be passed on.
func (s *stdio) finish() error {
	defer s.close()
	if s.stopW >= 0 {
		_, _ = sys.Write(s.stopW, []byte{0}) //nolint:errcheck // an empty pipe has room
	}
	var errs []error
	for _, p := range s.pumps {
		if p.done == nil {
			continue
		}
		if p.out() {
			errs = append(errs, <-p.done)
			continue
		}
		select {
		case err := <-p.done:
			errs = append(errs, err)
		case <-time.After(interval * time.Millisecond):
			// It is blocked by a terminal that another process has read, or by a dead device:
			// its descriptors stay open.
			s.ownFDs = nil
		}
	}
	return errors.Join(errs...)
}

func (s *stdio) close() {
	s.restore()
	for _, p := range s.pumps {
		p.hangUp()
	}
	s.pumps = nil
	sys.CloseAll(s.childFDs...)
	sys.CloseAll(s.ownFDs...)
	s.childFDs, s.ownFDs, s.master, s.terminal, s.stopR, s.stopW = nil, nil, -1, -1, -1, -1
}

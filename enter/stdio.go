package enter

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A stdio stands between the caller's standard files and those of a program
// that is not trusted with them.
//
// A terminal is kept from it by a pseudo-terminal, of the target where it has some
// and else of the host: with ours it
// could type into the caller's shell (TIOCSTI), or stay behind and read what is
// typed there. A file is kept from it by a pipe: what was opened for reading
// can be opened anew for writing through /proc/self/fd. So can a pipe: whoever
// is given the end from which a shell reads its script could write the rest of
// it. A socket cannot, nor is /dev/null worth it: these are handed over as they
// are, and what is closed stays closed.
type stdio struct {
	// child are the program's descriptors; -1 is closed.
	child [3]int
	// terminal is the end of the pseudo-terminal for the program, or -1. It is
	// to control the program's session.
	terminal int

	outer     [3]int       // the caller's
	direct    bool         // and the program's too
	master    int          // our end of the pseudo-terminal, or -1
	callerTTY int          // the caller's terminal: where size and state are
	state     *sys.Termios // its state, to be restored
	// wholeTerminal says that both input and output are the terminal, so that it can be
	// left to the other one. Else it keeps editing lines and handling signals
	// itself, since other programs in the same pipeline may be using it.
	wholeTerminal bool

	childFDs, ownFDs []int // descriptors to close: after the start, at the end
	pumps            []*pump
	stopR, stopW     int // what becomes readable when the program has ended

	mu  sync.Mutex // guards raw
	raw bool       // the caller's terminal is in raw mode
}

// newStdio prepares the files of a program. outer are the caller's; -1 is
// closed. With direct they are handed over as they are. The caller closes it
// by finish, also if start was never called.
//
// They become owner's, in the caller's numbers: a program opens /dev/stdout anew.
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
			s.child[2] = s.child[1] // one pipe for both keeps the order of what is written
		default:
			if err := s.openPipe(i, fd, kinds[i]); err != nil {
				return s, err
			}
		}
	}
	if int(owner) != os.Geteuid() {
		for i, fd := range s.child {
			if fd >= 0 && fd != outer[i] {
				_ = sys.Fchown(fd, owner) //nolint:errcheck // then it cannot be opened anew
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

// openTerminal makes the pseudo-terminal, alike to the caller's.
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
		s.ownFDs = append(s.ownFDs, r) // to see what was not read
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

// resume leaves the caller's terminal to the program's, unless somebody else
// has it in the foreground.
func (s *stdio) resume() {
	if !s.wholeTerminal || !sys.Foreground(s.callerTTY) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = sys.SetTermios(s.callerTTY, sys.Raw(*s.state)) == nil
	s.resize()
}

// restore takes the caller's terminal back.
func (s *stdio) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw && sys.Foreground(s.callerTTY) {
		_ = sys.SetTermios(s.callerTTY, s.state) //nolint:errcheck // there is nothing else to try
	}
	s.raw = false
}

// resize passes on the size of the caller's terminal. The kernel tells those
// at the other end by SIGWINCH.
func (s *stdio) resize() {
	if s.master >= 0 {
		_ = sys.CopyWinsize(s.master, s.callerTTY) //nolint:errcheck // a terminal may have no size
	}
}

// shared reports whether the program is one of those that the caller's terminal
// signals: it has been handed over, and we are in the foreground.
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

// finish is called when the program has ended, or was never started. All that
// it has written is passed on; what those wrote that it left behind is not
// waited for. The error says what could not be passed on.
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
			// It waits for a terminal that somebody else has emptied, or a
			// dead device, and goes on doing so: its descriptors stay.
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

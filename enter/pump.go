package enter

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A pump moves bytes from one descriptor to another until the first ends, or
// the program has.
type pump struct {
	from, to int
	stop     int // readable when the program has ended

	kind pumpKind
	// peek is the program's end of the pipe that its input goes through: to see
	// what it did not read.
	peek int
	// polite leaves to others what they read first.
	polite bool
	// what it does, for messages: "write standard output".
	what string
	// end is the character that ends the input of the program's terminal.
	end byte

	mu   sync.Mutex // guards hanging up
	done chan error // nil until started
}

type pumpKind uint8

const (
	fileToPipe pumpKind = iota
	pipeToPipe
	typedToTerminal
	pipeOut
	terminalOut
)

const (
	pumpSize = 256 << 10
	// A pipe holds no more than this, and a pseudo-terminal less.
	pipeHolds     = 1 << 20
	terminalHolds = 1 << 20
	// Who else reads the caller's terminal has so many milliseconds to do it.
	politeness = 30
	// How often to look, in milliseconds, where nothing tells.
	interval = 50
)

// out reports whether it is what the program writes.
func (p *pump) out() bool { return p.kind == pipeOut || p.kind == terminalOut }

func (p *pump) start() {
	p.done = make(chan error, 1)
	run := p.in
	switch p.kind {
	case pipeToPipe:
		run = p.inPipe
	case typedToTerminal:
		run = p.typing
	case pipeOut:
		run = p.outPipe
	case terminalOut:
		run = p.outTerminal
	}
	go func() {
		err := run()
		if errors.Is(err, sys.ErrBroken) || errors.Is(err, sys.ErrIO) {
			err = nil // nobody wants it any more, which is no failure of ours
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", p.what, err)
		}
		p.done <- err
	}()
}

// hangUp closes our end of the pipe: the program reads no more, or gets
// SIGPIPE when it writes.
func (p *pump) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.kind {
	case fileToPipe, pipeToPipe:
		sys.CloseAll(p.to)
		p.to = -1
	case pipeOut:
		sys.CloseAll(p.from)
		p.from = -1
	}
}

// in gives a file to the program, and gives back to the caller what the
// program has not read: in a loop over the lines of a file, each program would
// else take all that are left.
func (p *pump) in() error {
	buf := make([]byte, pumpSize)
	given := 0
	for {
		n, err := sys.Read(p.from, buf)
		if n == 0 || err != nil {
			p.hangUp()
			sys.WaitReadable(-1, p.stop)
			p.giveBack(given, 0)
			return err
		}
		given += n
		if left := p.push(buf[:n]); left > 0 || sys.WaitReadable(0, p.stop)[0] {
			p.giveBack(given, left)
			return nil
		}
	}
}

// giveBack moves the position of the file back by what is left, and what is
// still in the pipe: which is no more than was given, though the program may
// have put something into its own pipe. What cannot be moved is no file of
// lines.
func (p *pump) giveBack(given, left int) {
	if n := min(given, left+sys.Unread(p.peek, 0)); n > 0 {
		_ = sys.Unwind(p.from, n) //nolint:errcheck // a device has no position
	}
}

// inPipe shows the program what is in the caller's pipe, by tee(2), and takes
// it out once the program has read it: a shell that reads its script from there
// is to find the rest of it.
func (p *pump) inPipe() error {
	for {
		if sys.WaitReadable(-1, p.from, p.stop)[1] {
			return nil
		}
		n, err := sys.Tee(p.from, p.to)
		switch {
		case errors.Is(err, sys.ErrAgain): // somebody else has read it
			continue
		case n == 0 || err != nil:
			p.hangUp()
			return err
		}
		left, ended := p.watch(n)
		if err := sys.Discard(p.from, n-left); err != nil || ended {
			return err
		}
	}
}

// watch waits until the program has read all of the n bytes that its pipe has
// been given, or has ended, and returns how many it has not read. Nothing tells
// when a pipe becomes empty.
func (p *pump) watch(n int) (left int, ended bool) {
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		if left = min(n, sys.Unread(p.peek, 0)); left == 0 {
			return 0, false
		}
		if pause < time.Millisecond {
			time.Sleep(pause)
			ended = sys.WaitReadable(0, p.stop)[0]
		} else {
			ended = sys.WaitReadable(int(pause.Milliseconds()), p.stop)[0]
		}
		if ended {
			return min(n, sys.Unread(p.peek, 0)), true
		}
	}
}

// push writes b where the program reads, and returns how much was left when
// the program ended.
func (p *pump) push(b []byte) (left int) {
	for len(b) > 0 {
		n, err := sys.Write(p.to, b)
		b = b[n:]
		if errors.Is(err, sys.ErrAgain) {
			if !sys.WaitWritable(p.to, p.stop) {
				return len(b)
			}
		} else if err != nil {
			return len(b)
		}
	}
	return 0
}

// typing types into the program's terminal what is typed into the caller's.
func (p *pump) typing() error {
	buf := make([]byte, 4096)
	for {
		ready := sys.WaitReadable(-1, p.from, p.stop)
		if ready[1] {
			return nil
		}
		if !sys.Foreground(p.from) { // to read now would stop us
			sys.WaitReadable(interval, p.stop)
			continue
		}
		if p.polite {
			if sys.WaitReadable(politeness, p.stop)[0] {
				return nil
			}
			if !sys.WaitReadable(0, p.from)[0] {
				continue
			}
		}
		n, err := sys.Read(p.from, buf)
		switch {
		case errors.Is(err, sys.ErrAgain): // the caller left it non-blocking
			continue
		case err != nil:
			return err
		case n == 0 && !p.polite: // hung up
			return nil
		case n == 0: // an end of file was typed, and there may be more
			buf[0], n = p.end, 1
			sys.WaitReadable(interval, p.stop)
		}
		if p.push(buf[:n]) > 0 {
			return nil
		}
	}
}

// outPipe passes on what the program writes to a pipe. When it has ended, what
// is in the pipe then is all it wrote: whatever comes later is of others.
func (p *pump) outPipe() error {
	defer p.hangUp()
	buf := make([]byte, pumpSize)
	rest := -1
	for rest != 0 {
		if rest < 0 && sys.WaitReadable(-1, p.from, p.stop)[1] {
			rest = sys.Unread(p.from, pipeHolds)
			continue
		}
		b := buf
		if rest > 0 {
			b = buf[:min(rest, len(buf))]
		}
		n, err := sys.Read(p.from, b)
		switch {
		case errors.Is(err, sys.ErrAgain) && rest < 0: // somebody inside has read it
			continue
		case errors.Is(err, sys.ErrAgain):
			return nil
		case n == 0 || err != nil:
			return err
		}
		if rest > 0 {
			rest -= n
		}
		if err := p.deliver(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// outTerminal passes on what the program writes to its terminal. The end of
// all who had it open is no end: one who is controlled by it can open it anew.
func (p *pump) outTerminal() (failed error) {
	buf := make([]byte, pumpSize)
	rest := -1
	for {
		switch {
		case rest < 0:
			if sys.WaitReadable(-1, p.from, p.stop)[1] {
				rest = terminalHolds
				continue
			}
		case rest == 0 || !sys.WaitReadable(0, p.from)[0]:
			return failed
		}
		n, err := gather(p.from, buf)
		if n == 0 && !errors.Is(err, sys.ErrAgain) {
			if rest >= 0 {
				return failed
			}
			sys.WaitReadable(interval, p.stop)
			continue
		}
		if rest > 0 {
			rest = max(0, rest-n)
		}
		// Where the caller's terminal is gone the program is not to be
		// stopped by ours being full.
		if failed == nil {
			failed = p.deliver(buf[:n])
		}
	}
}

// gather reads what is there, up to half of b: a terminal gives no more than
// four kilobytes at once.
func gather(fd int, b []byte) (n int, err error) {
	for n < len(b)/2 && err == nil {
		var m int
		if m, err = sys.ReadNow(fd, b[n:]); m == 0 {
			break
		}
		n += m
	}
	return n, err
}

// deliver writes all of b to the caller.
func (p *pump) deliver(b []byte) error {
	for len(b) > 0 {
		n, err := sys.Write(p.to, b)
		b = b[n:]
		if errors.Is(err, sys.ErrAgain) { // the caller left it non-blocking
			sys.WaitWritable(p.to, -1)
		} else if err != nil {
			return err
		}
	}
	return nil
}

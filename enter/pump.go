package enter

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A pump moves bytes from one descriptor to another until the first is at its end, or the
// program has ended.
type pump struct {
	from, to int
	stop     int // readable when the program has ended

	kind pumpKind
	// peek is the program's end of its input pipe, to see what it has not read.
	peek int
	// polite gives other readers of the terminal time to read first.
	polite bool
	// what the pump does, for messages: "write standard output".
	what string
	// end is the end-of-file character of the program's terminal.
	end byte

	mu   sync.Mutex // guards from and to against hangUp
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
	// The most that a pipe holds, and more than a pseudo-terminal does.
	pipeHolds     = 1 << 20
	terminalHolds = 1 << 20
	// The time that other readers of the caller's terminal get, in milliseconds.
	politeness = 30
	// The time between two looks, in milliseconds, where nothing can be waited for.
	interval = 50
)

// out reports whether the pump moves output of the program.
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
			err = nil // the reader is gone, which is no failure of ours
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

// in passes a file to the program, and moves its position back by what the program has not
// read: else the first program in a loop over the lines of a file would take all of them.
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

// giveBack moves the position of the file back by what is left, and by what is still in the
// pipe. That is at most what was given, since the program can write into its own pipe.
func (p *pump) giveBack(given, left int) {
	if n := min(given, left+sys.Unread(p.peek, 0)); n > 0 {
		_ = sys.Unwind(p.from, n) //nolint:errcheck // a device has no position
	}
}

// inPipe copies what is in the caller's pipe to the program, by tee(2), and removes it once the
// program has read it, so that a shell that reads its script from the pipe finds the rest.
func (p *pump) inPipe() error {
	for {
		if sys.WaitReadable(-1, p.from, p.stop)[1] {
			return nil
		}
		n, err := sys.Tee(p.from, p.to)
		switch {
		case errors.Is(err, sys.ErrAgain): // another process has read it
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

// watch waits until the program has read all of the n bytes in its pipe, or has ended, and
// returns how many are left. It has to poll: no event says that a pipe is empty.
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

// push writes b to the program, and returns how much was left when the program ended.
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

// typing copies what is typed on the caller's terminal to the program's.
func (p *pump) typing() error {
	buf := make([]byte, 4096)
	for {
		ready := sys.WaitReadable(-1, p.from, p.stop)
		if ready[1] {
			return nil
		}
		if !sys.Foreground(p.from) { // a read now would stop this process
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
		case n == 0: // end-of-file was typed, and more may follow
			buf[0], n = p.end, 1
			sys.WaitReadable(interval, p.stop)
		}
		if p.push(buf[:n]) > 0 {
			return nil
		}
	}
}

// outPipe passes on what the program writes to a pipe. When the program has ended, the rest of
// its output is in the pipe: anything later is from other processes.
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
		case errors.Is(err, sys.ErrAgain) && rest < 0: // a process inside has read it
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

// outTerminal passes on what the program writes to its terminal. If nobody has the terminal
// open that is not the end: a process of its session can open it again.
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
		// If the caller's terminal is gone, the output is read all the same, so that the
		// program is not blocked.
		if failed == nil {
			failed = p.deliver(buf[:n])
		}
	}
}

// gather reads what is there, up to half of b: one read of a terminal returns at most four
// kilobytes.
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

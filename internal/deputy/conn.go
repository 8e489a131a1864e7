package deputy

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/nstool/nstool/internal/sys"
)

// ErrEnded reports that a deputy has ended.
var ErrEnded = errors.New("the process that acts for nstool there has ended")

// A Conn is a connection between a deputy and the process that started it: messages of at most
// [sys.MostMessage] bytes, each with a few descriptors or none. One goroutine may receive while
// others send.
type Conn struct {
	f   *os.File
	raw syscall.RawConn

	mu  sync.Mutex // one goroutine receives
	buf []byte
}

func newConn(fd int) *Conn {
	f := os.NewFile(uintptr(fd), "deputy")
	raw, err := f.SyscallConn()
	if err != nil {
		panic(err) // a new file is not closed
	}
	return &Conn{f: f, raw: raw}
}

// Close ends the connection. A pending Receive returns an error.
func (c *Conn) Close() error { return c.f.Close() }

// Send sends a message in JSON, with files, which stay open in the caller.
func (c *Conn) Send(message any, files ...*os.File) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var sent error
	err = c.raw.Write(func(fd uintptr) bool {
		sent = sys.SendMessage(int(fd), b, fds...)
		return !errors.Is(sent, sys.ErrAgain)
	})
	if err == nil {
		err = sent
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return ErrEnded
	}
	return err
}

// Receive receives a message with up to most files. Further files are closed. The error is
// [io.EOF] if the other side has ended.
func (c *Conn) Receive(message any, most int) (files []*os.File, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		c.buf = make([]byte, sys.MostMessage)
	}
	var n int
	var fds []int
	var received error
	err = c.raw.Read(func(fd uintptr) bool {
		n, fds, received = sys.ReceiveMessage(int(fd), c.buf)
		return !errors.Is(received, sys.ErrAgain)
	})
	if err == nil {
		err = received
	}
	if errors.Is(err, syscall.ECONNRESET) || err == nil && n == 0 {
		sys.CloseAll(fds...)
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	for i, fd := range fds {
		if i >= most {
			sys.CloseFD(fd)
			continue
		}
		files = append(files, os.NewFile(uintptr(fd), "file"))
	}
	if err := json.Unmarshal(c.buf[:n], message); err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	return files, nil
}

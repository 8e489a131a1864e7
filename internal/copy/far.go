package copy

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/deputy"
)

// role is the role of the deputies of this package.
const role = "copy"

// A Far is a side of the copying that a deputy does, one request after another. The files of
// the deputy are below one root directory.
type Far struct {
	d    *deputy.Deputy
	mu   sync.Mutex // one request at a time
	busy atomic.Bool
}

// StartFar starts a deputy with these rights for the files below root.
func StartFar(r *deputy.Rights, root *os.File) (*Far, error) {
	d, err := deputy.Start(r, role, root)
	if err != nil {
		return nil, err
	}
	return &Far{d: d}, nil
}

// Close ends the deputy. Within its patience it removes what is incomplete; a file that cannot
// be replaced it completes.
func (f *Far) Close(patience time.Duration) {
	if f.busy.Load() {
		patience = max(patience, time.Minute)
	}
	f.d.Close(patience)
}

// Requests to a deputy.
const (
	doLook    = "look"    // report whether a place is a directory
	doSend    = "send"    // write a place as a stream
	doReceive = "receive" // write a stream to a place
	doUnpack  = "unpack"  // unpack an archive below a place
)

// A request is a request to a deputy. The pipe comes with it. Text that may be no UTF-8 is in
// bytes.
type request struct {
	Do         string
	Place      Place `json:"-"`
	Path, Name []byte
	Options    Options
}

// An answer is a message of a deputy: about a file that was left out, about its progress, or
// with Done about the end.
type answer struct {
	Where, Text  []byte        `json:",omitempty"`
	Errno        syscall.Errno `json:",omitempty"`
	Special      bool          `json:",omitempty"`
	Source       bool          `json:",omitempty"`
	Broken       bool          `json:",omitempty"` // the pipe or its content is broken
	Output       bool          `json:",omitempty"`
	Bytes, Files int64         `json:",omitempty"`
	IsDir        bool          `json:",omitempty"`
	Busy         bool          `json:",omitempty"`
	Failed, Done bool          `json:",omitempty"`
}

// about returns an answer with an error.
func about(where string, err error) answer {
	if err == nil {
		return answer{}
	}
	a := answer{Where: short(where), Text: short(err.Error()), Failed: true, Special: errors.Is(err, ErrSpecial), Source: isSource(err)}
	_, a.Broken = errors.AsType[streamError](err)
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		a.Errno = e
	} else if errors.Is(err, fs.ErrNotExist) {
		a.Errno = syscall.ENOENT
	}
	return a
}

// short cuts text to fit into a message.
func short(s string) []byte {
	const most = 16 << 10
	return []byte(s[:min(len(s), most)])
}

// error returns the error of an answer.
func (a *answer) error() error {
	if !a.Failed {
		return nil
	}
	var err error = farError{string(a.Text), a.Errno, a.Special}
	if a.Broken {
		err = streamError{err}
	}
	return err
}

// A farError is an error of a deputy.
type farError struct {
	text    string
	errno   syscall.Errno
	special bool
}

func (e farError) Error() string { return e.text }

func (e farError) Unwrap() []error {
	var list []error
	if e.errno != 0 {
		list = append(list, e.errno)
	}
	if e.special {
		list = append(list, ErrSpecial)
	}
	return list
}

// do sends a request to the deputy, and passes its answers on to c.
func (f *Far) do(ctx context.Context, c *Copier, r request, pipe *os.File) error {
	bytes, files := c.Bytes.Load(), c.Files.Load()
	count := func(a *answer) {
		if r.Do != doSend { // else the writer counts
			c.Bytes.Store(bytes + a.Bytes)
			c.Files.Store(files + a.Files)
		}
	}
	a, err := f.ask(ctx, r, pipe, func(a *answer) {
		if !a.Failed {
			count(a)
		} else if c.Failed != nil {
			c.Failed(string(a.Where), a.error())
		}
	}, c.Options)
	if err != nil {
		return err
	}
	count(&a)
	return a.error()
}

// isDir is [Place.IsDir] for a place of the deputy.
func (f *Far) isDir(ctx context.Context, p Place) (bool, error) {
	a, err := f.ask(ctx, request{Do: doLook, Place: p}, nil, func(*answer) {}, Options{})
	if err == nil {
		err = a.error()
	}
	return err == nil && a.IsDir, err
}

// ask sends a request, and returns the last answer.
func (f *Far) ask(ctx context.Context, r request, pipe *os.File, told func(*answer), options Options) (a answer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Path, r.Name, r.Options = []byte(r.Place.Path), []byte(r.Place.Name), options
	var files []*os.File
	if pipe != nil {
		files = append(files, pipe)
	}
	if err := f.d.Send(r, files...); err != nil {
		return a, err
	}
	if pipe != nil {
		pipe.Close() // the deputy has it now
	}
	// A caller that gives up ends the deputy, and with it the pipe.
	stop := context.AfterFunc(ctx, f.d.Hangup)
	defer stop()
	for {
		a = answer{}
		if _, err := f.d.Receive(&a, 0); err != nil {
			if ctx.Err() != nil {
				return a, context.Cause(ctx)
			}
			return a, streamError{deputy.ErrEnded}
		}
		if !a.Failed || a.Done {
			f.busy.Store(a.Busy)
		}
		if a.Done {
			return a, nil
		}
		told(&a)
	}
}

func init() { deputy.Serve(role, serve) }

// serve is the main function of a deputy: it answers requests until the connection ends, and
// then removes what is incomplete.
func serve(conn *deputy.Conn, files []*os.File) {
	if len(files) != 1 {
		return
	}
	numbers, err := readNumbers()
	if err != nil {
		return
	}
	type work struct {
		request
		pipe *os.File
	}
	asked := make(chan work)
	go func() {
		defer close(asked)
		for {
			var w work
			pipes, err := conn.Receive(&w.request, 1)
			if err != nil {
				return
			}
			if len(pipes) == 1 {
				w.pipe = pipes[0]
			}
			asked <- w
		}
	}()
	for w := range asked {
		c := &Copier{Options: w.Options, numbers: numbers}
		c.Failed = func(where string, err error) { _ = conn.Send(about(where, err)) }
		c.onBusy = func() { _ = conn.Send(answer{Bytes: c.Bytes.Load(), Files: c.Files.Load(), Busy: c.Busy()}) }
		done := make(chan answer, 1)
		go func() { done <- c.serve(w.request, w.pipe, files[0]) }()
		tick := time.NewTicker(time.Second / 4)
		for a, ended := (answer{}), false; !ended; {
			select {
			case <-tick.C:
				a = answer{}
			case a = <-done:
				ended = true
			case <-asked: // no further request comes before the answer
				c.Abort()
				return
			}
			a.Bytes, a.Files, a.Busy, a.Done = c.Bytes.Load(), c.Files.Load(), c.Busy(), ended
			if conn.Send(a) != nil {
				c.Abort()
				return
			}
		}
		tick.Stop()
	}
}

// serve answers one request.
func (c *Copier) serve(r request, pipe, root *os.File) (a answer) {
	at := Place{Root: root, Name: string(r.Name), Path: string(r.Path)}
	ctx := context.Background()
	if r.Do == doLook {
		is, err := at.IsDir(ctx)
		a = about(at.String(), err)
		a.IsDir = is
		return a
	}
	if pipe == nil {
		return about(at.String(), fs.ErrInvalid)
	}
	defer pipe.Close()
	var err error
	switch r.Do {
	case doSend:
		err = c.send(ctx, pipe, at)
	case doReceive:
		err = c.receive(ctx, pipe, at)
	case doUnpack:
		err = c.unpackAll(ctx, pipe, at)
	default:
		err = fs.ErrInvalid
	}
	return about("", err)
}

// readNumbers reads the users and groups that the user namespace of this process maps.
func readNumbers() (*numbers, error) {
	var maps [2]task.IDMap
	for i, name := range []string{"uid_map", "gid_map"} {
		text, err := os.ReadFile("/proc/self/" + name)
		if err == nil {
			maps[i], err = task.ParseIDMap(string(text))
		}
		if err != nil {
			return nil, err
		}
	}
	return &numbers{maps[0], maps[1]}, nil
}

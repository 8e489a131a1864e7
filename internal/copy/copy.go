// Package copy copies files between the caller and a target whose file system
// somebody else controls.
//
// What belongs to a target is reached from one descriptor of its root
// directory, by [sys.OpenInRoot], and from there from one open directory to the
// next, by single names that are never followed. So no link leads out, no matter
// what is changed meanwhile, and what has been looked at is what is read: the
// file itself is opened again, not its name.
//
// Who reads and who writes are two sides with a pipe between them. The side of a
// target is played by a deputy with the rights of the target (see [Far]), that of
// the caller by the caller. So neither does anything to the files of the other, and
// what the one may not read or write no link of the other makes it read or write.
//
// What is written gets a name of its own first and takes the place of what was
// there when it is whole. What has not come so far is removed, by whom the
// copying was given up: see [Copier.Abort].
//
// A process in another mount namespace may rename over a mount point, which removes the mount.
// So a file that is mounted on is never replaced: the new content is written into it once it
// is complete. A directory or a link cannot be made and opened in one call, so it is made in a
// private directory and moved. A read from a dead file system cannot be killed, so copying is
// done by a second process, and the one that the caller waits for can always end. The second
// one copies on a thread other than its main one, to which the kernel sends signals first.
package copy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// A Place is where files are or are to be.
type Place struct {
	Root *os.File // the root directory of the target, O_PATH; nil is the caller's own files
	Name string   // of the target, for messages; "" is the caller
	Path string
	By   *Far // who acts there; nil is the caller
}

// String returns how the place is written: "web:/etc/app.yaml".
func (p Place) String() string {
	if p.Name == "" {
		return p.Path
	}
	return p.Name + ":" + p.Path
}

// Options say how files are copied. Users and groups are in the numbers of
// where they are looked at: in the user namespace of the target, for those of a
// target.
type Options struct {
	// Keep gives copies the user and the group of the original, as they are
	// numbered there.
	Keep bool
	// Owner is the user and the group of all copies. Without it, and without
	// Keep, a file that takes the place of another is that one's owner's, and
	// what is new Heir's.
	Owner *[2]uint32
	// Heir is the user and the group that what is new is given to, as far as
	// that is permitted. nil leaves it to who makes it.
	//
	// It is given away when it is whole: who owns a file before could open it,
	// and go on writing when it has become another's.
	Heir *[2]uint32
	// Umask takes these permissions away from what is new.
	Umask uint32
	// KeepSetID keeps set-user-ID and set-group-ID bits.
	KeepSetID bool
	// NoFollow copies a link that is named, and not what it leads to.
	NoFollow bool
}

// A Copier copies. Its fields are not changed any more when it has begun.
type Copier struct {
	Options
	// Failed is told of every file that was left out and why; the rest is
	// copied all the same.
	Failed func(where string, err error)

	// Bytes and Files have been copied until now.
	Bytes, Files atomic.Int64

	firsts  map[uint64]first // of the stream that is being written
	numbers *numbers

	mu      sync.Mutex
	pending []*unfinished
	aborted bool
	inPlace sync.Mutex // held while a file is written over that cannot be replaced
	busy    atomic.Bool
	onBusy  func() // is called when busy changes
}

// Busy reports whether a file is being written over that cannot be replaced: who
// gives up waits until that has been done.
func (c *Copier) Busy() bool { return c.busy.Load() }

// setBusy says whether it is.
func (c *Copier) setBusy(is bool) {
	c.busy.Store(is)
	if c.onBusy != nil {
		c.onBusy()
	}
}

// Numbers are the users and groups that have a number in a user namespace.
type numbers struct{ uids, gids task.IDMap }

// ErrSpecial says that something is neither a file nor a directory nor a link,
// and so is not copied.
var ErrSpecial = errors.New("not copied")

// deepest is how many directories may be in one another.
const deepest = 1000

// Copy copies from, with all that is in it if it is a directory. If to is a
// directory it is copied into it, under its own name. Something that has no name, such as
// "/" or "dir/.", is copied with what is in it alone.
func (c *Copier) Copy(ctx context.Context, from, to Place) error {
	return c.between(ctx, c.sender(ctx, from), c.receiver(ctx, to))
}

// FromReader makes a file of what r has to say, with these permissions. If r is a
// regular file it must not be the one that is written to.
func (c *Copier) FromReader(ctx context.Context, r io.Reader, to Place, perm uint32) error {
	var id sys.FileID
	if f, ok := r.(*os.File); ok {
		id, _ = sys.RegularID(int(f.Fd()))
	}
	return c.between(ctx, half{do: func(w *os.File) error { return c.sendReader(ctx, w, r, perm, id) }}, c.receiver(ctx, to))
}

// ToWriter writes what is in a regular file. If w is one it must not be the same.
func (c *Copier) ToWriter(ctx context.Context, w io.Writer, from Place) error {
	return c.between(ctx, c.sender(ctx, from), half{do: func(r *os.File) error { return c.pour(ctx, r, w) }})
}

// ToTar writes an archive with what is at a place, under its own name.
func (c *Copier) ToTar(ctx context.Context, w io.Writer, from Place) error {
	return c.between(ctx, c.sender(ctx, from), half{do: func(r *os.File) error { return c.pack(ctx, r, w) }})
}

// FromTar makes what is in an archive, below a directory. A link in the way of a
// name is not followed.
func (c *Copier) FromTar(ctx context.Context, r io.Reader, to Place) error {
	if to.By == nil {
		return c.unpackAll(ctx, r, to)
	}
	far := half{far: true, do: func(p *os.File) error { return to.By.do(ctx, c, request{Do: doUnpack, Place: to}, p) }}
	return c.between(ctx, half{do: func(w *os.File) error {
		return c.pump(ctx, writing(func(b []byte) (int, error) {
			n, err := w.Write(b)
			return n, stream(err)
		}), r)
	}}, far)
}

// A half is one of the two sides.
type half struct {
	far bool // a deputy plays it
	do  func(pipe *os.File) error
}

func (c *Copier) sender(ctx context.Context, from Place) half {
	if from.By != nil {
		return half{true, func(p *os.File) error { return from.By.do(ctx, c, request{Do: doSend, Place: from}, p) }}
	}
	return half{do: func(p *os.File) error { return c.send(ctx, p, from) }}
}

func (c *Copier) receiver(ctx context.Context, to Place) half {
	if to.By != nil {
		return half{true, func(p *os.File) error { return to.By.do(ctx, c, request{Do: doReceive, Place: to}, p) }}
	}
	return half{do: func(p *os.File) error { return c.receive(ctx, p, to) }}
}

// between has two sides do their parts, with a pipe between them, and returns
// what went wrong first. One of the caller's does it on the calling thread.
func (c *Copier) between(ctx context.Context, from, to half) error {
	r, w, err := sys.Pipe()
	if err != nil {
		return err
	}
	sys.GrowPipe(w)
	errs := make(chan error, 1)
	sending := func() error {
		f := os.NewFile(uintptr(w), "pipe")
		defer f.Close()
		return from.do(f)
	}
	receiving := func() error {
		f := os.NewFile(uintptr(r), "pipe")
		defer f.Close()
		return to.do(f)
	}
	var src, dst error
	if to.far {
		go func() { errs <- receiving() }()
		src = sending()
		dst = <-errs
	} else {
		go func() { errs <- sending() }()
		dst = receiving()
		src = <-errs
	}
	_, broken := errors.AsType[streamError](src)
	switch {
	case ctx.Err() != nil && (src != nil || dst != nil):
		return context.Cause(ctx)
	case src == nil || broken && dst != nil:
		return dst
	}
	return src
}

// writing is an [io.Writer] that is one function.
type writing func(b []byte) (int, error)

func (w writing) Write(b []byte) (int, error) { return w(b) }

// pump copies all there is to read.
func (c *Copier) pump(ctx context.Context, to io.Writer, from io.Reader) error {
	buf := make([]byte, block)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return sourceError{err}
		}
	}
}

// An item is something to copy, open with O_PATH.
type item struct {
	fd   int
	stat sys.FileStat
	text string // for messages
}

func (it item) close() { sys.CloseFD(it.fd) }

// failed returns err, which with a [sourceError] is about the item.
func (it item) failed(err error) error {
	if s, ok := errors.AsType[sourceError](err); ok {
		return fmt.Errorf("%s: %w", it.text, cause(s.err))
	}
	return err
}

// openDir opens a directory to copy what is in it.
func (it item) openDir(depth int) (*os.File, error) {
	if depth > deepest {
		return nil, sourceError{fmt.Errorf("there are more than %d directories in one another", deepest)}
	}
	if name := sys.KernelFiles(it.fd); name != "" && depth > 0 {
		return nil, sourceError{fmt.Errorf("it is a %s file system: %w", name, ErrSpecial)}
	}
	dir, err := sys.Reopen(it.fd)
	if err != nil {
		return nil, sourceError{err}
	}
	return dir, nil
}

// A sourceError is about what is copied, and not about where to.
type sourceError struct{ err error }

func (e sourceError) Error() string { return e.err.Error() }
func (e sourceError) Unwrap() error { return e.err }

// isFatal reports whether there is no use in going on with the next file.
func isFatal(err error) bool {
	_, broken := errors.AsType[streamError](err)
	return broken || errors.Is(err, errAborted) || sys.IsFull(err) && !isSource(err)
}

func isSource(err error) bool {
	_, ok := errors.AsType[sourceError](err)
	return ok
}

func (c *Copier) failed(where string, err error) {
	if c.Failed == nil || errors.Is(err, errTold) {
		return
	}
	if e, ok := errors.AsType[placeError](err); ok {
		where, err = e.where, e.err
	}
	c.Failed(where, cause(err))
}

// newName returns a name that nothing has.
func newName() string { return fmt.Sprintf(".nstool-%016x", rand.Uint64()) }

// baseName returns the name that a copy gets, or "" if there is none: then what
// is in it is meant.
func baseName(p string) string {
	switch name := path.Base(p); {
	case name == "/", name == "..", name == ".", strings.HasSuffix(p, "/."):
		return ""
	default:
		return name
	}
}

// cause returns the errno that err is about, or err: messages name the file in
// their own words.
func cause(err error) error {
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

var errAborted = errors.New("given up")

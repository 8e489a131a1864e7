// Package copy copies files between the caller and a target whose file system others control.
//
// Files of a target are opened from one descriptor of its root directory, by [sys.OpenInRoot],
// and from there from one open directory to the next, by single names without following links.
// So no link leads out, even if directories change meanwhile. A file whose status was read is
// opened again by its descriptor, not by its name.
//
// The reader and the writer are two sides with a pipe between them. A deputy with the rights of
// the target is the target's side (see [Far]), the caller is its own. So neither touches files
// of the other, and no link of the one makes the other read or write a file against its rights.
//
// A copy is written under a temporary name, and replaces an old file when it is complete.
// Incomplete copies are removed, also if copying is given up: see [Copier.Abort].
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

// A Place is the source or the destination of files.
type Place struct {
	Root *os.File // the root directory of the target, O_PATH; nil is the caller's own files
	Name string   // of the target, for messages; "" is the caller
	Path string
	By   *Far // the deputy that acts there; nil is the caller
}

// String returns the place as a user writes it: "web:/etc/app.yaml".
func (p Place) String() string {
	if p.Name == "" {
		return p.Path
	}
	return p.Name + ":" + p.Path
}

// Options say how files are copied. Users and groups are in the numbers of the side where they
// apply: of the target's user namespace on a target's side.
type Options struct {
	// Keep gives copies the user and group numbers of the original.
	Keep bool
	// Owner is the user and the group of all copies. Without it, and without Keep, a file that
	// replaces another gets the user and group of that, and a new one those of Heir.
	Owner *[2]uint32
	// Heir is the user and the group of new files, as far as permitted. nil leaves them to the
	// process that makes them.
	//
	// They are set when the file is complete: an owner before that could open it, and write
	// after it has become another's.
	Heir *[2]uint32
	// Umask removes these permissions from new files.
	Umask uint32
	// KeepSetID keeps set-user-ID and set-group-ID bits.
	KeepSetID bool
	// NoFollow copies a named link itself, and not what it leads to.
	NoFollow bool
	// Apart says that the two sides are on different machines, where the same number is another
	// file.
	Apart bool
}

// A Copier copies. Its fields must not change after the start.
type Copier struct {
	Options
	// Failed is called for every file that was left out, with the reason; the rest is copied
	// all the same.
	Failed func(where string, err error)

	// Bytes and Files count what has been copied so far.
	Bytes, Files atomic.Int64

	firsts  map[uint64]first // of the current stream
	numbers *numbers

	mu      sync.Mutex
	pending []*unfinished
	aborted bool
	inPlace sync.Mutex // held while a file that cannot be replaced is overwritten
	busy    atomic.Bool
	onBusy  func() // called when busy changes
}

// Busy reports whether a file that cannot be replaced is being overwritten: a caller that gives
// up waits for the end of that.
func (c *Copier) Busy() bool { return c.busy.Load() }

// setBusy sets Busy.
func (c *Copier) setBusy(is bool) {
	c.busy.Store(is)
	if c.onBusy != nil {
		c.onBusy()
	}
}

// Numbers are the users and groups that a user namespace maps.
type numbers struct{ uids, gids task.IDMap }

// ErrSpecial reports something that is neither a file nor a directory nor a link, and is not
// copied.
var ErrSpecial = errors.New("not copied")

// deepest is the most levels of directories.
const deepest = 1000

// Copy copies from, with everything in it if it is a directory. If to is a directory the copy
// is made in it, under the same name. Of a directory without a name, such as "/" or "dir/.",
// only its content is copied.
func (c *Copier) Copy(ctx context.Context, from, to Place) error {
	return c.between(ctx, c.sender(ctx, from), c.receiver(ctx, to))
}

// FromReader makes a file with the content of r and these permissions. If r is a regular file
// it must not be the destination.
func (c *Copier) FromReader(ctx context.Context, r io.Reader, to Place, perm uint32) error {
	var id sys.FileID
	if f, ok := r.(*os.File); ok {
		id, _ = sys.RegularID(int(f.Fd()))
	}
	return c.between(ctx, half{do: func(w *os.File) error { return c.sendReader(ctx, w, r, perm, id) }}, c.receiver(ctx, to))
}

// ToWriter writes the content of a regular file to w. If w is a regular file it must be another
// one.
func (c *Copier) ToWriter(ctx context.Context, w io.Writer, from Place) error {
	return c.between(ctx, c.sender(ctx, from), half{do: func(r *os.File) error { return c.pour(ctx, r, w) }})
}

// ToTar writes an archive of a place, under its name.
func (c *Copier) ToTar(ctx context.Context, w io.Writer, from Place) error {
	return c.between(ctx, c.sender(ctx, from), half{do: func(r *os.File) error { return c.pack(ctx, r, w) }})
}

// FromTar unpacks an archive below a directory. Links on the way of a name are not followed.
func (c *Copier) FromTar(ctx context.Context, r io.Reader, to Place) error {
	if to.By == nil {
		return c.unpackAll(ctx, r, to)
	}
	far := half{far: true, do: func(p *os.File) error { return to.By.do(ctx, c, request{Do: doUnpack, Place: to}, p) }}
	return c.between(ctx, c.pumping(ctx, r), far)
}

// pumping is the side that sends what r has.
func (c *Copier) pumping(ctx context.Context, r io.Reader) half {
	return half{do: func(w *os.File) error {
		return c.pump(ctx, writing(func(b []byte) (int, error) {
			n, err := w.Write(b)
			return n, stream(err)
		}), r)
	}}
}

// ToStream writes what Copy would copy for a FromStream of the same version on another machine.
func (c *Copier) ToStream(ctx context.Context, w io.Writer, from Place) error {
	return c.between(ctx, c.sender(ctx, from), half{do: func(r *os.File) error { return c.pump(ctx, w, r) }})
}

// FromStream copies to a place what ToStream wrote. It trusts the stream no more than the other
// side of a copy. The error is an [ErrCut] if the stream ended too early.
func (c *Copier) FromStream(ctx context.Context, r io.Reader, to Place) error {
	c.Apart = true
	return c.between(ctx, c.pumping(ctx, r), c.receiver(ctx, to))
}

// A half is one of the two sides.
type half struct {
	far bool // a deputy does it
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

// between runs both sides, with a pipe between them, and returns the first error. A side of the
// caller runs on the calling thread.
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

// writing is an [io.Writer] made of a function.
type writing func(b []byte) (int, error)

func (w writing) Write(b []byte) (int, error) { return w(b) }

// pump copies everything from the reader.
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

// An item is a file to copy, open with O_PATH.
type item struct {
	fd   int
	stat sys.FileStat
	text string // for messages
}

func (it item) close() { sys.CloseFD(it.fd) }

// failed returns err, as a [sourceError] about the item.
func (it item) failed(err error) error {
	if s, ok := errors.AsType[sourceError](err); ok {
		return fmt.Errorf("%s: %w", it.text, cause(s.err))
	}
	return err
}

// openDir opens a directory to copy its content.
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

// A sourceError is about the source, and not about the destination.
type sourceError struct{ err error }

func (e sourceError) Error() string { return e.err.Error() }
func (e sourceError) Unwrap() error { return e.err }

// isFatal reports whether the next file would fail too.
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

// newName returns an unused name.
func newName() string { return fmt.Sprintf(".nstool-%016x", rand.Uint64()) }

// baseName returns the name of a copy, or "" if there is none: then only the content is copied.
func baseName(p string) string {
	switch name := path.Base(p); {
	case name == "/", name == "..", name == ".", strings.HasSuffix(p, "/."):
		return ""
	default:
		return name
	}
}

// cause returns the errno of err, or err, for messages that name the file themselves.
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

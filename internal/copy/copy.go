// Package copy copies files between the caller and a target whose file system
// somebody else controls.
//
// What belongs to a target is reached from one descriptor of its root
// directory, by [sys.OpenInRoot], and from there from one open directory to the
// next, by single names that are never followed. So no link leads out, no matter
// what is changed meanwhile, and what has been looked at is what is read: the
// file itself is opened again, not its name. No program runs in the target, and
// no namespace is joined.
//
// What is written gets a name of its own first and takes the place of what was
// there when it is whole. What has not come so far is removed, by whom the
// copying was given up: see [Copier.Abort].
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
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A Place is where files are or are to be.
type Place struct {
	Root *os.File // the root directory of the target, O_PATH; nil is the caller's own files
	Name string   // of the target, for messages; "" is the caller
	Path string
}

// String returns how the place is written: "web:/etc/app.yaml".
func (p Place) String() string {
	if p.Name == "" {
		return p.Path
	}
	return p.Name + ":" + p.Path
}

// An Owner says whose a copy is, from whose the original is. It is false if
// there is no such user where the copy is.
type Owner func(uid, gid uint32) (u, g uint32, ok bool)

// A Copier copies. Its fields are not changed any more when it has begun.
type Copier struct {
	// Owner says whose copies are. nil leaves a file that takes the place of
	// another to the owner of that one, and what is new to Heir.
	Owner Owner
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
	// Failed is told of every file that was left out and why; the rest is
	// copied all the same.
	Failed func(where string, err error)

	// Bytes and Files have been copied until now.
	Bytes, Files atomic.Int64

	twins *twins // of the directory that is being copied

	mu      sync.Mutex
	pending []unfinished
	aborted bool
}

// ErrSpecial says that something is neither a file nor a directory nor a link,
// and so is not copied.
var ErrSpecial = errors.New("not copied")

// An unfinished copy has a name that it is not to keep.
type unfinished struct {
	dir  int
	name string
}

// deepest is how many directories may be in one another.
const deepest = 1000

// Copy copies from, with all that is in it if it is a directory. If to is a
// directory it is copied into it, under its own name. Something that has no name, such as
// "/" or "dir/.", is copied with what is in it alone.
func (c *Copier) Copy(ctx context.Context, from, to Place) error {
	it, err := from.item(!c.NoFollow)
	if err != nil {
		return err
	}
	defer it.close()
	if !it.stat.IsDir() && !it.stat.IsRegular() && !it.stat.IsLink() {
		return fmt.Errorf("%s is %s: %w", from, sys.KindOf(it.stat.Mode), ErrSpecial)
	}
	at, err := to.place(baseName(from.Path), it.stat.IsDir())
	if err != nil {
		return err
	}
	defer sys.CloseFD(at.dir)
	if it.stat.IsDir() {
		if err := notInto(it.fd, at); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return it.failed(c.put(ctx, it, at, false, 0))
}

// notInto finds out that a directory is to be copied into itself, which would
// not end.
func notInto(src int, at spot) error {
	dir := sys.Dup(at.dir)
	defer func() { sys.CloseFD(dir) }()
	for range deepest {
		if sys.SameFile(src, dir) {
			if at.name == "" {
				return errors.New("it would be copied onto itself")
			}
			return errors.New("it would be copied into itself")
		}
		up, err := sys.OpenAt(dir, "..", true)
		if err != nil || sys.SameFile(up, dir) {
			sys.CloseFD(up)
			return nil // who cannot look there does not write there
		}
		sys.CloseFD(dir)
		dir = up
	}
	return nil
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

// A fatalError ends all, whatever it is about.
type fatalError struct{ err error }

func (e fatalError) Error() string { return e.err.Error() }
func (e fatalError) Unwrap() error { return e.err }

// isFatal reports whether there is no use in going on with the next file.
func isFatal(err error) bool {
	_, fatal := errors.AsType[fatalError](err)
	return fatal || errors.Is(err, errAborted) || sys.IsFull(err) && !isSource(err)
}

func isSource(err error) bool {
	_, ok := errors.AsType[sourceError](err)
	return ok
}

// put copies an item to its place. What is in a fresh directory needs no name
// of its own before it is whole.
func (c *Copier) put(ctx context.Context, it item, at spot, fresh bool, depth int) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	switch {
	case it.stat.IsDir():
		return c.putDir(ctx, it, at, fresh, depth)
	case it.stat.IsLink():
		text, err := sys.ReadlinkAt(it.fd, "")
		if err != nil {
			return sourceError{err}
		}
		return c.putLink(text, it.stat, at)
	case it.stat.IsRegular():
		if first := c.twins.of(it.stat); first != "" && c.link(c.twins.top, first, at) == nil {
			return nil // else there are two files
		}
		f, err := sys.Reopen(it.fd)
		if err != nil {
			return sourceError{err}
		}
		defer f.Close()
		err = c.putFile(at, it.stat, func(to *os.File) error { return c.data(ctx, to, f, it) })
		if err == nil {
			c.twins.add(it.stat, at.text)
		}
		return err
	}
	return sourceError{fmt.Errorf("it is %s: %w", sys.KindOf(it.stat.Mode), ErrSpecial)}
}

// putFile makes a regular file, which write fills.
func (c *Copier) putFile(at spot, st sys.FileStat, write func(*os.File) error) error {
	old, err := at.look()
	if err != nil {
		return at.failed(err)
	}
	if err := old.stays(); err != nil {
		return at.failed(err)
	}
	if old != nil && old.mounted {
		return c.overwrite(at, write)
	}
	f, done, err := c.create(at)
	if err != nil {
		return at.failed(err)
	}
	defer done()
	defer f.Close()
	if err := write(f); err != nil {
		if _, ok := errors.AsType[sourceError](err); ok {
			return err
		}
		return at.failed(err)
	}
	if err := c.dress(f, st, old); err != nil {
		return at.failed(err)
	}
	if err := f.Close(); err != nil {
		return at.failed(err)
	}
	c.Files.Add(1)
	return at.failed(c.settle(f.Name(), at, false))
}

// overwrite writes into a file that something is mounted on, such as the
// /etc/hosts of a container: another file in its place would end the mount.
func (c *Copier) overwrite(at spot, write func(*os.File) error) error {
	fd, err := sys.OpenAt(at.dir, at.name, true)
	if err != nil {
		return at.failed(err)
	}
	defer sys.CloseFD(fd)
	f, err := sys.Overwrite(fd)
	if err != nil {
		return at.failed(err)
	}
	defer f.Close()
	if err := write(f); err != nil {
		return at.failed(err)
	}
	c.Files.Add(1)
	return at.failed(f.Close())
}

// dress gives a copy the owner, the permissions and the time it is to have: in
// the place of an older file those of that one.
func (c *Copier) dress(f *os.File, st sys.FileStat, old *present) error {
	fd := int(f.Fd())
	perm := c.perm(st) &^ c.Umask
	if c.Owner == nil && old != nil && old.stat.IsRegular() {
		perm = old.stat.Perm() & 0o777
	}
	if err := c.chown(st, old, func(u, g uint32) error { return sys.Chown(fd, u, g) }); err != nil {
		return err
	}
	if err := sys.Chmod(fd, perm); err != nil {
		return err
	}
	if st.Changed.IsZero() {
		return nil
	}
	return sys.SetTime(fd, st.Changed)
}

// chown gives a copy to whom it is to belong.
func (c *Copier) chown(st sys.FileStat, old *present, set func(uid, gid uint32) error) error {
	var err error
	switch {
	case c.Owner != nil:
		u, g, err := c.owner(st)
		if err != nil {
			return err
		}
		return set(u, g)
	case old != nil && old.stat.IsRegular():
		err = set(old.stat.UID, old.stat.GID)
	case c.Heir != nil:
		err = set(c.Heir[0], c.Heir[1])
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil // who may not give files away keeps them
	}
	return err
}

// owner asks Owner.
func (c *Copier) owner(st sys.FileStat) (uid, gid uint32, err error) {
	uid, gid, ok := c.Owner(st.UID, st.GID)
	if !ok {
		err = fmt.Errorf("it belongs to %d:%d, and there is no such user or group there", st.UID, st.GID)
	}
	return uid, gid, err
}

// perm returns the permissions of a copy. Set-ID bits mean the power of an
// owner that a copy need not have.
func (c *Copier) perm(st sys.FileStat) uint32 {
	if c.KeepSetID {
		return st.Perm()
	}
	if st.IsDir() {
		return st.Perm() & 0o1777
	}
	return st.Perm() & 0o777
}

// putLink makes a symbolic link. Where it leads is not looked at.
func (c *Copier) putLink(text string, st sys.FileStat, at spot) error {
	if err := at.free(); err != nil {
		return at.failed(err)
	}
	name, done, err := c.begin(at, func(name string) error { return sys.Symlink(text, at.dir, name) })
	if err != nil {
		return at.failed(err)
	}
	defer done()
	if err := c.chown(st, nil, func(u, g uint32) error { return sys.ChownLink(at.dir, name, u, g) }); err != nil {
		return at.failed(err)
	}
	if !st.Changed.IsZero() {
		if err := sys.SetLinkTime(at.dir, name, st.Changed); err != nil {
			return at.failed(err)
		}
	}
	c.Files.Add(1)
	return at.failed(c.settle(name, at, false))
}

// putDir copies a directory with all that is in it.
func (c *Copier) putDir(ctx context.Context, it item, at spot, fresh bool, depth int) error {
	dir, err := it.openDir(depth)
	if err != nil {
		return err
	}
	defer dir.Close()

	into, settle, err := c.mkdir(at, fresh)
	if err != nil {
		return at.failed(err)
	}
	defer into.Close()
	if c.twins == nil {
		c.twins = newTwins(into, at.text)
		defer func() { c.twins = nil }()
	}
	made := settle != nil
	if made {
		defer settle.done()
	}
	err = c.each(ctx, dir, it, func(child item, name string) error {
		to := spot{dir: int(into.Fd()), name: name, text: at.text + "/" + name}
		return c.put(ctx, child, to, made, depth+1)
	})
	if err != nil {
		return err
	}
	if !made {
		return nil
	}
	if err := c.dress(into, it.stat, nil); err != nil {
		return at.failed(err)
	}
	c.Files.Add(1)
	return at.failed(settle.settle())
}

// each calls f with everything in a directory. What f has against one of them
// is told, and the next is taken, unless it concerns all of them.
func (c *Copier) each(ctx context.Context, dir *os.File, it item, f func(child item, name string) error) error {
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if name == "." || name == ".." || strings.Contains(name, "/") {
				continue // which only a broken file system says
			}
			err := c.child(int(dir.Fd()), name, it, f)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case isFatal(err):
				return err
			default:
				c.failed(strings.TrimSuffix(it.text, "/")+"/"+name, err)
			}
		}
		if err == io.EOF || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return sourceError{err}
		}
	}
}

func (c *Copier) child(dir int, name string, it item, f func(item, string) error) error {
	fd, err := sys.OpenAt(dir, name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has been removed meanwhile
	}
	if err != nil {
		return sourceError{err}
	}
	defer sys.CloseFD(fd)
	st, err := sys.StatFD(fd)
	if err != nil {
		return sourceError{err}
	}
	return f(item{fd, st, strings.TrimSuffix(it.text, "/") + "/" + name}, name)
}

func (c *Copier) failed(where string, err error) {
	if c.Failed == nil {
		return
	}
	if e, ok := errors.AsType[placeError](err); ok {
		where, err = e.where, e.err
	}
	c.Failed(where, cause(err))
}

// block is how much is copied at a time.
const block = 256 << 10

// data copies what is in a file, with the holes in it. A file that grows
// meanwhile is copied as long as it was. One that the kernel makes up has no
// length before it is read, or none that it says.
func (c *Copier) data(ctx context.Context, to, from *os.File, it item) error {
	if sys.KernelFiles(it.fd) != "" {
		if it.stat.Size > mostKernel {
			return sourceError{fmt.Errorf("it is the memory of the kernel: %w", ErrSpecial)}
		}
		_, err := c.pump(ctx, to, prompt{from})
		return err
	}
	if it.stat.Size == 0 {
		return nil
	}
	size := it.stat.Size
	buf := make([]byte, min(block, size))
	end := int64(0) // of what was written
	for at := int64(0); at < size; {
		next, hole, ok := sys.NextData(int(from.Fd()), at, size)
		if !ok || next >= size {
			break
		}
		for at = next; at < min(hole, size); {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := from.ReadAt(buf[:min(int64(len(buf)), min(hole, size)-at)], at)
			if n == 0 && err == io.EOF {
				return nil // it has become shorter
			}
			if n == 0 && err != nil {
				return sourceError{err}
			}
			if _, err := to.WriteAt(buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
			end = at
			c.Bytes.Add(int64(n))
		}
	}
	if end < size {
		return to.Truncate(size)
	}
	return nil
}

// mostKernel is more than the kernel makes up, unless it is all it has:
// /proc/kcore.
const mostKernel = 1 << 40

// A prompt reader does not wait for what the kernel may have to say some time,
// as in /proc/kmsg.
type prompt struct{ *os.File }

func (p prompt) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(time.Second)) // which most files do not have: they never wait
	return p.File.Read(b)
}

// pump copies all there is to read.
func (c *Copier) pump(ctx context.Context, to io.Writer, from io.Reader) (total int64, err error) {
	buf := make([]byte, block)
	for {
		if ctx.Err() != nil {
			return total, context.Cause(ctx)
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
			c.Bytes.Add(int64(n))
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, sourceError{err}
		}
	}
}

// FromReader makes a file of what r has to say, with these permissions.
func (c *Copier) FromReader(ctx context.Context, r io.Reader, to Place, perm uint32) error {
	at, err := to.place("", false)
	if err != nil {
		return err
	}
	defer sys.CloseFD(at.dir)
	st := sys.FileStat{Mode: perm}
	return c.putFile(at, st, func(f *os.File) error {
		_, err := c.pump(ctx, f, r)
		return err
	})
}

// ToWriter writes what is in a regular file.
func (c *Copier) ToWriter(ctx context.Context, w io.Writer, from Place) error {
	it, err := from.item(true)
	if err != nil {
		return err
	}
	defer it.close()
	f, err := sys.Reopen(it.fd)
	if err != nil {
		return it.failed(sourceError{err})
	}
	defer f.Close()
	var r io.Reader = f
	if it.stat.Size > 0 {
		r = io.LimitReader(f, it.stat.Size) // it may grow for ever
	}
	_, err = c.pump(ctx, w, r)
	return it.failed(err)
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

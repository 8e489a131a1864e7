package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"

	"github.com/nstool/nstool/internal/sys"
)

// A first is the first copy of a file with several names: its name below the destination
// directory, or, if that was not possible, another one in the directory dir.
type first struct {
	name string
	dir  int
}

// A sink writes the files of a stream.
type sink struct {
	*Copier
	in     *reader
	buf    []byte
	top    *os.File // the destination directory, if a directory is copied
	prefix string   // of the text of a place in it
	names  int      // bytes of the names in firsts
	spares []func() // to remove
}

// receive writes the files of a stream to a place.
func (c *Copier) receive(ctx context.Context, r io.Reader, to Place) error {
	k := &sink{Copier: c, in: newReader(r), buf: make([]byte, block)}
	k.in.apart = c.Apart
	top, err := k.in.next()
	if err != nil {
		return err
	}
	if top.kind != frameTop {
		return bad("a beginning")
	}
	at, err := to.place(top.name, top.stat.IsDir())
	if err != nil {
		return err
	}
	defer sys.CloseFD(at.dir)
	if top.stat.IsDir() {
		if err := notInto(top.stat.FileID, at); err != nil {
			return at.failed(err)
		}
	}
	c.firsts = nil
	defer func() {
		for _, remove := range k.spares {
			remove()
		}
	}()
	f, err := k.in.next()
	if err == nil {
		err = k.take(ctx, f, at, false, 0)
	}
	if errors.Is(err, errTold) {
		err = nil // the other side reports its error
	}
	if err != nil {
		return err
	}
	if f, err = k.in.next(); err == nil && f.kind != frameStop {
		err = bad("an end")
	}
	return err
}

// notInto is an error if a directory would be copied into itself, which would not end.
func notInto(src sys.FileID, at spot) error {
	dir := sys.Dup(at.dir)
	defer func() { sys.CloseFD(dir) }()
	for range deepest {
		if id, err := sys.Fstat(dir); err == nil && id == src {
			if at.name == "" {
				return errors.New("it would be copied onto itself")
			}
			return errors.New("it would be copied into itself")
		}
		up, err := sys.OpenAt(dir, "..", true)
		if err != nil || sys.SameFile(up, dir) {
			sys.CloseFD(up)
			return nil // a place that cannot be read is not written either
		}
		sys.CloseFD(dir)
		dir = up
	}
	return nil
}

// take writes the file of a frame, and reads all frames that belong to it, unless the error is
// fatal. Files in a new directory need no temporary names.
func (k *sink) take(ctx context.Context, f frame, at spot, fresh bool, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch f.kind {
	case frameDir:
		return k.takeDir(ctx, f, at, fresh, depth)
	case frameFile:
		err := k.takeFile(ctx, f, at)
		if err != nil && !isFatal(err) {
			err = cmp.Or(k.in.skipFile(), err)
		}
		return err
	case frameLink:
		return k.putLink(f.text, f.stat, at, fresh)
	case frameTwin:
		return k.takeTwin(ctx, f, at)
	}
	return bad("a frame out of place")
}

// takeDir makes a directory with its content.
func (k *sink) takeDir(ctx context.Context, f frame, at spot, fresh bool, depth int) error {
	if depth > deepest+1 {
		return bad("too many directories in one another")
	}
	into, making, err := k.mkdir(at, fresh)
	if err != nil {
		err = at.failed(err)
		if !isFatal(err) {
			err = cmp.Or(k.in.skip(), err)
		}
		return err
	}
	defer into.Close()
	if making != nil {
		defer making.done()
	}
	if k.top == nil {
		k.top, k.prefix = into, strings.TrimSuffix(at.text, "/")+"/"
		defer func() { k.top = nil }()
	}
	for {
		g, err := k.in.next()
		if err != nil {
			return err
		}
		if g.kind == frameEnd {
			break
		}
		if g.name == "" {
			return bad("no name")
		}
		to := spot{dir: int(into.Fd()), name: g.name, text: strings.TrimSuffix(at.text, "/") + "/" + g.name}
		if err := k.take(ctx, g, to, making != nil, depth+1); err != nil {
			if isFatal(err) || ctx.Err() != nil {
				return err
			}
			k.failed(to.text, err)
		}
	}
	if making == nil {
		return nil
	}
	k.Files.Add(1)
	return at.failed(k.settleDir(into, f.stat, making))
}

// settleDir gives a complete directory its owner, its name and then its permissions: a
// directory without write permission could not be moved.
func (c *Copier) settleDir(dir *os.File, st sys.FileStat, m *making) error {
	if err := c.chown(st, nil, func(u, g uint32) error { return sys.Chown(int(dir.Fd()), u, g) }); err != nil {
		return err
	}
	if err := m.settle(); err != nil {
		return err
	}
	return c.dressMode(dir, st, c.perm(st)&^c.Umask)
}

// takeFile makes a regular file.
func (k *sink) takeFile(ctx context.Context, f frame, at spot) error {
	err := k.putFile(at, f.stat, func(to *os.File, most int64) error { return k.fill(ctx, to, most) })
	if f.twin == 0 || len(k.firsts) >= maxTwins || k.names > maxNames {
		return err
	}
	switch {
	case err == nil:
		k.remember(f.twin, first{name: strings.TrimPrefix(at.text, k.prefix), dir: -1})
	case !isFatal(err) && k.in.inFile && k.top != nil:
		// Its other names get the content all the same.
		spare := spot{dir: int(k.top.Fd()), text: at.text}
		to, done, e := k.create(spare)
		if e != nil {
			return err
		}
		defer to.Close()
		k.spares = append(k.spares, done)
		if e := cmp.Or(k.fill(ctx, to, 0), k.dress(to, f.stat, nil)); e != nil {
			return err
		}
		k.remember(f.twin, first{name: to.Name(), dir: spare.dir})
	}
	return err
}

func (k *sink) remember(n uint64, f first) {
	if k.firsts == nil {
		k.firsts = make(map[uint64]first)
	}
	k.firsts[n] = f
	k.names += len(f.name)
}

// maxNames is the most bytes of these names together; each can be as long as directories are
// deep. A further name of a file that is not among them is left out and reported.
const maxNames = 256 << 20

var errNoRoom = errors.New("it is too large to be written over what something is mounted on: it has to be whole first")

// fill writes the content of a file, up to most bytes if that is not 0.
func (k *sink) fill(ctx context.Context, to *os.File, most int64) error {
	var at, end int64
	for {
		f, err := k.in.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case frameHole:
			if at += f.n; at < 0 {
				return bad("a hole")
			}
		case frameData:
			if most > 0 && at+f.n > most {
				return errNoRoom
			}
			for k.in.left > 0 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				n, err := k.in.Read(k.buf)
				if n > 0 {
					if _, err := to.WriteAt(k.buf[:n], at); err != nil {
						return err
					}
				}
				at += int64(n)
				k.Bytes.Add(int64(n))
				if err != nil && k.in.left > 0 {
					return err
				}
			}
			end = at
		case frameDone:
			if !f.whole {
				return errTold
			}
			if end < at {
				return to.Truncate(at)
			}
			return nil
		default:
			return bad("a frame in a file")
		}
	}
}

// takeTwin makes another name of a file, or if that is not possible a file of its own.
func (k *sink) takeTwin(ctx context.Context, f frame, at spot) error {
	of, ok := k.firsts[f.twin]
	if !ok || k.top == nil {
		return at.failed(errors.New("of its other names none was copied"))
	}
	old, err := at.look()
	if err == nil {
		err = old.replaced(f.stat.FileID)
	}
	if err != nil {
		return at.failed(err)
	}
	var linked error
	if of.dir >= 0 {
		linked = k.linkTo(of.dir, of.name, at)
	} else {
		linked = k.link(k.top, of.name, at)
	}
	if linked == nil || isFatal(linked) {
		return linked
	}
	from, err := k.openFirst(of)
	if err != nil {
		return at.failed(err)
	}
	defer from.Close()
	return k.putFile(at, f.stat, func(to *os.File, most int64) error {
		if most == 0 {
			most = math.MaxInt64
		}
		_, err := copyMost(to, from, most, errNoRoom)
		return err
	})
}

// openFirst opens the first copy of a file.
func (k *sink) openFirst(of first) (*os.File, error) {
	dir, name := of.dir, of.name
	if dir < 0 {
		parts, err := split(of.name)
		if err != nil || len(parts) == 0 {
			return nil, cmp.Or(err, fs.ErrNotExist)
		}
		d, err := k.walk(k.top, parts[:len(parts)-1], nil)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		dir, name = int(d.Fd()), parts[len(parts)-1]
	}
	fd, err := sys.OpenAt(dir, name, true)
	if err != nil {
		return nil, err
	}
	defer sys.CloseFD(fd)
	return sys.Reopen(fd)
}

// putFile makes a regular file, which write fills, with at most most bytes unless that is 0.
func (c *Copier) putFile(at spot, st sys.FileStat, write func(to *os.File, most int64) error) error {
	old, err := at.look()
	if err == nil {
		err = old.replaced(st.FileID)
	}
	if err != nil {
		return at.failed(err)
	}
	if old != nil && old.mounted {
		return at.failed(c.overwrite(at, st, old, write))
	}
	f, done, err := c.create(at)
	if err != nil {
		return at.failed(err)
	}
	defer done()
	defer f.Close()
	if err := write(f, 0); err != nil {
		if isSource(err) {
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
	return at.failed(c.settle(f.Name(), at))
}

// dress sets owner, permissions and time of a copy: if it replaces a file, those of that file.
func (c *Copier) dress(f *os.File, st sys.FileStat, old *present) error {
	fd := int(f.Fd())
	perm := c.perm(st) &^ c.Umask
	if c.keepsOld() && old != nil && old.stat.IsRegular() {
		perm = old.stat.Perm() & 0o777
	}
	if err := c.chown(st, old, func(u, g uint32) error { return sys.Chown(fd, u, g) }); err != nil {
		return err
	}
	return c.dressMode(f, st, perm)
}

// dressMode sets permissions and time of a copy.
func (c *Copier) dressMode(f *os.File, st sys.FileStat, perm uint32) error {
	fd := int(f.Fd())
	if err := sys.Chmod(fd, perm); err != nil {
		return err
	}
	if st.Changed.IsZero() {
		return nil
	}
	return sys.SetTime(fd, st.Changed)
}

// keepsOld reports whether a copy that replaces a file gets its owner.
func (c *Copier) keepsOld() bool { return !c.Keep && c.Owner == nil }

// chown sets the owner of a copy.
func (c *Copier) chown(st sys.FileStat, old *present, set func(uid, gid uint32) error) error {
	var err error
	switch {
	case c.Owner != nil:
		return noSuchOwner(c.Owner[0], c.Owner[1], set(c.Owner[0], c.Owner[1]))
	case c.Keep && (st.UID == noID || st.GID == noID):
		return errors.New("it belongs to a user or group that has no number there")
	case c.Keep:
		return noSuchOwner(st.UID, st.GID, set(st.UID, st.GID))
	case old != nil && old.stat.IsRegular():
		err = set(old.stat.UID, old.stat.GID)
	case c.Heir != nil:
		err = set(c.Heir[0], c.Heir[1])
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil // without the right to do so the copy keeps its owner
	}
	return err
}

// noSuchOwner explains an EINVAL of chown(2).
func noSuchOwner(uid, gid uint32, err error) error {
	if errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("it belongs to %d:%d, and there is no such user or group there", uid, gid)
	}
	return err
}

// perm returns the permissions of a copy. Set-ID bits give the rights of an owner, which the
// copy may not have.
func (c *Copier) perm(st sys.FileStat) uint32 {
	if c.KeepSetID {
		return st.Perm()
	}
	if st.IsDir() {
		return st.Perm() & 0o1777
	}
	return st.Perm() & 0o777
}

// putLink makes a symbolic link, with any text.
func (c *Copier) putLink(text string, st sys.FileStat, at spot, fresh bool) error {
	if fresh {
		if err := sys.Symlink(text, at.dir, at.name); err != nil {
			return at.failed(err)
		}
		c.Files.Add(1)
		return at.failed(c.dressLink(at.dir, at.name, st))
	}
	old, err := at.look()
	if err == nil {
		err = old.free()
	}
	if err != nil {
		return at.failed(err)
	}
	p, err := c.private(at)
	if err != nil {
		return at.failed(err)
	}
	defer c.drop(p)
	if err := sys.Symlink(text, p.inside, p.inner); err != nil {
		return at.failed(err)
	}
	if err := c.dressLink(p.inside, p.inner, st); err != nil {
		return at.failed(err)
	}
	c.Files.Add(1)
	return at.failed(c.settlePrivate(p, at, false))
}

// dressLink is dress for a symbolic link, in a directory that nobody else can
// change.
func (c *Copier) dressLink(dir int, name string, st sys.FileStat) error {
	if err := c.chown(st, nil, func(u, g uint32) error { return sys.ChownLink(dir, name, u, g) }); err != nil {
		return err
	}
	if st.Changed.IsZero() {
		return nil
	}
	return sys.SetLinkTime(dir, name, st.Changed)
}

// pour writes the content of the regular file of a stream.
func (c *Copier) pour(ctx context.Context, r io.Reader, w io.Writer) error {
	k := &sink{Copier: c, in: newReader(r), buf: make([]byte, block)}
	f, err := k.in.next()
	if err != nil {
		return err
	}
	if f.kind != frameTop {
		return bad("a beginning")
	}
	if f, err = k.in.next(); err != nil {
		return err
	}
	if f.kind != frameFile {
		return fmt.Errorf("it is %s: %w", sys.KindOf(f.stat.Mode), ErrSpecial)
	}
	if isFileOf(w, f.stat.FileID) {
		return errors.New("standard output is the same file")
	}
	for {
		if f, err = k.in.next(); err != nil {
			return err
		}
		switch f.kind {
		case frameDone:
			return nil
		case frameHole:
			err = output(io.CopyN(w, zeros{}, f.n))
		case frameData:
			err = k.copyData(ctx, w)
		}
		if err != nil {
			return err
		}
	}
}

// copyData writes the data of the last frame.
func (k *sink) copyData(ctx context.Context, w io.Writer) error {
	for k.in.left > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := k.in.Read(k.buf)
		if n > 0 {
			if err := output(w.Write(k.buf[:n])); err != nil {
				return err
			}
		}
		k.Bytes.Add(int64(n))
		if err != nil && k.in.left > 0 {
			return err
		}
	}
	return nil
}

// isFileOf reports whether w is that regular file.
func isFileOf(w io.Writer, id sys.FileID) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	is, regular := sys.RegularID(int(f.Fd()))
	return regular && is == id
}

// output returns the error of a write as an outputError.
func output[N int | int64](_ N, err error) error {
	if err == nil {
		return nil
	}
	return outputError{err}
}

// An outputError is an error of the writer of [Copier.ToWriter].
type outputError struct{ err error }

func (e outputError) Error() string { return "write standard output: " + cause(e.err).Error() }
func (e outputError) Unwrap() error { return e.err }

package copy

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// pack writes an archive of the files of a stream.
func (c *Copier) pack(ctx context.Context, r io.Reader, w io.Writer) error {
	k := &packer{sink: sink{Copier: c, in: newReader(r), buf: make([]byte, block)}, out: tar.NewWriter(w), w: w, names: map[uint64]string{}}
	top, err := k.in.next()
	if err != nil {
		return err
	}
	if top.kind != frameTop {
		return bad("a beginning")
	}
	dir, name := "", cmp.Or(top.name, ".")
	for depth := 0; ; {
		f, err := k.in.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case frameStop:
			if depth > 0 {
				return bad("an end inside")
			}
			return output(0, k.out.Close())
		case frameEnd:
			if depth--; depth < 0 {
				return bad("an end outside")
			}
			dir = path.Dir(dir)
			continue
		}
		if depth > 0 {
			if f.name == "" {
				return bad("no name")
			}
			name = dir + "/" + f.name
		}
		if f.kind == frameDir {
			if depth++; depth > deepest+2 {
				return bad("too many directories in one another")
			}
			dir = name
		}
		if err := k.entry(ctx, f, name); err != nil {
			return err
		}
	}
}

// A packer writes an archive.
type packer struct {
	sink
	out   *tar.Writer
	w     io.Writer // below it
	names map[uint64]string
}

// entry adds the file of a frame to an archive.
func (k *packer) entry(ctx context.Context, f frame, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	st := f.stat
	h := &tar.Header{Name: name, Mode: int64(k.perm(st)), ModTime: st.Changed, Uid: int(st.UID), Gid: int(st.GID)}
	if k.Owner != nil {
		h.Uid, h.Gid = int(k.Owner[0]), int(k.Owner[1])
	}
	for _, id := range []*int{&h.Uid, &h.Gid} {
		if *id == noID {
			*id = 65534 // an ID that is not mapped becomes nobody
		}
	}
	if h.ModTime.IsZero() {
		h.ModTime = time.Unix(0, 0)
	}
	k.Files.Add(1)
	switch f.kind {
	case frameDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case frameLink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.text
	case frameTwin:
		if h.Typeflag, h.Linkname = tar.TypeLink, k.names[f.twin]; h.Linkname == "" {
			k.failed(name, errors.New("of its other names none was copied"))
			return nil
		}
	case frameFile:
		if f.twin != 0 && len(k.names) < maxTwins {
			k.names[f.twin] = name
		}
		return k.file(ctx, h, f)
	default:
		return bad("a frame out of place")
	}
	return output(0, k.out.WriteHeader(h))
}

// file adds a regular file, with its length when it was opened: a file that has become shorter
// is filled up.
func (k *packer) file(ctx context.Context, h *tar.Header, f frame) error {
	if isFileOf(k.w, f.stat.FileID) {
		k.failed(h.Name, errors.New("it is the archive itself; left out"))
		return k.in.skipFile()
	}
	h.Typeflag, h.Size = tar.TypeReg, f.stat.Size
	if err := k.out.WriteHeader(h); err != nil {
		return output(0, err)
	}
	left := h.Size
	for {
		g, err := k.in.next()
		if err != nil {
			return err
		}
		switch g.kind {
		case frameHole:
			n := min(g.n, left)
			if err := output(io.CopyN(k.out, zeros{}, n)); err != nil {
				return err
			}
			left -= n
		case frameData:
			for k.in.left > 0 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				n, err := k.in.Read(k.buf)
				if err != nil && k.in.left > 0 {
					return err
				}
				k.Bytes.Add(int64(n))
				n = int(min(int64(n), left))
				if err := output(k.out.Write(k.buf[:n])); err != nil {
					return err
				}
				left -= int64(n)
			}
		case frameDone:
			if left > 0 {
				if err := output(io.CopyN(k.out, zeros{}, left)); err != nil {
					return err
				}
				if g.whole {
					k.failed(h.Name, errors.New("it has become shorter meanwhile, and is filled up with zeros"))
				}
			}
			return nil
		default:
			return bad("a frame in a file")
		}
	}
}

// An ending reader knows whether it is at its end.
type ending struct {
	io.Reader
	ended bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.ended = e.ended || n == 0 && err != nil
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// unpackAll unpacks an archive below a directory. Links on the way of a name are not followed.
func (c *Copier) unpackAll(ctx context.Context, r io.Reader, to Place) error {
	fd, err := to.open(true)
	if err != nil {
		return placeError{to.String(), err}
	}
	defer sys.CloseFD(fd)
	top, err := sys.Reopen(fd)
	if err != nil {
		return placeError{to.String(), err}
	}
	defer top.Close()
	made := &madeDir{} // directories get their permissions at the end
	whole := &ending{Reader: r}
	in := tar.NewReader(whole)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) && !whole.ended {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // read the padding, so that the writer can finish
			break
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // an archive has an end mark
		}
		if err != nil {
			return fmt.Errorf("the archive: %w", err)
		}
		where := strings.TrimSuffix(to.String(), "/") + "/" + strings.TrimPrefix(h.Name, "./")
		parts, err := split(h.Name)
		if err != nil {
			c.failed(where, err)
			continue
		}
		err = c.unpack(ctx, in, h, top, parts, where, made)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isFatal(err), isSource(err):
			return err
		default:
			c.failed(where, err)
		}
	}
	made.each(nil, func(parts []string, m *madeDir) {
		f, err := c.walk(top, parts, nil)
		if err == nil {
			if is, e := sys.Fstat(int(f.Fd())); e == nil && is == m.id { // else it was replaced
				err = c.dress(f, *m.stat, nil)
			}
			f.Close()
		}
		if err != nil {
			c.failed(strings.TrimSuffix(to.String(), "/")+"/"+strings.Join(parts, "/"), err)
		}
	})
	return nil
}

// A madeDir is a directory on the way to an entry of an archive. There is one for each name on
// the way, however often the archive has it.
type madeDir struct {
	id   sys.FileID    // if it was made, and did not exist before
	stat *sys.FileStat // its final status, if the archive has it
	in   map[string]*madeDir
}

// enter returns the madeDir of a directory in m.
func (m *madeDir) enter(name string) *madeDir {
	next := m.in[name]
	if next == nil {
		if m.in == nil {
			m.in = make(map[string]*madeDir)
		}
		next = &madeDir{}
		m.in[name] = next
	}
	return next
}

// each calls f with every new directory that has a final status, inner ones first. Directories
// that existed before keep their owner and permissions.
func (m *madeDir) each(parts []string, f func(parts []string, m *madeDir)) {
	for name, next := range m.in {
		next.each(append(parts, name), f)
	}
	if m.stat != nil && m.id != (sys.FileID{}) {
		f(parts, m)
	}
}

// split splits the name of an entry, which must not have "..".
func split(name string) (parts []string, err error) {
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return nil, errors.New("its name leads upwards; left out")
		case part != "" && part != ".":
			parts = append(parts, part)
		}
		if len(parts) > deepest {
			return nil, errors.New("it is too deep; left out")
		}
	}
	return parts, nil
}

func statOf(h *tar.Header) sys.FileStat {
	return sys.FileStat{UID: uint32(h.Uid), GID: uint32(h.Gid), Mode: uint32(h.Mode) & 0o7777, Changed: h.ModTime.Truncate(time.Microsecond)}
}

// walk opens the directory that the names lead to from top. With made, missing directories are
// made and noted there.
func (c *Copier) walk(top *os.File, parts []string, made *madeDir) (*os.File, error) {
	dir, err := sys.Reopen(int(top.Fd()))
	for _, part := range parts {
		if err != nil {
			return nil, err
		}
		next, e := openDir(int(dir.Fd()), part)
		if made != nil {
			made = made.enter(part)
			if errors.Is(e, fs.ErrNotExist) {
				next, made.id, e = c.makeDir(spot{dir: int(dir.Fd()), name: part})
			}
		}
		dir.Close()
		dir, err = next, e
	}
	return dir, err
}

// makeDir makes a directory, and returns its ID if it did not exist.
func (c *Copier) makeDir(at spot) (*os.File, sys.FileID, error) {
	f, making, err := c.mkdir(at, false)
	if err != nil || making == nil {
		return f, sys.FileID{}, err
	}
	defer making.done()
	id, err := sys.Fstat(int(f.Fd()))
	if err == nil {
		err = c.settleDir(f, sys.DirStat(0o755), making)
	}
	if err != nil {
		f.Close()
		return nil, id, err
	}
	return f, id, nil
}

// unpack unpacks one entry.
func (c *Copier) unpack(ctx context.Context, in io.Reader, h *tar.Header, top *os.File, parts []string, where string, made *madeDir) error {
	if h.Typeflag == tar.TypeDir {
		dir, err := c.walk(top, parts, made)
		if err != nil {
			return err
		}
		for _, part := range parts {
			made = made.enter(part)
		}
		st := statOf(h)
		made.stat = &st
		c.Files.Add(1)
		return dir.Close()
	}
	if len(parts) == 0 {
		return errors.New("it has no name; left out")
	}
	dir, err := c.walk(top, parts[:len(parts)-1], made)
	if err != nil {
		return err
	}
	defer dir.Close()
	at := spot{dir: int(dir.Fd()), name: parts[len(parts)-1], text: where}
	st := statOf(h)
	switch h.Typeflag {
	case tar.TypeReg:
		if isSparse(h) {
			return errors.New("it is stored with its holes, as GNU tar does with -S; left out")
		}
		return c.putFile(at, st, func(f *os.File, most int64) error {
			if most > 0 && h.Size > most {
				return errNoRoom
			}
			return c.pump(ctx, writing(func(b []byte) (int, error) {
				n, err := f.Write(b)
				c.Bytes.Add(int64(n))
				return n, err
			}), in)
		})
	case tar.TypeSymlink:
		return c.putLink(h.Linkname, st, at, false)
	case tar.TypeLink:
		return c.link(top, h.Linkname, at)
	}
	return fmt.Errorf("an entry of type %q: %w", h.Typeflag, ErrSpecial)
}

// isSparse reports whether a file has a map of holes: the result can be any number of times
// longer than its part of the archive.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// link makes a hard link to another entry.
func (c *Copier) link(top *os.File, to string, at spot) error {
	parts, err := split(to)
	if err != nil || len(parts) == 0 {
		return fmt.Errorf("a link to %q: %w", to, cmp.Or(err, fs.ErrInvalid))
	}
	dir, err := c.walk(top, parts[:len(parts)-1], nil)
	if err != nil {
		return err
	}
	defer dir.Close()
	return c.linkTo(int(dir.Fd()), parts[len(parts)-1], at)
}

// linkTo makes a hard link to a name in a directory.
func (c *Copier) linkTo(dir int, name string, at spot) error {
	old, err := at.look()
	if err == nil {
		err = old.free()
	}
	if err != nil {
		return err
	}
	u, err := c.begin(at, func(u *unfinished) error { return sys.HardLink(dir, name, at.dir, u.name) })
	if err != nil {
		return err
	}
	defer c.drop(u)
	c.Files.Add(1)
	return c.settle(u.name, at)
}

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
	"slices"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// ToTar writes an archive with what is at a place, under its own name.
func (c *Copier) ToTar(ctx context.Context, w io.Writer, from Place) error {
	it, err := from.item(!c.NoFollow)
	if err != nil {
		return err
	}
	defer it.close()
	out := tar.NewWriter(w)
	c.twins = newTwins(nil, "")
	defer func() { c.twins = nil }()
	err = c.pack(ctx, out, it, cmp.Or(baseName(from.Path), "."), 0)
	if err == nil || isSource(err) { // which leaves whole entries
		err = cmp.Or(out.Close(), err)
	}
	return it.failed(err)
}

// pack adds an item to an archive.
func (c *Copier) pack(ctx context.Context, out *tar.Writer, it item, name string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h := &tar.Header{
		Name: name, Mode: int64(c.perm(it.stat)), ModTime: it.stat.Changed,
		Uid: int(it.stat.UID), Gid: int(it.stat.GID),
	}
	if c.Owner != nil {
		u, g, err := c.owner(it.stat)
		if err != nil {
			return sourceError{err}
		}
		h.Uid, h.Gid = int(u), int(g)
	}
	switch {
	case it.stat.IsDir():
		dir, err := it.openDir(depth)
		if err != nil {
			return err
		}
		defer dir.Close()
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		c.Files.Add(1)
		return c.each(ctx, dir, it, func(child item, base string) error {
			err := c.pack(ctx, out, child, path.Join(name, base), depth+1)
			if err != nil && !isSource(err) {
				return fatalError{err} // an archive with half an entry is none
			}
			return err
		})
	case it.stat.IsLink():
		text, err := sys.ReadlinkAt(it.fd, "")
		if err != nil {
			return sourceError{err}
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, text
		c.Files.Add(1)
		return out.WriteHeader(h)
	case it.stat.IsRegular():
		if first := c.twins.of(it.stat); first != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			c.Files.Add(1)
			return out.WriteHeader(h)
		}
		err := c.packFile(ctx, out, it, h)
		if err == nil {
			c.twins.add(it.stat, name)
		}
		return err
	}
	return sourceError{fmt.Errorf("it is %s: %w", sys.KindOf(it.stat.Mode), ErrSpecial)}
}

// packFile adds a regular file, as long as it was when it was opened: what has
// become shorter is filled up.
func (c *Copier) packFile(ctx context.Context, out *tar.Writer, it item, h *tar.Header) error {
	f, err := sys.Reopen(it.fd)
	if err != nil {
		return sourceError{err}
	}
	defer f.Close()
	h.Typeflag, h.Size = tar.TypeReg, it.stat.Size
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	n, err := c.pump(ctx, out, io.LimitReader(f, it.stat.Size))
	if err != nil && !isSource(err) {
		return err
	}
	if n < it.stat.Size {
		if _, e := io.CopyN(out, zeros{}, it.stat.Size-n); e != nil {
			return e
		}
		if err == nil {
			err = sourceError{errors.New("it has become shorter meanwhile, and is filled up with zeros")}
		}
	}
	c.Files.Add(1)
	return err
}

// An ending reader knows whether it has come to its end.
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

// FromTar makes what is in an archive, below a directory. A link in the way of a
// name is not followed.
func (c *Copier) FromTar(ctx context.Context, r io.Reader, to Place) error {
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
	var dirs []*tar.Header // which get their permissions when all is in them
	whole := &ending{Reader: r}
	in := tar.NewReader(whole)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) && !whole.ended {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // what pads the end: who writes it is to be done
			break
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // an archive says itself where it ends
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
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
		err = c.unpack(ctx, in, h, top, parts, where)
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
	for _, h := range slices.Backward(dirs) {
		parts, err := split(h.Name)
		if err != nil || len(parts) == 0 {
			continue
		}
		f, err := c.walk(top, parts, false)
		if err == nil {
			err = c.dress(f, statOf(h), nil)
			f.Close()
		}
		if err != nil {
			c.failed(strings.TrimSuffix(to.String(), "/")+"/"+h.Name, err)
		}
	}
	return nil
}

// split splits the name of an entry, which must not lead up.
func split(name string) (parts []string, err error) {
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return nil, errors.New("its name leads upwards; left out")
		case part != "" && part != ".":
			parts = append(parts, part)
		}
	}
	if len(parts) > deepest {
		return nil, errors.New("it is too deep; left out")
	}
	return parts, nil
}

func statOf(h *tar.Header) sys.FileStat {
	return sys.FileStat{UID: uint32(h.Uid), GID: uint32(h.Gid), Mode: uint32(h.Mode) & 0o7777, Changed: h.ModTime.Truncate(time.Microsecond)}
}

// walk opens the directory that the names lead to from top, and makes what is
// not there.
func (c *Copier) walk(top *os.File, parts []string, create bool) (*os.File, error) {
	dir, err := sys.Reopen(int(top.Fd()))
	for _, part := range parts {
		if err != nil {
			return nil, err
		}
		next, e := openDir(int(dir.Fd()), part)
		if errors.Is(e, fs.ErrNotExist) && create {
			made := sys.Mkdir(int(dir.Fd()), part, 0o755)
			if e = made; made == nil || errors.Is(made, fs.ErrExist) {
				next, e = openDir(int(dir.Fd()), part)
			}
			if e == nil && made == nil && c.Heir != nil {
				_ = sys.Chown(int(next.Fd()), c.Heir[0], c.Heir[1]) // as far as it is permitted
			}
		}
		dir.Close()
		dir, err = next, e
	}
	return dir, err
}

// unpack makes one entry.
func (c *Copier) unpack(ctx context.Context, in io.Reader, h *tar.Header, top *os.File, parts []string, where string) error {
	if h.Typeflag == tar.TypeDir {
		dir, err := c.walk(top, parts, true)
		if err != nil {
			return err
		}
		c.Files.Add(1)
		return dir.Close()
	}
	if len(parts) == 0 {
		return errors.New("it has no name; left out")
	}
	dir, err := c.walk(top, parts[:len(parts)-1], true)
	if err != nil {
		return err
	}
	defer dir.Close()
	at := spot{dir: int(dir.Fd()), name: parts[len(parts)-1], text: where}
	st := statOf(h)
	switch h.Typeflag {
	case tar.TypeReg:
		return c.putFile(at, st, func(f *os.File) error {
			_, err := c.pump(ctx, f, in)
			return err
		})
	case tar.TypeSymlink:
		return c.putLink(h.Linkname, st, at)
	case tar.TypeLink:
		return c.link(top, h.Linkname, at)
	}
	return fmt.Errorf("an entry of type %q: %w", h.Typeflag, ErrSpecial)
}

// link makes a hard link to another entry.
func (c *Copier) link(top *os.File, to string, at spot) error {
	parts, err := split(to)
	if err != nil || len(parts) == 0 {
		return fmt.Errorf("a link to %q: %w", to, cmp.Or(err, fs.ErrInvalid))
	}
	dir, err := c.walk(top, parts[:len(parts)-1], false)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := at.free(); err != nil {
		return err
	}
	name, done, err := c.begin(at, func(name string) error {
		return sys.HardLink(int(dir.Fd()), parts[len(parts)-1], at.dir, name)
	})
	if err != nil {
		return err
	}
	defer done()
	c.Files.Add(1)
	return c.settle(name, at, false)
}

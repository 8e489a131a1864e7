package copy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A source reads files and writes them as a stream.
type source struct {
	*Copier
	out   *writer
	twins twins
	buf   []byte
}

// send writes a place, under the name of the copy.
func (c *Copier) send(ctx context.Context, w io.Writer, from Place) error {
	it, err := from.item(!c.NoFollow)
	if err != nil {
		return err
	}
	defer it.close()
	if !it.stat.IsDir() && !it.stat.IsRegular() && !it.stat.IsLink() {
		return fmt.Errorf("%s is %s: %w", from, sys.KindOf(it.stat.Mode), ErrSpecial)
	}
	s := &source{Copier: c, out: newWriter(w), buf: make([]byte, block)}
	name := baseName(from.Path)
	// The other side reads the destination meanwhile.
	err = s.out.put(frame{kind: frameTop, name: name, stat: c.numbered(it.stat)})
	if err == nil {
		err = s.item(ctx, it, name, 0)
	}
	if err == nil || isSource(err) { // the stream is complete
		if e := s.out.stop(); err == nil {
			err = e
		}
	}
	return it.failed(err)
}

// numbered returns a status with noID for users and groups that are not mapped here.
func (c *Copier) numbered(st sys.FileStat) sys.FileStat {
	if c.numbers == nil {
		return st
	}
	if !c.numbers.uids.Has(st.UID) {
		st.UID = noID
	}
	if !c.numbers.gids.Has(st.GID) {
		st.GID = noID
	}
	return st
}

// item sends an item with its content.
func (s *source) item(ctx context.Context, it item, name string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f := frame{name: name, stat: s.numbered(it.stat)}
	switch {
	case it.stat.IsDir():
		return s.dir(ctx, it, f, depth)
	case it.stat.IsLink():
		text, err := sys.ReadlinkAt(it.fd, "")
		if err != nil {
			return sourceError{err}
		}
		f.kind, f.text = frameLink, text
		return s.out.put(f)
	case it.stat.IsRegular():
		var again bool
		if f.twin, again = s.twins.of(it.stat); again {
			f.kind = frameTwin
			return s.out.put(f)
		}
		return s.file(ctx, it, f)
	}
	return sourceError{fmt.Errorf("it is %s: %w", sys.KindOf(it.stat.Mode), ErrSpecial)}
}

// file sends a regular file.
func (s *source) file(ctx context.Context, it item, f frame) error {
	from, err := sys.Reopen(it.fd)
	if err != nil {
		s.twins.forget(it.stat)
		return sourceError{err}
	}
	defer from.Close()
	f.kind = frameFile
	if err := s.out.put(f); err != nil {
		return err
	}
	err = s.content(ctx, from, it)
	if err != nil && !isSource(err) {
		return err
	}
	if err != nil {
		s.twins.forget(it.stat)
	}
	if e := s.out.put(frame{kind: frameDone, whole: err == nil}); e != nil {
		return e
	}
	return err
}

// dir sends a directory with its content.
func (s *source) dir(ctx context.Context, it item, f frame, depth int) error {
	dir, err := it.openDir(depth)
	if err != nil {
		return err
	}
	defer dir.Close()
	f.kind = frameDir
	if err := s.out.put(f); err != nil {
		return err
	}
	err = s.each(ctx, dir, it, func(child item, name string) error { return s.item(ctx, child, name, depth+1) })
	if err != nil && !isSource(err) {
		return err
	}
	if e := s.out.put(frame{kind: frameEnd}); e != nil {
		return e
	}
	return err
}

// each calls f with every entry of a directory. An error of f is reported, and the next entry
// is taken, unless the error is fatal.
func (s *source) each(ctx context.Context, dir *os.File, it item, f func(child item, name string) error) error {
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if name == "." || name == ".." || strings.Contains(name, "/") || len(name) > maxName {
				continue // such names come from a broken file system
			}
			err := s.child(int(dir.Fd()), name, it, f)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case !isSource(err):
				return err
			default:
				s.failed(strings.TrimSuffix(it.text, "/")+"/"+name, err)
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

func (s *source) child(dir int, name string, it item, f func(item, string) error) error {
	fd, err := sys.OpenAt(dir, name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed meanwhile
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

// block is the number of bytes that are copied at once.
const block = 256 << 10

// content sends the content of a file, with its holes. A file that grows meanwhile is copied
// with its old length. A file that the kernel generates has no length before it is read.
func (s *source) content(ctx context.Context, from *os.File, it item) error {
	if sys.KernelFiles(it.fd) != "" {
		if it.stat.Size > maxKernel {
			return sourceError{fmt.Errorf("it is the memory of the kernel: %w", ErrSpecial)}
		}
		return s.all(ctx, prompt{from})
	}
	size := it.stat.Size
	for at := int64(0); at < size; {
		next, hole, ok := sys.NextData(int(from.Fd()), at, size)
		if !ok || next >= size {
			next, hole = size, size
		}
		if next > at {
			if err := s.out.put(frame{kind: frameHole, n: next - at}); err != nil {
				return err
			}
		}
		for at = next; at < min(hole, size); {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := from.ReadAt(s.buf[:min(block, min(hole, size)-at)], at)
			if n == 0 && err == io.EOF {
				return nil // the file has become shorter
			}
			if n == 0 && err != nil {
				return sourceError{err}
			}
			if err := s.out.data(s.buf[:n]); err != nil {
				return err
			}
			at += int64(n)
		}
	}
	return nil
}

// maxKernel is more than the length of any generated file but /proc/kcore.
const maxKernel = 1 << 40

// A prompt reader does not wait for data that may come later, as in /proc/kmsg.
type prompt struct{ *os.File }

func (p prompt) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(time.Second)) // most files support none: they never block
	return p.File.Read(b)
}

// all sends everything from a reader, and each part at once, since the next can take long.
func (s *source) all(ctx context.Context, from io.Reader) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.out.flush(); err != nil {
			return err
		}
		n, err := from.Read(s.buf)
		if err := s.out.data(s.buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return sourceError{err}
		}
	}
}

// sendReader sends a file with the content of r. id is that of r if r is a regular file.
func (c *Copier) sendReader(ctx context.Context, w io.Writer, r io.Reader, perm uint32, id sys.FileID) error {
	s := &source{Copier: c, out: newWriter(w), buf: make([]byte, block)}
	st := sys.RegularStat(perm, id)
	for _, k := range []kind{frameTop, frameFile} {
		if err := s.out.put(frame{kind: k, stat: st}); err != nil {
			return err
		}
	}
	if err := s.all(ctx, r); err != nil {
		return err
	}
	if err := s.out.put(frame{kind: frameDone, whole: true}); err != nil {
		return err
	}
	return s.out.stop()
}

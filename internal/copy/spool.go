package copy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

// maxMemory is how much is kept in memory of a file that cannot be replaced,
// if there is another place; maxSpool if there is none.
const (
	maxMemory = 16 << 20
	maxSpool  = 1 << 30
)

// overwrite writes into a file that something is mounted on, such as the
// /etc/hosts of a container: another file in its place would end the mount. What
// is new is whole, and there is room for it, before anything is changed; and what
// was there is put back if it can not be written after all.
func (c *Copier) overwrite(at spot, st sys.FileStat, old *present, write func(to *os.File, most int64) error) error {
	fd, err := sys.OpenAt(at.dir, at.name, true)
	if err != nil {
		return err
	}
	defer sys.CloseFD(fd)
	if is, err := sys.StatFD(fd); err != nil || is.FileID != old.stat.FileID {
		return errors.Join(err, errors.New("it has been exchanged meanwhile"))
	}
	if name := sys.KernelFiles(fd); name != "" {
		return fmt.Errorf("no file is written over in a %s file system", name)
	}
	to, err := sys.ReopenToWrite(fd)
	if err != nil {
		return err
	}
	defer to.Close()

	fresh, drop, most, err := c.spool(at, st.Size)
	if err != nil {
		return err
	}
	defer drop()
	if err := write(fresh, most); err != nil {
		return err
	}
	return c.replaceContent(to, fresh, old.stat.Size, func() (*os.File, func(), error) {
		f, drop, most, err := c.spool(at, old.stat.Size)
		if err == nil && most > 0 && old.stat.Size > most {
			drop()
			err = errNoRoom
		}
		return f, drop, err
	})
}

// spool returns a file to keep something in, and how much may be kept there, 0
// for no limit: in memory, or beside the place if it is much or nobody knows how
// much.
func (c *Copier) spool(at spot, size int64) (f *os.File, drop func(), most int64, err error) {
	if size == 0 || size > maxMemory {
		if f, done, err := c.create(at); err == nil {
			return f, func() { f.Close(); done() }, 0, nil
		}
	}
	f, err = sys.MemoryFile()
	return f, func() { f.Close() }, maxSpool, err
}

// replaceContent writes what is in fresh over what is in to.
func (c *Copier) replaceContent(to, fresh *os.File, oldSize int64, spool func() (*os.File, func(), error)) error {
	end, err := fresh.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if end > oldSize {
		if err := sys.Reserve(int(to.Fd()), end); err != nil {
			_ = to.Truncate(oldSize) // which frees what was reserved
			return err
		}
	}
	kept, drop, err := spool()
	if err != nil {
		return err
	}
	defer drop()
	if err := overwriteWith(kept, to, oldSize); err != nil {
		return fmt.Errorf("keep what is there: %w", cause(err))
	}

	c.inPlace.Lock()
	defer c.inPlace.Unlock()
	c.mu.Lock()
	aborted := c.aborted
	c.mu.Unlock()
	if aborted {
		return errAborted
	}
	c.setBusy(true)
	defer c.setBusy(false)
	if err := overwriteWith(to, fresh, end); err != nil {
		if e := overwriteWith(to, kept, oldSize); e != nil {
			return fmt.Errorf("%w; and what was there is lost: %w", cause(err), cause(e))
		}
		return err
	}
	c.Files.Add(1)
	return nil
}

var errGrown = errors.New("it has grown meanwhile")

// overwriteWith makes to have what is in from, without a moment in which it is
// empty. More than most bytes are an error: whose file it is may make it as long
// as a file can be, at no cost.
func overwriteWith(to, from *os.File, most int64) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := copyMost(to, from, most, errGrown)
	if err != nil {
		return err
	}
	return to.Truncate(n)
}

// copyMost copies all there is to read. More than most bytes are that error.
func copyMost(to io.Writer, from io.Reader, most int64, tooMuch error) (int64, error) {
	n, err := io.CopyN(to, from, most)
	if errors.Is(err, io.EOF) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	var b [1]byte
	if _, err := io.ReadFull(from, b[:]); !errors.Is(err, io.EOF) {
		return n, cmp.Or(err, tooMuch)
	}
	return n, nil
}

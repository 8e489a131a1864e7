package copy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

// maxMemory is the most that is kept in memory of a file that cannot be replaced, if there is
// another place; maxSpool if there is none. Both in bytes.
const (
	maxMemory = 16 << 20
	maxSpool  = 1 << 30
)

// overwrite writes into a file that is a mount point, such as the /etc/hosts of a container:
// replacing it would remove the mount. Before the file is changed the new content is complete,
// and there is room for it. The old content is put back if writing fails all the same.
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

// spool returns a temporary file for size bytes, and the most bytes that it may get, 0 for no
// limit. It is in memory, or beside the place if size is large or unknown.
func (c *Copier) spool(at spot, size int64) (f *os.File, drop func(), most int64, err error) {
	if size == 0 || size > maxMemory {
		if f, done, err := c.create(at); err == nil {
			return f, func() { f.Close(); done() }, 0, nil
		}
	}
	f, err = sys.MemoryFile()
	return f, func() { f.Close() }, maxSpool, err
}

// replaceContent replaces the content of to by that of fresh.
func (c *Copier) replaceContent(to, fresh *os.File, oldSize int64, spool func() (*os.File, func(), error)) error {
	end, err := fresh.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if end > oldSize {
		if err := sys.Reserve(int(to.Fd()), end); err != nil {
			_ = to.Truncate(oldSize) // frees the reserved room
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

// overwriteWith gives to the content of from, and at no moment is to empty. More than most
// bytes are an error: the owner of a file can make it as long as a file can be, at no cost.
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

// copyMost copies everything from a reader. More than most bytes are the error tooMuch.
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

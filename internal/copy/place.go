package copy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// open opens the place with O_PATH.
func (p Place) open(follow bool) (int, error) {
	if p.Root == nil {
		return sys.OpenWay(p.Path, follow)
	}
	root := int(p.Root.Fd())
	fd, err := sys.OpenInRoot(root, p.Path, follow)
	if err == nil && sys.IsProcfs(fd) || err != nil && (sys.IsLoop(err) || errors.Is(err, fs.ErrNotExist)) {
		if why := aboutReader(root, p.Path, follow); why != nil {
			if err == nil {
				sys.CloseFD(fd)
			}
			return -1, why
		}
	}
	return fd, err
}

// item opens the place as a source.
func (p Place) item(follow bool) (item, error) {
	fd, err := p.open(follow)
	if err != nil {
		return item{}, fmt.Errorf("%s: %w", p, cause(err))
	}
	st, err := sys.StatFD(fd)
	if err != nil {
		sys.CloseFD(fd)
		return item{}, fmt.Errorf("%s: %w", p, cause(err))
	}
	return item{fd, st, p.String()}, nil
}

// IsDir reports whether the place is a directory.
func (p Place) IsDir(ctx context.Context) (bool, error) {
	if p.By != nil {
		return p.By.isDir(ctx, p)
	}
	it, err := p.item(true)
	if err != nil {
		return false, err
	}
	it.close()
	return it.stat.IsDir(), nil
}

// A spot is the destination of one copy: a name in an open directory, or without a name the
// directory itself.
type spot struct {
	dir  int
	name string
	text string // for messages
}

// A placeError is about the destination.
type placeError struct {
	where string
	err   error
}

func (e placeError) Error() string { return e.where + ": " + cause(e.err).Error() }
func (e placeError) Unwrap() error { return e.err }

// failed returns err with its place, nil for nil.
func (at spot) failed(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[placeError](err); ok {
		return err
	}
	return placeError{at.text, err}
}

// place finds the destination of a copy with that name: in the place if that is a directory,
// and else the place itself. Links are followed, as cp(1) does; but a link with the name of the
// copy in a directory is replaced.
func (p Place) place(name string, isDir bool) (spot, error) {
	bad := func(err error) (spot, error) { return spot{}, placeError{p.String(), err} }
	fd, err := p.open(true)
	if err == nil {
		st, err := sys.StatFD(fd)
		if err != nil {
			sys.CloseFD(fd)
			return bad(err)
		}
		if st.IsDir() {
			text := strings.TrimSuffix(p.String(), "/")
			if name != "" {
				text += "/" + name
			}
			return spot{fd, name, text}, nil
		}
		sys.CloseFD(fd)
		switch {
		case isDir:
			return bad(errors.New("it is not a directory"))
		case strings.HasSuffix(p.Path, "/"):
			return bad(errors.New("it is not a directory"))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return bad(err)
	} else if strings.HasSuffix(p.Path, "/") && !isDir {
		return bad(errors.New("there is no such directory"))
	}
	exists := err == nil
	at := p
	for range 40 { // the most links that the kernel follows
		clean := strings.TrimRight(at.Path, "/")
		dir, last := path.Split(clean)
		if last == "" || last == "." || last == ".." {
			return bad(fs.ErrNotExist)
		}
		if dir == "" {
			dir = "."
		}
		parent := Place{Root: at.Root, Name: at.Name, Path: dir}
		fd, err := parent.open(true)
		if err != nil {
			return spot{}, placeError{strings.TrimSuffix(parent.String(), "/"), err}
		}
		st, err := sys.StatAt(fd, last)
		if err == nil && st.IsLink() {
			text, err := sys.ReadlinkAt(fd, last)
			sys.CloseFD(fd)
			if err != nil {
				return bad(err)
			}
			if !exists {
				return bad(errors.New("it is a link that leads to nothing"))
			}
			if !strings.HasPrefix(text, "/") {
				text = dir + "/" + text
			}
			at.Path = text
			continue
		}
		if st, err := sys.StatFD(fd); err != nil || !st.IsDir() {
			sys.CloseFD(fd)
			return spot{}, placeError{strings.TrimSuffix(parent.String(), "/"), errors.New("it is not a directory")}
		}
		return spot{fd, last, p.String()}, nil
	}
	return bad(errors.New("too many links"))
}

// present is the file at a spot.
type present struct {
	stat    sys.FileStat
	mounted bool
}

// look returns the file at the spot, or nil.
func (at spot) look() (*present, error) {
	if at.name == "" {
		return nil, errors.New("it is a directory")
	}
	st, err := sys.StatAt(at.dir, at.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounted, err := sys.IsMountPoint(at.dir, at.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &present{st, mounted}, nil
}

// stays returns why the old file is not replaced, or nil.
func (p *present) stays() error {
	if p == nil || p.stat.IsRegular() || p.stat.IsLink() {
		return nil
	}
	return fmt.Errorf("it is %s, and is left as it is", sys.KindOf(p.stat.Mode))
}

// replaced returns nil if the old file can be replaced by a copy of that file.
func (p *present) replaced(by sys.FileID) error {
	if p != nil && p.stat.FileID == by {
		return errSame
	}
	return p.stays()
}

var errSame = errors.New("it is the same file as the one that is copied")

// free returns nil unless there is a file that cannot be replaced.
func (p *present) free() error {
	err := p.stays()
	if err == nil && p != nil && p.mounted {
		err = errors.New("something is mounted on it, and it is left as it is")
	}
	return err
}

// An unfinished copy has a temporary name.
type unfinished struct {
	dir    int
	name   string
	inside int    // of a private directory, or -1 for a file
	inner  string // the name of the new file in it
}

// begin makes a file under a temporary name, which drop removes unless it was moved.
func (c *Copier) begin(at spot, create func(u *unfinished) error) (*unfinished, error) {
	u := &unfinished{sys.Dup(at.dir), newName(), -1, newName()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		sys.CloseFD(u.dir)
		return nil, errAborted
	}
	// Under the lock, so that Abort knows of every file.
	if err := create(u); err != nil {
		sys.CloseFD(u.dir)
		if kernel := sys.KernelFiles(at.dir); kernel != "" {
			err = fmt.Errorf("no file can be made in a %s file system", kernel)
		}
		return nil, err
	}
	c.pending = append(c.pending, u)
	return u, nil
}

// create is begin for a regular file.
func (c *Copier) create(at spot) (f *os.File, done func(), err error) {
	u, err := c.begin(at, func(u *unfinished) (err error) {
		f, err = sys.CreateFile(at.dir, u.name)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return f, func() { c.drop(u) }, nil
}

// private is begin for a file that cannot be made and opened in one call: it makes a directory
// in which nobody else can replace the file. A user who may rename the directory may not enter
// it. If it is replaced by another one of ours, only the one name in it is touched.
func (c *Copier) private(at spot) (*unfinished, error) {
	return c.begin(at, func(u *unfinished) error {
		if err := sys.Mkdir(at.dir, u.name, 0o700); err != nil {
			return err
		}
		dir, err := sys.OpenPrivateDir(at.dir, u.name)
		if err != nil {
			_ = sys.Rmdir(at.dir, u.name)
			return err
		}
		u.inside = dir
		return nil
	})
}

// settle gives a complete file its final name.
func (c *Copier) settle(name string, at spot) error {
	return c.finish(func(u *unfinished) bool { return u.name == name }, func(*unfinished) error { return sys.RenameOver(at.dir, name, at.name) })
}

// settlePrivate moves a complete file from its private directory to its place. A new file
// replaces none.
func (c *Copier) settlePrivate(p *unfinished, at spot, isNew bool) error {
	return c.finish(func(u *unfinished) bool { return u == p }, func(*unfinished) error {
		err := sys.RenameTo(p.inside, p.inner, at.dir, at.name, isNew)
		if err == nil {
			_ = sys.Rmdir(p.dir, p.name)
		}
		return err
	})
}

// finish turns an unfinished copy into a finished one.
func (c *Copier) finish(which func(*unfinished) bool, rename func(*unfinished) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.pending, which)
	if c.aborted || i < 0 {
		return errAborted
	}
	u := c.pending[i]
	if err := rename(u); err != nil {
		return err
	}
	c.pending = slices.Delete(c.pending, i, i+1)
	u.close()
	return nil
}

func (u *unfinished) close() { sys.CloseAll(u.dir, u.inside) }

// remove removes an unfinished copy. The content of a directory is removed by its descriptor:
// its name may lead to another by now.
func (u *unfinished) remove() {
	if u.inside < 0 {
		_ = sys.Unlink(u.dir, u.name)
	} else {
		removeAll(u.inside, u.inner, 0)
		_ = sys.Rmdir(u.dir, u.name)
	}
	u.close()
}

// drop removes a file that still has its temporary name.
func (c *Copier) drop(u *unfinished) {
	c.mu.Lock()
	i := slices.Index(c.pending, u)
	if i >= 0 {
		c.pending = slices.Delete(c.pending, i, i+1)
	}
	c.mu.Unlock()
	if i >= 0 {
		u.remove()
	}
}

// Abort removes incomplete copies, after which no file can be made. It may be called while the
// copier is blocked. It waits until a file that is being overwritten is complete.
func (c *Copier) Abort() {
	c.mu.Lock()
	c.aborted = true
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()
	for _, u := range slices.Backward(pending) {
		u.remove()
	}
	c.inPlace.Lock()
	c.inPlace.Unlock() //nolint:staticcheck // the lock is only waited for
}

// removeAll removes a file, or a directory with its content, in a directory that nobody else
// can change. It stays on one mount: mounts of others in there are not ours.
func removeAll(dir int, name string, depth int) {
	if sys.Unlink(dir, name) == nil || depth > deepest+2 {
		return
	}
	_ = sys.ChmodDirAt(dir, name, 0o700) // it may have its final permissions already
	fd, err := sys.OpenSameMount(dir, name)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, child := range names {
			removeAll(fd, child, depth+1)
		}
		if err != nil || len(names) == 0 {
			break
		}
	}
	_ = sys.Rmdir(dir, name)
}

// A making is a directory that has been made and does not have its name yet.
type making struct {
	done   func()
	settle func() error
}

// mkdir opens the directory at a spot. If there is none it is made, in a private directory
// unless its parent is private, and returned as a making.
func (c *Copier) mkdir(at spot, fresh bool) (into *os.File, m *making, err error) {
	if at.name == "" {
		f, err := sys.Reopen(at.dir)
		return f, nil, err
	}
	if fresh {
		if err := sys.Mkdir(at.dir, at.name, 0o700); err != nil {
			return nil, nil, err
		}
		f, err := openDir(at.dir, at.name)
		return f, &making{func() {}, func() error { return nil }}, err
	}
	old, err := at.look()
	if err != nil {
		return nil, nil, err
	}
	if old != nil {
		f, err := openDir(at.dir, at.name)
		return f, nil, err
	}
	p, err := c.private(at)
	if err != nil {
		return nil, nil, err
	}
	if err := sys.Mkdir(p.inside, p.inner, 0o700); err != nil {
		c.drop(p)
		return nil, nil, err
	}
	f, err := openDir(p.inside, p.inner)
	if err != nil {
		c.drop(p)
		return nil, nil, err
	}
	return f, &making{func() { c.drop(p) }, func() error { return c.settlePrivate(p, at, true) }}, nil
}

// openDir opens a directory by its name in another, without following a link.
func openDir(dir int, name string) (*os.File, error) {
	fd, err := sys.OpenAt(dir, name, true)
	if err != nil {
		return nil, err
	}
	defer sys.CloseFD(fd)
	st, err := sys.StatFD(fd)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("it is %s, and not a directory", sys.KindOf(st.Mode))
	}
	return sys.Reopen(fd)
}

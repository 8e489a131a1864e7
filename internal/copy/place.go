package copy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// open opens what is at the place, O_PATH.
func (p Place) open(follow bool) (int, error) {
	if p.Root == nil {
		return sys.OpenWay(p.Path, follow)
	}
	return sys.OpenInRoot(int(p.Root.Fd()), p.Path, follow)
}

// item opens what is at the place, to be copied.
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

// IsDir reports whether what is at the place is a directory.
func (p Place) IsDir() (bool, error) {
	it, err := p.item(true)
	if err != nil {
		return false, err
	}
	it.close()
	return it.stat.IsDir(), nil
}

// A spot is where one copy is to be: a name in an open directory, or with no
// name the directory itself.
type spot struct {
	dir  int
	name string
	text string // for messages
}

// A placeError is about where to copy to.
type placeError struct {
	where string
	err   error
}

func (e placeError) Error() string { return e.where + ": " + cause(e.err).Error() }
func (e placeError) Unwrap() error { return e.err }

// failed returns err with the place it is about, nil for nil.
func (at spot) failed(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[placeError](err); ok {
		return err
	}
	return placeError{at.text, err}
}

// place finds where a copy with that name is to be: in the place if that is a
// directory, and else at it. Links are followed to what they lead to, as cp(1)
// does; but one that has the name of the copy in a directory is replaced.
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
	for range 40 { // as many links as the kernel follows
		clean := strings.TrimRight(at.Path, "/")
		dir, last := path.Split(clean)
		if last == "" || last == "." || last == ".." {
			return bad(fs.ErrNotExist)
		}
		if dir == "" {
			dir = "."
		}
		parent := Place{at.Root, at.Name, dir}
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

// present is what is at a spot.
type present struct {
	stat    sys.FileStat
	mounted bool
}

// look returns what is at the spot, nil for nothing.
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

// stays says why what is there is not replaced, or nil.
func (p *present) stays() error {
	if p == nil || p.stat.IsRegular() || p.stat.IsLink() {
		return nil
	}
	return fmt.Errorf("it is %s, and is left as it is", sys.KindOf(p.stat.Mode))
}

// free returns nil if there is nothing at the spot that could not be replaced.
func (at spot) free() error {
	old, err := at.look()
	if err == nil {
		err = old.stays()
	}
	if err == nil && old != nil && old.mounted {
		err = errors.New("something is mounted on it, and it is left as it is")
	}
	return err
}

// begin makes something under a name of its own, which is forgotten or removed
// when done is called.
func (c *Copier) begin(at spot, create func(name string) error) (name string, done func(), err error) {
	name = newName()
	u := unfinished{sys.Dup(at.dir), name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		sys.CloseFD(u.dir)
		return "", nil, errAborted
	}
	// Under the lock: what is made is known before it can be given up.
	if err := create(name); err != nil {
		sys.CloseFD(u.dir)
		if kernel := sys.KernelFiles(at.dir); kernel != "" {
			err = fmt.Errorf("no file can be made in a %s file system", kernel)
		}
		return "", nil, err
	}
	c.pending = append(c.pending, u)
	return name, func() { c.drop(name) }, nil
}

// create is begin for a regular file.
func (c *Copier) create(at spot) (f *os.File, done func(), err error) {
	_, done, err = c.begin(at, func(name string) (err error) {
		f, err = sys.CreateFile(at.dir, name)
		return err
	})
	return f, done, err
}

// settle gives what is whole the name it is to have.
func (c *Copier) settle(name string, at spot, isNew bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		return errAborted
	}
	var err error
	if isNew {
		err = sys.RenameNew(at.dir, name, at.name)
	} else {
		err = sys.RenameOver(at.dir, name, at.name)
	}
	if err != nil {
		return err
	}
	u, _ := c.forget(name)
	sys.CloseFD(u.dir)
	return nil
}

// forget takes a name off the list, with the lock held.
func (c *Copier) forget(name string) (unfinished, bool) {
	for i, u := range c.pending {
		if u.name == name {
			c.pending = append(c.pending[:i], c.pending[i+1:]...)
			return u, true
		}
	}
	return unfinished{}, false
}

// drop removes what is still there under its first name.
func (c *Copier) drop(name string) {
	c.mu.Lock()
	u, ok := c.forget(name)
	c.mu.Unlock()
	if ok {
		remove(u.dir, u.name, 0)
		sys.CloseFD(u.dir)
	}
}

// Abort removes what is not whole. Nothing can be made any more. It may be
// called while the copier waits for something that does not answer.
func (c *Copier) Abort() {
	c.mu.Lock()
	c.aborted = true
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()
	for i := len(pending) - 1; i >= 0; i-- {
		remove(pending[i].dir, pending[i].name, 0)
		sys.CloseFD(pending[i].dir)
	}
}

// remove removes a file, or a directory with all that is in it: of one mount,
// since what others may have mounted there meanwhile is not ours.
func remove(dir int, name string, depth int) {
	if err := sys.Unlink(dir, name); err == nil || depth > deepest+1 {
		return
	}
	fd, err := sys.OpenSameMount(dir, name)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, child := range names {
			remove(fd, child, depth+1)
		}
		if err != nil || len(names) == 0 {
			break
		}
	}
	_ = sys.Rmdir(dir, name)
}

// A making is a directory that has been made and has not got its name yet.
type making struct {
	done   func()
	settle func() error
}

// mkdir opens the directory at a spot. If there is none it is made, and the
// making says so: under a name of its own, unless the directory it is in has
// one.
func (c *Copier) mkdir(at spot, fresh bool) (into *os.File, m *making, err error) {
	if at.name == "" {
		f, err := sys.Reopen(at.dir)
		return f, nil, err
	}
	if !fresh {
		old, err := at.look()
		if err != nil {
			return nil, nil, err
		}
		if old != nil {
			f, err := openDir(at.dir, at.name)
			return f, nil, err
		}
		name, done, err := c.begin(at, func(name string) error { return sys.Mkdir(at.dir, name, 0o700) })
		if err != nil {
			return nil, nil, err
		}
		f, err := openDir(at.dir, name)
		if err != nil {
			done()
			return nil, nil, err
		}
		return f, &making{done, func() error { return c.settle(name, at, true) }}, nil
	}
	if err := sys.Mkdir(at.dir, at.name, 0o700); err != nil {
		return nil, nil, err
	}
	f, err := openDir(at.dir, at.name)
	return f, &making{func() {}, func() error { return nil }}, err
}

// openDir opens a directory by its name in another; a link is not followed.
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

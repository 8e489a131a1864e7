package container

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"

	"github.com/nstool/nstool/internal/sys"
)

// maxState bounds a state file. The largest, the list of podman's containers
// and a configuration with a long environment, are some hundred kilobytes.
const maxState = 4 << 20

// maxNames bounds how many names of a directory are looked at, and maxFew those
// of a directory in which there are few: namespaces of containerd, drivers of
// containers/storage.
const (
	maxNames = 1 << 16
	maxFew   = 64
)

// maxInner bounds what is read altogether in the file system of a container,
// which can have any number of containers in it that are not there.
const maxInner = 64 << 20

var errTooMuch = errors.New("too much was read in this container already")

// A store is the root of a file system in which engines keep their state: that
// of the host, or of a container that runs an engine.
type store struct {
	root sys.StateDir
	dirs map[string]openDir
	buf  []byte
	gaps *[]Gap
	// denied is what may not be read. An ordinary user may not read the files of
	// root's engines, and need not where the container is his own.
	denied  []Gap
	left    int // how many bytes may still be read, if that is limited
	limited bool

	docker     dockerState
	containerd containerdState
	pods       map[Pod]*Pod
	podman     podmanState
}

type openDir struct {
	dir sys.StateDir
	err error
}

// openStore opens the root of the host's file system, or with inner that of a
// container.
func openStore(root string, inner bool, gaps *[]Gap) (*store, error) {
	dir, err := sys.OpenStateDir(root)
	if err != nil {
		return nil, err
	}
	return &store{root: dir, dirs: make(map[string]openDir), pods: make(map[Pod]*Pod), buf: make([]byte, 64<<10), gaps: gaps, limited: inner, left: maxInner}, nil
}

func (s *store) close() {
	s.root.Close()
	for _, d := range s.dirs {
		if d.err == nil {
			d.dir.Close()
		}
	}
}

// open returns the directory with the given absolute path, which is opened once.
// One that is not there is no gap, one that may not be read is.
func (s *store) open(dir string) (sys.StateDir, bool) {
	d, known := s.dirs[dir]
	if !known {
		d.dir, d.err = s.root.Open(dir)
		s.dirs[dir] = d
		if d.err != nil && !errors.Is(d.err, fs.ErrNotExist) {
			s.gap("names of containers", fmt.Errorf("open %w", d.err))
		}
	}
	return d.dir, d.err == nil
}

// read returns the content of a file below a directory, valid until the next
// call, and whether there is one. One that is there and cannot be read is a gap.
func (s *store) read(dir string, file ...string) ([]byte, bool) {
	d, ok := s.open(dir)
	if !ok {
		return nil, false
	}
	name := path.Join(file...)
	if s.limited && s.left <= 0 {
		s.gap("names of containers", errTooMuch)
		return nil, false
	}
	data, err := d.ReadFile(name, s.buf)
	if errors.Is(err, fs.ErrInvalid) && len(s.buf) < maxState {
		s.buf = make([]byte, maxState)
		data, err = d.ReadFile(name, s.buf)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			s.gap("names of containers", fmt.Errorf("read %s/%w", dir, err))
		}
		return nil, false
	}
	s.left -= len(data)
	return data, true
}

// parse reads a JSON file below a directory by f, and reports whether there is
// one and it could be read.
func (s *store) parse(f func(*document), dir string, file ...string) bool {
	data, ok := s.read(dir, file...)
	if !ok {
		return false
	}
	d := document{text: data}
	f(&d)
	if d.err != nil {
		s.gap("names of containers", fmt.Errorf("read %s: %w", path.Join(append([]string{dir}, file...)...), d.err))
		return false
	}
	return true
}

// list returns the names in a directory, at most most of them.
func (s *store) list(dir string, most int) []string {
	d, ok := s.open(dir)
	if !ok {
		return nil
	}
	names, err := d.List(".", most)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.gap("names of containers", fmt.Errorf("list %s: %w", dir, err))
	}
	return names
}

// exists reports whether there is something below a directory.
func (s *store) exists(dir string, file ...string) bool {
	d, ok := s.open(dir)
	return ok && d.Exists(path.Join(file...))
}

// gap notes what could not be read, each thing once. What is not permitted is
// told only if somebody wanted it: see denied.
func (s *store) gap(what string, err error) {
	list := s.gaps
	if errors.Is(err, fs.ErrPermission) {
		list = &s.denied
	}
	note(list, Gap{What: what, Err: err})
}

// tell says what was not permitted, since a name was not found.
func (s *store) tell() {
	for _, g := range s.denied {
		note(s.gaps, g)
	}
}

func note(gaps *[]Gap, g Gap) {
	for _, have := range *gaps {
		if have.Err.Error() == g.Err.Error() {
			return
		}
	}
	*gaps = append(*gaps, g)
}

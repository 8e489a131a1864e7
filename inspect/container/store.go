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

// maxNames bounds how many names of a directory are looked at.
const maxNames = 1 << 16

// A store is the root of a file system in which engines keep their state: that
// of the host, or of a container that runs an engine.
type store struct {
	root sys.StateDir
	dirs map[string]openDir
	buf  []byte
	gaps *[]Gap

	docker     dockerState
	containerd containerdState
	pods       map[Pod]*Pod
	podman     podmanState
}

type openDir struct {
	dir sys.StateDir
	err error
}

func openStore(root string, gaps *[]Gap) (*store, error) {
	dir, err := sys.OpenStateDir(root)
	if err != nil {
		return nil, err
	}
	return &store{root: dir, dirs: make(map[string]openDir), pods: make(map[Pod]*Pod), buf: make([]byte, 64<<10), gaps: gaps}, nil
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

// list returns the names in a directory.
func (s *store) list(dir, below string) []string {
	d, ok := s.open(dir)
	if !ok {
		return nil
	}
	names, err := d.List(below, maxNames)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.gap("names of containers", fmt.Errorf("list %s/%w", dir, err))
	}
	return names
}

// exists reports whether there is something below a directory.
func (s *store) exists(dir string, file ...string) bool {
	d, ok := s.open(dir)
	return ok && d.Exists(path.Join(file...))
}

// gap notes what could not be read, each thing once.
func (s *store) gap(what string, err error) {
	for _, g := range *s.gaps {
		if g.Err.Error() == err.Error() {
			return
		}
	}
	*s.gaps = append(*s.gaps, Gap{What: what, Err: err})
}

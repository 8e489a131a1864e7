package container

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// maxState is the largest state file. The list of podman's containers, and a configuration with a
// long environment, have some hundred kilobytes.
const maxState = 4 << 20

// maxNames is how many names of a directory are read, and maxFew how many of a directory that has
// few: namespaces of containerd, drivers of containers/storage.
const (
	maxNames = 1 << 16
	maxFew   = 64
)

// maxInner is how many bytes are read of the files of one user, or of one container, together:
// there can be any number of made-up containers. Looking up a name counts as costOfName bytes.
const (
	maxInner   = 64 << 20
	costOfName = 512
)

// maxDirs is the number of directories of such a file system that are open at a time.
const maxDirs = 32

var (
	errTooMuch = errors.New("too much of this owner's was read already")
	errFar     = errors.New("on a file system that may never answer")
)

// A store is the root of a file system with the state of engines: of the host, or of a container
// that runs an engine. It is the word of one user: files that others can have written are not
// read.
type store struct {
	root   sys.StateDir
	owner  Owner          // of a container's own it is the writer's
	stated *statement     // of a made-up host
	last   sys.FileStatus // of the file that was read last
	// trusted are the directories that only the owner can write, with all above them.
	trusted map[sys.FileID]bool
	dirs    map[string]openDir
	buf     []byte
	gaps    *[]inspect.Gap
	what    string // the name of gaps
	// denied is what may not be read. An ordinary user may not read the files of root's engines,
	// and need not for a container of their own.
	denied   []inspect.Gap
	reported map[string]bool // the texts of gaps that were added
	silent   bool            // something has not answered
	// left is the number of bytes that may still be read by all stores of that owner, or nil for
	// the host's.
	left *int
	// far are the mount points that may never answer, and are not touched.
	far []string

	docker     dockerState
	containerd containerdState
	pods       map[Pod]*Pod
	podman     podmanState
}

type openDir struct {
	dir sys.StateDir
	err error
}

// errOthers reports that users other than the owner may have written a file or directory.
var errOthers = errors.New("others may have written it")

// openStore opens the root of the host's file system or, with a number of bytes left, one in which
// others may have written anything and where the mount points in far are not touched. mountinfo is
// for [sys.OpenStateRoot]: "" if others may mount there.
func openStore(root, mountinfo string, owner Owner, left *int, far []string, gaps *[]inspect.Gap) (*store, error) {
	s := &store{
		owner: owner, trusted: make(map[sys.FileID]bool),
		what: "names of containers", dirs: make(map[string]openDir), pods: make(map[Pod]*Pod), buf: make([]byte, 64<<10), gaps: gaps,
		reported: make(map[string]bool), left: left, far: far,
	}
	var err error
	s.root, err = sys.OpenStateRoot(root, mountinfo)
	return s, err
}

// touches reports whether name is on a file system that may never answer, and adds a gap then.
func (s *store) touches(name string) bool {
	name = path.Join("/", name)
	for _, far := range s.far {
		if name == far || far == "/" || strings.HasPrefix(name, far+"/") {
			s.gap(fmt.Errorf("the file system at %s may never answer", far))
			return true
		}
	}
	return false
}

func (s *store) close() {
	s.root.Close()
	s.closeDirs()
}

func (s *store) closeDirs() {
	for _, d := range s.dirs {
		if d.err == nil {
			d.dir.Close()
		}
	}
	clear(s.dirs)
}

// spend subtracts a cost from the bytes left, and reports whether there were enough.
func (s *store) spend(cost int) bool {
	switch {
	case s.left == nil:
		return true
	case *s.left <= 0:
		s.gap(errTooMuch)
		return false
	}
	*s.left -= cost
	return true
}

// is reports whether a file or a directory is the word of the owner of the store: the owner's, or
// for a directory root's, and not writable for others. A group is others, also root's (see
// [rootAlone]), unless it is the user's own by its number. In a sticky directory others cannot
// replace the user's files.
func (s *store) is(st sys.FileStatus, dir bool) bool {
	owner := Owner(st.UID)
	sticky := dir && s.owner != Root && st.Mode&0o1000 != 0
	switch {
	case owner != s.owner && !(dir && owner == Root):
		return false
	case st.Mode&0o002 != 0 && !sticky:
		return false
	case st.Mode&0o020 != 0 && !sticky:
		return s.owner != Root && Owner(st.GID) == s.owner
	}
	return true
}

// check returns an error if users other than the owner can write an open directory, or one above
// it.
func (s *store) check(dir string, d sys.StateDir) error {
	switch {
	case s.owner == Unknown:
		return nil
	case s.stated != nil:
		if owner := s.stated.file(path.Clean(dir)); owner != s.owner && owner != Root {
			return errOthers
		}
		return nil
	}
	ok, err := d.Above(func(st sys.FileStatus) bool { return s.is(st, true) }, s.trusted)
	if err == nil && !ok {
		err = errOthers
	}
	return err
}

// checkFile does the same for a file in a checked directory.
func (s *store) checkFile(dir string, d sys.StateDir, name string, st sys.FileStatus) error {
	switch {
	case s.owner == Unknown:
		return nil
	case s.stated != nil:
		if s.stated.file(path.Join(dir, name)) != s.owner {
			return errOthers
		}
		return nil
	case !s.is(st, false):
		return errOthers
	}
	for name = path.Dir(name); name != "."; name = path.Dir(name) {
		above, err := d.Stat(name, false)
		if err != nil {
			return err
		}
		if !s.is(above, true) {
			return errOthers
		}
	}
	return nil
}

// open returns the directory with an absolute path, and opens it once. A missing directory is no
// gap. One that may not be read, or that others may have written, is.
func (s *store) open(dir string) (sys.StateDir, bool) {
	d, known := s.dirs[dir]
	if !known {
		if !s.spend(costOfName) {
			return d.dir, false
		}
		if s.left != nil && len(s.dirs) >= maxDirs {
			s.closeDirs()
		}
		if s.touches(dir) {
			d.err = errFar
		} else if d.dir, d.err = s.root.Open(dir, len(s.far) > 0); d.err == nil { // a link may lead to one of those
			if d.err = s.check(dir, d.dir); d.err != nil {
				d.dir.Close()
				s.gap(fmt.Errorf("open %s: %w", dir, d.err))
			}
		} else if !errors.Is(d.err, fs.ErrNotExist) {
			s.gap(fmt.Errorf("open %w", d.err))
		}
		s.dirs[dir] = d
	}
	return d.dir, d.err == nil
}

// read returns the contents of a file below a directory, valid until the next call, and whether
// there is one. A file that cannot be read is a gap.
func (s *store) read(dir string, file ...string) ([]byte, bool) {
	d, ok := s.open(dir)
	if !ok {
		return nil, false
	}
	name := path.Join(file...)
	if !s.spend(costOfName) || s.touches(path.Join(dir, name)) {
		return nil, false
	}
	data, err := s.readFile(d, name)
	if errors.Is(err, fs.ErrInvalid) && len(s.buf) < maxState {
		s.buf = make([]byte, maxState)
		data, err = s.readFile(d, name)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			s.gap(fmt.Errorf("read %s/%w", dir, err))
		}
		return nil, false
	}
	s.spend(len(data))
	if err := s.checkFile(dir, d, name, s.last); err != nil {
		s.gap(fmt.Errorf("read %s: %w", path.Join(dir, name), err))
		return nil, false
	}
	return data, true
}

func (s *store) readFile(d sys.StateDir, name string) (data []byte, err error) {
	data, s.last, err = d.ReadFile(name, s.buf)
	return data, err
}

// parse reads a JSON file below a directory with f, and reports whether it could be read.
func (s *store) parse(f func(*document), dir string, file ...string) bool {
	data, ok := s.read(dir, file...)
	if !ok {
		return false
	}
	d := document{text: data}
	f(&d)
	if d.err != nil {
		s.gap(fmt.Errorf("read %s: %w", path.Join(append([]string{dir}, file...)...), d.err))
		return false
	}
	return true
}

// list returns at most most names of a directory.
func (s *store) list(dir string, most int) []string {
	d, ok := s.open(dir)
	if !ok {
		return nil
	}
	names, err := d.List(".", most)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.gap(fmt.Errorf("list %s: %w", dir, err))
	}
	return names
}

// exists reports whether a path below a directory exists.
func (s *store) exists(dir string, file ...string) bool {
	d, ok := s.open(dir)
	name := path.Join(file...)
	if !ok || !s.spend(costOfName) || s.touches(path.Join(dir, name)) {
		return false
	}
	return d.Exists(name)
}

// gap adds a gap, each once. Missing permission is reported only if a name was needed: see denied.
func (s *store) gap(err error) {
	s.silent = s.silent || errors.Is(err, sys.ErrNoAnswer)
	text := err.Error()
	if s.reported[text] {
		return
	}
	s.reported[text] = true
	g := inspect.Gap{What: s.what, Err: err}
	if errors.Is(err, fs.ErrPermission) {
		s.denied = append(s.denied, g)
		return
	}
	*s.gaps = append(*s.gaps, g)
}

// reportDenied reports missing permission, since a name was not found.
func (s *store) reportDenied() {
	for i := range s.denied {
		if g := &s.denied[i]; g.What != "" {
			*s.gaps = append(*s.gaps, *g)
			g.What = "" // report it once
		}
	}
}

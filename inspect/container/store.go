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

// maxInner bounds what is read altogether of what one user has written, or who is in
// one container: there can be any number of containers in there that are not, and of
// mount namespaces. To look for a name, found or not, counts as costOfName bytes.
const (
	maxInner   = 64 << 20
	costOfName = 512
)

// maxDirs bounds how many directories of such a file system are open at a time.
const maxDirs = 32

var (
	errTooMuch = errors.New("too much of this owner's was read already")
	errFar     = errors.New("on a file system that may never answer")
)

// A store is the root of a file system in which engines keep their state: that
// of the host, or of a container that runs an engine. It is one user's word: what
// others can have written is not read in it.
type store struct {
	root   sys.StateDir
	owner  Owner          // whose word it is; of a container's own that of whoever wrote it
	stated *statement     // of a made-up host
	last   sys.FileStatus // of the file that was read last
	// fit are directories that only the owner can write, with all above them.
	trusted map[sys.FileID]bool
	dirs    map[string]openDir
	buf     []byte
	gaps    *[]inspect.Gap
	what    string // what is to be found, for gaps
	// denied is what may not be read. An ordinary user may not read the files of
	// root's engines, and need not where the container is his own.
	denied   []inspect.Gap
	reported map[string]bool // the texts of gaps
	silent   bool            // something has not answered
	// left is how many bytes may still be read, by all stores of that owner, or nil
	// for those of the host.
	left *int
	// far are mount points of what may never answer, and is not asked.
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

// errOthers says that a file or directory is not the word of whom it should be.
var errOthers = errors.New("others may have written it")

// openStore opens the root of the host's file system, or where a number of bytes is
// left one that says no more than others have written, and where the mount points
// in far are not touched. mountinfo is for [sys.OpenStateRoot]: "" where others may mount what
// they like.
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

// touches reports whether what is at name is on a file system that may never
// answer, and tells so.
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

// spend takes what something costs off what may be spent, and reports whether there
// was anything left.
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

// is reports whether what is at name, a file or a directory, is the word of the
// owner of the store: his, or for a directory root's, and not for others to write.
// A group is others, also root's (see [rootAlone]), unless it is the user's own by its
// number. In a directory that is sticky others cannot replace what is the user's.
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

// check returns an error if a directory that was opened, or one above it, is not
// for the owner of the store alone to write.
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

// checkFile does the same for a file below a directory that was checked.
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

// open returns the directory with the given absolute path, which is opened once.
// One that is not there is no gap, one that may not be read is, and one that
// others may have written to.
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

// read returns the content of a file below a directory, valid until the next
// call, and whether there is one. One that is there and cannot be read is a gap.
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
		s.gap(fmt.Errorf("read %s: %w", path.Join(append([]string{dir}, file...)...), d.err))
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
		s.gap(fmt.Errorf("list %s: %w", dir, err))
	}
	return names
}

// exists reports whether there is something below a directory.
func (s *store) exists(dir string, file ...string) bool {
	d, ok := s.open(dir)
	name := path.Join(file...)
	if !ok || !s.spend(costOfName) || s.touches(path.Join(dir, name)) {
		return false
	}
	return d.Exists(name)
}

// gap notes what could not be read, each thing once. What is not permitted is
// told only if somebody wanted it: see denied.
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

// reportDenied says what was not permitted, since a name was not found.
func (s *store) reportDenied() {
	for i := range s.denied {
		if g := &s.denied[i]; g.What != "" {
			*s.gaps = append(*s.gaps, *g)
			g.What = "" // it is told
		}
	}
}

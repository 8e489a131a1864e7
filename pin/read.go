package pin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sort"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A storedSet is the contents of a directory of a store.
type storedSet struct {
	Set
	dev     sys.FileID // of the directory
	netns   bool       // the network namespace is in /run/netns
	foreign string     // the name of something that is no pin
}

// unmounted reports whether nothing is pinned here.
func (f *storedSet) unmounted() bool {
	for _, p := range f.Pins {
		if !errors.Is(p.Dead, ErrUnmounted) {
			return false
		}
	}
	return f.foreign == ""
}

// readRoot opens a store to read it. If there is none, the error is an [fs.ErrNotExist].
func (s *Store) readRoot() (root int, home bool, err error) {
	dir := filepath.Clean(s.Dir)
	root, err = sys.OpenDir(dir)
	if err != nil {
		return -1, false, fmt.Errorf("open %s: %w", dir, untrusted(err, dir))
	}
	if err = trust(root, dir, 0, os.Geteuid()); err == nil {
		if home, err = atHome(root); err != nil {
			err = fmt.Errorf("%s: %w", dir, err)
		}
	}
	if err != nil {
		sys.CloseFD(root)
		return -1, false, err
	}
	return root, home, nil
}

// exists reports whether the store exists.
func (s *Store) exists() (bool, error) {
	root, _, err := s.readRoot()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sys.CloseFD(root)
	return true, nil
}

// readName returns the set with a name, if there is a store.
func (s *Store) readName(name string) (*storedSet, error) {
	root, _, err := s.readRoot()
	if err != nil {
		return nil, err
	}
	defer sys.CloseFD(root)
	return s.read(root, name)
}

// All yields the sets of the store by name. See the function [All].
func (s *Store) All(ctx context.Context) iter.Seq2[Set, error] {
	return func(yield func(Set, error) bool) {
		root, home, err := s.readRoot()
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(Set{By: "nstool"}, err)
			return
		}
		defer sys.CloseFD(root)
		names, err := sys.ReadNames(root)
		if err != nil {
			yield(Set{By: "nstool"}, fmt.Errorf("list %s: %w", s.Dir, err))
			return
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				yield(Set{By: "nstool"}, err)
				return
			}
			if CheckName(name) != nil {
				continue
			}
			set, err := s.read(root, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				if !yield(Set{Name: name, By: "nstool"}, err) {
					return
				}
				continue
			}
			if !home {
				set.markElsewhere()
			}
			if !yield(set.Set, nil) {
				return
			}
		}
	}
}

// markElsewhere changes the reason of pins that are not mounted here: they may be mounted in
// the mount namespace of the store.
func (f *storedSet) markElsewhere() {
	for i, p := range f.Pins {
		if errors.Is(p.Dead, ErrUnmounted) {
			f.Pins[i].Dead = ErrElsewhere
		}
	}
}

// read reads the set with a name. If its directory is removed meanwhile, the name may have
// another one, so it is read again.
func (s *Store) read(root int, name string) (f *storedSet, err error) {
	for range 100 {
		if f, err = s.readOnce(root, name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if _, gone := sys.StatAt(root, name); gone != nil {
			break
		}
	}
	return f, err
}

func (s *Store) readOnce(root int, name string) (*storedSet, error) {
	path := filepath.Join(s.Dir, name)
	dir, err := sys.OpenAt(root, name, false)
	if err != nil {
		if sys.IsLoop(err) {
			err = ErrForeign
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer sys.CloseFD(dir)
	st, err := sys.StatFD(dir)
	if err == nil && !st.IsDir() {
		err = ErrForeign
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	names, err := sys.ReadNames(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &storedSet{Set: Set{Name: name, By: "nstool", UID: st.UID, Made: st.Changed}, dev: st.FileID}
	for _, n := range names {
		if n == netnsName {
			continue
		}
		t, err := inspect.ParseType(n)
		if err != nil || t.String() != n {
			f.foreign = n
			continue
		}
		p := Pin{Type: t, Path: filepath.Join(path, n)}
		st, err := sys.StatAt(dir, n)
		if err == nil && st.IsLink() && t == inspect.Net {
			f.netns = true
			var path string
			if path, p.ID, err = s.lookNetns(dir); path == "" {
				f.foreign = n
				continue
			}
			p.Path = path
		} else if err == nil {
			p.ID, err = namespaceAt(dir, n)
			if errors.Is(err, ErrUnmounted) && !(st.IsRegular() && st.Size == 0) {
				f.foreign = n
				continue
			}
			if err == nil && t == inspect.PID {
				err = deadInit(dir, n)
			}
		}
		p.Dead = err
		f.Pins = append(f.Pins, p)
	}
	sort.Slice(f.Pins, func(i, j int) bool { return f.Pins[i].Type < f.Pins[j].Type })
	return f, nil
}

// deadInit returns an [ErrInitGone] if the kernel shows that the PID namespace at name is
// dead.
func deadInit(dir int, name string) error {
	fd, err := sys.OpenNamespaceAt(dir, name)
	if err != nil {
		return err
	}
	defer sys.CloseFD(fd)
	if dead, err := sys.PIDNamespaceDead(fd); err == nil && dead {
		return ErrInitGone
	}
	return nil
}

// Open is like the function [Open], in this store.
func (s *Store) Open(name string) (map[inspect.Type]*os.File, error) {
	return s.openTypes(name, inspect.AllTypes)
}

// OpenType is like the function [OpenType], in this store.
func (s *Store) OpenType(name string, t inspect.Type) (*os.File, error) {
	files, err := s.openTypes(name, inspect.TypesOf(t))
	if err != nil {
		return nil, err
	}
	if files[t] == nil {
		return nil, messageError{fmt.Sprintf("no %s namespace is pinned as %s", t, name), fs.ErrNotExist}
	}
	return files[t], nil
}

func (s *Store) openTypes(name string, types inspect.Types) (map[inspect.Type]*os.File, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	root, home, err := s.readRoot()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notPinned(name)
	}
	if err != nil {
		return nil, err
	}
	defer sys.CloseFD(root)
	// If the set is replaced meanwhile, it is opened again.
	for range 100 {
		files, same, err := s.openOnce(root, name, types, home)
		if same {
			return files, err
		}
		closeAll(files)
	}
	return nil, fmt.Errorf("open %s: it is replaced all the time", name)
}

// openOnce opens a set, and reports whether it was the same set at the end.
func (s *Store) openOnce(root int, name string, types inspect.Types, home bool) (files map[inspect.Type]*os.File, same bool, err error) {
	set, err := s.read(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, notPinned(name)
	}
	if err != nil {
		return nil, true, err
	}
	if !home {
		set.markElsewhere()
	}
	files = make(map[inspect.Type]*os.File)
	for _, p := range set.Pins {
		if !types.Has(p.Type) {
			continue
		}
		f, e := s.openPinAt(root, set, p)
		if e != nil {
			err = fmt.Errorf("open the %s namespace pinned as %s: %w", p.Type, name, e)
			break
		}
		files[p.Type] = f
	}
	now, e := sys.StatAt(root, name)
	same = e == nil && now.FileID == set.dev || errors.Is(e, fs.ErrNotExist)
	if err != nil {
		closeAll(files)
		files = nil
	}
	return files, same, err
}

// openPin opens one pin of a set.
func (l *locked) openPin(set *storedSet, t inspect.Type) (*os.File, error) {
	for _, p := range set.Pins {
		if p.Type == t {
			if errors.Is(p.Dead, ErrInitGone) {
				p.Dead = nil // it can still be kept
			}
			return l.openPinAt(l.root, set, p)
		}
	}
	return nil, fs.ErrNotExist
}

func (s *Store) openPinAt(root int, set *storedSet, p Pin) (*os.File, error) {
	if p.Dead != nil {
		return nil, p.Dead
	}
	dir, name := root, set.Name+"/"+p.Type.String()
	if set.netns && p.Type == inspect.Net {
		var err error
		if dir, err = sys.OpenDir(s.netnsDir()); err != nil {
			return nil, err
		}
		defer sys.CloseFD(dir)
		name = filepath.Base(p.Path)
	}
	fd, err := sys.OpenNamespaceAt(dir, name)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p.Path)
	id, err := sys.Fstat(fd)
	if err == nil && inspect.ID(id) != p.ID {
		err = fmt.Errorf("it is another namespace than a moment ago")
	}
	if t, e := typeOf(f); err == nil && (e != nil || t != p.Type) {
		err = fmt.Errorf("%s is a %s namespace: %w", p.Path, t, ErrForeign)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

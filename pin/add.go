package pin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// An addition has the options of Add.
type addition struct {
	replace, netns bool
}

// Add is like the function [Add], in this store.
func (s *Store) Add(ctx context.Context, name string, files []*os.File, opts ...Option) error {
	var a addition
	for _, opt := range opts {
		opt(&a)
	}
	if err := CheckName(name); err != nil {
		return err
	}
	set, err := byType(files)
	if err != nil {
		return err
	}
	if a.netns && set[inspect.Net] == nil {
		return fmt.Errorf("%s has no network namespace to put in %s", name, s.netnsDir())
	}
	l, err := s.lockStore(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	old, err := l.read(l.root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l.put(ctx, name, set, a.netns, time.Time{}, sys.Rename)
	case err != nil:
		return err
	case !a.replace && !old.unmounted():
		return messageError{name + " is pinned already", ErrPinned}
	case a.netns && old.netns:
		return fmt.Errorf("%s/%s cannot be given to another namespace in one step: remove it first", l.netnsDir(), name)
	case old.foreign != "":
		return fmt.Errorf("%s/%s/%s: %w", l.Dir, name, old.foreign, ErrForeign)
	}
	if err := l.put(ctx, name, set, a.netns, time.Time{}, sys.Exchange); err != nil {
		return err
	}
	return l.takeDown()
}

// byType sorts files by the type of their namespaces.
func byType(files []*os.File) (map[inspect.Type]*os.File, error) {
	if len(files) == 0 {
		return nil, errors.New("no namespaces to pin")
	}
	set := make(map[inspect.Type]*os.File, len(files))
	for _, f := range files {
		t, err := typeOf(f)
		if err != nil {
			return nil, err
		}
		if set[t] != nil {
			return nil, fmt.Errorf("two %s namespaces to pin, %s and %s", t, set[t].Name(), f.Name())
		}
		set[t] = f
	}
	return set, nil
}

func typeOf(f *os.File) (inspect.Type, error) {
	fd := int(f.Fd())
	if ok, err := sys.IsNsfs(fd); err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name(), err)
	} else if !ok {
		return 0, fmt.Errorf("%s: %w", f.Name(), sys.ErrNotNamespace)
	}
	flag, err := sys.NamespaceFlag(fd)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	t, ok := inspect.TypeOfFlag(flag)
	if !ok {
		return 0, fmt.Errorf("%s: namespace of an unknown type (%#x): %w", f.Name(), flag, errors.ErrUnsupported)
	}
	return t, nil
}

// put builds a set under the name .new, and then calls rename to give it its name:
// [sys.Rename] or [sys.Exchange].
func (l *locked) put(ctx context.Context, name string, set map[inspect.Type]*os.File, netns bool, made time.Time, rename func(dirfd int, from, to string) error) (err error) {
	if err := sys.Mkdir(l.root, newName, 0o755); err != nil {
		return fmt.Errorf("make the pin %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			if e := l.takeDown(); e != nil {
				err = fmt.Errorf("%w (and then: %w)", err, e)
			}
		}
	}()
	dir, err := sys.OpenAt(l.root, newName, false)
	if err != nil {
		return fmt.Errorf("make the pin %s: %w", name, err)
	}
	defer sys.CloseFD(dir)
	for t := range inspect.AllTypes.All() {
		f := set[t]
		if f == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("make the pin %s: %w", name, err)
		}
		if t == inspect.Net && netns {
			err = l.addNetns(dir, name, f)
		} else {
			err = addFile(dir, t.String(), f)
		}
		if err != nil {
			return fmt.Errorf("pin the %s namespace of %s: %w", t, f.Name(), err)
		}
	}
	if err := sys.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("make the pin %s: %w", name, err)
	}
	if !made.IsZero() {
		if err := sys.SetTime(dir, made); err != nil {
			return fmt.Errorf("make the pin %s: %w", name, err)
		}
	}
	if err := rename(l.root, newName, name); err != nil {
		return fmt.Errorf("make the pin %s: %w", name, err)
	}
	return nil
}

// addFile makes the file name in dir and mounts the namespace of f on it.
func addFile(dir int, name string, f *os.File) error {
	file, err := sys.Create(dir, name, 0o400)
	if err != nil {
		return err
	}
	defer sys.CloseFD(file)
	return sys.BindNamespace(int(f.Fd()), file)
}

// Remove is like the function [Remove], in this store.
func (s *Store) Remove(ctx context.Context, name string, types ...inspect.Type) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if there, err := s.exists(); err != nil {
		return err
	} else if !there {
		return notPinned(name)
	}
	l, err := s.lockStore(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	set, err := l.read(l.root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return notPinned(name)
	}
	if err != nil {
		return err
	}
	if set.foreign != "" {
		return fmt.Errorf("%s/%s/%s: %w", l.Dir, name, set.foreign, ErrForeign)
	}
	rest := set.Types()
	for _, t := range types {
		if !set.Types().Has(t) {
			return messageError{fmt.Sprintf("no %s namespace is pinned as %s", t, name), fs.ErrNotExist}
		}
		rest = rest.Without(t)
	}
	if len(types) == 0 || rest == 0 {
		if err := sys.Rename(l.root, name, newName); err != nil {
			return fmt.Errorf("remove the pin %s: %w", name, err)
		}
		return l.takeDown()
	}
	return l.keep(ctx, name, set, rest)
}

func notPinned(name string) error {
	return messageError{"nothing is pinned as " + name, fs.ErrNotExist}
}

// A messageError replaces the message of an error.
type messageError struct {
	text string
	err  error
}

func (e messageError) Error() string { return e.text }
func (e messageError) Unwrap() error { return e.err }

// keep replaces a set by a set of only some of its types. A set is never changed in place.
func (l *locked) keep(ctx context.Context, name string, set *storedSet, types inspect.Types) error {
	files := make(map[inspect.Type]*os.File)
	defer func() { closeAll(files) }()
	for t := range types.All() {
		f, err := l.openPin(set, t)
		if errors.Is(err, ErrUnmounted) {
			continue // a dead name, which is removed too
		}
		if err != nil {
			return err
		}
		files[t] = f
	}
	netns := set.netns && types.Has(inspect.Net)
	if netns {
		// It stays where it is. The new set gets the record of it.
		delete(files, inspect.Net)
	}
	err := l.put(ctx, name, files, false, set.Made, func(dirfd int, from, to string) error {
		if netns {
			if err := copyNetns(dirfd, to, from); err != nil {
				return err
			}
		}
		return sys.Exchange(dirfd, from, to)
	})
	if err != nil {
		return err
	}
	return l.takeDown()
}

func closeAll(files map[inspect.Type]*os.File) {
	for _, f := range files {
		f.Close()
	}
}

package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// netnsPerm are the permissions of our files in /run/netns. Files of ip-netns(8) have none.
// So a file that we left can be distinguished from one that ip is about to mount on.
const netnsPerm = 0o400

// IPNetnsDir is the directory of the names of ip-netns(8).
const IPNetnsDir = "/run/netns"

func (s *Store) netnsDir() string {
	if s.Netns == "" {
		return IPNetnsDir
	}
	return filepath.Clean(s.Netns)
}

// addNetns pins the network namespace of f under a name of ip-netns(8), for the set in dir.
// The set first records what it will have there, so that takeDown finds it also if this
// process is killed.
func (l *locked) addNetns(dir int, name string, f *os.File) error {
	id, err := sys.Fstat(int(f.Fd()))
	if err != nil {
		return err
	}
	netns, err := l.openNetnsDir()
	if err != nil {
		return err
	}
	defer sys.CloseFD(netns)
	switch _, err := namespaceAt(netns, name); {
	case err == nil:
		return messageError{fmt.Sprintf("%s/%s is there already", l.netnsDir(), name), fs.ErrExist}
	case !errors.Is(err, ErrUnmounted) && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := sys.Symlink(inspect.FormatLink(inspect.Net, id.Ino), dir, netnsName); err != nil {
		return err
	}
	if err := sys.Symlink(filepath.Join(l.netnsDir(), name), dir, inspect.Net.String()); err != nil {
		return err
	}
	file, err := sys.Create(netns, name, netnsPerm)
	if errors.Is(err, fs.ErrExist) {
		file, err = reuse(netns, name)
	}
	if err != nil {
		return fmt.Errorf("make %s/%s: %w", l.netnsDir(), name, err)
	}
	defer sys.CloseFD(file)
	return sys.BindNamespace(int(f.Fd()), file)
}

// reuse opens a file in /run/netns whose maker was killed before it mounted on it.
func reuse(netns int, name string) (int, error) {
	st, err := sys.StatAt(netns, name)
	if err != nil {
		return -1, err
	}
	if !emptyFile(st) || time.Since(st.Changed) < time.Second {
		return -1, fs.ErrExist
	}
	fd, err := sys.OpenAt(netns, name, false)
	if err != nil {
		return -1, err
	}
	if err := sys.Chmod(fd, netnsPerm); err != nil {
		sys.CloseFD(fd)
		return -1, err
	}
	return fd, nil
}

// openNetnsDir opens /run/netns, and makes it as ip-netns(8) does: a shared mount, so that
// names appear and disappear in all mount namespaces.
func (s *Store) openNetnsDir() (int, error) {
	path := s.netnsDir()
	if parent, err := sys.OpenDir(filepath.Dir(path)); err == nil {
		err := sys.Mkdir(parent, filepath.Base(path), 0o755)
		sys.CloseFD(parent)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return -1, fmt.Errorf("make %s: %w", path, err)
		}
	}
	fd, err := sys.OpenDir(path)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, untrusted(err, path))
	}
	if err := trust(fd, path, os.Geteuid()); err != nil {
		sys.CloseFD(fd)
		return -1, err
	}
	// ip takes the same lock. Anybody can take it, so the wait is limited.
	for range 20 {
		if ok, err := sys.TryLock(fd); ok || err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	err = sys.SetPropagation(fd, sys.Shared|sys.Recursive)
	if sys.IsNotMountPoint(err) {
		if err = sys.BindSelf(fd); err == nil {
			var top int
			if top, err = sys.OpenDir(path); err == nil {
				err = sys.SetPropagation(top, sys.Shared|sys.Recursive)
				sys.CloseFD(fd) // and with it the lock
				fd = top
			}
		}
	}
	if err != nil {
		sys.CloseFD(fd)
		return -1, fmt.Errorf("share the mount on %s: %w", path, err)
	}
	return fd, nil
}

// netnsRecord returns what the set in dir has in /run/netns. If it has nothing there, the
// error is an [fs.ErrNotExist].
func (s *Store) netnsRecord(dir int) (name string, ino uint64, err error) {
	path, err := sys.ReadlinkAt(dir, inspect.Net.String())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			err = fs.ErrNotExist // a file: the namespace is pinned here
		}
		return "", 0, err
	}
	text, err := sys.ReadlinkAt(dir, netnsName)
	if err != nil {
		return "", 0, err
	}
	name = filepath.Base(path)
	t, ino, ok := inspect.ParseLink(text)
	if !ok || t != inspect.Net || CheckName(name) != nil || path != filepath.Join(s.netnsDir(), name) {
		return "", 0, fmt.Errorf("link to %q, said to be %q: %w", path, text, ErrForeign)
	}
	return name, ino, nil
}

// lookNetns returns the namespace in /run/netns that belongs to the set in dir.
func (s *Store) lookNetns(dir int) (path string, id inspect.ID, err error) {
	name, ino, err := s.netnsRecord(dir)
	if err != nil {
		return "", id, err
	}
	path = filepath.Join(s.netnsDir(), name)
	netns, err := sys.OpenDir(s.netnsDir())
	if err != nil {
		return path, id, err
	}
	defer sys.CloseFD(netns)
	id, err = namespaceAt(netns, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, id, fmt.Errorf("%s is gone: %w", path, ErrUnmounted)
	case err != nil:
		return path, id, err
	case id.Ino != ino:
		return path, inspect.ID{}, fmt.Errorf("%s is another network namespace by now: %w", path, ErrUnmounted)
	}
	return path, id, nil
}

// removeNetns removes what the set in dir has in /run/netns, unless it is something else by
// now, or another set has taken it over.
func (l *locked) removeNetns(dir int) error {
	name, ino, err := l.netnsRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if live, err := sys.OpenAt(l.root, name, false); err == nil {
		n, i, err := l.netnsRecord(live)
		sys.CloseFD(live)
		if err == nil && n == name && i == ino {
			return nil
		}
	}
	netns, err := sys.OpenDir(l.netnsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", l.netnsDir(), err)
	}
	defer sys.CloseFD(netns)
	if err := removeNetnsFile(netns, name, ino); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s/%s: %w", l.netnsDir(), name, err)
	}
	return nil
}

func removeNetnsFile(netns int, name string, ino uint64) error {
	ours := false
	for {
		id, err := namespaceAt(netns, name)
		if errors.Is(err, ErrUnmounted) {
			break
		}
		if err != nil {
			return err
		}
		if id.Ino != ino {
			return nil
		}
		ours = true
		if err := sys.Unmount(netns, name); err != nil {
			return err
		}
	}
	st, err := sys.StatAt(netns, name)
	if err != nil {
		return err
	}
	if emptyFile(st) && (ours || st.Perm() == netnsPerm) {
		return sys.Unlink(netns, name)
	}
	return nil
}

// copyNetns copies the record of what is in /run/netns from one set to another.
func copyNetns(root int, from, to string) error {
	for _, link := range []string{netnsName, inspect.Net.String()} {
		text, err := sys.ReadlinkAt(root, from+"/"+link)
		if err != nil {
			return err
		}
		if err := sys.Symlink(text, root, to+"/"+link); err != nil {
			return err
		}
	}
	return nil
}

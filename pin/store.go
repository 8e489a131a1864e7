package pin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// The layout of a store, on a tmpfs of its own:
//
//	web/net, web/uts   files with a namespace mounted on each: the set "web"
//	web/net            or a link to /run/netns/web, if it is kept there, and
//	web/.netns         a link that says what we put there: net:[4026532260]
//	.new/              a set that is being built, or taken down
//	.home              a link whose text is the identifier of the tmpfs mount
//
// Whoever changes anything has the lock on the file beside the directory. So
// there is at most one .new, and a .new that somebody finds who has the lock is
// what a killed program left, and is taken down. A set gets its name, loses it
// and is replaced by one rename of a directory: the kernel refuses to rename a
// mount point, and does not mind one below.
const (
	newName   = ".new"
	homeName  = ".home"
	netnsName = ".netns"
)

// A locked store is one that the caller may change.
type locked struct {
	*Store
	root int // the root of the store
	lock int
}

func (l *locked) close() {
	sys.CloseFD(l.root)
	sys.CloseFD(l.lock)
}

// lockStore takes the lock of the store, makes the store if it is not there,
// and takes down what is left of a killed program.
func (s *Store) lockStore(ctx context.Context) (*locked, error) {
	dir := filepath.Clean(s.Dir)
	parent, err := sys.OpenDir(filepath.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Dir(dir), err)
	}
	defer sys.CloseFD(parent)
	if err := trustParent(parent, filepath.Dir(dir)); err != nil {
		return nil, err
	}
	lock, err := takeLock(ctx, parent, filepath.Base(dir)+".lock", dir+".lock")
	if err != nil {
		return nil, err
	}
	root, err := makeStore(parent, dir)
	if err != nil {
		sys.CloseFD(lock)
		return nil, err
	}
	l := &locked{Store: s, root: root, lock: lock}
	if err := l.heal(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// trustParent says whether a store can be in the directory of fd: nobody but
// root and the caller can rename what is in it.
func trustParent(fd int, path string) error {
	st, err := sys.StatFD(fd)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	const sticky = 0o1000
	if st.UID != 0 && int(st.UID) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d: %w", path, st.UID, ErrUntrusted)
	}
	if st.Perm()&0o022 != 0 && st.Perm()&sticky == 0 {
		return fmt.Errorf("%s can be written by others (mode %04o): %w", path, st.Perm(), ErrUntrusted)
	}
	return nil
}

// trust says whether the directory of fd is one of ours.
func trust(fd int, path string, uids ...int) error {
	st, err := sys.StatFD(fd)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory: %w", path, ErrUntrusted)
	}
	ours := false
	for _, uid := range uids {
		ours = ours || int(st.UID) == uid
	}
	if !ours {
		return fmt.Errorf("%s belongs to uid %d: %w", path, st.UID, ErrUntrusted)
	}
	if st.Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by others (mode %04o): %w", path, st.Perm(), ErrUntrusted)
	}
	return nil
}

// takeLock waits for the lock on a file that only the caller can open: on one
// that anybody can open, anybody could keep it.
func takeLock(ctx context.Context, dirfd int, name, path string) (int, error) {
	fd, err := sys.OpenLockFile(dirfd, name)
	if err != nil {
		return -1, fmt.Errorf("lock %s: %w", path, err)
	}
	st, err := sys.StatFD(fd)
	if err == nil && (!st.IsRegular() || int(st.UID) != os.Geteuid() || st.Links != 1 || st.Perm()&0o077 != 0) {
		err = ErrUntrusted
	}
	for wait := time.Millisecond; err == nil; wait = min(2*wait, 16*time.Millisecond) {
		var ok bool
		if ok, err = sys.TryLock(fd); ok {
			return fd, nil
		}
		if err != nil {
			break
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(wait):
		}
	}
	sys.CloseFD(fd)
	return -1, fmt.Errorf("lock %s: %w", path, err)
}

// makeStore opens the store in parent, and makes what is missing. The link
// .home is made last: with it a store is complete.
func makeStore(parent int, dir string) (root int, err error) {
	name := filepath.Base(dir)
	made := true
	if err := sys.Mkdir(parent, name, 0o755); errors.Is(err, fs.ErrExist) {
		made = false
	} else if err != nil {
		return -1, fmt.Errorf("make %s: %w", dir, err)
	}
	fd, err := sys.OpenAt(parent, name, false)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", dir, untrusted(err, dir))
	}
	defer func() {
		if err != nil {
			sys.CloseFD(fd)
		}
	}()
	if made {
		// The umask may have taken away that others can read.
		if err := sys.Chmod(fd, 0o755); err != nil {
			return -1, fmt.Errorf("make %s: %w", dir, err)
		}
	}
	if err := trust(fd, dir, os.Geteuid()); err != nil {
		return -1, err
	}
	switch home, err := atHome(fd); {
	case err == nil && home:
		return fd, nil
	case err == nil:
		return -1, fmt.Errorf("%s: %w", dir, ErrElsewhere)
	case !errors.Is(err, fs.ErrNotExist):
		return -1, fmt.Errorf("%s: %w", dir, err)
	}
	half, err := halfMade(parent, fd)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", dir, err)
	}
	if !half {
		mount, err := sys.MountTmpfs(fd, "nstool", "0755")
		if err != nil {
			if made {
				_ = sys.Rmdir(parent, name) //nolint:errcheck // it is empty, and no harm
			}
			return -1, fmt.Errorf("mount a file system for pins on %s: %w", dir, err)
		}
		sys.CloseFD(fd)
		fd = mount
	}
	// Unbindable is private, and more: an engine that hands a container the
	// whole of / does not hand it the pins.
	if err := sys.SetPropagation(fd, sys.Unbindable); err != nil {
		return -1, fmt.Errorf("make the mount on %s private: %w", dir, err)
	}
	id, err := sys.MountID(fd)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", dir, err)
	}
	if err := sys.Symlink(strconv.FormatUint(id, 10), fd, homeName); err != nil {
		return -1, fmt.Errorf("make %s: %w", dir, err)
	}
	return fd, nil
}

// atHome reports whether root is the root of a store of this mount namespace,
// and not a copy of the mount in another one. Without a complete store the
// error is an [fs.ErrNotExist].
func atHome(root int) (bool, error) {
	text, err := sys.ReadlinkAt(root, homeName)
	if err != nil {
		return false, err
	}
	id, err := sys.MountID(root)
	if err != nil {
		return false, err
	}
	return text == strconv.FormatUint(id, 10), nil
}

// halfMade reports whether root is a tmpfs that makeStore mounted and had no
// time to complete.
func halfMade(parent, root int) (bool, error) {
	outside, err := sys.MountID(parent)
	if err != nil {
		return false, err
	}
	inside, err := sys.MountID(root)
	if err != nil || inside == outside {
		return false, err
	}
	tmpfs, err := sys.IsTmpfs(root)
	if err != nil || !tmpfs {
		return false, err
	}
	names, err := sys.ReadNames(root)
	return len(names) == 0, err
}

// untrusted says in the words of this package that something is a link.
func untrusted(err error, path string) error {
	if sys.IsLoop(err) {
		return fmt.Errorf("%s is a symbolic link: %w", path, ErrUntrusted)
	}
	return err
}

// Heal takes away what a killed program has left.
func (s *Store) Heal(ctx context.Context) error {
	if _, err := sys.StatPath(filepath.Join(s.Dir, newName), false); err != nil {
		return nil //nolint:nilerr // nothing was left, or nothing can be seen
	}
	l, err := s.lockStore(ctx)
	if err != nil {
		return err
	}
	l.close()
	return nil
}

// heal takes down the set under the name .new, if there is one.
func (l *locked) heal() error {
	err := l.tear()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tear takes down the set under the name .new. Killed at any point, it can be
// done again.
func (l *locked) tear() error {
	dir, err := sys.OpenAt(l.root, newName, false)
	if err != nil {
		return fmt.Errorf("clear %s/%s: %w", l.Dir, newName, err)
	}
	defer sys.CloseFD(dir)
	names, err := sys.ReadNames(dir)
	if err != nil {
		return fmt.Errorf("clear %s/%s: %w", l.Dir, newName, err)
	}
	if err := l.removeNetns(dir); err != nil {
		return err
	}
	// The record of what is in /run/netns goes last of all: names are sorted,
	// and it starts with a dot.
	for i := len(names) - 1; i >= 0; i-- {
		if err := clearFile(dir, names[i]); err != nil {
			return fmt.Errorf("clear %s/%s/%s: %w", l.Dir, newName, names[i], err)
		}
	}
	if err := sys.Rmdir(l.root, newName); err != nil {
		return fmt.Errorf("clear %s/%s: %w", l.Dir, newName, err)
	}
	return nil
}

// clearFile unmounts the namespace at name, and removes the file if it is empty
// and ours, or the link. Anything else is an [ErrForeign], and left alone.
func clearFile(dir int, name string) error {
	if err := unmount(dir, name); err != nil {
		return err
	}
	st, err := sys.StatAt(dir, name)
	if err != nil {
		return err
	}
	if !st.IsLink() && !emptyFile(st) {
		return ErrForeign
	}
	return sys.Unlink(dir, name)
}

// unmount takes away every namespace that is mounted at name, and nothing else.
func unmount(dir int, name string) error {
	for {
		_, err := namespaceAt(dir, name)
		if errors.Is(err, ErrUnmounted) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := sys.Unmount(dir, name); err != nil {
			return err
		}
	}
}

// emptyFile says whether a file is such as we make to mount on.
func emptyFile(st sys.FileStat) bool {
	return st.IsRegular() && st.Size == 0 && st.Links == 1 && int(st.UID) == os.Geteuid()
}

// namespaceAt returns the namespace that is mounted at name. Where none is, the
// error is an [ErrUnmounted]. A symbolic link is not followed, and nothing is
// opened, so the file can be anything.
func namespaceAt(dir int, name string) (inspect.ID, error) {
	fd, err := sys.OpenAt(dir, name, true)
	if err != nil {
		return inspect.ID{}, err
	}
	defer sys.CloseFD(fd)
	if ok, err := sys.IsNsfs(fd); err != nil {
		return inspect.ID{}, err
	} else if !ok {
		return inspect.ID{}, ErrUnmounted
	}
	id, err := sys.Fstat(fd)
	return inspect.ID(id), err
}

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

// The layout of a store, which is a tmpfs:
//
//	web/net, web/uts   files with a namespace mounted on each: the set "web"
//	web/net            or a link to /run/netns/web, if it is kept there, and
//	web/.netns         a link whose text is the namespace that was mounted there: net:[4026532260]
//	.new/              a set that is being built, or taken down
//	.home              a link whose text is the identifier of the tmpfs mount
//
// A program that changes anything holds the lock on the file beside the directory. So there
// is at most one .new. A program that gets the lock and finds a .new knows that a killed
// program left it, and takes it down. One rename of a directory gives a set its name, removes
// the name or replaces the set: the kernel does not rename a mount point, but it does rename a
// directory with mount points in it.
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

// lockStore locks the store, makes it if it does not exist, and removes what a killed program
// left.
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

// trustParent returns nil if a store can be in the directory of fd: only root and the caller
// can rename something in it.
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

// trust returns nil if the directory of fd belongs to one of these users, and no other user
// can write to it.
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

// takeLock waits for the lock on a file that only the caller can open. Otherwise anybody
// could keep the lock.
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

// makeStore opens the store in parent, and makes what is missing. A store is complete with
// the link .home, which is made last.
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
		// The umask may have removed permissions to read.
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
	// Unbindable is private, and also keeps the pins out of a container to which an engine
	// gives the whole of "/".
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

// atHome reports whether root is the root of a store of this mount namespace, and not a copy
// of its mount in another one. If the store is not complete, the error is an
// [fs.ErrNotExist].
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

// halfMade reports whether root is a tmpfs that makeStore mounted and did not complete.
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

// untrusted makes an [ErrUntrusted] of the error for a symbolic link.
func untrusted(err error, path string) error {
	if sys.IsLoop(err) {
		return fmt.Errorf("%s is a symbolic link: %w", path, ErrUntrusted)
	}
	return err
}

// Heal is like the function [Heal], in this store.
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
	err := l.takeDown()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// takeDown removes the set under the name .new. If it is killed, it can be called again.
func (l *locked) takeDown() error {
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
	// The record of what is in /run/netns is removed last: names are sorted, and it begins
	// with a dot.
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

// clearFile unmounts the namespace at name, and removes the link, or the file if it is empty
// and of the caller. Anything else is an [ErrForeign] and is not changed.
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

// unmount unmounts every namespace that is mounted at name, and nothing else.
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

// emptyFile reports whether a file is like those that this package makes to mount on.
func emptyFile(st sys.FileStat) bool {
	return st.IsRegular() && st.Size == 0 && st.Links == 1 && int(st.UID) == os.Geteuid()
}

// namespaceAt returns the namespace that is mounted at name. If there is none, the error is
// an [ErrUnmounted]. The file can be anything, because it is not opened and a symbolic link is
// not followed.
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

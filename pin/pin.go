// Package pin keeps namespaces alive without a process, by a name.
//
// A namespace goes when its last process goes, unless something else holds it.
// A pin holds it by a bind mount, and gives it a name in the file system. What
// has a name here is a [Set]: the namespaces of a container, or of a test bed,
// that are kept, entered and let go together.
//
//	file, err := os.Open("/proc/4242/ns/net")
//	if err != nil {
//		return err
//	}
//	defer file.Close()
//	if err := pin.Add(ctx, "blue", file); err != nil {
//		return err
//	}
//
// From then on /run/nstool/blue/net is that network namespace, also when
// process 4242 is gone. [Open] opens it, [All] lists what is pinned, and
// [Remove] lets it go.
//
// # What is promised
//
// A set is added whole or not at all, whenever the program is killed: it is
// built under a name that nobody sees and then renamed. [Replace] puts another
// set under a name in one step, so that whoever opens the name gets the old set
// or the new one and never some of both. What a killed program leaves behind
// holds no name, and goes with the next call of Add or Remove, or with [Heal].
//
// Only namespaces are ever unmounted, and only empty files of our own removed.
//
// # Where pins live
//
// Pins are below /run/nstool, on a small file system of its own that belongs to
// the mount namespace it was made in: pins do not spread into containers, and
// mount namespaces can be pinned too. In another mount namespace than that the
// pins cannot be changed: the error is [ErrElsewhere]. A [Store] can be
// anywhere else. For an ordinary user in a user namespace of his own it is
// below $XDG_RUNTIME_DIR, see [DefaultDir].
//
// Changing pins needs CAP_SYS_ADMIN in the user namespace that owns the mount
// namespace. Reading them needs nothing.
//
// # What cannot be pinned
//
// A mount namespace can be pinned only from one that is older: not itself, and
// not one that was there before. A pinned PID namespace goes on for as long as
// its first process lives; afterwards nothing can be started in it, and its pin
// is dead. Pinning does not prevent that.
//
// # Design
//
// The kernel refuses to rename a mount point, but not a directory above one. So a set is built
// under the name .new and renamed, is replaced by RENAME_EXCHANGE, and is taken down under
// .new again. A process that is killed leaves at most a .new, which the next one with the lock
// takes down. To remove one namespace of a set is to replace the set. The tests kill the
// process at every call that changes something.
//
// The pins are on a tmpfs, not on a bind mount of /run/nstool on itself. It is freed with the
// mount namespaces that have it, so no file is left after a reboot or in another container
// with the same /run; it supports RENAME_EXCHANGE; and it works when /run is full. It is
// unbindable: an engine that binds "/" into a container leaves it out. A link in it, .home,
// names the mount as which it was made. A process that finds another mount there is in a copy
// of the mount namespace, where a file without a namespace need not be a dead pin: nothing is
// changed there.
package pin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// A Set is a name with the namespaces that are pinned under it, at most one of
// each type.
type Set struct {
	Name string
	// By is who made the pins: "nstool", "ip-netns", "docker", "cni", "crio",
	// "snapd", or "" if that cannot be told.
	By string
	// UID is the owner of the files, as the caller's user namespace maps it.
	UID uint32
	// Made is when the set was added. It is zero if it cannot be known: it is
	// written on the file under the mount, which only root can look at.
	Made time.Time
	// Pins are the pins, in the order of the types.
	Pins []Pin
}

// Types returns the types of the namespaces of the set, of dead pins too.
func (s Set) Types() inspect.Types {
	var types inspect.Types
	for _, p := range s.Pins {
		types = types.With(p.Type)
	}
	return types
}

// A Pin is one namespace that is kept alive by a bind mount.
type Pin struct {
	Type inspect.Type
	// ID is the namespace, or zero if there is none any more.
	ID inspect.ID
	// Path is the file that the namespace is mounted on.
	Path string
	// Dead says why the namespace cannot be entered any more, or is nil.
	Dead error
}

// What can be wrong with a pin, or with pinning. Test for them with
// [errors.Is].
var (
	// ErrName means that a name cannot be one. See [CheckName].
	ErrName = errors.New("a name is 1 to 64 of A-Z a-z 0-9 . _ - and starts with none of . -")

	// ErrPinned means that a set has the name already. It is an [fs.ErrExist].
	ErrPinned = sys.ErrorOf(fs.ErrExist, "pinned already")

	// ErrUntrusted means that a directory or file is not what we would have
	// made: it belongs to somebody else, or others can write to it.
	ErrUntrusted = errors.New("not trusted")

	// ErrElsewhere means that the pins are kept in another mount namespace
	// than the caller's, where alone they can be changed.
	ErrElsewhere = errors.New("pinned in another mount namespace than this one")

	// ErrMountLoop means that a mount namespace cannot be pinned in one that
	// is not older, or on a mount that is shared.
	ErrMountLoop = sys.ErrMountLoop

	// ErrUnmounted means that the file of a pin is there and no namespace is
	// mounted on it: somebody unmounted it, or a program was killed.
	ErrUnmounted = errors.New("no namespace is mounted on the file")

	// ErrDangling means that a name is a symbolic link that leads nowhere.
	ErrDangling = errors.New("it is a link that leads nowhere")

	// ErrInitGone means that the first process of a PID namespace is gone.
	ErrInitGone = errors.New("the first process of the PID namespace is gone, and nothing can be started in it any more")

	// ErrOfRoot means that the name is one of the system's, and the caller is
	// not root. It is an [fs.ErrPermission].
	ErrOfRoot = sys.ErrorOf(fs.ErrPermission, "pinned by root")

	// ErrForeign means that something is no pin of ours, and is left alone.
	ErrForeign = errors.New("not a pin of ours, left alone")
)

// CheckName returns an [ErrName] if name cannot be the name of a set. Names
// start with a letter, a digit or "_", go on with these, "." and "-", and have
// at most 64 characters: they are safe in a shell, as an argument and as a
// file.
func CheckName(name string) error {
	ok := len(name) > 0 && len(name) <= 64
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("bad name %q: %w", name, ErrName)
	}
	return nil
}

// A Store is a directory of sets. The functions of the package use the one of
// [Default].
type Store struct {
	// Dir is the directory. It is made on first use, in a directory that is
	// there; no part of its path may be a symbolic link.
	Dir string
	// Netns is where ip-netns(8) keeps its names, for [InNetns]. Empty means
	// /run/netns.
	Netns string
}

// SystemDir is where the pins of the system are.
const SystemDir = "/run/nstool"

// DefaultDir returns where the caller's pins are: [SystemDir] for root, and
// $XDG_RUNTIME_DIR/nstool for anybody else. Who is root in a user namespace is
// root here only if /run is his.
func DefaultDir() (string, error) {
	if os.Geteuid() == 0 {
		if fd, err := sys.OpenDir(filepath.Dir(SystemDir)); err == nil {
			defer sys.CloseFD(fd)
			if st, err := sys.StatFD(fd); err == nil && st.UID == 0 {
				return SystemDir, nil
			}
		}
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return "", fmt.Errorf("no place for the pins of an ordinary user: XDG_RUNTIME_DIR is not set: %w", fs.ErrNotExist)
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("no place for the pins of an ordinary user: XDG_RUNTIME_DIR is %q and not an absolute path: %w", dir, fs.ErrInvalid)
	}
	if real, err := sys.RealPath(dir); err == nil {
		dir = real
	}
	return filepath.Join(dir, filepath.Base(SystemDir)), nil
}

// Default returns the store of the caller, see [DefaultDir].
func Default() (*Store, error) {
	dir, err := DefaultDir()
	if err != nil {
		return nil, err
	}
	return &Store{Dir: dir}, nil
}

// An Option adjusts an Add.
type Option func(*addition)

// Replace puts the set in place of the one that has the name, if there is one,
// in one step.
func Replace() Option { return func(a *addition) { a.replace = true } }

// InNetns puts the network namespace of the set in /run/netns, under the name
// of the set, where ip-netns(8) sees it. Other types are where they always
// are. When "ip netns delete" takes it away, the pin is dead.
func InNetns() Option { return func(a *addition) { a.netns = true } }

// Add pins the namespaces of files, one of each type, under a name in the
// caller's store.
//
// An error answers [errors.Is] with [ErrPinned] if the name is taken, with [fs.ErrPermission], or with the errors of this package. After an error
// there is no pin.
func Add(ctx context.Context, name string, files []*os.File, opts ...Option) error {
	s, err := Default()
	if err != nil {
		return err
	}
	return s.Add(ctx, name, files, opts...)
}

// Remove removes the pins of the given types from the set with the given name
// in the caller's store, or all of it if no types are given. The namespaces
// live on if something else holds them. Without such a set, or such a type in
// it, the error is an [fs.ErrNotExist].
func Remove(ctx context.Context, name string, types ...inspect.Type) error {
	s, err := Default()
	if err != nil {
		return err
	}
	err = s.Remove(ctx, name, types...)
	if errors.Is(err, fs.ErrNotExist) && s.Dir != SystemDir {
		if set, e := (&Store{Dir: SystemDir}).look(name); e == nil && len(set.Pins) > 0 {
			return said{fmt.Sprintf("%s is pinned in %s, which belongs to root", name, SystemDir), ErrOfRoot}
		}
	}
	return err
}

// Open opens the namespaces that are pinned under a name in the caller's
// store, or else in the system's. They are of one and the same set even while
// it is replaced. If one of them is dead the error says so, and none is opened.
//
// The caller closes the files.
func Open(name string) (map[inspect.Type]*os.File, error) {
	return open(func(s *Store) (map[inspect.Type]*os.File, error) { return s.Open(name) })
}

// OpenType opens the namespace of one type that is pinned under a name. See
// [Open].
func OpenType(name string, t inspect.Type) (*os.File, error) {
	return open(func(s *Store) (*os.File, error) { return s.OpenType(name, t) })
}

// open tries f on the caller's store, then on the system's.
func open[T any](f func(*Store) (T, error)) (T, error) {
	s, err := Default()
	if err != nil {
		s = &Store{Dir: SystemDir}
	}
	v, err := f(s)
	if errors.Is(err, fs.ErrNotExist) && s.Dir != SystemDir {
		// What is outside the caller's user namespace is no system of his.
		if v, err := f(&Store{Dir: SystemDir}); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrUntrusted) {
			return v, err
		}
	}
	return v, err
}

// All yields the sets of the caller's store and of the system's, by name. It
// changes nothing and waits for nobody. What cannot be read is yielded as an
// error, with the name in the Set if it has one.
func All(ctx context.Context) iter.Seq2[Set, error] {
	return func(yield func(Set, error) bool) {
		stores := []*Store{{Dir: SystemDir}}
		if s, err := Default(); err == nil && s.Dir != SystemDir {
			stores = append(stores, s)
		}
		for _, s := range stores {
			for set, err := range s.All(ctx) {
				if errors.Is(err, ErrUntrusted) && len(stores) > 1 && s.Dir == SystemDir && set.Name == "" {
					continue // as in open
				}
				if !yield(set, err) {
					return
				}
			}
		}
	}
}

// Heal takes away what a killed program has left in the caller's store. Add and
// Remove do so on their own.
func Heal(ctx context.Context) error {
	s, err := Default()
	if err != nil {
		return err
	}
	return s.Heal(ctx)
}

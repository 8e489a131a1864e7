// Package pin keeps namespaces alive without a process, by a name.
//
// A namespace is freed with its last process, unless something else holds it. A pin holds
// it by a bind mount, which gives it a name in the file system. A [Set] has a name here: the
// namespaces of a container, for example, which are kept, entered and removed together.
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
// /run/nstool/blue/net is then that network namespace, also when process 4242 has exited.
// [Open] opens it, [All] lists all pins, and [Remove] removes it.
//
// # Guarantees
//
// A set is added as a whole or not at all, also if the program is killed: it is built under
// a hidden name and then renamed. [Replace] replaces a set in one step, so that a program that
// opens the name gets the old set or the new one, never parts of both. Remains of a killed
// program have no name. The next call of Add or Remove removes them, and so does [Heal].
//
// Only namespaces are ever unmounted, and only empty files of the caller are removed.
//
// # Where pins live
//
// Pins are below /run/nstool, on a small file system that belongs to the mount namespace in
// which it was made. So pins do not spread into containers, and mount namespaces can be
// pinned too. In another mount namespace the pins cannot be changed: the error is
// [ErrElsewhere]. For an ordinary user in their own user namespace they are below
// $XDG_RUNTIME_DIR, see [DefaultDir]. A [Store] can be anywhere.
//
// Changing pins needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace.
// Reading them needs no privileges.
//
// # What cannot be pinned
//
// A mount namespace can be pinned only in an older one, and so never in itself. A pin does
// not keep the first process of a PID namespace alive. When that exits, no process can be
// started in the namespace, and the pin is dead.
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
	// By is the program that made the pins: "nstool", "ip-netns", "docker", "cni",
	// "crio", "snapd", or "" if it is not known.
	By string
	// UID is the owner of the files, as the caller's user namespace maps it.
	UID uint32
	// Made is when the set was added. It is the time of the file under the mount, which
	// only root can see, and zero for others.
	Made time.Time
	// Pins are the pins, in the order of the types.
	Pins []Pin
}

// Types returns the types of the namespaces of the set, also of dead pins.
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
	// ID is the namespace, or zero if there is none.
	ID inspect.ID
	// Path is the file that the namespace is mounted on.
	Path string
	// Dead says why the namespace cannot be entered, or is nil.
	Dead error
}

// Errors of pins. Test for them with [errors.Is].
var (
	// ErrName means that a word cannot be the name of a set. See [CheckName].
	ErrName = errors.New("a name is 1 to 64 of A-Z a-z 0-9 . _ - and starts with none of . -")

	// ErrPinned means that a set has the name already. It is an [fs.ErrExist].
	ErrPinned = sys.ErrorOf(fs.ErrExist, "pinned already")

	// ErrUntrusted means that a directory or file belongs to another user, or that others
	// can write to it.
	ErrUntrusted = errors.New("not trusted")

	// ErrElsewhere means that the pins are in another mount namespace than that of the
	// caller. They can be changed only there.
	ErrElsewhere = errors.New("pinned in another mount namespace than this one")

	// ErrMountLoop means that a mount namespace can be pinned only in an older one, and
	// not on a shared mount.
	ErrMountLoop = sys.ErrMountLoop

	// ErrUnmounted means that no namespace is mounted on the file of a pin: somebody
	// unmounted it, or a program was killed.
	ErrUnmounted = errors.New("no namespace is mounted on the file")

	// ErrDangling means that a name is a symbolic link that leads nowhere.
	ErrDangling = errors.New("it is a link that leads nowhere")

	// ErrInitGone means that the first process of a PID namespace has exited.
	ErrInitGone = errors.New("the first process of the PID namespace is gone, and nothing can be started in it any more")

	// ErrOfRoot means that the pin belongs to the system, and the caller is not root. It
	// is an [fs.ErrPermission].
	ErrOfRoot = sys.ErrorOf(fs.ErrPermission, "pinned by root")

	// ErrForeign means that something is no pin of this package, and was not changed.
	ErrForeign = errors.New("not a pin of ours, left alone")
)

// CheckName returns an [ErrName] if name cannot be the name of a set. A name has at most 64
// letters, digits, "_", "." and "-", and does not begin with the last two. It is safe in a
// shell, as an argument and as a file.
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

// A Store is a directory of sets. The functions of the package use [Default].
type Store struct {
	// Dir is the directory. It is made on first use; the directory above it must exist.
	// No part of its path may be a symbolic link.
	Dir string
	// Netns is where ip-netns(8) keeps its names, for [InNetns]. Empty means
	// /run/netns.
	Netns string
}

// SystemDir is the directory of the pins of the system.
const SystemDir = "/run/nstool"

// Default returns the store of the caller: [SystemDir] for root, and $XDG_RUNTIME_DIR/nstool for
// other users. Root of a user namespace counts as root only if it owns /run.
func Default() (*Store, error) {
	if os.Geteuid() == 0 {
		if fd, err := sys.OpenDir(filepath.Dir(SystemDir)); err == nil {
			defer sys.CloseFD(fd)
			if st, err := sys.StatFD(fd); err == nil && st.UID == 0 {
				return &Store{Dir: SystemDir}, nil
			}
		}
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return nil, fmt.Errorf("no place for the pins of an ordinary user: XDG_RUNTIME_DIR is not set: %w", fs.ErrNotExist)
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("no place for the pins of an ordinary user: XDG_RUNTIME_DIR is %q and not an absolute path: %w", dir, fs.ErrInvalid)
	}
	if real, err := sys.RealPath(dir); err == nil {
		dir = real
	}
	return &Store{Dir: filepath.Join(dir, filepath.Base(SystemDir))}, nil
}

// An Option adjusts an Add.
type Option func(*addition)

// Replace replaces the set with that name, if there is one, in one step.
func Replace() Option { return func(a *addition) { a.replace = true } }

// InNetns mounts the network namespace of the set in /run/netns, under the name of the set,
// where ip-netns(8) sees it. When "ip netns delete" removes it, the pin is dead.
func InNetns() Option { return func(a *addition) { a.netns = true } }

// Add pins the namespaces of files, one of each type, under a name in the
// caller's store: on the host, also for a caller in a container; see [inspect.Host.InMounts].
//
// The error is an [ErrPinned] if the name is taken, an [fs.ErrPermission], or another error
// of this package. Nothing is pinned after an error.
func Add(ctx context.Context, name string, files []*os.File, opts ...Option) error {
	return inspect.FindHost().InMounts(func() error {
		s, err := Default()
		if err != nil {
			return err
		}
		return s.Add(ctx, name, files, opts...)
	})
}

// Remove removes the pins of these types from a set in the store of the caller, or the whole
// set if no types are given. The namespaces exist on if something else holds them. If there
// is no such set, or no such type in it, the error is an [fs.ErrNotExist].
func Remove(ctx context.Context, name string, types ...inspect.Type) error {
	s, err := Default()
	if err != nil {
		return err
	}
	err = s.Remove(ctx, name, types...)
	if errors.Is(err, fs.ErrNotExist) && s.Dir != SystemDir {
		if set, e := (&Store{Dir: SystemDir}).readName(name); e == nil && len(set.Pins) > 0 {
			return messageError{fmt.Sprintf("%s is pinned in %s, which belongs to root", name, SystemDir), ErrOfRoot}
		}
	}
	return err
}

// Open opens the namespaces of a set in the store of the caller, or else in that of the
// system. All are of the same set even if it is replaced meanwhile. If one of them is dead,
// the error says so and none is opened. The caller closes the files.
func Open(name string) (map[inspect.Type]*os.File, error) {
	return open(func(s *Store) (map[inspect.Type]*os.File, error) { return s.Open(name) })
}

// OpenType opens the namespace of one type that is pinned under a name. See
// [Open].
func OpenType(name string, t inspect.Type) (*os.File, error) {
	return open(func(s *Store) (*os.File, error) { return s.OpenType(name, t) })
}

// open is openHere on the host.
func open[T any](f func(*Store) (T, error)) (v T, err error) {
	err = inspect.FindHost().InMounts(func() (err error) { v, err = openHere(f); return err })
	return v, err
}

// openHere tries f on the caller's store, then on the system's.
func openHere[T any](f func(*Store) (T, error)) (T, error) {
	s, err := Default()
	if err != nil {
		s = &Store{Dir: SystemDir}
	}
	v, err := f(s)
	if errors.Is(err, fs.ErrNotExist) && s.Dir != SystemDir {
		// A system outside the user namespace of the caller is not trusted.
		if v, err := f(&Store{Dir: SystemDir}); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrUntrusted) {
			return v, err
		}
	}
	return v, err
}

// All yields the sets in the stores of the caller and of the system, by name. It changes
// nothing and takes no lock. For a set that cannot be read it yields an error, with the name
// in the Set.
//
// An inlined iterator doubles the code of each loop over it.
//
//go:noinline
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

// Heal removes what a killed program has left in the store of the caller. Add and Remove also
// do so.
func Heal(ctx context.Context) error {
	s, err := Default()
	if err != nil {
		return err
	}
	return s.Heal(ctx)
}

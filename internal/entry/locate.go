package entry

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/target"
)

// Locate finds a target by a scan. For a container it reads only the namespaces of processes.
func Locate(ctx context.Context, ref target.Ref) (*inspect.Snapshot, target.Found, error) {
	var opts []inspect.Option
	if Named(ref) {
		opts = ForContainers()
	}
	snap, err := inspect.Scan(ctx, opts...)
	if err != nil {
		return nil, target.Found{}, err
	}
	found, err := target.Find(snap, container.Lookup(ctx, snap, container.WithHidden()), ref)
	return snap, found, err
}

// Named reports whether a TARGET is a container or a pod by its name.
func Named(ref target.Ref) bool {
	return ref.Kind == target.Container || ref.Kind == target.Pod || ref.Kind == target.Word
}

// ForContainers returns the options of a scan for the names of containers.
func ForContainers() []inspect.Option {
	return []inspect.Option{
		inspect.WithTypes(inspect.TypesOf(inspect.Mnt, inspect.PID, inspect.User)),
		inspect.WithoutTasks(), inspect.WithoutFDs(), inspect.WithoutMounts(),
	}
}

// enterable finds a TARGET by a scan, and opens it to be entered.
func enterable(ctx context.Context, ref target.Ref) (*Found, error) {
	snap, found, err := Locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if files, err := openNamespaces(ctx, snap, found); err != nil {
		return nil, err
	} else if files != nil {
		return &Found{Files: files}, nil
	}
	p := found.Process
	if !ref.Shared {
		if p, err = found.Single(snap, ref); err != nil {
			return nil, err
		}
	}
	return openSeen(ref, found, p)
}

// OpenTypes opens the namespaces of these types that a TARGET has. Those of a process are the
// ones that its children will be in, and those of a pod the ones that its containers share.
func OpenTypes(ctx context.Context, ref target.Ref, types inspect.Types) (map[inspect.Type]*os.File, error) {
	defer Impatient("pin: add", ref.Text, 1)()
	found, err := known(ref)
	if err != nil {
		return nil, err
	}
	if found == nil {
		snap, at, err := Locate(ctx, ref)
		if err != nil {
			return nil, err
		}
		if files, err := openNamespaces(ctx, snap, at); files != nil || err != nil {
			return files, err
		}
		if found, err = openSeen(ref, at, at.Process); err != nil {
			return nil, err
		}
	}
	if found.Process == nil {
		return found.Files, nil
	}
	defer found.Close()
	set, err := forChildren(found.Process, types)
	if err == nil {
		err = found.Confirm()
	}
	if err != nil {
		CloseFiles(set)
		return nil, err
	}
	return set, nil
}

// openSeen opens a process that a scan saw. It may have exited since, and another process may
// have its number. A container must be ready before anything of it is opened.
func openSeen(ref target.Ref, at target.Found, p *inspect.Process) (*Found, error) {
	t, err := enter.Open(p.PID)
	if err != nil {
		return nil, err
	}
	found := &Found{Process: t}
	if err := same(t, p); err != nil {
		found.Close()
		return nil, fmt.Errorf("%s: %w", ref.Text, err)
	}
	// The state is read when the process is held, so it is of this process or a later one.
	if found.terms, err = terms(at, p); err == nil {
		err = found.Confirm()
	}
	found.Container = slices.ContainsFunc(at.Match.Containers, func(c *container.Container) bool {
		return c.Init == p.PID && c.Outer == nil && c.Confirmed && c.User == container.Root
	})
	if err != nil {
		found.Close()
		return nil, err
	}
	return found, nil
}

// same checks that t is in the mount namespace that p was seen in.
func same(t *enter.Target, p *inspect.Process) error {
	want, ok := p.Namespace(inspect.Mnt)
	if !ok {
		return nil
	}
	f, err := t.Namespace(inspect.Mnt)
	if err != nil {
		return err
	}
	defer f.Close()
	if have, err := fileID(f); err != nil || have != want {
		return inspect.ErrGone
	}
	return nil
}

// openNamespaces opens a TARGET that is a namespace or a set of them, and returns nil for
// others.
func openNamespaces(ctx context.Context, snap *inspect.Snapshot, found target.Found) (map[inspect.Type]*os.File, error) {
	if found.Process != nil {
		return nil, nil
	}
	return found.Open(ctx, snap)
}

// fileID returns the identity of the namespace that f is.
func fileID(f *os.File) (inspect.ID, error) {
	id, err := sys.Fstat(int(f.Fd()))
	return inspect.ID(id), err
}

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/target"
)

// locate finds what only a scan can place, reading no more than that takes: a
// container by the namespaces of processes alone.
func locate(ctx context.Context, ref target.Ref) (*inspect.Snapshot, target.Found, error) {
	var opts []inspect.Option
	if named(ref) {
		opts = forContainers()
	}
	snap, err := inspect.Scan(ctx, opts...)
	if err != nil {
		return nil, target.Found{}, err
	}
	found, err := target.Resolve(snap, ref)
	return snap, found, err
}

// named reports whether a TARGET is a container or a pod by its name.
func named(ref target.Ref) bool {
	return ref.Kind == target.Container || ref.Kind == target.Pod || ref.Kind == target.Word
}

// forContainers are the options of a scan that looks for containers by name
// alone.
func forContainers() []inspect.Option {
	return []inspect.Option{
		inspect.WithTypes(inspect.TypesOf(inspect.Mnt, inspect.PID, inspect.User)),
		inspect.WithoutTasks(), inspect.WithoutFDs(), inspect.WithoutMounts(), inspect.WithHidden(),
	}
}

// enterable opens what a TARGET stands for, to be entered. It is what package
// entry asks for what it cannot find itself.
func enterable(ctx context.Context, ref target.Ref) (*entry.Found, error) {
	snap, found, err := locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if files, err := openNamespaces(ctx, snap, found); err != nil {
		return nil, err
	} else if files != nil {
		return &entry.Found{Files: files}, nil
	}
	p := found.Process
	if m := found.Match; len(m.Containers) > 0 && !ref.Shared {
		// What is wanted of a pod is not the container that only keeps it.
		inner := m.Inner()
		if len(inner) > 1 {
			names := make([]string, len(inner))
			for i, c := range inner {
				names[i] = "pod:" + c.String()
			}
			return nil, &target.AmbiguousError{Text: ref.Text, Targets: names}
		}
		var ok bool
		if p, ok = snap.Process(inner[0].Init); !ok {
			return nil, fmt.Errorf("%s: %w", inner[0], inspect.ErrGone)
		}
	}
	t, err := enter.Open(p.PID)
	if err != nil {
		return nil, err
	}
	// The process may have ended since the scan, and its number be another's.
	if err := same(t, p); err != nil {
		t.Close()
		return nil, fmt.Errorf("%s: %w", ref.Text, err)
	}
	return &entry.Found{Process: t}, nil
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

// openNamespaces opens what a TARGET stands for if that is a namespace or a set
// of them, and returns nil otherwise.
func openNamespaces(ctx context.Context, snap *inspect.Snapshot, found target.Found) (map[inspect.Type]*os.File, error) {
	all := found.Pinned
	if found.Namespace != nil {
		all = []*inspect.Namespace{found.Namespace}
	}
	var files map[inspect.Type]*os.File
	for _, ns := range all {
		f, err := snap.Open(ctx, ns)
		if err != nil {
			closeFiles(files)
			return nil, err
		}
		if files == nil {
			files = make(map[inspect.Type]*os.File, len(all))
		}
		files[ns.Type] = f
	}
	return files, nil
}

// fileID returns the identity of the namespace that f is.
func fileID(f *os.File) (inspect.ID, error) {
	id, err := sys.Fstat(int(f.Fd()))
	return inspect.ID(id), err
}

// openFound opens the namespaces of the given types of what only a scan can
// place: one namespace, or those of a container. Of a pod they are those that
// its containers share.
func openFound(ctx context.Context, ref target.Ref, types inspect.Types) (map[inspect.Type]*os.File, error) {
	snap, found, err := locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if files, err := openNamespaces(ctx, snap, found); files != nil || err != nil {
		return files, err
	}
	set, err := entry.OpenProcess(target.Ref{Kind: target.Process, Text: ref.Text, PID: found.Process.PID, TID: found.TID}, types.With(inspect.Mnt))
	if err != nil {
		return nil, err
	}
	if mnt := set[inspect.Mnt]; mnt != nil {
		want, _ := found.Process.Namespace(inspect.Mnt)
		if have, err := fileID(mnt); err != nil || have != want {
			closeFiles(set)
			return nil, fmt.Errorf("%s: %w", ref.Text, inspect.ErrGone)
		}
		if !types.Has(inspect.Mnt) {
			mnt.Close()
			delete(set, inspect.Mnt)
		}
	}
	return set, nil
}

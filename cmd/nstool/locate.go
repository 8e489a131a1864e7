package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	if ns := found.Namespace; ns != nil {
		f, err := openNamespace(ns)
		if err != nil {
			return nil, err
		}
		return &entry.Found{Files: map[inspect.Type]*os.File{ns.Type: f}}, nil
	}
	if found.Pinned != nil {
		files := make(map[inspect.Type]*os.File)
		for _, ns := range found.Pinned {
			f, err := openNamespace(ns)
			if err != nil {
				for _, open := range files {
					open.Close()
				}
				return nil, err
			}
			files[ns.Type] = f
		}
		return &entry.Found{Files: files}, nil
	}
	p := found.Process
	if m := found.Match; len(m.Containers) > 0 {
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

// openNamespace opens a namespace by what holds it, and checks that it is the
// one: a process that held it may be another by now.
func openNamespace(ns *inspect.Namespace) (*os.File, error) {
	var paths []string
	if l := ns.Leader(); l != nil {
		paths = append(paths, fmt.Sprintf("/proc/%d/ns/%s", l.PID, ns.Type))
	}
	for _, h := range ns.Others() {
		if p := h.File(ns.Type); p != "" {
			paths = append(paths, p)
		}
	}
	err := fmt.Errorf("nothing leads to %s: %w", ns, fs.ErrNotExist)
	for _, path := range paths {
		var f *os.File
		if f, err = enter.OpenFile(path, 0); err != nil {
			continue
		}
		if have, e := fileID(f); e == nil && have == ns.ID {
			return f, nil
		}
		f.Close()
		err = fmt.Errorf("%s: %w", path, errors.New("it leads to another namespace by now"))
	}
	return nil, err
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
	_, found, err := locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if ns := found.Namespace; ns != nil {
		f, err := openNamespace(ns)
		if err != nil {
			return nil, err
		}
		return map[inspect.Type]*os.File{ns.Type: f}, nil
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

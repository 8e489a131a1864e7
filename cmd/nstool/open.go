package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/target"
	"github.com/nstool/nstool/pin"
)

// openRef opens the namespaces of the given types that a target has, as far as
// it has them. Of a process they are those that its children will be in.
func openRef(ctx context.Context, ref target.Ref, types inspect.Types) (map[inspect.Type]*os.File, error) {
	switch ref.Kind {
	case target.Process:
		return entry.OpenProcess(ref, types)
	case target.Pin:
		if ref.Type != 0 {
			f, err := pin.OpenType(ref.Name, ref.Type)
			if err != nil {
				return nil, err
			}
			return map[inspect.Type]*os.File{ref.Type: f}, nil
		}
		return pin.Open(ref.Name)
	case target.Netns:
		return openFile(filepath.Join(pin.IPNetnsDir, ref.Name))
	case target.File:
		return openFile(ref.Path)
	}
	return openFound(ctx, ref, types)
}

func openFile(path string) (map[inspect.Type]*os.File, error) {
	fd, err := sys.OpenNamespace(sys.CurrentDir, path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	flag, err := sys.NamespaceFlag(fd)
	t, ok := inspect.TypeOfFlag(flag)
	if err == nil && !ok {
		err = errors.ErrUnsupported
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return map[inspect.Type]*os.File{t: f}, nil
}

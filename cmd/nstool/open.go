package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/target"
	"github.com/nstool/nstool/pin"
)

// openRef opens the namespaces of the given types that a target has, as far as
// it has them. Of a process they are those that its children will be in.
func openRef(ctx context.Context, ref target.Ref, types inspect.Types) (map[inspect.Type]*os.File, error) {
	switch ref.Kind {
	case target.Process:
		pid := ref.PID
		if pid == 0 {
			pid = os.Getpid()
		}
		return openProcess(pid, ref.TID, types)
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

// openProcess opens namespaces of a process, all through one descriptor of its
// directory, so that they are of one and the same process.
func openProcess(pid, tid int, types inspect.Types) (map[inspect.Type]*os.File, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	if tid != 0 {
		dir += "/task/" + strconv.Itoa(tid)
	}
	fd, err := sys.OpenDir(dir + "/ns")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no process %d", pid)
	}
	if err != nil {
		return nil, err
	}
	defer sys.Close(fd)
	set := make(map[inspect.Type]*os.File)
	for t := range types.All() {
		link := t.String()
		if children := t.ForChildren(); children != "" {
			link = children
		}
		ns, err := sys.OpenNamespace(fd, link)
		if errors.Is(err, fs.ErrNotExist) && link == inspect.PID.ForChildren() {
			closeFiles(set)
			return nil, fmt.Errorf("nothing has been started in the new PID namespace of process %d yet", pid)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // this kernel has no such namespaces
		}
		if err != nil {
			closeFiles(set)
			return nil, fmt.Errorf("open the %s namespace of process %d: %w", t, pid, err)
		}
		set[t] = os.NewFile(uintptr(ns), dir+"/ns/"+link)
	}
	return set, nil
}

func openFile(path string) (map[inspect.Type]*os.File, error) {
	fd, err := sys.OpenNamespace(sys.CurrentDirectory, path)
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

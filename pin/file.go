package pin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nstool/nstool/internal/sys"
)

// AddFile pins the namespace of f on the file at path, as unshare(1) does. The file is made,
// or is an empty file of the caller. Only [Others] lists it.
func AddFile(ctx context.Context, path string, f *os.File) error {
	if _, err := typeOf(f); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, name, err := openParent(path)
	if err != nil {
		return fmt.Errorf("pin on %s: %w", path, err)
	}
	defer sys.CloseFD(dir)
	made := true
	file, err := sys.Create(dir, name, 0o400)
	if errors.Is(err, fs.ErrExist) {
		made = false
		if file, err = openEmpty(dir, name); errors.Is(err, fs.ErrExist) {
			return messageError{path + " is there already, and is no empty file of ours", fs.ErrExist}
		}
	}
	if err != nil {
		return fmt.Errorf("pin on %s: %w", path, err)
	}
	defer sys.CloseFD(file)
	if err := sys.BindNamespace(int(f.Fd()), file); err != nil {
		if made {
			err = errors.Join(err, sys.Unlink(dir, name))
		}
		return fmt.Errorf("pin %s on %s: %w", f.Name(), path, err)
	}
	return nil
}

// openEmpty opens an empty file of the caller, to mount on it.
func openEmpty(dir int, name string) (int, error) {
	fd, err := sys.OpenAt(dir, name, true)
	if err != nil {
		return -1, err
	}
	st, err := sys.StatFD(fd)
	if err == nil && !emptyFile(st) {
		err = fs.ErrExist
	}
	if ok, e := sys.IsNsfs(fd); err == nil && (ok || e != nil) {
		err = fs.ErrExist
	}
	if err != nil {
		sys.CloseFD(fd)
		return -1, err
	}
	return fd, nil
}

// RemoveFile removes the pin at path, whoever made it, and the file if it is empty and of the
// caller. If there is neither, nothing is changed and the error is an [ErrForeign].
func RemoveFile(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, name, err := openParent(path)
	if err != nil {
		return fmt.Errorf("remove the pin on %s: %w", path, err)
	}
	defer sys.CloseFD(dir)
	_, err = namespaceAt(dir, name)
	mounted := err == nil
	if mounted {
		err = unmount(dir, name)
	} else if errors.Is(err, ErrUnmounted) {
		err = nil
	}
	var st sys.FileStat
	if err == nil {
		st, err = sys.StatAt(dir, name)
	}
	switch {
	case err != nil:
		return fmt.Errorf("remove the pin on %s: %w", path, err)
	case emptyFile(st):
		if err := sys.Unlink(dir, name); err != nil {
			return fmt.Errorf("remove the pin on %s: %w", path, err)
		}
	case !mounted:
		return fmt.Errorf("remove %s: %w", path, ErrForeign)
	}
	return nil
}

// openParent opens the directory that path is in.
func openParent(path string) (dir int, name string, err error) {
	name = filepath.Base(path)
	if name == "." || name == ".." || name == "/" {
		return -1, "", fmt.Errorf("no file: %w", fs.ErrInvalid)
	}
	parent, err := sys.RealPath(filepath.Dir(path))
	if err != nil {
		return -1, "", err
	}
	dir, err = sys.OpenDir(parent)
	return dir, name, err
}

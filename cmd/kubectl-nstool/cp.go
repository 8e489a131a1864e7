package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cp copies files out of a container, or into one. nstool packs and unpacks them there, and
// this computer here.
func (o *options) cp(ctx context.Context) error {
	var flags, words []string
	for _, w := range o.words {
		if strings.HasPrefix(w, "-") && w != "-" {
			flags = append(flags, w)
		} else {
			words = append(words, w)
		}
	}
	if len(words) < 2 {
		return usagef("cp takes a source and a destination: kubectl nstool cp shop/cart/app:/etc/app.yaml .")
	}
	from, to := words[:len(words)-1], words[len(words)-1]
	target, dest, up := remotePath(to)
	var paths []string // in the container, if it is the source
	for _, w := range from {
		name, path, far := remotePath(w)
		switch {
		case far && up:
			return usagef("%s and %s are both in a container: copy through this computer", w, to)
		case far && target != "" && name != target:
			return usagef("%s and %s are in two containers: copy from one at a time", words[0], w)
		case !far && !up:
			return usagef("neither %s nor %s is in a container: that is written POD:PATH", w, to)
		case far:
			target = name
			paths = append(paths, path)
		}
	}
	if to == "" || to == "-" && len(from) > 1 || up && len(from) > 1 && from[0] == "-" {
		return usagef("- is for one file")
	}
	o.words = []string{target}
	node, err := o.place(ctx, true)
	if err != nil {
		return err
	}
	target = o.words[0] + ":"
	return o.on(ctx, node, func(s *session) error {
		nstool := func(ctx context.Context, in io.Reader, out, errs io.Writer, more ...string) error {
			return s.exec(ctx, false, in, out, errs, slices.Concat(flags, more))
		}
		switch {
		case to == "-":
			return nstool(ctx, nil, os.Stdout, os.Stderr, target+paths[0], "-")
		case up && from[0] == "-":
			return nstool(ctx, os.Stdin, os.Stdout, os.Stderr, "-", target+dest)
		case up:
			return upload(ctx, from, dest, target, nstool)
		}
		for _, p := range paths {
			if err := download(ctx, target+p, to, nstool); err != nil {
				return err
			}
		}
		return nil
	})
}

// remotePath splits POD:PATH. Other words are files here: without a colon, or with a dot or a
// slash before it as in ./a:b and C:\x.
func remotePath(word string) (target, path string, far bool) {
	target, path, far = strings.Cut(strings.TrimPrefix(word, "pod:"), ":")
	if !far || target == "" || target[0] == '.' || target[0] == '/' || strings.HasPrefix(path, `\`) {
		return "", "", false
	}
	return target, path, true
}

// A runner runs nstool cp in the debug pod.
type runner func(ctx context.Context, in io.Reader, out, errs io.Writer, words ...string) error

// archive calls read with the archive of a file or directory in a container.
func archive(ctx context.Context, source string, nstool runner, errs io.Writer, read func(io.Reader) error) (unpacked, packed error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := nstool(ctx, nil, w, errs, "--tar", source, "-")
		w.CloseWithError(err) // nil is io.EOF
		done <- err
	}()
	if unpacked = read(r); unpacked != nil {
		cancel()
	}
	r.Close()
	return unpacked, <-done
}

// download copies one file or directory to this computer.
func download(ctx context.Context, source, to string, nstool runner) error {
	unpacked, packed := archive(ctx, source, nstool, os.Stderr, func(r io.Reader) error {
		err := unpack(r, to)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // what stands behind the end
		}
		return err
	})
	if _, ok := errors.AsType[exit](packed); ok || unpacked == nil {
		return packed
	}
	return unpacked
}

// unpack writes the files of an archive to a path here. No link in it leads out of the directory.
func unpack(r io.Reader, to string) error {
	name := "" // of the copy, if it is not that of the original
	if info, err := os.Stat(to); err != nil || !info.IsDir() {
		if err != nil && os.IsPathSeparator(to[len(to)-1]) {
			return err
		}
		to, name = filepath.Dir(to), filepath.Base(to)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	type dir struct {
		name string
		tar.Header
	}
	var dirs []dir // their permissions and times come last
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		as := func(s string) (string, error) {
			s = path.Clean(s)
			if first, rest, _ := strings.Cut(s, "/"); name != "" {
				s = path.Join(name, rest)
			} else if first == ".." {
				return "", fmt.Errorf("the archive has the name %q", s)
			}
			return filepath.FromSlash(s), nil
		}
		file, err := as(h.Name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(h.Mode) & 0o777
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(file, 0o700); err != nil {
				return err
			}
			dirs = append(dirs, dir{file, *h})
		case tar.TypeReg:
			err = replace(root, file, func(temp string) error {
				f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
				if err != nil {
					return err
				}
				_, err = io.Copy(f, in)
				return errors.Join(err, f.Close(), root.Chtimes(temp, h.ModTime, h.ModTime))
			})
		case tar.TypeSymlink:
			err = replace(root, file, func(temp string) error { return root.Symlink(h.Linkname, temp) })
		case tar.TypeLink:
			var old string
			if old, err = as(h.Linkname); err == nil {
				err = replace(root, file, func(temp string) error { return root.Link(old, temp) })
			}
		}
		if err != nil {
			return err
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		d := dirs[i]
		if name == "" && d.name == "." {
			continue // it was there before
		}
		if err := errors.Join(root.Chmod(d.name, fs.FileMode(d.Mode)&^fs.FileMode(umask())&0o777), root.Chtimes(d.name, d.ModTime, d.ModTime)); err != nil {
			return err
		}
	}
	return nil
}

// replace makes a file under another name, and gives it its own when it is complete.
func replace(root *os.Root, name string, create func(temp string) error) error {
	temp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".nstool-%x", random(6)))
	err := create(temp)
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		_ = root.Remove(temp)
	}
	return err
}

// upload copies files of this computer into a container.
func upload(ctx context.Context, from []string, dest, target string, nstool runner) error {
	for _, f := range from {
		if _, err := os.Stat(f); err != nil {
			return err
		}
	}
	dir, name := dest, "" // as for unpack
	is, said, err := isDir(ctx, target+dest, nstool)
	if err != nil {
		return err
	}
	if !is {
		if len(from) > 1 || strings.HasSuffix(dest, "/") {
			return fmt.Errorf("%s", cmp.Or(said, target+dest+" is no directory"))
		}
		dir, name = path.Dir(path.Join("/", dest)), path.Base(dest)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w, from, name)) }()
	defer r.Close()
	return nstool(ctx, r, os.Stdout, os.Stderr, "-", target+dir)
}

// isDir reports whether a path in a container is a directory, by the beginning of its archive.
// A missing path is no directory; said has the message of nstool.
func isDir(ctx context.Context, source string, nstool runner) (is bool, said string, err error) {
	var errs bytes.Buffer
	unpacked, packed := archive(ctx, source, nstool, &errs, func(r io.Reader) error {
		h, err := tar.NewReader(r).Next()
		if err == nil {
			is, err = h.Typeflag == tar.TypeDir, errSeen
		}
		return err
	})
	if _, ok := errors.AsType[exit](packed); ok || errors.Is(unpacked, errSeen) || packed == nil {
		return is, strings.TrimSpace(errs.String()), nil
	}
	return false, "", packed
}

var errSeen = errors.New("no more of it is wanted")

// pack writes an archive of files here. name, if not empty, is that of the only one.
func pack(w io.Writer, from []string, name string) error {
	out := tar.NewWriter(w)
	for _, top := range from {
		as := filepath.Base(top)
		if name != "" {
			as = name
		}
		real, err := filepath.EvalSymlinks(top) // a link that is named is followed
		if err != nil {
			return err
		}
		if err := filepath.WalkDir(real, func(file string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return packOne(out, file, path.Join(as, filepath.ToSlash(strings.TrimPrefix(file, real))), e)
		}); err != nil {
			return err
		}
	}
	return out.Close()
}

func packOne(out *tar.Writer, file, as string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	link := ""
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	case 0, fs.ModeDir:
	default:
		say("cp: %s is no file, directory or link, and left out", file)
		return nil
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: as, Linkname: link, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime().Round(time.Second), Size: info.Size()}
	switch {
	case link != "":
		h.Typeflag, h.Size = tar.TypeSymlink, 0
	case info.IsDir():
		h.Typeflag, h.Size, h.Name = tar.TypeDir, 0, as+"/"
	}
	if err := out.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(out, f, h.Size)
	return err
}

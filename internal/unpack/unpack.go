// Package unpack writes the files of archives and images into a directory.
//
// It reads tar archives, also compressed ones, and images: in the OCI image layout, as a
// directory or an archive, and as `docker save` writes them. They are not trusted: nothing is
// written outside of the directory, whatever their names and links are, devices are left out,
// and there are limits.
package unpack

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// Limits of one unpacking.
const (
	maxBytes   = 2 << 30 // of files, including those that are left out
	maxRead    = 8 << 30 // of the output of decompressors, each time
	maxNames   = 64 << 20
	maxEntries = 1 << 18
	maxName    = 4096 // PATH_MAX
	maxParts   = 1024 // of a name, including those of links on the way
	deepest    = 256
	maxJSON    = 8 << 20
	maxLayers  = 256
	maxHops    = 64 // links on the way to a file
)

// Errors in an archive.
var (
	ErrTooLarge = errors.New("more than there is room for")
	ErrImage    = errors.New("not an image that can be read")
)

// Open reads an archive or an image, and returns a function that writes its files into an empty
// directory. The function reads it again.
func Open(name string) (func(dir string) error, error) {
	st, err := sys.StatPath(name, true)
	if err != nil {
		return nil, err
	}
	b := &budget{read: maxRead, entries: maxEntries}
	var parts parts = archive{name, b}
	if st.IsDir() {
		parts = directory{name, b}
	} else if !st.IsRegular() {
		return nil, fmt.Errorf("%s: neither a directory nor a regular file", name)
	}
	layers, err := layersOf(parts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return func(dir string) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		w := &writer{root: root, bytes: maxBytes, entries: maxEntries, names: maxNames}
		if layers == nil {
			return parts.read("", w.layer)
		}
		for _, layer := range layers {
			if err := parts.read(layer, w.layer); err != nil {
				return fmt.Errorf("layer %s: %w", layer, err)
			}
		}
		return nil
	}, nil
}

// parts are the files of an image.
type parts interface {
	// read calls f with the content of the file name, or of all parts if name is "". The error
	// is an [fs.ErrNotExist] if there is none.
	read(name string, f func(io.Reader) error) error
}

// A budget is the number of bytes that may still be read in total: a part of an archive is
// found by reading those before it, which count too.
type budget struct{ read, entries int64 }

// A metered reader counts bytes.
type metered struct {
	io.Reader
	*budget
}

func (m metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if m.read -= int64(n); m.read < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// A directory has the parts as files.
type directory struct {
	name string
	*budget
}

func (d directory) read(name string, f func(io.Reader) error) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q: %w", name, ErrImage)
	}
	file, err := os.OpenInRoot(d.name, name)
	if err != nil {
		return err
	}
	defer file.Close()
	return d.plain(file, f)
}

// An archive has them in a tar file.
type archive struct {
	name string
	*budget
}

func (a archive) read(name string, f func(io.Reader) error) error { return a.follow(name, 0, f) }

// follow is read for a name after hops links.
func (a archive) follow(name string, hops int, f func(io.Reader) error) error {
	file, err := os.Open(a.name)
	if err != nil {
		return err
	}
	defer file.Close()
	if name == "" {
		return a.plain(file, f)
	}
	return a.plain(file, func(r io.Reader) error {
		t := tar.NewReader(r)
		for {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
			}
			if err != nil {
				return fmt.Errorf("not a tar archive that can be read: %w", err)
			}
			if a.entries--; a.entries < 0 {
				return ErrTooLarge
			}
			if clean(h.Name) != clean(name) {
				continue
			}
			if h.Typeflag == tar.TypeSymlink { // docker save shares layers by links
				if clean(h.Linkname) == clean(name) || hops > maxHops {
					return fmt.Errorf("%s: %w", name, ErrImage)
				}
				return a.follow(path.Join(path.Dir(clean(h.Name)), h.Linkname), hops+1, f)
			}
			return a.plain(t, f)
		}
	})
}

// compressions are recognised by the first bytes of a file. Programs of the system decompress
// them: packages that do so make every start of this program slower.
var compressions = [...]struct{ magic, program string }{
	{"\x1f\x8b", "gzip"},
	{"\x28\xb5\x2f\xfd", "zstd"},
	{"\xfd7zXZ\x00", "xz"},
	{"BZh", "bzip2"},
}

// plain calls f with the content of r, decompressed. A file that is not compressed can be
// sought in.
func (m *budget) plain(r io.Reader, f func(io.Reader) error) error {
	b := bufio.NewReaderSize(r, 1<<16)
	magic, _ := b.Peek(6) //nolint:errcheck // a file may be shorter
	for _, c := range compressions {
		if strings.HasPrefix(string(magic), c.magic) {
			return decompress(c.program, b, func(r io.Reader) error { return f(metered{r, m}) })
		}
	}
	if file, ok := r.(*os.File); ok {
		if _, err := file.Seek(0, io.SeekStart); err == nil {
			return f(file)
		}
	}
	return f(metered{b, m})
}

// decompress calls f with the output of a program that reads r.
func decompress(program string, r io.Reader, f func(io.Reader) error) error {
	cmd := exec.Command(program, "-dc")
	var said strings.Builder
	cmd.Stdin, cmd.Stderr = r, &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("compressed by %s, which is not here: %w", program, err)
	}
	err = f(out)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(out, 1<<20)) // read the padding
	}
	out.Close() // ends the program if it runs
	if werr := cmd.Wait(); err == nil && werr != nil && said.Len() > 0 {
		return fmt.Errorf("%s: %s", program, strings.TrimSpace(said.String()))
	}
	return err
}

// clean returns name relative to the root, with no dots in it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// ---- images

type descriptor struct {
	MediaType string
	Digest    string
	Platform  struct{ OS, Architecture string }
}

// layersOf returns the names of the layers of an image, the lowest first, or nil for no image.
func layersOf(p parts) ([]string, error) {
	var index struct{ Manifests []descriptor }
	switch err := readJSON(p, "index.json", &index); {
	case err == nil:
		return layersOfIndex(p, index.Manifests, 0)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var saved []struct{ Layers []string }
	switch err := readJSON(p, "manifest.json", &saved); {
	case errors.Is(err, fs.ErrNotExist):
		if _, ok := p.(directory); ok {
			return nil, fmt.Errorf("no index.json: %w", ErrImage)
		}
		return nil, nil
	case err != nil:
		return nil, err
	case len(saved) != 1:
		return nil, fmt.Errorf("%d images, and not one: %w", len(saved), ErrImage)
	case len(saved[0].Layers) == 0 || len(saved[0].Layers) > maxLayers:
		return nil, fmt.Errorf("%d layers: %w", len(saved[0].Layers), ErrImage)
	}
	return saved[0].Layers, nil
}

// layersOfIndex finds the image for this machine among several.
func layersOfIndex(p parts, list []descriptor, depth int) ([]string, error) {
	var fits []descriptor
	for _, d := range list {
		if d.Platform.Architecture == "" || d.Platform.Architecture == runtime.GOARCH && (d.Platform.OS == "linux" || d.Platform.OS == "") {
			fits = append(fits, d)
		}
	}
	if len(fits) != 1 || depth > 4 {
		return nil, fmt.Errorf("%d images for linux/%s, and not one: %w", len(fits), runtime.GOARCH, ErrImage)
	}
	var manifest struct {
		Manifests, Layers []descriptor
	}
	blob, err := fits[0].blob()
	if err != nil {
		return nil, err
	}
	if err := readJSON(p, blob, &manifest); err != nil {
		return nil, err
	}
	if len(manifest.Manifests) > 0 {
		return layersOfIndex(p, manifest.Manifests, depth+1)
	}
	if len(manifest.Layers) == 0 || len(manifest.Layers) > maxLayers {
		return nil, fmt.Errorf("%d layers: %w", len(manifest.Layers), ErrImage)
	}
	var layers []string
	for _, l := range manifest.Layers {
		blob, err := l.blob()
		if err != nil {
			return nil, err
		}
		layers = append(layers, blob)
	}
	return layers, nil
}

// blob returns the name of the file with a digest.
func (d descriptor) blob() (string, error) {
	kind, sum, ok := strings.Cut(d.Digest, ":")
	name := "blobs/" + kind + "/" + sum
	if !ok || clean(name) != name || strings.Count(name, "/") != 2 {
		return "", fmt.Errorf("the digest %q: %w", d.Digest, ErrImage)
	}
	return name, nil
}

func readJSON(p parts, name string, v any) error {
	return p.read(name, func(r io.Reader) error {
		b, err := io.ReadAll(io.LimitReader(r, maxJSON+1))
		if err != nil {
			return err
		}
		if len(b) > maxJSON {
			return fmt.Errorf("%s: %w", name, ErrTooLarge)
		}
		if err := json.Unmarshal(b, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// ---- files

// A writer writes layers one over another.
type writer struct {
	root                  *os.Root
	bytes, entries, names int64 // that may still be written
}

// Prefixes of names that remove files of lower layers.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// layer writes the files of a tar archive.
func (w *writer) layer(r io.Reader) error {
	t := tar.NewReader(r)
	own := map[string]bool{} // paths that this layer has
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if w.entries--; w.entries < 0 {
			return ErrTooLarge
		}
		if hasContent(h.Typeflag) {
			if w.bytes -= h.Size; w.bytes < 0 {
				return ErrTooLarge
			}
		}
		if w.names -= int64(len(h.Name) + len(h.Linkname)); w.names < 0 || len(h.Name) > maxName || len(h.Linkname) > maxName {
			return ErrTooLarge
		}
		name := clean(h.Name)
		if name == "" {
			continue
		}
		if err := w.entry(name, h, t, own); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// hasContent reports whether content follows an entry of that type.
func hasContent(typ byte) bool {
	switch typ {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return false
	}
	return true
}

func (w *writer) entry(name string, h *tar.Header, content io.Reader, own map[string]bool) error {
	dir, err := w.resolve(path.Dir(name), true)
	if err != nil {
		return err
	}
	base := path.Base(name)
	switch {
	case base == opaque:
		at := path.Join(dir, base)
		if own[at] {
			return nil // done before: everything there is of this layer
		}
		own[at] = true
		return w.empty(dir, own)
	case strings.HasPrefix(base, whiteout):
		if base = base[len(whiteout):]; base == "" || base == "." || base == ".." {
			return nil
		}
		return w.root.RemoveAll(path.Join(dir, base))
	}
	at := path.Join(dir, base)
	own[at] = true
	if st, err := w.root.Lstat(at); err == nil && !(st.IsDir() && h.Typeflag == tar.TypeDir) {
		if err := w.root.RemoveAll(at); err != nil {
			return err
		}
	}
	perm := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := w.root.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return w.root.Chmod(at, perm|0o700)
	case tar.TypeReg:
		return w.file(at, perm, content)
	case tar.TypeSymlink:
		return w.root.Symlink(h.Linkname, at)
	case tar.TypeLink:
		to, err := w.resolve(path.Dir(clean(h.Linkname)), false)
		if err != nil {
			return err
		}
		return w.root.Link(path.Join(to, path.Base(clean(h.Linkname))), at)
	}
	return nil // devices and FIFOs are left out
}

func (w *writer) file(at string, perm fs.FileMode, content io.Reader) error {
	f, err := w.root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil { // counted already
		return err
	}
	return f.Chmod(perm)
}

// empty removes the files of lower layers in a directory.
func (w *writer) empty(dir string, own map[string]bool) error {
	list, err := fs.ReadDir(w.root.FS(), path.Join(".", dir))
	if err != nil {
		return err
	}
	for _, e := range list {
		if at := path.Join(dir, e.Name()); !own[at] {
			if err := w.root.RemoveAll(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// resolve returns the directory that name leads to, without links in its name. Links are
// followed as if the top directory were the root. With create, missing directories are made.
func (w *writer) resolve(name string, create bool) (string, error) {
	var way []*os.Root // the directories on the way
	up := func(n int) {
		for _, dir := range way[n:] {
			dir.Close()
		}
		way = way[:n]
	}
	defer up(0)
	done, rest, hops := "", strings.Split(clean(name), "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = clean(path.Dir("/" + done))
			up(max(0, len(way)-1))
			continue
		}
		in := w.root
		if len(way) > 0 {
			in = way[len(way)-1]
		}
		st, err := in.Lstat(part)
		switch {
		case errors.Is(err, fs.ErrNotExist) && create:
			if err := in.Mkdir(part, 0o755); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case st.Mode()&fs.ModeSymlink != 0:
			text, err := in.Readlink(part)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(text, "/") {
				done = ""
				up(0)
			}
			rest = append(strings.Split(text, "/"), rest...)
			if hops++; hops > maxHops || len(rest) > maxParts {
				return "", errors.New("too many links")
			}
			continue
		case !st.IsDir():
			return "", errors.New("below a file")
		}
		if len(way) == deepest {
			return "", fmt.Errorf("more than %d directories in one another: %w", deepest, ErrTooLarge)
		}
		next, err := in.OpenRoot(part)
		if err != nil {
			return "", err
		}
		way = append(way, next)
		done = path.Join(done, part)
	}
	return done, nil
}

package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A file of an archive: "name", "name=content", "name->link", "name=>hard
// link", "dir/".
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f, Mode: 0o644, Typeflag: tar.TypeReg}
		content := ""
		if name, to, ok := strings.Cut(f, "->"); ok {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeSymlink
		} else if name, to, ok := strings.Cut(f, "=>"); ok {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeLink
		} else if name, text, ok := strings.Cut(f, "="); ok {
			h.Name, content = name, text
		} else if strings.HasSuffix(f, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		} else if strings.HasPrefix(f, "|") {
			h.Typeflag = tar.TypeFifo
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// unpack returns what an archive becomes: "name=content", "name->link".
func unpack(t *testing.T, name string) ([]string, error) {
	t.Helper()
	around := t.TempDir()
	dir := filepath.Join(around, "into")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := Open(name)
	if err == nil {
		err = f(dir)
	}
	if list, rerr := os.ReadDir(around); rerr != nil || len(list) != 1 {
		t.Errorf("something was written outside: %v %v", list, rerr)
	}
	return tree(t, dir), err
}

func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	files := nstest.Tree(t, dir)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			text = "->" + to
		} else if !strings.HasSuffix(name, "/") {
			text = "=" + text
		}
		list = append(list, name+text)
	}
	return list
}

func TestLayers(t *testing.T) {
	for _, test := range []struct {
		name   string
		layers [][]string
		want   string
	}{
		{"plain", [][]string{{"a=1", "d/", "d/b=2", "l->a", "h=>d/b"}}, "a=1 d/ d/b=2 h=2 l->a"},
		{"replaced", [][]string{{"a=1", "d/", "d/b=2"}, {"a=3", "d=file"}}, "a=3 d=file"},
		{"whiteout", [][]string{{"a=1", "d/", "d/b=2"}, {".wh.a", "d/.wh.b", "d/c=3"}}, "d/ d/c=3"},
		{"opaque", [][]string{{"d/b=2", "d/e/f=4"}, {"d/c=3", "d/.wh..wh..opq"}}, "d/ d/c=3"},
		{"a link on the way", [][]string{{"usr/bin/a=1", "bin->/usr/bin"}, {"bin/b=2"}}, "bin->/usr/bin usr/ usr/bin/ usr/bin/a=1 usr/bin/b=2"},
		{"up", [][]string{{"../a=1", "/../../b=2", "d/../../c=3"}}, "a=1 b=2 c=3"},
		{"a link out", [][]string{{"out->../../..", "out/a=1", "abs->/", "abs/b=2"}}, "a=1 abs->/ b=2 out->../../.."},
		{"a whiteout of all", [][]string{{"a=1"}, {".wh.", ".wh..", ".wh..."}}, "a=1"},
		{"pipes are left out", [][]string{{"|pipe", "a=1"}}, "a=1"},
		{"a directory over a link", [][]string{{"x/", "d->x"}, {"d/", "d/a=1"}}, "d/ d/a=1 x/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := unpack(t, write(t, image(t, test.layers...)))
			if err != nil || strings.Join(got, " ") != test.want {
				t.Errorf("%v: %v, not %s", err, got, test.want)
			}
			if len(test.layers) == 1 {
				got, err = unpack(t, write(t, gzipped(t, tarOf(t, test.layers[0]...))))
				if err != nil || strings.Join(got, " ") != test.want {
					t.Errorf("as an archive: %v: %v, not %s", err, got, test.want)
				}
			}
		})
	}
}

// image returns an OCI archive with these layers, compressed.
func image(t testing.TB, layers ...[]string) []byte {
	t.Helper()
	var digests []map[string]string
	files := []string{"oci-layout={}"}
	for i, l := range layers {
		digest := strings.Repeat(string(rune('a'+i)), 64)
		digests = append(digests, map[string]string{"digest": "sha256:" + digest})
		files = append(files, "blobs/sha256/"+digest+"="+string(gzipped(t, tarOf(t, l...))))
	}
	files = append(files, "blobs/sha256/m="+jsonOf(t, map[string]any{"layers": digests}))
	files = append(files, "index.json="+jsonOf(t, map[string]any{"manifests": []any{
		map[string]any{"digest": "sha256:other", "platform": map[string]string{"os": "linux", "architecture": "m68k"}},
		map[string]any{"digest": "sha256:m", "platform": map[string]string{"os": "linux", "architecture": runtime.GOARCH}},
	}}))
	return tarOf(t, files...)
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	r := tar.NewReader(bytes.NewReader(image(t, []string{"a=1"}, []string{"b=2"})))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(h.Name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, h.Name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := unpack(t, dir)
	if err != nil || !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Errorf("%v: %v", err, got)
	}
}

func TestSaved(t *testing.T) {
	b := tarOf(t, "x/layer.tar="+string(tarOf(t, "a=1")), "y/layer.tar->../x/layer.tar", "manifest.json="+jsonOf(t, []any{map[string]any{"Layers": []string{"x/layer.tar", "y/layer.tar"}}}))
	got, err := unpack(t, write(t, b))
	if err != nil || !slices.Equal(got, []string{"a=1"}) {
		t.Errorf("%v: %v", err, got)
	}
}

func TestErrors(t *testing.T) {
	loop := tarOf(t, "manifest.json->manifest.json")
	for name, test := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":         {[]byte("no archive at all"), io.ErrUnexpectedEOF},
		"a loop":          {loop, ErrImage},
		"two images":      {tarOf(t, `manifest.json=[{"Layers":["a"]},{"Layers":["b"]}]`), ErrImage},
		"no layers":       {tarOf(t, `manifest.json=[{"Layers":[]}]`), ErrImage},
		"no such layer":   {tarOf(t, `manifest.json=[{"Layers":["a"]}]`), fs.ErrNotExist},
		"a digest":        {tarOf(t, `index.json={"manifests":[{"digest":"sha256:../../../etc"}]}`), ErrImage},
		"no machine":      {tarOf(t, `index.json={"manifests":[{"digest":"sha256:a","platform":{"architecture":"m68k"}}]}`), ErrImage},
		"a loop of lists": {tarOf(t, `index.json={"manifests":[{"digest":"sha256:a"}]}`, `blobs/sha256/a={"manifests":[{"digest":"sha256:a"}]}`), ErrImage},
		"a loop of links": {tarOf(t, "a->b", "b->a", "a/c=1"), nil},
	} {
		_, err := unpack(t, write(t, test.b))
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, not %v", name, err, test.want)
		}
	}
}

// TestBounds unpacks what is more than there is room for.
func TestBounds(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, w := range []*writer{
		{root: root, bytes: 3, entries: 10, names: 100},
		{root: root, bytes: 100, entries: 1, names: 100},
		{root: root, bytes: 100, entries: 10, names: 1},
	} {
		if err := w.layer(bytes.NewReader(tarOf(t, "a=12", "b=34"))); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

// TestBombs unpacks what is small and says that it is large. What is too large is
// refused before any of it is written, and what is passed over counts.
func TestBombs(t *testing.T) {
	header := func(h tar.Header) []byte {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, test := range map[string]struct {
		b    []byte
		want error
	}{
		"a file of 4 GB":          {header(tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 4 << 30, Format: tar.FormatPAX}), ErrTooLarge},
		"one that is left out":    {header(tar.Header{Name: ".", Typeflag: tar.TypeReg, Size: 4 << 30, Format: tar.FormatPAX}), ErrTooLarge},
		"a deep directory":        {tarOf(t, strings.Repeat("d/", deepest+2)), ErrTooLarge},
		"50,000 directories":      {tarOf(t, strings.Repeat("d/", 50_000)), ErrTooLarge},
		"a name of 1 MB":          {header(tar.Header{Name: strings.Repeat("n", 1<<20-64), Typeflag: tar.TypeReg, Format: tar.FormatGNU}), ErrTooLarge},
		"a link of 100 kB":        {header(tar.Header{Name: "l", Linkname: strings.Repeat("n", 100_000), Typeflag: tar.TypeSymlink, Format: tar.FormatGNU}), ErrTooLarge},
		"links that become wide":  {tarOf(t, "l->"+strings.Repeat("./", 2000), "l/a=1"), nil},
		"a directory of the most": {tarOf(t, strings.Repeat("d/", deepest)), errNone},
	} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		w := &writer{root: root, bytes: maxBytes, entries: maxEntries, names: maxNames}
		err = w.layer(bytes.NewReader(test.b))
		root.Close()
		if errors.Is(test.want, errNone) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, not %v", name, err, test.want)
		}
		if st, err := os.Stat(filepath.Join(dir, "a")); err == nil && st.Size() > 1 {
			t.Errorf("%s: %d bytes were written", name, st.Size())
		}
	}
}

var errNone = errors.New("none")

// TestMeter finds a part behind others: all that is decompressed on the way
// counts, also what is passed over, all times together.
func TestMeter(t *testing.T) {
	big := strings.Repeat("0", 1<<20)
	compressed := write(t, gzipped(t, tarOf(t, "skipped="+big, "part=1")))
	read := func(a archive) error {
		return a.read("part", func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
	}
	b := &budget{read: 5 << 19, entries: 100}
	for n := range 3 {
		err := read(archive{compressed, b})
		if got, want := errors.Is(err, ErrTooLarge), n == 2; got != want {
			t.Errorf("time %d: %v", n, err)
		}
	}
	if b = (&budget{read: 100, entries: 100}); read(archive{write(t, tarOf(t, "skipped="+big, "part=1")), b}) != nil || b.read < 99 {
		t.Errorf("what can be passed over has been read: %d", b.read)
	}
	b = &budget{read: 100, entries: 3}
	for n := range 2 {
		err := read(archive{write(t, tarOf(t, "a=1", "part=1")), b})
		if got, want := errors.Is(err, ErrTooLarge), n == 1; got != want {
			t.Errorf("entries, time %d: %v", n, err)
		}
	}
}

// TestOpaqueOnce has a directory emptied again and again: it is listed once.
func TestOpaqueOnce(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	w := &writer{root: root, bytes: 100, entries: 100, names: 1000}
	own := map[string]bool{}
	empty := &tar.Header{Typeflag: tar.TypeReg}
	for n := range 2 {
		if err := os.WriteFile(filepath.Join(dir, "lower"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.entry(opaque, empty, nil, own); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(dir, "lower"))
		if there := err == nil; there != (n > 0) {
			t.Errorf("time %d: %t", n, there)
		}
	}
}

// FuzzLayer writes whatever there is into a directory, and looks beside it.
func FuzzLayer(f *testing.F) {
	f.Add(tarOf(f, "a=1", "d/b=2", "l->../..", "l/x=1", "h=>../a", ".wh.a", "d/.wh..wh..opq"))
	f.Fuzz(func(t *testing.T, b []byte) {
		around := t.TempDir()
		if err := os.Mkdir(filepath.Join(around, "into"), 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(around, "into"))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		w := &writer{root: root, bytes: 1 << 20, entries: 1000, names: 1 << 20}
		_ = w.layer(bytes.NewReader(b)) //nolint:errcheck // whatever it is
		if list, err := os.ReadDir(around); err != nil || len(list) != 1 {
			t.Errorf("something was written outside: %v %v", list, err)
		}
	})
}

package copy

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// theirs is the user whom a directory belongs to that is copied into.
const theirs = 1000

// owner returns whose a file is, and its permissions.
func owner(t *testing.T, path string) string {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := st.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %o", s.Uid, s.Gid, s.Mode&0o7777)
}

// exchange puts root's private file or directory in the place of all that gets a
// name of ours for a moment, as the owner of the directory may, until stop is
// called.
func exchange(t *testing.T, dir, private string) (stop func()) {
	t.Helper()
	fd, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !over.Load() {
				names, err := os.ReadDir(dir)
				if err != nil {
					continue
				}
				for _, e := range names {
					if strings.HasPrefix(e.Name(), ".nstool-") {
						_ = sys.Exchange(fd, e.Name(), private)
						_ = sys.Exchange(fd, e.Name(), private)
					}
				}
			}
		})
	}
	return func() {
		over.Store(true)
		wg.Wait()
		sys.CloseFD(fd)
	}
}

// What is root's is not given away when it takes the name of what is being made,
// and nothing of it is removed. That the attack is one is shown by who makes
// directories and links, and gives them away, by their names.
func TestExchanged(t *testing.T) {
	nstest.Need(t, "root")
	dir, root := target(t, tree{"private/secret": "secret", "private/copy/x": "x"})
	private := filepath.Join(dir, "private")
	reset := func() {
		if err := errors.Join(os.Chown(dir, theirs, theirs), os.Lchown(private, 0, 0), os.Chmod(private, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	reset()
	want := owner(t, private)
	stop := exchange(t, dir, "private")
	fd, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	beaten := false
	for end := time.Now().Add(20 * time.Second); !beaten && time.Now().Before(end); {
		name := newName()
		if err := sys.Mkdir(fd, name, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.Lchown(filepath.Join(dir, name), theirs, theirs)
		for _, e := range []string{"private", name} {
			if _, err := os.Stat(filepath.Join(dir, e, "secret")); err == nil && owner(t, filepath.Join(dir, e)) != want {
				beaten = true
			}
		}
		_ = sys.Rmdir(fd, name)
	}
	sys.CloseFD(fd)
	stop()
	if !beaten {
		t.Error("not even by names is anything given away")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries { // what the control has mixed up
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "secret")); err == nil && e.Name() != "private" {
			if err := errors.Join(os.Rename(private, private+".old"), os.Rename(filepath.Join(dir, e.Name()), private)); err != nil {
				t.Fatal(err)
			}
		}
	}
	reset()

	from := nstest.Dir(t)
	tree{"d/sub/f": "f", "d/l": "-> f", "l": "-> d"}.make(t, from)
	stop = exchange(t, dir, "private")
	for i := range 60 {
		c := &Copier{Options: Options{Heir: &[2]uint32{theirs, theirs}, NoFollow: true}, Failed: func(string, error) {}}
		_ = c.Copy(t.Context(), Place{Path: filepath.Join(from, "d")}, Place{Root: root, Name: "web", Path: fmt.Sprint("/d", i)})
		_ = c.Copy(t.Context(), Place{Path: filepath.Join(from, "l")}, Place{Root: root, Name: "web", Path: fmt.Sprint("/l", i)})
		_ = c.FromTar(t.Context(), bytes.NewReader(pack(t,
			tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("t%d/a/", i)},
			tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("t%d/l", i), Linkname: "x"},
		).Bytes()), Place{Root: root, Name: "web", Path: "/"})
	}
	stop()
	found := 0
	entries, err = os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if text, err := os.ReadFile(filepath.Join(path, "secret")); err == nil && string(text) == "secret" {
			found++
			if got := owner(t, path); got != want {
				t.Errorf("root's private directory is %s now", got)
			}
			if _, err := os.Stat(filepath.Join(path, "copy/x")); err != nil {
				t.Error(err)
			}
		}
	}
	if found != 1 {
		t.Errorf("there are %d of what is root's", found)
	}
}

// What was there before keeps its owner and its permissions; what is new gets
// those that it is to have.
func TestKeptDirectories(t *testing.T) {
	nstest.Need(t, "root")
	dir, root := target(t, tree{"etc/": "", "etc/file": "old"})
	archive := pack(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/file", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/new/", Mode: 0o750},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/new/file", Mode: 0o640},
		tar.Header{Typeflag: tar.TypeReg, Name: "made/file", Mode: 0o640},
	)
	c := &Copier{Options: Options{Heir: &[2]uint32{theirs, theirs}}, Failed: func(where string, err error) { t.Error(where, err) }}
	if err := c.FromTar(t.Context(), archive, Place{Root: root, Name: "web", Path: "/"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc": "0:0 755", "etc/file": "0:0 644",
		"etc/new": "1000:1000 750", "etc/new/file": "1000:1000 640", "made": "1000:1000 755",
	} {
		if got := owner(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
}

// A file is not copied onto itself: by another name of it, by a link, or from
// what is read and written by its descriptors.
func TestItself(t *testing.T) {
	dir, root := target(t, tree{"file": "text", "link": "-> file", "d/one": "1", "e/": ""})
	if err := errors.Join(os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "other")), os.Link(filepath.Join(dir, "d/one"), filepath.Join(dir, "e/one"))); err != nil {
		t.Fatal(err)
	}
	before := look(t, dir)
	stdin, err := os.Open(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	said := ""
	c := &Copier{Failed: func(where string, err error) { said += where + ": " + err.Error() }}
	in := func(p string) Place { return Place{Root: root, Name: "web", Path: p} }
	for name, err := range map[string]error{
		"itself":   c.Copy(t.Context(), in("file"), Place{Path: filepath.Join(dir, "file")}),
		"its link": c.Copy(t.Context(), Place{Path: filepath.Join(dir, "link")}, in("other")),
		"another":  c.Copy(t.Context(), in("other"), in("file")),
		"stdin":    c.FromReader(t.Context(), stdin, in("other"), 0o644),
		"stdout":   c.ToWriter(t.Context(), stdout, in("other")),
	} {
		if err == nil || !strings.Contains(err.Error(), "the same file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Copy(t.Context(), in("d/."), in("e")); err != nil || said != "web:e/one: it is the same file as the one that is copied" {
		t.Errorf("%v, %s", err, said)
	}
	if got := look(t, dir); !equal(got, before) {
		t.Errorf("there is %v", got)
	}
}

// Streams that none of ours has written are errors, and make nothing outside.
func FuzzStream(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("text"), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "d/g")), os.Symlink("x", filepath.Join(dir, "d/l"))); err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := (&Copier{}).send(f.Context(), &b, Place{Path: dir}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	for _, name := range []string{"..", "a/b", ""} {
		var b bytes.Buffer
		w := newWriter(&b)
		for _, fr := range []frame{
			{kind: frameTop, name: "d", stat: sys.DirStat(0o755)},
			{kind: frameDir, name: "d", stat: sys.DirStat(0o755)},
			{kind: frameFile, name: name, stat: sys.RegularStat(0o644, sys.FileID{})},
			{kind: frameHole, n: 1 << 61},
			{kind: frameDone, whole: true},
			{kind: frameEnd},
		} {
			if err := w.put(fr); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.stop(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		into := filepath.Join(top, "into")
		if err := os.Mkdir(into, 0o755); err != nil {
			t.Fatal(err)
		}
		err := (&Copier{}).receive(t.Context(), bytes.NewReader(b), Place{Path: into})
		if entries, e := os.ReadDir(top); e != nil || len(entries) != 1 {
			t.Errorf("%v: outside there is %v", e, entries)
		}
		if entries, e := os.ReadDir(into); e != nil || len(entries) > 1 {
			t.Errorf("%v: there is %v (%v)", e, entries, err)
		}
		_ = (&Copier{}).pack(t.Context(), bytes.NewReader(b), io.Discard)
	})
}

package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// archiveOf returns an archive of entries: "dir/", "file=text", "link->to", "link=>file".
func archiveOf(t *testing.T, entries ...string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Typeflag: tar.TypeDir, Mode: 0o755}
		text := ""
		if name, to, ok := strings.Cut(e, "->"); ok {
			h = &tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
		} else if name, to, ok := strings.Cut(e, "=>"); ok {
			h = &tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
		} else if name, content, ok := strings.Cut(e, "="); ok {
			h, text = &tar.Header{Name: name, Size: int64(len(content)), Typeflag: tar.TypeReg, Mode: 0o4640}, content
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestUnpack(t *testing.T) {
	for _, c := range []struct {
		entries  []string
		to, want string // a file and its text
	}{
		{[]string{"x=1"}, ".", "x=1"},
		{[]string{"x=1"}, "y", "y=1"},
		{[]string{"d/", "d/x=1", "d/sub/", "d/sub/y=2"}, ".", "d/sub/y=2"},
		{[]string{"d/", "d/x=1"}, "e", "e/x=1"},
		{[]string{".", "x=1"}, ".", "x=1"},
		{[]string{"d/", "d/x=1", "d/l=>d/x"}, "e", "e/l=1"},
		{[]string{"d/", "d/x=1", "d/l->x"}, ".", "d/l=1"},
		{[]string{"x=new"}, ".", "x=new"},
	} {
		dir := t.TempDir()
		t.Chdir(dir)
		if err := os.WriteFile("x", []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		name, text, _ := strings.Cut(c.want, "=")
		err := unpack(archiveOf(t, c.entries...), c.to)
		if got, e := os.ReadFile(name); err != nil || string(got) != text {
			t.Errorf("%v to %s: %v; %s has %q, %v", c.entries, c.to, err, name, got, e)
		}
		if info, err := os.Stat(name); err == nil && info.Mode()&os.ModeSetuid != 0 {
			t.Errorf("%s is set-user-ID", name)
		}
	}
}

// No archive writes out of the directory, or changes what is there.
func TestUnpackHostile(t *testing.T) {
	for _, entries := range [][]string{
		{"../out=1"},
		{"/out=1"},
		{"d/", "d/../../out=1"},
		{"l->..", "l/out=1"},
		{"l->/", "l" + os.TempDir() + "/out=1"},
		{"d/", "d/l->../..", "d/l/out=1"},
		{"l->../secret", "l=1"},
		{"l=>../secret", "l=1"},
		{"l->..", "h=>l/secret", "h=1"},
		{"l->../secret", "l/"},
		{"..", "x=1"},
	} {
		for _, to := range []string{".", "new"} {
			top := t.TempDir()
			in := filepath.Join(top, "in")
			if err := os.Mkdir(in, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(top, "secret"), []byte("s"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Chdir(in)
			err := unpack(archiveOf(t, entries...), to)
			if text, e := os.ReadFile("../secret"); string(text) != "s" {
				t.Errorf("%v to %s: %v; the file outside has %q, %v", entries, to, err, text, e)
			}
			if info, e := os.Stat("../secret"); e == nil && info.Mode() != 0o600 {
				t.Errorf("%v to %s: the file outside is %v", entries, to, info.Mode())
			}
			if _, e := os.Lstat("../out"); e == nil {
				t.Errorf("%v to %s: %v; there is a file outside", entries, to, err)
			}
			left, _ := filepath.Glob(".nstool-*")
			if len(left) > 0 {
				t.Errorf("%v to %s: left %v", entries, to, left)
			}
		}
	}
	if err := unpack(io.LimitReader(archiveOf(t, "x="+strings.Repeat("1", 5000)), 2000), t.TempDir()); err == nil {
		t.Error("an archive that is cut off is no error")
	}
}

// A packed tree is the same after it was unpacked.
func TestPack(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, f := range []string{"d/sub/f", "d/g"} {
		if err := os.MkdirAll(filepath.Dir(f), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("g", "d/l"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d", "top"); err != nil { // it is followed
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pack(&b, []string{"top"}, "copy"); err != nil {
		t.Fatal(err)
	}
	if err := unpack(&b, "."); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile("copy/sub/f"); string(text) != "d/sub/f" {
		t.Errorf("copy/sub/f has %q, %v", text, err)
	}
	if to, err := os.Readlink("copy/l"); to != "g" {
		t.Errorf("copy/l leads to %q, %v", to, err)
	}
}

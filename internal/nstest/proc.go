package nstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Proc makes a directory that looks like /proc from a txtar archive, and
// returns its name. Files are what they are, but for those of these names:
//
//   - links, exe.links: each line, such as "net -> net:[4026531840]", is a symbolic link
//     in that directory.
//   - cmdline, environ: each line is one string; the kernel ends them by NUL.
//   - modes: each line, such as "0000 ns", is a mode and a file in that
//     directory, "." for itself. Root reads all the same.
//   - a name that ends in a slash is an empty directory.
func Proc(t testing.TB, text string) string {
	t.Helper()
	dir := Dir(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	type mode struct {
		path string
		bits fs.FileMode
	}
	var modes []mode
	for _, f := range txtar.Parse([]byte(text)).Files {
		path := filepath.Join(dir, f.Name)
		if strings.HasSuffix(f.Name, "/") {
			check(os.MkdirAll(path, 0o755))
			continue
		}
		parent, data := filepath.Dir(path), string(f.Data)
		check(os.MkdirAll(parent, 0o755))
		switch filepath.Base(path) {
		case "links", "exe.links":
			for line := range strings.Lines(data) {
				name, target, ok := strings.Cut(strings.TrimSpace(line), " -> ")
				if !ok {
					t.Fatalf("%s: %q is not NAME -> TARGET", f.Name, line)
				}
				os.Remove(filepath.Join(parent, name)) // one of the same name comes in its place
				check(os.Symlink(target, filepath.Join(parent, name)))
			}
		case "modes":
			for line := range strings.Lines(data) {
				word, name, _ := strings.Cut(strings.TrimSpace(line), " ")
				bits, err := strconv.ParseUint(word, 8, 32)
				check(err)
				modes = append(modes, mode{filepath.Join(parent, name), fs.FileMode(bits)})
			}
		case "cmdline", "environ":
			check(os.WriteFile(path, []byte(strings.ReplaceAll(data, "\n", "\x00")), 0o644))
		default:
			check(os.WriteFile(path, []byte(data), 0o644))
		}
	}
	for _, m := range modes { // last, or nothing could be put into them
		check(os.Chmod(m.path, m.bits))
		t.Cleanup(func() { os.Chmod(m.path, 0o755) })
	}
	return dir
}

// Dir returns an empty directory that every user can enter, unlike that of
// [testing.TB.TempDir]. It is removed when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dir")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

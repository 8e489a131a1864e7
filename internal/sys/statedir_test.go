package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// What is read is the same whoever reads it.
func TestStateDir(t *testing.T) {
	for name, mountinfo := range map[string]string{"here": "/proc/self/mountinfo", "apart": ""} {
		t.Run(name, func(t *testing.T) { testStateDir(t, mountinfo) })
	}
}

func testStateDir(t *testing.T, mountinfo string) {
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "state/in"), 0o755))
	must(os.WriteFile(filepath.Join(root, "state/in/file"), []byte("text"), 0o644))
	must(os.WriteFile(filepath.Join(root, "secret"), []byte("secret"), 0o644))
	must(os.Symlink("../../secret", filepath.Join(root, "state/in/link")))
	must(os.Symlink("in", filepath.Join(root, "state/linked")))
	must(os.Symlink("/state", filepath.Join(root, "absolute")))
	must(os.Symlink("../../../../etc", filepath.Join(root, "out")))
	must(syscall.Mkfifo(filepath.Join(root, "state/in/fifo"), 0o644))

	top, err := OpenStateRoot(root, mountinfo)
	must(err)
	defer top.Close()

	// A directory is looked up as if the root were that of the system.
	for path, want := range map[string]error{
		"/state": nil, "state/in": nil, "/state/linked": nil, "/absolute": nil, "/../../state": nil,
		"/out": fs.ErrNotExist, "/none": fs.ErrNotExist, "/secret": syscall.ENOTDIR,
	} {
		d, err := top.Open(path, false)
		if !errors.Is(err, want) {
			t.Errorf("open %s: %v, want %v", path, err, want)
		}
		if err == nil {
			d.Close()
		}
	}

	for path, want := range map[string]error{"/state/in": nil, "/absolute": syscall.ELOOP, "/state/linked": syscall.ELOOP} {
		d, err := top.Open(path, true)
		if !errors.Is(err, want) {
			t.Errorf("open %s without a link: %v, want %v", path, err, want)
		}
		if err == nil {
			d.Close()
		}
	}

	state, err := top.Open("/absolute", false)
	must(err)
	defer state.Close()
	buf := make([]byte, 16)
	if data, _, err := state.ReadFile("in/file", buf); err != nil || string(data) != "text" {
		t.Errorf("read: %q, %v", data, err)
	}
	// A file is reached by no link, not above, not if it is no file or too long.
	for path, want := range map[string]error{
		"in/link": syscall.ELOOP, "linked/file": syscall.ELOOP, "../secret": syscall.EXDEV, "/state/in/file": syscall.EXDEV,
		"in": fs.ErrInvalid, "in/fifo": fs.ErrInvalid, "in/none": fs.ErrNotExist,
	} {
		if data, _, err := state.ReadFile(path, buf); !errors.Is(err, want) {
			t.Errorf("read %s: %q, %v, want %v", path, data, err, want)
		}
	}
	if data, _, err := state.ReadFile("in/file", buf[:3]); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("read more than fits: %q, %v", data, err)
	}
	names, err := state.List("in", 10)
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"fifo", "file", "link"}) {
		t.Errorf("list: %q, %v", names, err)
	}
	if names, err := state.List("in", 2); err != nil || len(names) != 2 {
		t.Errorf("list two: %q, %v", names, err)
	}
	if names, err := state.List("linked", 10); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("list a link: %q, %v", names, err)
	}
	for path, want := range map[string]bool{"in/file": true, "in/link": true, "in/none": false, "../secret": false} {
		if state.Exists(path) != want {
			t.Errorf("exists %s: %t", path, !want)
		}
	}
}

package inspect

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// Whatever holds a namespace leads to it.
func TestOpenByEveryKindOfHolder(t *testing.T) {
	nstest.Need(t, "root")
	box := hidden.Start(t)
	s := scan(t)
	open := func(typ string, ino uint64) {
		t.Helper()
		ns, ok := s.Find(ino)
		if !ok {
			t.Errorf("%s:[%d] was not found", typ, ino)
			return
		}
		f, err := s.Open(context.Background(), ns)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if id, err := sys.Fstat(int(f.Fd())); err != nil || id.Ino != ino {
			t.Errorf("%s: opened %d, %v", ns, id.Ino, err)
		}
	}
	for typ, ino := range box.Ino {
		open(typ, ino)
	}
	for typ, ino := range box.ThreadIno {
		open(typ, ino)
	}
	for typ, ino := range box.ChildrenIno {
		open(typ, ino)
	}
	for _, held := range box.Held {
		if held.Kind == "procfile" {
			// Only its identifier leads there. A kernel that lists namespaces opens by that only
			// what a task or a mount uses.
			ns, ok := s.Find(held.Ino)
			if !ok || ns.NSID == 0 || s.Listed() {
				continue
			}
		}
		open(held.Type, held.Ino)
	}
}

// A parent that nothing else holds is opened through its child.
func TestOpenByNested(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Spec{Types: []string{"user", "pid", "mnt"}, Children: []string{"pid"}}.Start(t)
	s := scan(t)
	ns, ok := s.Find(box.Ino["pid"])
	if !ok {
		t.Fatal("not found")
	}
	ns.Members, ns.holders = nil, nil
	f, err := s.Open(context.Background(), ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if id, err := sys.Fstat(int(f.Fd())); err != nil || id.Ino != ns.ID.Ino {
		t.Errorf("opened %d, %v", id.Ino, err)
	}
}

func TestOpenWhatIsGone(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "net")
	s := scan(t)
	ns, ok := s.Find(box.Ino["net"])
	if !ok {
		t.Fatal("not found")
	}
	box.Close()
	if f, err := s.Open(context.Background(), ns); !sys.Gone(err) && !errors.Is(err, ErrGone) {
		t.Errorf("%v, %v", f, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Open(ctx, ns); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A directory that may not be searched differs from a file system that would have to be asked.
func TestOpenMountDenied(t *testing.T) {
	if nstest.Lacks("root") == nil {
		t.Skip("root may search every directory")
	}
	nstest.SkipUnsupported(t, sys.ProbeCached(), "5.12")
	shut := filepath.Join(t.TempDir(), "shut")
	path := filepath.Join(shut, "below", "file")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	proc, err := sys.OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	root, err := sys.OpenDirectory("/")
	if err != nil {
		t.Fatal(err)
	}
	defer sys.CloseFD(root)
	if _, err := openMount(proc, root, path); !errors.Is(err, sys.ErrNotNamespace) {
		t.Errorf("open: %v", err)
	}
	if err := os.Chmod(shut, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(shut, 0o700)
	if _, err := openMount(proc, root, path); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), shut) {
		t.Errorf("shut: %v", err)
	}
}

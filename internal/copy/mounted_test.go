package copy

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// mounted makes a root directory in which a file is mounted on another, and
// returns the path of the one that is mounted.
func mounted(t *testing.T, text string) (file string, root *os.File) {
	t.Helper()
	nstest.Need(t, "root")
	file = filepath.Join(nstest.Dir(t), "file")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, root := target(t, tree{"on": ""})
	on := filepath.Join(dir, "on")
	if err := syscall.Mount(file, on, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(on, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return file, root
}

// then calls a function when all of a reader has been read.
type then struct {
	io.Reader
	do func()
}

func (r *then) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err == io.EOF && r.do != nil {
		r.do()
		r.do = nil
	}
	return n, err
}

// What something is mounted on is written over whatever the size of what is new
// and of what is there: memory or a file keeps it meanwhile.
func TestOverMounted(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", (maxMemory+1<<20)/16)
	for _, old := range []string{"", "old", big} {
		for _, fresh := range []string{"", "new", big + "!"} {
			file, root := mounted(t, old)
			c := &Copier{}
			if err := c.FromReader(t.Context(), strings.NewReader(fresh), Place{Root: root, Name: "web", Path: "/on"}, 0o644); err != nil {
				t.Errorf("%d bytes over %d: %v", len(fresh), len(old), err)
				continue
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != fresh {
				t.Errorf("%d bytes over %d: now there are %d: %v", len(fresh), len(old), len(got), err)
			}
		}
	}
}

// A target that makes a file grow while it is written over does not have all of
// it kept in the caller's memory: a file with holes may be as long as it likes.
func TestOverMountedGrows(t *testing.T) {
	const grown = 64 << 20
	file, root := mounted(t, "x")
	grow := func() {
		waitUntilWritable(t, file)
		if err := os.Truncate(file, grown); err != nil {
			t.Error(err)
		}
	}
	c := &Copier{}
	err := c.FromReader(t.Context(), &then{strings.NewReader("new"), grow}, Place{Root: root, Name: "web", Path: "/on"}, 0o644)
	if !errors.Is(err, errGrown) {
		t.Errorf("it is %v", err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() != grown {
		t.Errorf("what is there has been changed: %v", err)
	}
}

// One that is longer than memory may be used for is not kept in it, where no
// other file can be made to keep it.
func TestOverMountedHuge(t *testing.T) {
	file, root := mounted(t, "x")
	if err := os.Truncate(file, 1<<40); err != nil {
		t.Fatal(err)
	}
	dir := root.Name()
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	fd, err := sys.OpenWay(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	root = os.NewFile(uintptr(fd), dir)
	defer root.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c := &Copier{}
	err = c.FromReader(ctx, strings.NewReader("new"), Place{Root: root, Name: "web", Path: "/on"}, 0o644)
	if !errors.Is(err, errNoRoom) {
		t.Errorf("it is %v", err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() != 1<<40 {
		t.Errorf("what is there has been changed: %v", err)
	}
}

// waitUntilWritable waits until this process has a file open for reading and writing.
func waitUntilWritable(t *testing.T, file string) {
	want, err := os.Stat(file)
	if err != nil {
		t.Error(err)
		return
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		fds, _ := os.ReadDir("/proc/self/fd") //nolint:errcheck // then there are none
		for _, fd := range fds {
			st, err := os.Stat("/proc/self/fd/" + fd.Name())
			info, _ := os.ReadFile("/proc/self/fdinfo/" + fd.Name()) //nolint:errcheck // it may be closed by now
			_, flags, _ := strings.Cut(string(info), "flags:\t")
			flags, _, _ = strings.Cut(flags, "\n")
			n, _ := strconv.ParseUint(flags, 8, 32) //nolint:errcheck // as above
			if err == nil && os.SameFile(st, want) && n&syscall.O_ACCMODE == syscall.O_RDWR {
				return
			}
		}
	}
	t.Error("it is not opened")
}

// What is removed again leads nobody to what a link leads to, whoever exchanges
// names meanwhile: the link is the target's, and the way would be the caller's.
func TestRemoveExchanged(t *testing.T) {
	victim := filepath.Join(nstest.Dir(t), "victim")
	if err := os.WriteFile(victim, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	beaten := func(remove func(dir int, name string)) bool {
		dir := nstest.Dir(t)
		fd, err := sys.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.CloseFD(fd)
		if err := os.Chmod(victim, 0o644); err != nil {
			t.Fatal(err)
		}
		var over atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !over.Load() {
				_ = sys.Exchange(fd, "d", "l")
			}
		})
		won := false
		for end := time.Now().Add(time.Second); !won && time.Now().Before(end); {
			for _, name := range []string{"d", "l"} {
				_ = os.Remove(filepath.Join(dir, name))
			}
			_ = os.Mkdir(filepath.Join(dir, "d"), 0o700)
			_ = os.Symlink(victim, filepath.Join(dir, "l"))
			remove(fd, "d")
			st, err := os.Stat(victim)
			won = err == nil && st.Mode().Perm() != 0o644
		}
		over.Store(true)
		wg.Wait()
		return won
	}
	if !beaten(func(dir int, name string) {
		if sys.Unlink(dir, name) != nil {
			_ = syscall.Fchmodat(dir, name, 0o700, 0)
		}
	}) {
		t.Skip("not even by names is it changed on this machine")
	}
	if beaten(func(dir int, name string) { removeAll(dir, name, 0) }) {
		t.Error("what the link leads to has other permissions")
	}
}

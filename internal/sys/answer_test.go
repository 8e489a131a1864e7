package sys

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkApart is what it takes to ask a process apart.
func BenchmarkApart(b *testing.B) {
	d, err := OpenStateRoot("/", "")
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	buf := make([]byte, 1<<20)
	for b.Loop() {
		if _, _, err := d.ReadFile("etc/passwd", buf); err != nil {
			b.Fatal(err)
		}
	}
}

// A file that never ends is not read for ever, and nobody is left who reads it.
func TestApartEnds(t *testing.T) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC}
	data, err := question{dirfd: unix.AT_FDCWD, name: "/dev/zero", how: how, do: askContent, most: 100}.ask(time.Now().Add(patience))
	if err != nil || len(data) < 100 || len(data) > 1<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		reapLeft()
		left.Lock()
		n := len(left.pids)
		left.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes are left", n)
		}
	}
}

// A FIFO that nobody writes to does not answer: it is not asked again.
func TestNoAnswer(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	silent.since = time.Time{}
	tree := &tree{root: unix.AT_FDCWD}
	for range 10 {
		begin := time.Now()
		how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC}
		_, err := tree.ask(question{dirfd: unix.AT_FDCWD, name: fifo, how: how})
		if err != ErrNoAnswer || time.Since(begin) > 2*patience {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	}
	if waited := silent.waited[true]; waited > 2*patience {
		t.Errorf("it was waited for %v", waited)
	}
	if _, err := os.Stat(fifo); err != nil {
		t.Error(err)
	}
}

// A link has the same text whoever reads it.
func TestReadlink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("somewhere", link); err != nil {
		t.Fatal(err)
	}
	if text, err := Readlink(link); err != nil || text != "somewhere" {
		t.Errorf("here: %q, %v", text, err)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC}
	a, err := (&tree{root: unix.AT_FDCWD}).ask(question{dirfd: unix.AT_FDCWD, name: link, how: how, do: askText})
	if err != nil || string(a.data) != "somewhere" {
		t.Errorf("apart: %q, %v", a.data, err)
	}
}

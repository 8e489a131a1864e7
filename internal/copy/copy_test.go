package copy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

// A tree is files to make: text, or "-> link", or with a slash a directory.
type tree map[string]string

func (files tree) make(t testing.TB, dir string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		link, isLink := strings.CutPrefix(text, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(link, path)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// look lists what is below dir, as a tree has it.
func look(t testing.TB, dir string) tree { return nstest.Tree(t, dir) }

// target makes a root directory with these files in it.
func target(t testing.TB, files tree) (dir string, root *os.File) {
	t.Helper()
	dir = nstest.Dir(t)
	files.make(t, dir)
	fd, err := sys.OpenWay(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	root = os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { root.Close() })
	return dir, root
}

func equal(a, b tree) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// Where copies come to: what is there before, what is copied, and what is there
// then or what is said.
func TestPlaces(t *testing.T) {
	in := tree{
		"etc/app.yaml": "a: b", "etc/link": "-> app.yaml", "etc/abs": "-> /etc/app.yaml", "etc/up": "-> ../../../../etc/app.yaml",
		"data/x": "x", "data/sub/y": "y", "data/l": "-> /etc/app.yaml", "dir": "-> data", "dangling": "-> nothing", "empty/": "",
	}
	for _, c := range []struct {
		from   string
		before tree
		to     string
		want   tree
		says   string
	}{
		{from: "/etc/app.yaml", to: ".", want: tree{"app.yaml": "a: b"}},
		{from: "etc/app.yaml", to: "./", want: tree{"app.yaml": "a: b"}},
		{from: "/etc/app.yaml", to: "new", want: tree{"new": "a: b"}},
		{from: "/etc/link", to: "new", want: tree{"new": "a: b"}},
		{from: "/etc/abs", to: ".", want: tree{"abs": "a: b"}},
		{from: "/etc/up", to: ".", want: tree{"up": "a: b"}},
		{from: "/dir/x", to: ".", want: tree{"x": "x"}},
		{from: "/data", to: ".", want: tree{"data/": "", "data/x": "x", "data/l": "-> /etc/app.yaml", "data/sub/": "", "data/sub/y": "y"}},
		{from: "/data/", to: "new/", want: tree{"new/": "", "new/x": "x", "new/l": "-> /etc/app.yaml", "new/sub/": "", "new/sub/y": "y"}},
		{from: "/data/.", to: ".", want: tree{"x": "x", "l": "-> /etc/app.yaml", "sub/": "", "sub/y": "y"}},
		{from: "/data/sub/..", to: "new", want: tree{"new/": "", "new/x": "x", "new/l": "-> /etc/app.yaml", "new/sub/": "", "new/sub/y": "y"}},
		{from: "/dir", to: "new", want: tree{"new/": "", "new/x": "x", "new/l": "-> /etc/app.yaml", "new/sub/": "", "new/sub/y": "y"}},
		{from: "/empty", to: "new", want: tree{"new/": ""}},
		{from: "/etc/app.yaml", before: tree{"old": "old"}, to: "old", want: tree{"old": "a: b"}},
		{from: "/etc/app.yaml", before: tree{"old": "old", "l": "-> old"}, to: "l", want: tree{"old": "a: b", "l": "-> old"}},
		{from: "/etc/app.yaml", before: tree{"d/": "", "l": "-> d"}, to: "l", want: tree{"d/": "", "d/app.yaml": "a: b", "l": "-> d"}},
		// Earlier copies may have made links: a name in a directory is replaced.
		{from: "/etc/app.yaml", before: tree{"old": "old", "app.yaml": "-> old"}, to: ".", want: tree{"old": "old", "app.yaml": "a: b"}},
		{from: "/data", before: tree{"data/x": "-> ../old", "old": "old", "data/kept": "1"}, to: ".", want: tree{"old": "old", "data/": "", "data/kept": "1", "data/x": "x", "data/l": "-> /etc/app.yaml", "data/sub/": "", "data/sub/y": "y"}},
		{from: "/data", before: tree{"data/sub": "-> ../d", "d/": ""}, to: ".", want: tree{"d/": "", "data/": "", "data/sub": "-> ../d", "data/x": "x", "data/l": "-> /etc/app.yaml"}, says: "data/sub: it is a symbolic link, and not a directory"},
		{from: "/etc/app.yaml", before: tree{"app.yaml/": ""}, to: ".", want: tree{"app.yaml/": ""}, says: "app.yaml: it is a directory, and is left as it is"},
		{from: "/data", before: tree{"f": "1"}, to: "f", want: tree{"f": "1"}, says: "f: it is not a directory"},
		{from: "/etc/app.yaml", to: "no/such", want: tree{}, says: "no: no such file or directory"},
		{from: "/etc/app.yaml", to: "no/", want: tree{}, says: "no/: there is no such directory"},
		{from: "/etc/app.yaml", before: tree{"l": "-> nothing"}, to: "l", want: tree{"l": "-> nothing"}, says: "l: it is a link that leads to nothing"},
		{from: "/nosuch", to: ".", want: tree{}, says: "web:/nosuch: no such file or directory"},
		{from: "/dangling", to: ".", want: tree{}, says: "web:/dangling: no such file or directory"},
		{from: "/etc/app.yaml/x", to: ".", want: tree{}, says: "web:/etc/app.yaml/x: not a directory"},
	} {
		_, root := target(t, in)
		out := nstest.Dir(t)
		c.before.make(t, out)
		t.Chdir(out)
		said := ""
		cp := &Copier{Failed: func(where string, err error) { said += where + ": " + err.Error() }}
		if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: c.from}, Place{Path: c.to}); err != nil {
			said += err.Error()
		}
		if got := look(t, out); !equal(got, c.want) {
			t.Errorf("%s to %s: %v", c.from, c.to, got)
		}
		if !strings.HasSuffix(said, c.says) || c.says == "" && said != "" {
			t.Errorf("%s to %s: says %q", c.from, c.to, said)
		}

		// The same into a target.
		dir, into := target(t, c.before)
		t.Chdir("/")
		_ = (&Copier{}).Copy(t.Context(), Place{Root: root, Name: "web", Path: c.from}, Place{Root: into, Name: "db", Path: c.to})
		if got := look(t, dir); !equal(got, c.want) {
			t.Errorf("%s to db:%s: %v", c.from, c.to, got)
		}
	}
}

// swap exchanges two names again and again, until the test ends.
func swap(t *testing.T, dir, a, b string) {
	t.Helper()
	fd, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if err := sys.Exchange(fd, a, b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	t.Cleanup(func() {
		stop.Store(true)
		wg.Wait()
		sys.CloseFD(fd)
	})
}

// A directory that is exchanged for a link to one outside, all the time: nothing
// is read from outside and nothing written there. That the attack is one is
// shown by the same with paths.
func TestSwap(t *testing.T) {
	for name, link := range map[string]func(outside string) string{
		"absolute": func(outside string) string { return outside },
		"upwards":  func(outside string) string { return "../../../../../../../.." + outside },
	} {
		t.Run(name, func(t *testing.T) {
			outside := nstest.Dir(t)
			tree{"f": "SECRET", "sub/f": "SECRET"}.make(t, outside)
			dir, root := target(t, tree{"a/dir/f": "inside", "a/dir/sub/f": "inside", "a/link": "-> " + link(outside)})
			if err := os.Link(filepath.Join(dir, "a/dir/f"), filepath.Join(dir, "a/dir/sub/g")); err != nil {
				t.Fatal(err)
			}
			swap(t, filepath.Join(dir, "a"), "dir", "link")
			beaten := func(what string, naive func() bool) {
				for end := time.Now().Add(10 * time.Second); !naive(); {
					if time.Now().After(end) {
						t.Errorf("%s: not even by paths is there anything to see", what)
						return
					}
				}
			}
			beaten("read", func() bool {
				text, _ := os.ReadFile(filepath.Join(dir, "a/dir/f"))
				return string(text) == "SECRET"
			})
			written := filepath.Join(outside, "w")
			beaten("write", func() bool {
				_ = os.WriteFile(filepath.Join(dir, "a/dir/w"), nil, 0o644)
				_, err := os.Stat(written)
				return err == nil
			})
			if err := os.Remove(written); err != nil {
				t.Fatal(err)
			}

			before := look(t, outside)
			mine := nstest.Dir(t)
			tree{"f": "mine", "d/f": "mine", "d/sub/f": "mine"}.make(t, mine)
			if err := os.Link(filepath.Join(mine, "d/f"), filepath.Join(mine, "d/sub/g")); err != nil {
				t.Fatal(err)
			}
			got := 0
			for i, start := 0, time.Now(); i < 60 && time.Since(start) < 3*time.Second; i++ {
				out := filepath.Join(mine, fmt.Sprint("out", i))
				cp := &Copier{}
				for _, from := range []string{"/a/dir/f", "/a/dir/sub/f", "/a"} {
					if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: from}, Place{Path: out}); err == nil {
						got++
						for file, text := range look(t, mine) {
							if text == "SECRET" {
								t.Fatalf("%s of %s came out", file, from)
							}
						}
					}
					os.RemoveAll(out)
				}
				for _, to := range []string{"/a/dir/w", "/a/dir", "/a/dir/sub/", "/a/dir/new"} {
					for _, from := range []string{"f", "d"} {
						_ = cp.Copy(t.Context(), Place{Path: filepath.Join(mine, from)}, Place{Root: root, Name: "web", Path: to})
					}
				}
			}
			if now := look(t, outside); !equal(now, before) {
				t.Errorf("outside there is %v", now)
			}
			if got == 0 {
				t.Error("nothing was copied at all")
			}
		})
	}
}

// A FIFO, also one in the place of a file just now, is never waited for; a
// device never made.
func TestSpecial(t *testing.T) {
	dir, root := target(t, tree{"d/file": "text", "d/other": "text"})
	for _, name := range []string{"d/fifo", "d/swapped"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(s)
	if err := syscall.Bind(s, &syscall.SockaddrUnix{Name: filepath.Join(dir, "d/socket")}); err != nil {
		t.Fatal(err)
	}
	swap(t, filepath.Join(dir, "d"), "file", "swapped")
	out := nstest.Dir(t)
	for range 60 {
		var left []string
		cp := &Copier{Failed: func(where string, err error) {
			if !errors.Is(err, ErrSpecial) {
				t.Error(where, err)
			}
			left = append(left, where)
		}}
		if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d"}, Place{Path: filepath.Join(out, "d")}); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(left, "web:/d/fifo") || !slices.Contains(left, "web:/d/socket") {
			t.Errorf("left out: %v", left)
		}
		for name, text := range look(t, out) {
			if strings.HasSuffix(name, "/") == (text == "text") {
				t.Errorf("%s is %q", name, text)
			}
		}
		if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d/fifo"}, Place{Path: out}); !errors.Is(err, ErrSpecial) {
			t.Error(err)
		}
		os.RemoveAll(filepath.Join(out, "d"))
	}
	// Nor is one written into.
	err = (&Copier{}).Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d/other"}, Place{Root: root, Name: "web", Path: "/d/fifo"})
	if err == nil || !strings.Contains(err.Error(), "it is a FIFO, and is left as it is") {
		t.Error(err)
	}
}

// A file that grows for ever is copied as long as it was.
func TestGrowing(t *testing.T) {
	dir, root := target(t, tree{"log": strings.Repeat("x", 100_000)})
	f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; !stop.Load() && n < 1<<30; n += 1 << 16 {
			f.Write(make([]byte, 1<<16))
			if n > 1<<26 {
				f.Truncate(100_000) // and shrinks
				n = 0
			}
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	out := nstest.Dir(t)
	for range 20 {
		if err := (&Copier{}).Copy(t.Context(), Place{Root: root, Name: "web", Path: "/log"}, Place{Path: out}); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := (&Copier{Failed: func(string, error) {}}).ToTar(t.Context(), &b, Place{Root: root, Name: "web", Path: "/log"}); err != nil && !isSource(err) && !strings.Contains(err.Error(), "shorter") {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(filepath.Join(out, "log")); err != nil || st.Size() < 100_000 {
		t.Errorf("%v, %v", st, err)
	}
}

// Files that the kernel makes up: those that have an end have a copy, the others
// are not waited for, and none is made.
func TestKernelFiles(t *testing.T) {
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	out := nstest.Dir(t)
	said := map[string]string{}
	cp := &Copier{Failed: func(where string, err error) { said[where] = err.Error() }}
	if err := cp.Copy(t.Context(), Place{Root: proc, Name: "host", Path: "/"}, Place{Path: filepath.Join(out, "proc")}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(out, "proc"), 0o700); err != nil { //nolint:gosec // to be removed
		t.Error(err)
	}
	text, err := os.ReadFile("/proc/version")
	if got, e := os.ReadFile(filepath.Join(out, "proc/version")); err != nil || e != nil || string(got) != string(text) {
		t.Errorf("%s, %v", got, e)
	}
	if got := said["host:/1"]; got != "it is a proc file system: not copied" {
		t.Errorf("of /proc/1 it says %q", got)
	}
	if _, err := os.Open("/proc/kcore"); err == nil && said["host:/kcore"] != "it is the memory of the kernel: not copied" {
		t.Errorf("of /proc/kcore it says %q", said["host:/kcore"])
	}
	err = cp.Copy(t.Context(), Place{Root: proc, Name: "host", Path: "/version"}, Place{Root: proc, Name: "host", Path: "/uptime"})
	if err == nil || err.Error() != "host:/uptime: no file can be made in a proc file system" {
		t.Error(err)
	}
}

// Holes stay holes, also very large ones.
func TestSparse(t *testing.T) {
	dir, root := target(t, tree{"sparse": "begin"})
	f, err := os.OpenFile(filepath.Join(dir, "sparse"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 40
	f.WriteAt([]byte("middle"), size/2)
	err = f.Truncate(size)
	f.Close()
	if err != nil {
		t.Skip(err) // the file system has none
	}
	out := nstest.Dir(t)
	if err := (&Copier{}).Copy(t.Context(), Place{Root: root, Name: "web", Path: "/sparse"}, Place{Path: out}); err != nil {
		t.Fatal(err)
	}
	g, err := os.Open(filepath.Join(out, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	st, _ := g.Stat()
	buf := make([]byte, 6)
	g.ReadAt(buf, size/2)
	if blocks := st.Sys().(*syscall.Stat_t).Blocks; st.Size() != size || blocks > 1000 || string(buf) != "middle" {
		t.Errorf("%d bytes, %d blocks, %q", st.Size(), blocks, buf)
	}
}

// What is given up leaves nothing, whether its source goes on or is silent.
func TestAbort(t *testing.T) {
	big := tree{}
	for i := range 2000 {
		big[fmt.Sprintf("d/%d/f", i)] = strings.Repeat("x", 1000)
	}
	_, from := target(t, big)
	for name, copying := range map[string]func(ctx context.Context, c *Copier, into *os.File) error{
		"endless": func(ctx context.Context, c *Copier, into *os.File) error {
			return c.FromReader(ctx, zeros{}, Place{Root: into, Name: "web", Path: "/old"}, 0o644)
		},
		"directory": func(ctx context.Context, c *Copier, into *os.File) error {
			for {
				if err := c.Copy(ctx, Place{Root: from, Name: "web", Path: "/d"}, Place{Root: into, Name: "web", Path: "/"}); err != nil {
					return err
				}
				t.Error("it was quick")
			}
		},
	} {
		dir, into := target(t, tree{"old": "old"})
		ctx, cancel := context.WithCancel(t.Context())
		c := &Copier{}
		done := make(chan error, 1)
		go func() { done <- copying(ctx, c, into) }()
		for c.Bytes.Load() < 10_000 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if got := look(t, dir); !equal(got, tree{"old": "old"}) {
			t.Errorf("%s: there is %v", name, got)
		}
	}

	// The source is silent: who waits for it does not come back.
	dir, into := target(t, tree{"old": "old"})
	c := &Copier{}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- c.FromReader(t.Context(), r, Place{Root: into, Name: "web", Path: "/new"}, 0o644) }()
	w.Write([]byte("some"))
	c.Abort()
	if got := look(t, dir); !equal(got, tree{"old": "old"}) {
		t.Errorf("silent: there is %v", got)
	}
	w.Close()
	if err := <-done; err == nil {
		t.Error("it was given up, and is done")
	}
	if got := look(t, dir); !equal(got, tree{"old": "old"}) {
		t.Errorf("silent: there is %v in the end", got)
	}
}

// A file of several names in a directory has them in the copy, one of which the
// rest is outside has none, and where one name is taken there are two files.
func TestHardLinks(t *testing.T) {
	dir, root := target(t, tree{"d/a": "text", "d/sub/f": "", "d/z": "z", "d/alone": "x", "other/": ""})
	for old, name := range map[string]string{"d/a": "d/sub/b", "d/z": "d/sub/deep", "d/alone": "other/alone"} {
		if err := os.Link(filepath.Join(dir, old), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "d/a"), filepath.Join(dir, "d/c")); err != nil {
		t.Fatal(err)
	}
	links := func(dir string) string {
		t.Helper()
		got := ""
		names := map[uint64]string{}
		for _, name := range []string{"d/a", "d/c", "d/sub/b", "d/z", "d/sub/deep", "d/alone", "d/sub/f"} {
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			ino := st.Sys().(*syscall.Stat_t).Ino
			if names[ino] == "" {
				names[ino] = name
			}
			got += names[ino] + fmt.Sprint(st.Sys().(*syscall.Stat_t).Nlink) + " "
		}
		return got
	}
	const want = "d/a3 d/a3 d/a3 d/z2 d/z2 d/alone1 d/sub/f1 "
	cp := &Copier{Failed: func(where string, err error) { t.Error(where, err) }}
	for _, to := range []string{"new", "old", "archive"} {
		out, into := target(t, tree{})
		switch to {
		case "old": // there is something already
			tree{"d/c": "old", "d/sub/": ""}.make(t, out)
			fallthrough
		case "new":
			if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d"}, Place{Root: into, Name: "db", Path: "/"}); err != nil {
				t.Fatal(err)
			}
		default:
			var b bytes.Buffer
			if err := errors.Join(cp.ToTar(t.Context(), &b, Place{Root: root, Name: "web", Path: "/d"}), cp.FromTar(t.Context(), &b, Place{Root: into, Name: "db", Path: "/"})); err != nil {
				t.Fatal(err)
			}
		}
		if got := links(out); got != want {
			t.Errorf("%s: %s, not %s", to, got, want)
		}
		if got := look(t, filepath.Join(out, "d")); !equal(got, look(t, filepath.Join(dir, "d"))) {
			t.Errorf("%s: %v", to, got)
		}
	}

	// A directory in the place of one of the names.
	out, into := target(t, tree{"d/c/": ""})
	said := ""
	cp = &Copier{Failed: func(where string, err error) { said += where + ": " + err.Error() }}
	if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d"}, Place{Root: into, Name: "db", Path: "/"}); err != nil || said != "db:/d/c: it is a directory, and is left as it is" {
		t.Errorf("%v, %s", err, said)
	}
	if text, err := os.ReadFile(filepath.Join(out, "d/sub/b")); err != nil || string(text) != "text" {
		t.Errorf("%s, %v", text, err)
	}
}

// Permissions and times are kept, set-ID bits only if asked for, and of a file
// that is replaced its own.
func TestPermissions(t *testing.T) {
	dir, root := target(t, tree{"d/suid": "1", "d/secret": "2"})
	when := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, mode := range map[string]fs.FileMode{"d/suid": 0o755 | fs.ModeSetuid | fs.ModeSetgid, "d/secret": 0o600, "d": 0o1750 | fs.ModeSticky} {
		if err := errors.Join(os.Chmod(filepath.Join(dir, name), mode), os.Chtimes(filepath.Join(dir, name), when, when)); err != nil {
			t.Fatal(err)
		}
	}
	for keep, want := range map[bool]string{
		false: "d drwxr-x--t d/secret -rw------- d/suid -rwxr-xr-x",
		true:  "d drwxr-x--t d/secret -rw------- d/suid -rwsr-sr-x",
	} {
		out := nstest.Dir(t)
		if err := (&Copier{Options: Options{KeepSetID: keep}}).Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d"}, Place{Path: out}); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, name := range []string{"d", "d/secret", "d/suid"} {
			st, err := os.Stat(filepath.Join(out, name))
			if err != nil || !st.ModTime().Equal(when) {
				t.Fatal(name, st, err)
			}
			m := []byte(st.Mode().String())
			full := st.Sys().(*syscall.Stat_t).Mode
			for i, bit := range map[int]uint32{3: 0o4000, 6: 0o2000, 9: 0o1000} {
				if full&bit != 0 {
					m[len(m)-10+i] = map[int]byte{3: 's', 6: 's', 9: 't'}[i]
				}
			}
			kind := "-"
			if st.IsDir() {
				kind = "d"
			}
			got += name + " " + kind + string(m[len(m)-9:]) + " "
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("%v: %s", keep, got)
		}
	}
	out := nstest.Dir(t)
	if err := errors.Join(os.WriteFile(filepath.Join(out, "secret"), nil, 0o640), os.Chmod(filepath.Join(out, "secret"), 0o640)); err != nil {
		t.Fatal(err)
	}
	if err := (&Copier{}).Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d/secret"}, Place{Path: out}); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(out, "secret")); err != nil || st.Mode() != 0o640 {
		t.Error(st.Mode(), err)
	}
}

// Directories in one another without end are told, and what is above is copied.
func TestDeep(t *testing.T) {
	dir, root := target(t, tree{"d/file": "text"})
	fd, err := sys.OpenDir(filepath.Join(dir, "d"))
	for range 1100 {
		if err != nil {
			t.Fatal(err)
		}
		if err := sys.Mkdir(fd, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, e := sys.OpenAt(fd, "d", false)
		sys.CloseFD(fd)
		fd, err = next, e
	}
	sys.CloseFD(fd)
	out := nstest.Dir(t)
	said := ""
	cp := &Copier{Failed: func(_ string, err error) { said = err.Error() }}
	if err := cp.Copy(t.Context(), Place{Root: root, Name: "web", Path: "/d"}, Place{Path: out}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(out, "d/file")); err != nil || string(text) != "text" || said != "there are more than 1000 directories in one another" {
		t.Errorf("%q, %v, %q", text, err, said)
	}
}

// pack makes an archive.
func pack(t testing.TB, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "tar"
			h.Size = 3
		}
		if h.Mode == 0 {
			h.Mode = 0o4755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// An archive stays in its directory, whatever its names are and what is there.
func TestFromTar(t *testing.T) {
	outside := nstest.Dir(t)
	dir, root := target(t, tree{"d/out": "-> " + outside, "d/up": "-> ../..", "d/file": "old", "secret": "secret"})
	archive := pack(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "sub/", Mode: 0o500},
		tar.Header{Typeflag: tar.TypeReg, Name: "sub/f"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./file"},
		tar.Header{Typeflag: tar.TypeReg, Name: "/abs"},
		tar.Header{Typeflag: tar.TypeReg, Name: "new/in/f"},
		tar.Header{Typeflag: tar.TypeReg, Name: "../escaped"},
		tar.Header{Typeflag: tar.TypeReg, Name: "sub/../../escaped"},
		tar.Header{Typeflag: tar.TypeReg, Name: "out/escaped"},
		tar.Header{Typeflag: tar.TypeReg, Name: "up/escaped"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: outside},
		tar.Header{Typeflag: tar.TypeReg, Name: "link/escaped"},
		tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "sub/f"},
		tar.Header{Typeflag: tar.TypeLink, Name: "hard2", Linkname: "../secret"},
		tar.Header{Typeflag: tar.TypeLink, Name: "hard3", Linkname: "up/secret"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"},
		tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3},
	)
	whole := archive.Bytes()
	var said []string
	cp := &Copier{Failed: func(where string, err error) { said = append(said, where+": "+err.Error()) }}
	if err := cp.FromTar(t.Context(), bytes.NewReader(whole), Place{Root: root, Name: "web", Path: "/d"}); err != nil {
		t.Fatal(err)
	}
	want := tree{
		"d/": "", "d/out": "-> " + outside, "d/up": "-> ../..", "d/file": "tar", "secret": "secret", "d/abs": "tar", "d/new/": "", "d/new/in/": "", "d/new/in/f": "tar",
		"d/sub/": "", "d/sub/f": "tar", "d/link": "-> " + outside, "d/hard": "tar",
	}
	if got := look(t, dir); !equal(got, want) {
		t.Errorf("there is %v", got)
	}
	if got := look(t, outside); len(got) > 0 {
		t.Errorf("outside there is %v", got)
	}
	if len(said) != 9 {
		t.Errorf("said: %s", strings.Join(said, "\n"))
	}
	st, err := os.Stat(filepath.Join(dir, "d/sub/f"))
	if err != nil || st.Mode() != 0o755 {
		t.Error(st.Mode(), err)
	}
	os.Chmod(filepath.Join(dir, "d/sub"), 0o700)

	// Half of an archive is an error, and half of a file not there.
	dir, root = target(t, tree{})
	half := pack(t, tar.Header{Typeflag: tar.TypeReg, Name: "a"}, tar.Header{Typeflag: tar.TypeReg, Name: "b"}).Bytes()[:512+512+512+1]
	if err := cp.FromTar(t.Context(), bytes.NewReader(half), Place{Root: root, Name: "web", Path: "/"}); err == nil {
		t.Error("half an archive is no error")
	}
	if got := look(t, dir); !equal(got, tree{"a": "tar"}) {
		t.Errorf("there is %v", got)
	}
	dir, root = target(t, tree{})
	if err := cp.FromTar(t.Context(), iotest.DataErrReader(bytes.NewReader(whole)), Place{Root: root, Name: "web", Path: "/"}); err != nil {
		t.Error(err)
	}
	os.Chmod(filepath.Join(dir, "sub"), 0o700)

	// Also one that is cut between two files, or that there is nothing of.
	for _, n := range []int{0, 1024, 512 + 512 + 512} {
		_, root = target(t, tree{})
		if err := cp.FromTar(t.Context(), bytes.NewReader(whole[:n]), Place{Root: root, Name: "web", Path: "/"}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of an archive: %v", n, err)
		}
	}
	if err := cp.FromTar(t.Context(), strings.NewReader(strings.Repeat("no archive", 100)), Place{Root: root, Name: "web", Path: "/"}); err == nil {
		t.Error("what is no archive is no error")
	}
}

// An archive that is small and says much is left out by entries, and what it takes
// is in proportion to what is read: memory too.
func TestArchiveBounds(t *testing.T) {
	var wide []string
	for i := range 500 {
		wide = append(wide, fmt.Sprintf("%0250d", i))
	}
	long := strings.Join(wide, "/")
	last := tar.Header{Typeflag: tar.TypeReg, Name: "after", Mode: 0o644}
	dir := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, Format: tar.FormatGNU}
	}
	hole := tar.Header{Typeflag: tar.TypeReg, Name: "hole", PAXRecords: map[string]string{
		"XXX.sparse.size": "8000000000", "XXX.sparse.numblocks": "1", "XXX.sparse.map": "0,3",
	}}
	for name, test := range map[string]struct {
		headers []tar.Header
		left    int // out
		want    string
	}{
		"50,000 directories":          {[]tar.Header{dir(strings.Repeat("d/", 50_000))}, 1, "it is too deep"},
		"50,000 in the name of PAX":   {[]tar.Header{{Typeflag: tar.TypeDir, Name: strings.Repeat("d/", 50_000), Mode: 0o755, Format: tar.FormatPAX}}, 1, "it is too deep"},
		"a name of 1 MB":              {[]tar.Header{{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 1<<20-10), Format: tar.FormatGNU}}, 1, "file name too long"},
		"a hard link that leads deep": {[]tar.Header{{Typeflag: tar.TypeLink, Name: "l", Linkname: strings.Repeat("d/", 50_000) + "f", Format: tar.FormatGNU}}, 1, "it is too deep"},
		"hard links to each other":    {[]tar.Header{{Typeflag: tar.TypeLink, Name: "a", Linkname: "b"}, {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}}, 2, "no such file"},
		"8 GB of nothing":             {[]tar.Header{hole}, 1, "stored with its holes"},
		"long names, again and again": {[]tar.Header{dir("0/" + long), dir("1/" + long), dir("2/" + long), dir("3/" + long)}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			archive := pack(t, append(test.headers, last)...).Bytes()
			archive = bytes.ReplaceAll(archive, []byte("XXX.sparse"), []byte("GNU.sparse"))
			at, root := target(t, tree{})
			var said []string
			cp := &Copier{Failed: func(_ string, err error) { said = append(said, err.Error()) }}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := cp.FromTar(t.Context(), bytes.NewReader(archive), Place{Root: root, Name: "web", Path: "/"})
			runtime.ReadMemStats(&after)
			if _, serr := os.Stat(filepath.Join(at, "after")); err != nil || serr != nil {
				t.Fatalf("%v, %v: %.300q", err, serr, said)
			}
			if len(said) != test.left || !strings.Contains(strings.Join(said, ""), test.want) {
				t.Errorf("left out: %d: %.300q", len(said), said)
			}
			// A buffer for each file, and a few copies of each name.
			if took, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+50*len(archive)); took > most {
				t.Errorf("%d bytes of memory for an archive of %d", took, len(archive))
			}
			if cp.Bytes.Load() > int64(len(archive)) {
				t.Errorf("%d bytes were written", cp.Bytes.Load())
			}
		})
	}
}

// What an archive says of a directory last is what it becomes, also if it says so
// before what is in it.
func TestArchiveDirectories(t *testing.T) {
	at, root := target(t, tree{"old/": ""})
	headers := []tar.Header{{Typeflag: tar.TypeDir, Name: "d/e/", Mode: 0o711}}
	for _, mode := range []int64{0o700, 0o500, 0o755, 0o511} {
		headers = append(headers, tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: mode}, tar.Header{Typeflag: tar.TypeDir, Name: "old/", Mode: 0o777})
	}
	headers = append(headers, tar.Header{Typeflag: tar.TypeReg, Name: "d/e/f"})
	var said []string
	cp := &Copier{Failed: func(where string, err error) { said = append(said, where+": "+err.Error()) }}
	if err := cp.FromTar(t.Context(), pack(t, headers...), Place{Root: root, Name: "web", Path: "/"}); err != nil || len(said) > 0 {
		t.Fatal(err, said)
	}
	for name, want := range map[string]os.FileMode{"d": 0o511, "d/e": 0o711, "old": 0o755} {
		if st, err := os.Stat(filepath.Join(at, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	os.Chmod(filepath.Join(at, "d"), 0o700)
}

// A tree of 5000 directories in one another becomes an archive of the first
// thousand of them; the rest is told once.
func TestToTarDeep(t *testing.T) {
	dir, root := target(t, tree{"d/file": "text"})
	fd, err := sys.OpenDir(filepath.Join(dir, "d"))
	for range 5_000 {
		if err != nil {
			t.Fatal(err)
		}
		if err := sys.Mkdir(fd, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, e := sys.OpenAt(fd, "d", false)
		sys.CloseFD(fd)
		fd, err = next, e
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // os.RemoveAll has not enough descriptors for it
		for range 5_000 {
			up, err := sys.OpenAt(fd, "..", false)
			if err == nil {
				err = sys.Rmdir(up, "d")
			}
			if err != nil {
				t.Fatal(err)
			}
			sys.CloseFD(fd)
			fd = up
		}
		sys.CloseFD(fd)
	}()
	var said []string
	var out bytes.Buffer
	cp := &Copier{Failed: func(_ string, err error) { said = append(said, err.Error()) }}
	if err := cp.ToTar(t.Context(), &out, Place{Root: root, Name: "web", Path: "/d"}); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || said[0] != "there are more than 1000 directories in one another" {
		t.Errorf("%.300q", said)
	}
	entries := 0
	for r := tar.NewReader(&out); ; entries++ {
		if _, err := r.Next(); err != nil {
			break
		}
	}
	if entries != 1000+1+1 || out.Cap() > 8<<20 {
		t.Errorf("%d entries, %d bytes", entries, out.Cap())
	}
}

// What comes out as an archive is what is there.
func TestToTar(t *testing.T) {
	in := tree{"d/f": "text", "d/l": "-> /etc/passwd", "d/sub/g": "", "d/empty/": ""}
	_, root := target(t, in)
	var b bytes.Buffer
	cp := &Copier{Failed: func(where string, err error) { t.Error(where, err) }}
	if err := cp.ToTar(t.Context(), &b, Place{Root: root, Name: "web", Path: "/d"}); err != nil {
		t.Fatal(err)
	}
	dir, into := target(t, tree{})
	if err := cp.FromTar(t.Context(), &b, Place{Root: into, Name: "db", Path: "/"}); err != nil {
		t.Fatal(err)
	}
	want := tree{"d/": "", "d/sub/": ""}
	for name, text := range in {
		want[name] = text
	}
	if got := look(t, dir); !equal(got, want) {
		t.Errorf("there is %v", got)
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "/abs", "./a//b/", "a/../b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		parts, err := split(name)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p == "" || p == "." || p == ".." || strings.Contains(p, "/") {
				t.Errorf("%q: %q", name, parts)
			}
		}
	})
}

// A stream for another machine holds what Copy copies. A stream that is cut off is an error. A
// directory there is another one, also if it has the same number.
func TestStream(t *testing.T) {
	dir, root := target(t, tree{"data/x": "x", "data/sub/y": "y", "data/l": "-> x", "data/empty/": ""})
	var b bytes.Buffer
	if err := new(Copier).ToStream(t.Context(), &b, Place{Root: root, Name: "web", Path: "/data"}); err != nil {
		t.Fatal(err)
	}
	to := nstest.Dir(t)
	if err := new(Copier).FromStream(t.Context(), bytes.NewReader(b.Bytes()), Place{Path: to}); err != nil {
		t.Error(err)
	}
	if got, want := look(t, to), look(t, dir); !equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if err := new(Copier).FromStream(t.Context(), bytes.NewReader(b.Bytes()), Place{Path: filepath.Join(dir, "data")}); err != nil {
		t.Error(err)
	}
	if err := new(Copier).Copy(t.Context(), Place{Root: root, Path: "/data"}, Place{Path: filepath.Join(dir, "data")}); err == nil {
		t.Error("a directory is copied into itself")
	}
	for _, n := range []int{0, 1, b.Len() / 2, b.Len() - 1} {
		to := nstest.Dir(t)
		if err := new(Copier).FromStream(t.Context(), bytes.NewReader(b.Bytes()[:n]), Place{Path: to}); !errors.Is(err, ErrCut) {
			t.Errorf("%d of %d bytes: %v", n, b.Len(), err)
		}
	}
}

package enter_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
)

func openOf(t testing.TB, box *nstest.Box, types ...string) (files []*os.File) {
	t.Helper()
	for _, name := range types {
		typ, err := inspect.ParseType(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := enter.OpenFile(fmt.Sprintf("/proc/%d/ns/%s", box.PID, name), typ)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

// links returns the namespaces of every thread of this process.
func links(t testing.TB) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	paths, err := filepath.Glob("/proc/self/task/*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if link, err := os.Readlink(p); err == nil {
			seen[link] = true
		}
	}
	return seen
}

// noneLeft waits for the last threads to end, which they do after Do returns,
// and fails if one is in a namespace that was not there before.
func noneLeft(t testing.TB, before map[string]bool) {
	t.Helper()
	waitFor(t, func() bool {
		for link := range links(t) {
			if !before[link] {
				return false
			}
		}
		return true
	})
}

func TestDo(t *testing.T) {
	nstest.Need(t, "root")
	types := []string{"cgroup", "ipc", "net", "mnt", "uts"}
	box := nstest.Sandbox(t, types...)
	before := links(t)
	files := openOf(t, box, types...)
	err := enter.Do(t.Context(), func() error {
		for _, name := range types {
			link, err := os.Readlink("/proc/thread-self/ns/" + name)
			if want := fmt.Sprintf("%s:[%d]", name, box.Ino[name]); err != nil || link != want {
				return fmt.Errorf("%s, %w; want %s", link, err, want)
			}
		}
		return nil
	}, files...)
	if err != nil {
		t.Error(err)
	}
	noneLeft(t, before)
}

// A thousand at once leave no thread astray. Run it under -race.
func TestDoConcurrently(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Sandbox(t, "net", "mnt")
	files := openOf(t, box, "net", "mnt")
	before := links(t)
	want := fmt.Sprintf("net:[%d]", box.Ino["net"])
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			err := enter.Do(t.Context(), func() error {
				link, err := os.Readlink("/proc/thread-self/ns/net")
				if err == nil && link != want {
					err = errors.New("in " + link)
				}
				return err
			}, files...)
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if link, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || link == want {
				t.Errorf("outside: %s, %v", link, err)
			}
		})
	}
	wg.Wait()
	noneLeft(t, before)
}

func TestDoErrors(t *testing.T) {
	self := fmt.Sprintf("/proc/%d/ns/", os.Getpid())
	called := func() error { t.Error("the function was called"); return nil }
	for _, typ := range []inspect.Type{inspect.PID, inspect.User, inspect.Time} {
		f, err := enter.OpenFile(self+typ.String(), typ)
		if err != nil {
			t.Fatal(err)
		}
		if err := enter.Do(t.Context(), called, f); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v; want unsupported", typ, err)
		}
		f.Close()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := enter.Do(t.Context(), called, null); err == nil {
		t.Error("/dev/null was joined")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := enter.Do(ctx, called); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want canceled", err)
	}
	want := errors.New("mine")
	if err := enter.Do(t.Context(), func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v; want the function's error", err)
	}
	func() {
		defer func() {
			if r := recover(); r != "oops" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = enter.Do(t.Context(), func() error { panic("oops") })
	}()
}

func TestDoDials(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Sandbox(t, "net")
	ns := openOf(t, box, "net")[0]
	var l net.Listener
	err := enter.Do(t.Context(), func() (err error) {
		// The loopback interface of a new namespace is down, but an abstract
		// socket belongs to the network namespace too.
		l, err = net.Listen("unix", "@nstool-test")
		return err
	}, ns)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := net.Dial("unix", "@nstool-test"); err == nil {
		t.Error("the socket is seen outside")
	}
	var conn net.Conn
	err = enter.Do(t.Context(), func() (err error) {
		conn, err = net.Dial("unix", "@nstool-test")
		return err
	}, ns)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

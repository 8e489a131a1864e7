package pin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

var ctx = context.Background()

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "web", "_x", "9", "a.b-c_d", "A..", strings.Repeat("x", 64)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "-x", "--help", ".new", ".home", "a b", " ", "*", "a/b", "a\nb", "\x1b[2J", "a\x00", "é", "\xff",
		strings.Repeat("x", 65), "a:b", "~", "$x", "a\t",
	} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("web")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if name[0] == '-' || name[0] == '.' || filepath.Base(name) != name || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			t.Errorf("%q passes", name)
		}
	})
}

// newStore returns a store that goes with the test.
func newStore(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Store{Dir: filepath.Join(dir, "nstool"), Netns: filepath.Join(dir, "netns")}
	t.Cleanup(func() {
		for range 10 {
			for _, m := range slices.Backward(mountsBelow(t, dir)) {
				syscall.Unmount(m, syscall.MNT_DETACH)
			}
		}
	})
	return s
}

// mountsBelow returns what is mounted below dir, in order.
func mountsBelow(t *testing.T, dir string) (paths []string) {
	t.Helper()
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], dir+"/") {
			paths = append(paths, f[4])
		}
	}
	return paths
}

// files opens namespaces of a process.
func files(t *testing.T, pid int, types ...string) (list []*os.File) {
	t.Helper()
	for _, name := range types {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		list = append(list, f)
	}
	return list
}

func sets(t *testing.T, s *Store) map[string]Set {
	t.Helper()
	all := make(map[string]Set)
	for set, err := range s.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		all[set.Name] = set
	}
	return all
}

// describe says what a store has, in a word: "web=ipc:1,net:2".
func describe(t *testing.T, s *Store) string {
	t.Helper()
	all := sets(t, s)
	var words []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var pins []string
		for _, p := range all[name].Pins {
			word := fmt.Sprintf("%s:%d", p.Type, p.ID.Ino)
			if p.Dead != nil {
				word = p.Type.String() + ":dead"
			}
			pins = append(pins, word)
		}
		words = append(words, name+"="+strings.Join(pins, ","))
	}
	return strings.Join(words, " ")
}

func want(name string, ino map[string]uint64, types ...string) string {
	slices.Sort(types)
	var pins []string
	for t := range inspect.AllTypes.All() {
		if slices.Contains(types, t.String()) {
			pins = append(pins, fmt.Sprintf("%s:%d", t, ino[t.String()]))
		}
	}
	return name + "=" + strings.Join(pins, ",")
}

var eight = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

func TestAll(t *testing.T) {
	s := newStore(t)
	if got := describe(t, s); got != "" {
		t.Fatalf("an empty store has %s", got)
	}
	eight := eight
	if !initialUser() {
		eight = slices.DeleteFunc(slices.Clone(eight), func(s string) bool { return s == "user" })
	}
	box := nstest.Sandbox(t, eight...)
	if err := s.Add(ctx, "web", files(t, box.PID, eight...)); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, s), want("web", box.Ino, eight...); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	set := sets(t, s)["web"]
	if set.By != "nstool" || int(set.UID) != os.Geteuid() || time.Since(set.Made) > time.Minute {
		t.Errorf("the set is %+v", set)
	}
	// Where the issue has it, and on a private mount.
	for _, name := range eight {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(s.Dir, "web", name), &st); err != nil || st.Ino != box.Ino[name] {
			t.Errorf("%s: %d, %v", name, st.Ino, err)
		}
	}
	if how := propagation(t, s.Dir); how != "unbindable" {
		t.Errorf("the mount of the store is %q", how)
	}

	open, err := s.Open("web")
	if err != nil {
		t.Fatal(err)
	}
	for typ, f := range open {
		if id, err := sys.Fstat(int(f.Fd())); err != nil || id.Ino != box.Ino[typ.String()] {
			t.Errorf("opened %s: %v, %v", typ, id, err)
		}
		f.Close()
	}
	if len(open) != len(eight) {
		t.Errorf("opened %d", len(open))
	}

	// The process goes, the namespaces stay, but for the first process of the
	// PID namespace.
	box.Close()
	if f, err := s.OpenType("web", inspect.UTS); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	_, err = s.OpenType("web", inspect.PID)
	if nstest.Lacks("pidns") == nil && !errors.Is(err, ErrInitGone) {
		t.Errorf("a PID namespace without its init is opened: %v", err)
	}

	if err := s.Add(ctx, "web", files(t, os.Getpid(), "uts")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("added again: %v", err)
	}
	if err := s.Remove(ctx, "web", inspect.Net, inspect.IPC); err != nil {
		t.Error(err)
	}
	if got := sets(t, s)["web"].Types(); got.Len() != len(eight)-2 || got.Has(inspect.Net) || !got.Has(inspect.PID) {
		t.Errorf("left are %s", got)
	}
	if made := sets(t, s)["web"].Made; !made.Equal(set.Made) {
		t.Errorf("it was made at %s and is now of %s", set.Made, made)
	}
	if err := s.Remove(ctx, "web", inspect.Net); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if err := s.Remove(ctx, "web"); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.Open("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened when removed: %v", err)
	}
	clean(t, s)
}

func propagation(t *testing.T, dir string) string {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	how := "not mounted"
	for line := range strings.Lines(string(info)) {
		front, _, _ := strings.Cut(line, " - ")
		if f := strings.Fields(front); f[4] == dir {
			how = strings.Join(f[6:], " ")
		}
	}
	return how
}

// clean checks that the store has nothing, in sight or out of it.
func clean(t *testing.T, s *Store) {
	t.Helper()
	names, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if n.Name() != homeName {
			t.Errorf("left behind: %s", n.Name())
		}
	}
	for _, m := range mountsBelow(t, s.Dir) {
		t.Errorf("still mounted: %s", m)
	}
	netns, _ := os.ReadDir(s.Netns)
	for _, n := range netns {
		t.Errorf("left behind: %s/%s", s.Netns, n.Name())
	}
}

func TestInput(t *testing.T) {
	s := newStore(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	uts := files(t, os.Getpid(), "uts")
	for what, err := range map[string]error{
		"nothing":      s.Add(ctx, "web", nil),
		"a device":     s.Add(ctx, "web", []*os.File{null}),
		"a type twice": s.Add(ctx, "web", append(uts, uts...)),
		"a bad name":   s.Add(ctx, "-x", uts),
		"no net":       s.Add(ctx, "web", uts, InNetns()),
	} {
		if err == nil {
			t.Errorf("%s is pinned", what)
		}
	}
	if _, err := os.Stat(s.Dir); err == nil {
		t.Error("a store was made for it")
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Add(done, "web", uts); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	clean(t, s)
}

func TestReplace(t *testing.T) {
	s := newStore(t)
	a, b := nstest.Sandbox(t, "uts", "ipc", "net"), nstest.Sandbox(t, "uts", "ipc", "net")
	fa, fb := files(t, a.PID, "uts", "ipc"), files(t, b.PID, "uts", "net")
	if err := s.Add(ctx, "web", fa, Replace()); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(ctx, "web", fb, Replace()); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, s), want("web", b.Ino, "uts", "net"); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	// Whoever opens it while it is replaced gets one or the other.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range 50 {
			if err := s.Add(ctx, "web", [][]*os.File{fa, fb}[i%2], Replace()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for n := 0; ; n++ {
		open, err := s.Open("web")
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		uts, _ := sys.Fstat(int(open[inspect.UTS].Fd()))
		if (uts.Ino == a.Ino["uts"]) != (open[inspect.IPC] != nil) || (uts.Ino == b.Ino["uts"]) != (open[inspect.Net] != nil) {
			t.Errorf("opened %v", open)
		}
		closeAll(open)
		select {
		case <-stop:
			wg.Wait()
			if err := s.Remove(ctx, "web"); err != nil {
				t.Error(err)
			}
			clean(t, s)
			return
		default:
		}
	}
}

// TestKilled kills whoever changes a store, at each call that changes the
// system in turn. What is there then is what was there before or what was to be
// there, and the next to come finds nothing in the way.
func TestKilled(t *testing.T) {
	a, b := nstest.Sandbox(t, "uts", "ipc", "net"), nstest.Sandbox(t, "uts", "ipc", "net")
	path := func(box *nstest.Box, names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, fmt.Sprintf("/proc/%d/ns/%s", box.PID, n))
		}
		return paths
	}
	abc := []string{"uts", "ipc", "net"}
	full, other := want("web", a.Ino, abc...), want("web", b.Ino, abc...)
	for _, c := range []struct {
		name   string
		before []string // done first, and not killed
		words  []string
		states [2]string
	}{
		{"add", nil, append([]string{"add", "web"}, path(a, abc...)...), [2]string{"", full}},
		{"add netns", nil, append([]string{"add netns", "web"}, path(a, abc...)...), [2]string{"", full}},
		{"replace", append([]string{"add", "web"}, path(a, abc...)...), append([]string{"replace", "web"}, path(b, abc...)...), [2]string{full, other}},
		{"replace netns", append([]string{"add netns", "web"}, path(a, abc...)...), append([]string{"replace", "web"}, path(b, abc...)...), [2]string{full, other}},
		{"remove", append([]string{"add", "web"}, path(a, abc...)...), []string{"remove", "web"}, [2]string{full, ""}},
		{"remove netns", append([]string{"add netns", "web"}, path(a, abc...)...), []string{"remove", "web"}, [2]string{full, ""}},
		{"remove one", append([]string{"add", "web"}, path(a, abc...)...), []string{"remove", "web", "ipc"}, [2]string{full, want("web", a.Ino, "uts", "net")}},
		{"remove one beside netns", append([]string{"add netns", "web"}, path(a, abc...)...), []string{"remove", "web", "ipc"}, [2]string{full, want("web", a.Ino, "uts", "net")}},
		{"remove the one of netns", append([]string{"add netns", "web"}, path(a, abc...)...), []string{"remove", "web", "net"}, [2]string{full, want("web", a.Ino, "uts", "ipc")}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			reached := [2]int{}
			step := 1
			if testing.Short() {
				step = 3
			}
			for at := 1; ; at += step {
				s := newStore(t)
				if c.before != nil {
					if out, err := act(s, 0, "", c.before...).CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
				err := act(s, at, "kill", c.words...).Run()
				state := describe(t, s)
				if i := slices.Index(c.states[:], state); i < 0 {
					t.Fatalf("killed at call %d it is %q, and neither %q nor %q", at, state, c.states[0], c.states[1])
				} else {
					reached[i]++
				}
				// The next one.
				if err := s.Add(ctx, "next", files(t, a.PID, "uts")); err != nil {
					t.Fatalf("after one was killed at call %d: %v", at, err)
				}
				if _, err := os.Stat(filepath.Join(s.Dir, newName)); err == nil {
					t.Fatalf("after one was killed at call %d there is still a %s", at, newName)
				}
				if got, want := describe(t, s), strings.TrimSpace(want("next", a.Ino, "uts")+" "+state); got != want {
					t.Fatalf("after one was killed at call %d it is %q and not %q", at, got, want)
				}
				for name := range sets(t, s) {
					if err := s.Remove(ctx, name); err != nil {
						t.Fatalf("after one was killed at call %d: %v", at, err)
					}
				}
				clean(t, s)
				if t.Failed() {
					t.Fatalf("killed at call %d", at)
				}
				if err == nil {
					t.Logf("%d calls; %d times before, %d after", at-1, reached[0], reached[1])
					if at < 4 || reached[0] == 0 || reached[1] == 0 {
						t.Error("there should be more to it")
					}
					return
				}
			}
		})
	}
}

// TestRefused has the kernel refuse each call in turn: nothing is left, and
// what was there is still there.
func TestRefused(t *testing.T) {
	a := nstest.Sandbox(t, "uts", "net")
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOSPC, syscall.EROFS} {
		for at := 1; ; at++ {
			s := newStore(t)
			if at > 8 { // before that there is no store to add another to
				if err := s.Add(ctx, "other", files(t, a.PID, "uts")); err != nil {
					t.Fatal(err)
				}
			}
			before := describe(t, s)
			out, err := act(s, at, fmt.Sprint(int(errno)), "add netns", "web", fmt.Sprintf("/proc/%d/ns/uts", a.PID), fmt.Sprintf("/proc/%d/ns/net", a.PID)).Output()
			if err == nil && len(out) == 0 {
				break // it has no call with that number
			}
			if err != nil {
				if n := strings.Count(string(out), "\n"); n > 0 || !strings.Contains(string(out), errno.Error()) {
					t.Errorf("call %d refused: %s", at, out)
				}
				if got := describe(t, s); got != before {
					t.Errorf("call %d refused (%s): it is %q", at, out, got)
				}
			}
			for name := range sets(t, s) {
				if err := s.Remove(ctx, name); err != nil {
					t.Errorf("call %d refused (%s): %v", at, out, err)
				}
			}
			if _, err := os.Stat(s.Dir); err == nil {
				clean(t, s)
			}
		}
	}
}

func TestConcurrent(t *testing.T) {
	s := newStore(t)
	box := nstest.Sandbox(t, "uts", "ipc")
	paths := []string{fmt.Sprintf("/proc/%d/ns/uts", box.PID), fmt.Sprintf("/proc/%d/ns/ipc", box.PID)}
	many := 50
	if testing.Short() {
		many = 8
	}
	for round, verb := range []string{"add", "remove", "add", "replace", "both"} {
		var wg sync.WaitGroup
		status := make([]int, many)
		for i := range status {
			words := append([]string{verb, "web"}, paths...)
			if verb == "remove" || verb == "both" && i%2 == 0 {
				words = []string{"remove", "web"}
			} else if verb == "both" {
				words[0] = "add"
			}
			wg.Go(func() {
				cmd := act(s, 0, "", words...)
				out, _ := cmd.Output()
				status[i] = cmd.ProcessState.ExitCode()
				if (status[i] == 0) != (len(out) == 0) {
					t.Errorf("%v: status %d: %s", words[:2], status[i], out)
				}
			})
		}
		wg.Wait()
		count := map[int]int{}
		for _, n := range status {
			count[n]++
		}
		wantCount, state := map[int]int{0: 1, 4: many - 1}, want("web", box.Ino, "uts", "ipc")
		switch verb {
		case "remove":
			wantCount, state = map[int]int{0: 1, 5: many - 1}, ""
		case "replace":
			wantCount = map[int]int{0: many}
		case "both":
			if got := describe(t, s); count[0] == 0 || count[0]+count[4]+count[5] != many || got != "" && got != state {
				t.Errorf("both: %v, %s", count, got)
			}
			continue
		}
		if got := describe(t, s); !maps.Equal(count, wantCount) || got != state {
			t.Errorf("round %d, %s: %v, and then %q", round, verb, count, got)
		}
	}
	if err := s.Remove(ctx, "web"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	clean(t, s)
}

// TestUntrusted has a store, or what is beside it, that is not ours.
func TestUntrusted(t *testing.T) {
	uts := files(t, os.Getpid(), "uts")
	for name, prepare := range map[string]func(s *Store) error{
		"link":           func(s *Store) error { return os.Symlink(t.TempDir(), s.Dir) },
		"file":           func(s *Store) error { return os.WriteFile(s.Dir, nil, 0o644) },
		"writable":       func(s *Store) error { return errors.Join(os.Mkdir(s.Dir, 0o755), os.Chmod(s.Dir, 0o777)) },
		"group":          func(s *Store) error { return errors.Join(os.Mkdir(s.Dir, 0o755), os.Chmod(s.Dir, 0o775)) },
		"foreign":        func(s *Store) error { return errors.Join(os.Mkdir(s.Dir, 0o755), os.Chown(s.Dir, 1234, 1234)) },
		"parent":         func(s *Store) error { return os.Chmod(filepath.Dir(s.Dir), 0o777) },
		"parent foreign": func(s *Store) error { return os.Chown(filepath.Dir(s.Dir), 1234, 1234) },
		"lock mode": func(s *Store) error {
			return errors.Join(os.WriteFile(s.Dir+".lock", nil, 0o600), os.Chmod(s.Dir+".lock", 0o644))
		},
		"lock link": func(s *Store) error { return os.Symlink("x", s.Dir+".lock") },
		"lock foreign": func(s *Store) error {
			return errors.Join(os.WriteFile(s.Dir+".lock", nil, 0o600), os.Chown(s.Dir+".lock", 1234, 1234))
		},
		"lock linked": func(s *Store) error {
			return errors.Join(os.WriteFile(s.Dir+".l", nil, 0o600), os.Link(s.Dir+".l", s.Dir+".lock"))
		},
		"lock fifo": func(s *Store) error { return syscall.Mkfifo(s.Dir+".lock", 0o600) },
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if strings.Contains(name, "foreign") && !initialUser() {
				t.Skip("root can chown, and nobody else")
			}
			s := newStore(t)
			if err := prepare(s); err != nil {
				t.Fatal(err)
			}
			err := s.Add(ctx, "web", uts)
			if err == nil {
				t.Fatal("it is used")
			}
			if !errors.Is(err, ErrUntrusted) && !sys.IsLoop(err) {
				t.Errorf("refused, but: %v", err)
			}
			if got := mountsBelow(t, filepath.Dir(s.Dir)); len(got) > 0 {
				t.Errorf("mounted: %s", got)
			}
			if err := os.Chown(filepath.Dir(s.Dir), os.Geteuid(), os.Getegid()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForeign puts things into a store that are none of ours. They stay.
func TestForeign(t *testing.T) {
	uts := files(t, os.Getpid(), "uts", "ipc")
	put := func(t *testing.T, at string) (data string) {
		if err := os.WriteFile(at, []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
		return at
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, set string) (data string)
	}{
		"file in it":     {func(t *testing.T, set string) string { return put(t, set+"/data") }},
		"file as a type": {func(t *testing.T, set string) string { return put(t, set+"/net") }},
		"directory":      {func(t *testing.T, set string) string { os.Mkdir(set+"/net", 0o755); return put(t, set+"/net/x") }},
		"tmpfs on it": {func(t *testing.T, set string) string {
			if err := syscall.Mount("t", set, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			return put(t, set+"/data")
		}},
		"file bound on a pin": {func(t *testing.T, set string) string {
			src := put(t, filepath.Join(t.TempDir(), "f"))
			if err := syscall.Mount(src, set+"/ipc", "", syscall.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			return set + "/ipc"
		}},
		"link": {func(t *testing.T, set string) string {
			at := put(t, filepath.Join(t.TempDir(), "f"))
			if err := os.Symlink(at, set+"/mnt"); err != nil {
				t.Fatal(err)
			}
			return set + "/mnt"
		}},
		"link to elsewhere as net": {func(t *testing.T, set string) string {
			at := put(t, filepath.Join(t.TempDir(), "f"))
			if err := errors.Join(os.Symlink(at, set+"/net"), os.Symlink("net:[4026531840]", set+"/.netns")); err != nil {
				t.Fatal(err)
			}
			return set + "/net"
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			s := newStore(t)
			if err := s.Add(ctx, "web", uts); err != nil {
				t.Fatal(err)
			}
			data := c.prepare(t, filepath.Join(s.Dir, "web"))
			if err := s.Remove(ctx, "web"); err == nil {
				t.Error("it is removed")
			} else if !errors.Is(err, ErrForeign) && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if err := s.Add(ctx, "web", uts, Replace()); err == nil {
				t.Error("it is replaced")
			}
			if b, err := os.ReadFile(data); err != nil || string(b) != "precious" {
				t.Errorf("it is %q, %v", b, err)
			}
			// It is in nobody's way.
			if err := s.Add(ctx, "other", uts); err != nil {
				t.Error(err)
			}
			if err := s.Remove(ctx, "other"); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("in_place_of_a_set", func(t *testing.T) {
		s := newStore(t)
		if err := s.Add(ctx, "other", uts); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(s.Dir, "web"))
		if err := errors.Join(os.Symlink("other", filepath.Join(s.Dir, "ln"))); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"web", "ln"} {
			if err := s.Add(ctx, name, uts, Replace()); !errors.Is(err, ErrForeign) {
				t.Errorf("%s: added: %v", name, err)
			}
			if err := s.Remove(ctx, name); !errors.Is(err, ErrForeign) {
				t.Errorf("%s: removed: %v", name, err)
			}
			if _, err := s.Open(name); !errors.Is(err, ErrForeign) {
				t.Errorf("%s: opened: %v", name, err)
			}
		}
		if got := sets2(s); got != "ln! other web!" {
			t.Errorf("listed: %s", got)
		}
	})
}

// sets2 lists the names in a store, with a ! where there is an error.
func sets2(s *Store) string {
	var names []string
	for set, err := range s.All(ctx) {
		if err != nil {
			set.Name += "!"
		}
		names = append(names, set.Name)
	}
	return strings.Join(names, " ")
}

// TestDeadName has a pin that somebody unmounted: it is said to be dead, can
// be removed, and does not stop another of the name.
func TestDeadName(t *testing.T) {
	s := newStore(t)
	uts := files(t, os.Getpid(), "uts")
	for range 2 {
		if err := s.Add(ctx, "web", uts); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Unmount(filepath.Join(s.Dir, "web/uts"), 0); err != nil {
			t.Fatal(err)
		}
		if got := describe(t, s); got != "web=uts:dead" {
			t.Errorf("it is %s", got)
		}
		if _, err := s.Open("web"); !errors.Is(err, ErrUnmounted) {
			t.Errorf("opened: %v", err)
		}
	}
	if err := s.Remove(ctx, "web"); err != nil {
		t.Error(err)
	}
	clean(t, s)
}

func TestMountNamespace(t *testing.T) {
	s := newStore(t)
	err := s.Add(ctx, "web", files(t, os.Getpid(), "uts", "mnt"))
	if !errors.Is(err, ErrMountLoop) {
		t.Errorf("our own mount namespace: %v", err)
	}
	clean(t, s)
}

// TestElsewhere has the same directory in a younger mount namespace: what is
// pinned there cannot be changed, and is not healed to death.
func TestElsewhere(t *testing.T) {
	s := newStore(t)
	box := nstest.Sandbox(t, "uts", "ipc")
	if err := s.Add(ctx, "web", files(t, box.PID, "uts")); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"add", "other", "/proc/self/ns/uts"}, {"remove", "web"}} {
		cmd := act(s, 0, "", words...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		out, err := cmd.Output()
		if err == nil || !strings.Contains(string(out), ErrElsewhere.Error()) {
			t.Errorf("%v: %v: %s", words, err, out)
		}
	}
	if got, want := describe(t, s), want("web", box.Ino, "uts"); got != want {
		t.Errorf("it is %s", got)
	}
	// Another mount namespace loses its copy when the pin goes.
	copies := nstest.Sandbox(t, "mnt")
	at := fmt.Sprintf("/proc/%d/root%s/web/uts", copies.PID, s.Dir)
	var st syscall.Stat_t
	if err := syscall.Stat(at, &st); err != nil || st.Ino != box.Ino["uts"] {
		t.Fatalf("the copy is %d, %v", st.Ino, err)
	}
	if err := s.Remove(ctx, "web"); err != nil {
		t.Error(err)
	}
	if err := syscall.Stat(at, &st); err == nil {
		t.Errorf("the copy is still there")
	}
	clean(t, s)
}

// TestFull has the file system of the store's directory read-only, or full.
func TestFull(t *testing.T) {
	uts := files(t, os.Getpid(), "uts")
	for name, c := range map[string]struct {
		flags uintptr
		data  string
		errno syscall.Errno
	}{
		"read-only": {syscall.MS_RDONLY, "", syscall.EROFS},
		"full":      {0, "nr_inodes=1", syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			dir := filepath.Dir(s.Dir)
			if err := syscall.Mount("t", dir, "tmpfs", c.flags, "mode=755,"+c.data); err != nil {
				t.Fatal(err)
			}
			defer syscall.Unmount(dir, syscall.MNT_DETACH)
			err := s.Add(ctx, "web", uts)
			if !errors.Is(err, c.errno) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
			if err := s.Remove(ctx, "web"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("remove: %v", err)
			}
		})
	}
	// A store that is there works on.
	s := newStore(t)
	dir := filepath.Dir(s.Dir)
	if err := syscall.Mount("t", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	if err := s.Add(ctx, "web", uts); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(ctx, "other", uts); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Remove(ctx, "web"), s.Remove(ctx, "other")); err != nil {
		t.Error(err)
	}
	clean(t, s)
}

// TestUmask has a caller whose umask would hide pins from everybody, or let
// everybody change them.
func TestUmask(t *testing.T) {
	for _, mask := range []int{0o777, 0o077, 0} {
		s := newStore(t)
		old := syscall.Umask(mask)
		err := s.Add(ctx, "web", files(t, os.Getpid(), "uts"))
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("umask %o: %v", mask, err)
		}
		for _, dir := range []string{s.Dir, filepath.Join(s.Dir, "web")} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("umask %o: %s: %v, %v", mask, dir, info.Mode(), err)
			}
		}
		if info, err := os.Stat(s.Dir + ".lock"); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("umask %o: the lock is %v, %v", mask, info.Mode(), err)
		}
		if err := s.Remove(ctx, "web"); err != nil {
			t.Errorf("umask %o: %v", mask, err)
		}
	}
}

func TestLock(t *testing.T) {
	s := newStore(t)
	uts := files(t, os.Getpid(), "uts")
	l, err := s.lockStore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := s.Add(short, "web", uts); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("somebody else has the lock: %v", err)
	}
	// Looking waits for nobody.
	if got := describe(t, s); got != "" {
		t.Error(got)
	}
	l.close()
	if err := s.Add(ctx, "web", uts); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "web"); err != nil {
		t.Error(err)
	}
}

func TestNetns(t *testing.T) {
	s := newStore(t)
	box, other := nstest.Sandbox(t, "net", "uts"), nstest.Sandbox(t, "net")
	both := files(t, box.PID, "net", "uts")
	if err := s.Add(ctx, "web", both, InNetns()); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(s.Netns, "web")
	var st syscall.Stat_t
	if err := syscall.Stat(at, &st); err != nil || st.Ino != box.Ino["net"] {
		t.Errorf("%s: %d, %v", at, st.Ino, err)
	}
	if how := propagation(t, s.Netns); !strings.HasPrefix(how, "shared:") {
		t.Errorf("the mount of %s is %q", s.Netns, how)
	}
	if f, err := s.OpenType("web", inspect.Net); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	if p := sets(t, s)["web"].Pins; len(p) != 2 || p[0].Path != at {
		t.Errorf("the pins are %v", p)
	}
	if err := s.Add(ctx, "web", both, InNetns(), Replace()); err == nil {
		t.Error("a name in netns was replaced")
	}
	// Somebody else deletes it, and gives the name to another.
	if err := errors.Join(syscall.Unmount(at, 0), os.Remove(at)); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, s), "web=net:dead,"+strings.TrimPrefix(want("", box.Ino, "uts"), "="); got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
	if err := AddFile(ctx, at, files(t, other.PID, "net")[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, "web"); err != nil {
		t.Error(err)
	}
	if err := syscall.Stat(at, &st); err != nil || st.Ino != other.Ino["net"] {
		t.Errorf("somebody else's name is gone: %v", err)
	}
	if err := s.Add(ctx, "web", both, InNetns()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the name is somebody else's: %v", err)
	}
	if err := RemoveFile(ctx, at); err != nil {
		t.Error(err)
	}
	// An old left-over is used again, and a young one is not.
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(ctx, "web", both, InNetns()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("somebody may be about to mount on it: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(at, old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(ctx, "web", both, InNetns()); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "web"); err != nil {
		t.Error(err)
	}
	clean(t, s)
}

func TestFile(t *testing.T) {
	s := newStore(t)
	dir := filepath.Dir(s.Dir)
	uts := files(t, os.Getpid(), "uts")[0]
	at := filepath.Join(dir, "keep")
	if err := AddFile(ctx, at, uts); err != nil {
		t.Fatal(err)
	}
	if err := AddFile(ctx, at, uts); !errors.Is(err, fs.ErrExist) {
		t.Errorf("pinned twice: %v", err)
	}
	seen := false
	for set, err := range Others(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if p := set.Pins[0]; p.Path == at {
			seen = p.Type == inspect.UTS && p.ID.Ino != 0 && time.Since(set.Made) < time.Minute
		}
	}
	if !seen {
		t.Error("it is not listed")
	}
	if err := RemoveFile(ctx, at); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(at); err == nil {
		t.Error("the file is still there")
	}
	if err := RemoveFile(ctx, at); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	// What is no pin stays.
	if err := os.WriteFile(at, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("keep", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{at, link, dir} {
		if err := AddFile(ctx, path, uts); err == nil {
			t.Errorf("pinned at %s", path)
		}
		if err := RemoveFile(ctx, path); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", path, err)
		}
	}
	mnt := filepath.Join(dir, "mnt")
	if err := errors.Join(os.Mkdir(mnt, 0o755), syscall.Mount("t", mnt, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	if err := RemoveFile(ctx, mnt); !errors.Is(err, ErrForeign) {
		t.Errorf("a tmpfs: %v", err)
	}
	if got := mountsBelow(t, dir); len(got) != 1 || got[0] != mnt {
		t.Errorf("mounted are %s", got)
	}
}

func TestByIP(t *testing.T) {
	nstest.Need(t, "root", "ip")
	if err := syscall.Mount("t", "/run", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, m := range slices.Backward(mountsBelow(t, "/run")) {
			syscall.Unmount(m, syscall.MNT_DETACH)
		}
		syscall.Unmount("/run", syscall.MNT_DETACH)
	}()
	ip := func(args ...string) string {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Errorf("ip %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	box := nstest.Sandbox(t, "net", "uts")
	if err := Add(ctx, "ours", files(t, box.PID, "net", "uts"), InNetns()); err != nil {
		t.Fatal(err)
	}
	ip("netns", "add", "theirs")
	if got := ip("netns", "list"); !strings.Contains(got, "ours") || !strings.Contains(got, "theirs") {
		t.Errorf("ip netns list: %s", got)
	}
	if got := ip("netns", "exec", "ours", "readlink", "/proc/self/ns/net"); strings.TrimSpace(got) != inspect.FormatLink(inspect.Net, box.Ino["net"]) {
		t.Errorf("ip netns exec: %s", got)
	}
	if err := os.WriteFile("/run/netns/cni-0000", nil, 0); err != nil {
		t.Fatal(err)
	}
	var got []string
	for set, err := range Others(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if p := set.Pins[0]; strings.HasPrefix(p.Path, "/run/") {
			got = append(got, fmt.Sprint(set.By, " ", set.Name, " ", p.Dead != nil))
		}
	}
	if want := []string{"ip-netns theirs false", "cni cni-0000 true"}; !slices.Equal(got, want) {
		t.Errorf("others: %q", got)
	}
	if err := Remove(ctx, "ours"); err != nil {
		t.Error(err)
	}
	if got := ip("netns", "list"); strings.Contains(got, "ours") || !strings.Contains(got, "theirs") {
		t.Errorf("ip netns list: %s", got)
	}
}

func TestReadMounts(t *testing.T) {
	const info = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:4 net:[4026532260] /run/netns/blue rw shared:21 - nsfs nsfs rw
31 22 0:4 net:[4026532261] /run/netns/blue rw shared:21 - nsfs nsfs rw
32 22 0:4 mnt:[4026532262] /tmp/a\040b\134 rw - nsfs nsfs rw
33 22 0:4 net:[x] /tmp/c rw - nsfs nsfs rw
34 22 0:40 / /tmp/net:[1] rw - tmpfs nsfs rw
35 22 0:4 uts:[4026532263] /tmp/d rw - nsfs nsfs rw`
	mounts, err := readMounts(strings.NewReader(info))
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{
		{inspect.Net, inspect.ID{Dev: 4, Ino: 4026532261}, "/run/netns/blue"},
		{inspect.Mnt, inspect.ID{Dev: 4, Ino: 4026532262}, `/tmp/a b\`},
		{inspect.UTS, inspect.ID{Dev: 4, Ino: 4026532263}, "/tmp/d"},
	}
	if !slices.Equal(mounts, want) {
		t.Errorf("got %v", mounts)
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("30 22 0:4 net:[4026532260] /run/netns/blue rw shared:21 - nsfs nsfs rw\n")
	f.Add(`30 22 0:4 net:[1] /\0 rw - nsfs `)
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount(line); ok && (m.id.Ino == 0 || m.typ == 0) {
			t.Errorf("%q is %v", line, m)
		}
	})
}

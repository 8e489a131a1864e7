package inside

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
)

func TestParseMounts(t *testing.T) {
	got, err := inspect.ParseMounts([]byte(`36 35 98:0 /a\040b /mnt\0122 rw,noatime shared:2 master:1 - ext3 /dev/root rw,errors=continue
24 36 0:4 net:[4026532281] /run/netns/blue ro - nsfs nsfs rw
25 36 0:5 / /x rw - fuse.x  rw
`))
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	m := got[0]
	if m.ID != 36 || m.Parent != 35 || m.Dev.String() != "98:0" || m.Root != "/a b" || m.Point != "/mnt\n2" || m.Type != "ext3" || m.Source != "/dev/root" ||
		m.Shared != "shared:2 master:1" || m.Super != "rw,errors=continue" || m.ReadOnly() {
		t.Errorf("got %+v", m)
	}
	if typ, ino, ok := got[1].Namespace(); !ok || typ.String() != "net" || ino != 4026532281 || !got[1].ReadOnly() {
		t.Errorf("got %v, %v, %v", typ, ino, ok)
	}
	if got[2].Source != "" || got[2].Type != "fuse.x" {
		t.Errorf("got %+v", got[2])
	}
	for _, bad := range []string{"x\n", "1 2 3 4 5 6 - \n", "a b 0:1 / / rw - x y z\n"} {
		if _, err := inspect.ParseMounts([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseOffsets(t *testing.T) {
	for text, want := range map[string]Time{
		"monotonic           10         0\nboottime      86400 500000000\n": {10 * time.Second, 86400*time.Second + 500*time.Millisecond},
		"monotonic -1 500000000\nboottime 0 0\n":                            {-500 * time.Millisecond, 0},
		"1 5 0\n7 6 0\n":                                                    {5 * time.Second, 6 * time.Second},
	} {
		got, err := parseOffsets(text)
		if err != nil || *got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, bad := range []string{"monotonic 1\n", "monotonic x 0\n", "monotonic 1 -1\n", "boottime 99999999999999 0\n"} {
		if _, err := parseOffsets(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRootOf(t *testing.T) {
	for _, test := range []struct{ here, there, want string }{
		{"/docker/abc", "/", "/docker/abc"},
		{"/docker/abc/sub", "/sub", "/docker/abc"},
		{"/", "/", "/"},
		{"/x", "/x", "/"},
		{"/docker/abc/abc", "/abc", "/docker/abc"},
		{"/init.scope", "/../../init.scope", ""},
		{"/", "/..", ""},
		{"/other", "/sub", ""},
		{"/docker/..x", "/..x", "/docker"},
	} {
		if got := rootOf(test.here, test.there); got != test.want {
			t.Errorf("%s is %s there: root %q; want %q", test.here, test.there, got, test.want)
		}
	}
	here := []task.Cgroup{{Controllers: "cpu", Path: "/a"}, {Path: "/b"}}
	if got := rootsOf(here, here[:1]); got != nil {
		t.Errorf("got %v of hierarchies that do not match", got)
	}
}

func TestParseTable(t *testing.T) {
	var got []uint64
	err := parseTable("key shmid perms size\n -5 1 1600 100\n 6 2 600 200\n", func(r row) error {
		o := r.object("shmid")
		got = append(got, uint64(o.ID), uint64(o.Perms), r.number("size"))
		return nil
	})
	if err != nil || len(got) != 6 || got[1] != 0o1600 || got[5] != 200 {
		t.Errorf("got %v, %v", got, err)
	}
	if err := parseTable("a b\n1\n", func(row) error { return nil }); err == nil {
		t.Error("a short line was taken")
	}
	if err := parseTable("a\nx\n", func(r row) error { r.number("a"); return r.err() }); err == nil {
		t.Error("a word was taken for a number")
	}
	if queueSize("QSIZE:129        NOTIFY:0     SIGNO:0     NOTIFY_PID:0     ") != 129 {
		t.Error("size of a queue")
	}
}

func FuzzParseMounts(f *testing.F) {
	if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Add(string(text))
	}
	f.Fuzz(func(_ *testing.T, text string) {
		mounts, _ := inspect.ParseMounts([]byte(text))
		in := &Mnt{Mounts: mounts}
		_, _ = in.Root()
		for _, m := range mounts {
			_, _, _ = m.Namespace()
		}
	})
}

func FuzzParseOffsets(f *testing.F) {
	f.Add("monotonic 10 0\nboottime -86400 999999999\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseOffsets(text) })
}

func FuzzParseTable(f *testing.F) {
	f.Add("key msqid perms cbytes qnum uid\n1 2 600 4 5 6\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_ = parseTable(text, func(r row) error { r.object("msqid"); r.number("qnum"); return r.err() })
	})
}

func FuzzRootOf(f *testing.F) {
	f.Add("/docker/abc/sub", "/sub")
	f.Fuzz(func(t *testing.T, here, there string) {
		if got := rootOf(here, there); got != "" && !strings.HasPrefix(here, got) && got != "/" {
			t.Errorf("%q, %q: %q", here, there, got)
		}
	})
}

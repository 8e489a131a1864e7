package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func pins(t *testing.T, r io.Reader, size int) ([]string, error) {
	t.Helper()
	var got []string
	err := parseMountinfo(r, make([]byte, size), func(typ Type, ino uint64, path string) {
		got = append(got, fmt.Sprintf("%s %d %q", typ, ino, path))
	})
	return got, err
}

func TestParseMountinfo(t *testing.T) {
	const text = `21 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:4 net:[4026532281] /run/netns/blue rw shared:2 - nsfs nsfs rw
23 21 0:4 mnt:[4026532282] /run/a\040b\011c\012d\134e\043 rw - nsfs nsfs rw
24 21 0:4 user:[4026532283] /run/user\x rw master:3 propagate_from:2 - nsfs nsfs rw
25 21 0:4 net:[4026532284] /run/fake rw - tmpfs nsfs rw
26 21 0:4 / /run/ns - nsfs rw - tmpfs tmpfs rw
27 21 0:4 net:[x] /run/x rw - nsfs nsfs rw
28 21 0:4 net:[4026532285]
29 21 0:4 uts:[4026532286] /run/last rw - nsfs nsfs rw`
	want := []string{
		`net 4026532281 "/run/netns/blue"`,
		`mnt 4026532282 "/run/a b\tc\nd\\e#"`,
		`user 4026532283 "/run/user\\x"`,
		`uts 4026532286 "/run/last"`,
	}
	for name, r := range map[string]io.Reader{
		"whole":        strings.NewReader(text),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		"with its end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		got, err := pins(t, r, 256)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	if _, err := pins(t, strings.NewReader(strings.Repeat("x", 300)), 256); err == nil {
		t.Error("a line that is too long is no error")
	}
	// A line that is too long costs nothing but itself, and that only if it may
	// have been of a namespace.
	for long, lost := range map[string]bool{
		"30 21 0:9 / /" + strings.Repeat("x", 300) + " rw - tmpfs none rw":               true,
		"30 21 0:4 net:[4026532290] /" + strings.Repeat("x", 300) + " rw - nsfs nsfs rw": true,
		"30 21 0:9 / /m rw - overlay overlay rw,lowerdir=/" + strings.Repeat("x", 1000):  false,
	} {
		for name, r := range map[string]io.Reader{
			"whole":        strings.NewReader(long + "\n" + text),
			"byte by byte": iotest.OneByteReader(strings.NewReader(long + "\n" + text)),
		} {
			got, err := pins(t, r, 100)
			if diff := cmp.Diff(want, got); diff != "" || (err != nil) != lost && len(long) > 200 {
				t.Errorf("%.60q %s: %v\n%s", long, name, err, diff)
			}
		}
	}
	if _, err := pins(t, iotest.ErrReader(io.ErrUnexpectedEOF), 256); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an error of the reader is %v", err)
	}
}

func FuzzMountLine(f *testing.F) {
	f.Add([]byte(`22 21 0:4 net:[4026532281] /run/netns/b\040e rw shared:2 - nsfs nsfs rw`))
	f.Fuzz(func(t *testing.T, line []byte) {
		parseMount(line, func(typ Type, ino uint64, path string) {
			if typ == 0 || ino == 0 {
				t.Errorf("%q: %v %d", line, typ, ino)
			}
			if !bytes.ContainsRune([]byte(path), '\\') && len(path) > len(line) {
				t.Errorf("%q: path %q", line, path)
			}
		})
	})
}

func BenchmarkParseMountinfo(b *testing.B) {
	var text strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&text, "%d 21 0:%d / /var/lib/docker/overlay2/%d/merged rw,relatime shared:%d - overlay overlay rw,lowerdir=/a:/b\n", i, i, i, i)
	}
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := parseMountinfo(strings.NewReader(text.String()), buf, func(Type, uint64, string) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// mounts is 65,000 mounts as mountinfo has them, one of them of a namespace.
type mounts struct{ n, at int }

func (m *mounts) Read(buf []byte) (int, error) {
	if m.n == 65000 {
		return 0, io.EOF
	}
	line := fmt.Sprintf("%d 1 0:9 / /a/mount/point/of/some/length/%d rw,relatime shared:1 - tmpfs tmpfs rw\n", m.n, m.n)
	if m.n == 64000 {
		line = "9 1 0:4 net:[4026532281] /pin rw - nsfs nsfs rw\n"
	}
	n := copy(buf, line[m.at:])
	if m.at += n; m.at == len(line) {
		m.n, m.at = m.n+1, 0
	}
	return n, nil
}

// Only mounts of namespaces take memory.
func TestParseMountinfoMemory(t *testing.T) {
	buf := make([]byte, 64<<10)
	var before, after runtime.MemStats
	text, err := io.ReadAll(&mounts{}) // what the reader itself allocates is not counted
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	runtime.ReadMemStats(&before)
	if err := parseMountinfo(bytes.NewReader(text), buf, func(Type, uint64, string) { found++ }); err != nil || found != 1 {
		t.Fatalf("%d found: %v", found, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<10 {
		t.Errorf("%d bytes for one pin among %d bytes of text", used, len(text))
	}
}

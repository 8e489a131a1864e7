package inspect

import (
	"errors"
	"maps"
	"testing"
)

func TestParseMap(t *testing.T) {
	for line, want := range map[string]struct {
		dev  Device
		path string
	}{
		"7f1c-7f1d r-xp 00000000 fe:01 1234   /usr/lib/libc.so.6": {Device{0xfe, 1}, "/usr/lib/libc.so.6"},
		"7f1c-7f1d r-xp 00000000 00:1a 1234 /a b\\012c (deleted)": {Device{0, 0x1a}, "/a b\nc (deleted)"},
		"7f1c-7f1d rw-p 00000000 00:00 0 [heap]":                  {},
		"7f1c-7f1d rw-p 00000000 00:00 0":                         {},
		"7f1c-7f1d rw-p 00000000 x:00 0 /a":                       {},
		"7f1c /a":                                                 {},
	} {
		if dev, path, ok := parseMap(line); ok != (want.path != "") || ok && (dev != want.dev || path != want.path) {
			t.Errorf("%q: %v %q %v", line, dev, path, ok)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add("7f1c-7f1d r-xp 00000000 fe:01 1234   /usr/lib/libc.so.6")
	f.Fuzz(func(_ *testing.T, line string) { parseMap(line) })
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{{"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/", "/a", false}, {"/a", "/", true}, {"", "/a", false}} {
		if below(c.path, c.dir) != c.want {
			t.Errorf("below(%q, %q)", c.path, c.dir)
		}
	}
}

// A socket whose name looks like the line of another makes no process a user of its file.
func TestSocketNames(t *testing.T) {
	const head, line = "Num       RefCount Protocol Flags    Type St Inode Path\n", "0000000000000000: 00000002 00000000 00010000 0001 01 "
	b := &busy{sockets: make(map[string]string)}
	b.addSockets([]byte(head + line + "7 /run/a\n" + line + "8\n"))
	b.addSockets([]byte(head + line + "9 x\n" + line + "8 /mnt/disk/x\n"))
	if want := map[string]string{"socket:[7]": "/run/a", "socket:[8]": "", "socket:[9]": "x"}; !maps.Equal(b.sockets, want) {
		t.Errorf("%v; want %v", b.sockets, want)
	}
	if len(b.Gaps) != 1 || !errors.Is(b.Gaps[0].Err, errTwice) {
		t.Errorf("gaps %v", b.Gaps)
	}
}

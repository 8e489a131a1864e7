package inspect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const statTail = " S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 2097152 100 18446744073709551615 1 1 0 0 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	for _, comm := range []string{
		"sh", "", "(sd-pam)", "a) S 1 (b", "new\nline", "kworker/0:1-events", ") R 9 9 9", "\x1b[31m", "\xff\xfe", "a b c",
	} {
		d, err := parseStat([]byte("42 (" + comm + ")" + statTail))
		if err != nil || d.Comm != comm || d.PPID != 7 || d.State != 'S' || d.Ticks != 123456 {
			t.Errorf("comm %q: %+v, %v", comm, d, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (sh", "42 sh) S 1", "42 (sh)", "42 (sh) S", "42 (sh) SS" + statTail[2:], "42 (sh) S x" + statTail[4:], ")42("} {
		if d, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, d)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (sh)"+statTail, "comm")
	f.Add("42 (a) b) "+statTail, "\n)")
	f.Fuzz(func(t *testing.T, stat, comm string) {
		_, _ = parseStat([]byte(stat))
		if d, err := parseStat([]byte("1 (" + comm + ")" + statTail)); err != nil || d.Comm != comm {
			t.Errorf("comm %q: %+v, %v", comm, d, err)
		}
	})
}

func TestParseArgs(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                      nil,
		"\x00\x00":                              nil,
		"sh\x00":                                {"sh"},
		"sh":                                    {"sh"},
		"sh\x00-c\x00\x00x y\x00":               {"sh", "-c", "", "x y"},
		"nginx: master\x00\x00\x00\x00\x00\x00": {"nginx: master"},
	} {
		if diff := cmp.Diff(want, parseArgs([]byte(text))); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func FuzzArgs(f *testing.F) {
	f.Add([]byte("sh\x00-c\x00x y\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		args := parseArgs(text)
		if joined := strings.Join(args, "\x00"); joined != strings.TrimRight(string(text), "\x00") {
			t.Errorf("%q is split into %q", text, args)
		}
	})
}

func TestCommand(t *testing.T) {
	for want, d := range map[string]Detail{
		"[kthreadd]": {Comm: "kthreadd"},
		"sh -c  x y": {Comm: "sh", Args: []string{"sh", "-c", "", "x y"}},
		"[]":         {},
	} {
		if got := d.Command(); got != want {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
}

package inspect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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

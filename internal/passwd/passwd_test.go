package passwd

import (
	"maps"
	"testing"
)

func TestParse(t *testing.T) {
	got := parse([]byte("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\n+nis\n:x:\nbad:x:-1:0:\nbig:x:4294967296:0:\nlast:x:1000:0"))
	want := map[uint32]string{0: "root", 1000: "last"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("root:x:0:0::/root:/bin/sh\n"))
	f.Fuzz(func(_ *testing.T, text []byte) { parse(text) })
}

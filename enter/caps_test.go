package enter

import (
	"slices"
	"testing"
)

func TestParseCaps(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  Caps
		shows []string
		fails bool
	}{
		{[]string{"SYS_PTRACE"}, 1 << 19, []string{"CAP_SYS_PTRACE"}, false},
		{[]string{"cap_net_raw", "NET_ADMIN"}, 1<<13 | 1<<12, []string{"CAP_NET_ADMIN", "CAP_NET_RAW"}, false},
		{[]string{"CHECKPOINT_RESTORE"}, 1 << 40, []string{"CAP_CHECKPOINT_RESTORE"}, false},
		{[]string{"chown", "ALL"}, 0, nil, true},
		{[]string{""}, 0, nil, true},
		{[]string{"CAP_"}, 0, nil, true},
	} {
		got, err := ParseCaps(test.names)
		if got != test.want || (err != nil) != test.fails || !slices.Equal(got.Names(), test.shows) {
			t.Errorf("%q: %v (%v), %v", test.names, got, got.Names(), err)
		}
	}
}

// Capabilities that are added are in every set, and change no other.
func TestAddedCaps(t *testing.T) {
	target := bounds{Caps: CapSets{Bounding: 0xa80425fb}, UID: [4]uint32{65532, 65532, 65532, 65532}}
	own := bounds{Caps: CapSets{Bounding: ^Caps(0), Permitted: ^Caps(0)}}
	c := &confinement{target: target, own: own, wanted: Parts, add: 1 << 19}
	got := c.sets()
	if want := (CapSets{Bounding: 0xa80425fb | 1<<19, Permitted: 1 << 19, Effective: 1 << 19, Inheritable: 1 << 19, Ambient: 1 << 19}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := c.lacks(true); got.Has(19) || !got.Has(21) || got.Has(13) {
		t.Errorf("root lacks %v", got.Names())
	}
	if got := c.lacks(false); got.Has(19) || !got.Has(13) {
		t.Errorf("another lacks %v", got.Names())
	}
}

package entry

import (
	"os"
	"strings"
	"testing"

	"github.com/nstool/nstool/enter"
)

// A container whose first process has become another user than its engine starts
// programs as is told apart from one whose has not.
func TestOtherUser(t *testing.T) {
	self, err := enter.Self()
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	own, another, root := uint32(os.Geteuid()), uint32(os.Geteuid()+7), uint32(0)
	for _, c := range []struct {
		uid  *uint32
		want string
	}{
		{nil, ""},
		{&own, ""},
		{&another, "as -S "},
		{&root, "as --as root does"},
	} {
		f := &Found{Process: self, terms: &enter.Expected{Name: "docker:web", UID: c.uid}}
		want := c.want
		if c.uid != nil && *c.uid == own {
			want = ""
		}
		if got := f.other(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (&Found{Process: self}).other(); got != "" {
		t.Errorf("what was not found by a name: %q", got)
	}
}

package enter_test

import (
	"os"
	"slices"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// The identity of a process is what it says of itself, in the caller's numbers.
func TestIdentity(t *testing.T) {
	nstest.Need(t, "userns")
	self, err := open(t, os.Getpid()).Identity()
	if err != nil {
		t.Fatal(err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for i := range groups {
		if !slices.Contains(self.Groups, uint32(groups[i])) {
			t.Errorf("group %d is not in %v", groups[i], self.Groups)
		}
	}
	if int(self.UID) != os.Geteuid() || int(self.GID) != os.Getegid() || self.Mixed || len(self.Groups) != len(groups) {
		t.Errorf("%+v", self)
	}
	if os.Geteuid() != 0 && self.Caps.Permitted != 0 {
		t.Errorf("an ordinary user has %v", self.Caps.Permitted)
	}
	box := nstest.Sandbox(t, "user")
	id, err := open(t, box.PID).Identity()
	if err != nil {
		t.Fatal(err)
	}
	in, _, ok := id.Inside(id.UID, id.GID)
	out, _, _ := id.Outside(0, 0)
	if !ok || in != 0 || out != id.UID || id.Caps.Permitted == 0 {
		t.Errorf("root of a user namespace of ours is %+v, and %d, %v inside", id, in, ok)
	}
}

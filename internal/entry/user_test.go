package entry

import (
	"errors"
	"testing"

	"github.com/nstool/nstool/enter"
)

func TestIdentity(t *testing.T) {
	for words, want := range map[string]struct {
		uid, gid    int // -1 is none
		user, group string
		bad         bool
	}{
		"1000":       {uid: 1000, gid: -1},
		"1000:7":     {uid: 1000, gid: 7},
		"app":        {uid: -1, gid: -1, user: "app"},
		"app:web":    {uid: -1, gid: -1, user: "app", group: "web"},
		"7:web":      {uid: 7, gid: -1, group: "web"},
		"":           {bad: true},
		":":          {bad: true},
		"app:":       {bad: true},
		"1:2:3":      {bad: true},
		"4294967295": {bad: true},
		"1x":         {bad: true},
		"../etc":     {bad: true},
		"-1":         {bad: true},
	} {
		o := NewOptions()
		err := o.Set(o.Named("setuid"), words)
		number := func(id *uint32) int {
			if id == nil {
				return -1
			}
			return int(*id)
		}
		switch {
		case (err != nil) != want.bad:
			t.Errorf("%q: %v", words, err)
		case err == nil && (number(o.UID) != want.uid || number(o.GID) != want.gid || o.userName != want.user || o.groupName != want.group):
			t.Errorf("%q: %d:%d %q:%q", words, number(o.UID), number(o.GID), o.userName, o.groupName)
		}
	}
}

// Where the caller's files are seen, a name is one of the caller's.
func TestLookUpUser(t *testing.T) {
	o, c := NewOptions(), &enter.Cmd{}
	o.userName = "root"
	if err := o.lookUpUser(c); err != nil || c.UID == nil || *c.UID != 0 || c.GID == nil || *c.GID != 0 {
		t.Errorf("%v %v, %v", c.UID, c.GID, err)
	}
	o.userName, o.groupName = "", "no such group"
	if err := o.lookUpUser(c); err == nil || errors.Is(err, errFlag) {
		t.Error(err)
	}
}

package enter

import (
	"errors"
	"fmt"
	"testing"
)

// Of every row of the table it holds what it is there for: whoever but the caller
// may control a program gets nothing of the caller's with it, and nobody gets rights
// by it that he has not.
func TestStandings(t *testing.T) {
	n, seen := 0, map[string]int{}
	bit := func(i int) bool { return n>>i&1 == 1 }
	for n = range 3 << 9 {
		c := circumstances{
			file: file(n >> 9), joinsUser: bit(0), traceable: bit(1), process: bit(2), ownUserNS: bit(3),
			askedUser: bit(4), anotherUser: bit(5), moreRights: bit(6), mixedIDs: bit(7), privileged: bit(8),
		}
		got, err := c.terms()
		wrong := func(what string) { t.Errorf("%+v: %s: %+v, %v", c, what, got, err) }
		others := c.file != callersFile || c.joinsUser || c.traceable
		switch {
		case err != nil:
			if !errors.Is(err, ErrNoTarget) || c.process || c.privileged || !others {
				wrong("refused")
			}
			seen["refused"]++
			continue
		case others != (got.standing > asOtherUser):
			wrong("the target may control it, and that is not known")
		case got.separate != (others || c.anotherUser):
			wrong("what is the caller's is not kept from it")
		case got.confined && !c.process:
			wrong("nobody is there to be confined as")
		case others && !got.confined && !c.privileged && !(c.ownUserNS && !c.process && c.file == callersFile && !c.traceable):
			wrong("not confined")
		case got.confined && (got.ids != ofTarget || got.caps == ofCaller || got.groups == ofCaller):
			wrong("the caller's rights")
		case got.confined && !c.moreRights && got.caps != ofTarget:
			wrong("more than the target process has")
		case got.env == ofCaller && (got.separate || c.askedUser):
			wrong("the caller's environment")
		case got.env == ofTarget && (got.caps != ofTarget || c.file != targetsFile || c.askedUser || c.mixedIDs):
			wrong("the target's environment for rights that are not its own")
		case got.view == ViewTarget && others && (c.moreRights || !got.confined):
			wrong("the target's files first, for rights that are not its own")
		case c.joinsUser && got.groups == ofCaller:
			wrong("the caller's groups in a user namespace of others")
		}
		seen[fmt.Sprint(got.standing)]++
	}
	for s := range rows {
		if seen[fmt.Sprint(standing(s))] == 0 {
			t.Errorf("standing %d was never seen", s)
		}
	}
}

// The cases that the manual names.
func TestStandingOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		is   circumstances
		want standing
		env  owner
	}{
		{"enter -p PID --net", circumstances{process: true}, asCaller, ofCaller},
		{"enter -p PID --net -S 0, by root", circumstances{process: true, askedUser: true}, asCaller, ofNobody},
		{"enter -p PID --net -S 1000", circumstances{process: true, askedUser: true, anotherUser: true}, asOtherUser, ofNobody},
		{"enter -p PID --net --as target", circumstances{process: true, anotherUser: true}, asOtherUser, ofNobody},
		{"enter -p PID --pid", circumstances{process: true}, asCaller, ofCaller},
		{"enter -p PID --pid, with CAP_SYS_PTRACE", circumstances{process: true, traceable: true}, asTarget, ofNobody},
		{"enter -p PID", circumstances{process: true, file: targetsFile}, asTarget, ofTarget},
		{"enter -p PID, in a user namespace", circumstances{process: true, file: targetsFile, joinsUser: true}, asTarget, ofTarget},
		{"enter -p PID, a set-user-ID program", circumstances{process: true, file: targetsFile, mixedIDs: true}, asTarget, ofNobody},
		{"enter -p PID --as root", circumstances{process: true, file: targetsFile, askedUser: true, moreRights: true}, raised, ofNobody},
		{"enter -p PID --as root, which it is", circumstances{process: true, file: targetsFile, askedUser: true}, asTarget, ofNobody},
		{"enter -p PID --cap-add", circumstances{process: true, file: targetsFile, moreRights: true}, raised, ofNobody},
		{"enter -p PID --privileged", circumstances{process: true, file: targetsFile, privileged: true}, privileged, ofNobody},
		{"enter -p PID -U -n", circumstances{process: true, joinsUser: true}, asTarget, ofNobody},
		{"enter -p PID -U -n --preserve-credentials", circumstances{process: true, joinsUser: true, moreRights: true}, raised, ofNobody},
		{"enter -p PID --tools", circumstances{process: true, file: toolsFile}, asTarget, ofNobody},
		{"enter --user=FILE, of the caller's own", circumstances{joinsUser: true, ownUserNS: true}, privileged, ofNobody},
	} {
		got, err := tc.is.terms()
		if err != nil || got.standing != tc.want || got.env != tc.env {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
	for name, is := range map[string]circumstances{
		"enter --user=FILE, of somebody else":              {joinsUser: true},
		"enter --user=FILE --pid=FILE, of the caller's":    {joinsUser: true, ownUserNS: true, traceable: true},
		"enter --mnt=FILE":                                 {file: targetsFile},
		"enter --pid=FILE, where somebody may trace":       {traceable: true},
		"enter --user=FILE --mnt=FILE, of the caller's":    {joinsUser: true, ownUserNS: true, file: targetsFile},
		"enter --user=FILE --preserve-credentials, anyhow": {joinsUser: true, moreRights: true},
	} {
		if got, err := is.terms(); !errors.Is(err, ErrNoTarget) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

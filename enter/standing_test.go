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
			file: file(n >> 9), user: bit(0), traced: bit(1), process: bit(2), owned: bit(3),
			asked: bit(4), another: bit(5), more: bit(6), mixed: bit(7), privileged: bit(8),
		}
		got, err := c.terms()
		wrong := func(what string) { t.Errorf("%+v: %s: %+v, %v", c, what, got, err) }
		others := c.file != callersFile || c.user || c.traced
		switch {
		case err != nil:
			if !errors.Is(err, ErrNoTarget) || c.process || c.privileged || !others {
				wrong("refused")
			}
			seen["refused"]++
			continue
		case others != (got.standing > anothers):
			wrong("the target may control it, and that is not known")
		case got.apart != (others || c.another):
			wrong("what is the caller's is not kept from it")
		case got.confined && !c.process:
			wrong("nobody is there to be confined as")
		case others && !got.confined && !c.privileged && !(c.owned && !c.process && c.file == callersFile && !c.traced):
			wrong("not confined")
		case got.confined && (got.ids != theirs || got.caps == ours || got.groups == ours):
			wrong("the caller's rights")
		case got.confined && !c.more && got.caps != theirs:
			wrong("more than the target process has")
		case got.env == ours && (got.apart || c.asked):
			wrong("the caller's environment")
		case got.env == theirs && (got.caps != theirs || c.file != targetsFile || c.asked || c.mixed):
			wrong("the target's environment for rights that are not its own")
		case got.view == ViewTarget && others && (c.more || !got.confined):
			wrong("the target's files first, for rights that are not its own")
		case c.user && got.groups == ours:
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
		env  party
	}{
		{"enter -p PID --net", circumstances{process: true}, callersOwn, ours},
		{"enter -p PID --net -S 0, by root", circumstances{process: true, asked: true}, callersOwn, nobodys},
		{"enter -p PID --net -S 1000", circumstances{process: true, asked: true, another: true}, anothers, nobodys},
		{"enter -p PID --net --as target", circumstances{process: true, another: true}, anothers, nobodys},
		{"enter -p PID --pid", circumstances{process: true}, callersOwn, ours},
		{"enter -p PID --pid, with CAP_SYS_PTRACE", circumstances{process: true, traced: true}, targetsOwn, nobodys},
		{"enter -p PID", circumstances{process: true, file: targetsFile}, targetsOwn, theirs},
		{"enter -p PID, in a user namespace", circumstances{process: true, file: targetsFile, user: true}, targetsOwn, theirs},
		{"enter -p PID, a set-user-ID program", circumstances{process: true, file: targetsFile, mixed: true}, targetsOwn, nobodys},
		{"enter -p PID --as root", circumstances{process: true, file: targetsFile, asked: true, more: true}, raised, nobodys},
		{"enter -p PID --as root, which it is", circumstances{process: true, file: targetsFile, asked: true}, targetsOwn, nobodys},
		{"enter -p PID --cap-add", circumstances{process: true, file: targetsFile, more: true}, raised, nobodys},
		{"enter -p PID --privileged", circumstances{process: true, file: targetsFile, privileged: true}, privileged, nobodys},
		{"enter -p PID -U -n", circumstances{process: true, user: true}, targetsOwn, nobodys},
		{"enter -p PID -U -n --preserve-credentials", circumstances{process: true, user: true, more: true}, raised, nobodys},
		{"enter -p PID --tools", circumstances{process: true, file: toolsFile}, targetsOwn, nobodys},
		{"enter --user=FILE, of the caller's own", circumstances{user: true, owned: true}, privileged, nobodys},
	} {
		got, err := tc.is.terms()
		if err != nil || got.standing != tc.want || got.env != tc.env {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
	for name, is := range map[string]circumstances{
		"enter --user=FILE, of somebody else":              {user: true},
		"enter --user=FILE --pid=FILE, of the caller's":    {user: true, owned: true, traced: true},
		"enter --mnt=FILE":                                 {file: targetsFile},
		"enter --pid=FILE, where somebody may trace":       {traced: true},
		"enter --user=FILE --mnt=FILE, of the caller's":    {user: true, owned: true, file: targetsFile},
		"enter --user=FILE --preserve-credentials, anyhow": {user: true, more: true},
	} {
		if got, err := is.terms(); !errors.Is(err, ErrNoTarget) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

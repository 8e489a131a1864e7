package sys

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Where fs.suid_dumpable is 1, a change of user or of user namespace opens the
// process to others of that user. So nothing comes between it and the call that
// closes the process again.
func TestUndumpableAgain(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		s := NewScript()
		if sealed {
			s.Undumpable()
		}
		s.Setgid(1)
		s.Setuid(1)
		s.Setns(0, unix.CLONE_NEWUSER)
		s.Close(0)
		changes := 0
		for i, c := range s.calls {
			if op := c[wordOp/8]; op != unix.SYS_SETRESGID && op != unix.SYS_SETRESUID && op != unix.SYS_SETNS {
				continue
			}
			changes++
			next := s.calls[i+1]
			again := next[wordOp/8] == unix.SYS_PRCTL && next[wordArgs/8] == unix.PR_SET_DUMPABLE && next[wordArgs/8+1] == 0
			if again != sealed {
				t.Errorf("after %s of one that is sealed=%t: sealed again=%t", s.names[i], sealed, again)
			}
		}
		if changes != 3 {
			t.Errorf("%d changes", changes)
		}
		s.Dumpable()
		n := len(s.calls)
		if s.Setuid(1); len(s.calls) != n+1 {
			t.Error("one that is not to be sealed is")
		}
	}
}

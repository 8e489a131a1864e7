package kernel_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A process that /proc hides is not told to be none: the kernel says that it runs.
func TestLsHiddenProcess(t *testing.T) {
	nstest.Need(t, "root", "setpriv")
	const user = `setpriv --reuid 65534 --regid 65534 --clear-groups`
	r := finish(t, shell(t, newNS, `mount -t proc -o hidepid=2 proc /proc
`+user+` test ! -e /proc/1 || echo "it is not hidden"
`+user+` "$NSTOOL" ls 1 2>&1 || echo "status $?"
`+user+` "$NSTOOL" ls 4194303 2>&1 || echo "status $?"
`+user+` "$NSTOOL" pid 1 2>&1 || echo "status $?"`))
	want := `nstool: ls: process 1 cannot be looked at: it runs, and /proc does not show it: permission denied
status 1
nstool: ls: no process 4194303
status 1
nstool: pid: process 1 cannot be looked at: it runs, and /proc does not show it: permission denied
status 1
`
	if r.out != want {
		t.Errorf("got:\n%s%s\nwant:\n%s", r.out, r.err, want)
	}
}

// What an ordinary user does not see of others is not known, and -P lists none of
// it; one who sees all processes is told that there is none.
func TestLsAbsence(t *testing.T) {
	nstest.Need(t, "root")
	box := nstest.Spec{Types: []string{"mnt"}, Files: []string{"net"}, Pins: []string{"uts"}}.Start(t)
	zero, listed := "0", true
	if nstest.Lacks("whole") != nil {
		zero, listed = "?", false
	}
	for _, h := range box.Held {
		r := ls(t, "-r", "-n", "-o", "NPROCS,PID,USER", fmt.Sprintf("%s:[%d]", h.Type, h.Ino))
		want := zero + strings.Repeat(" "+map[string]string{"0": "-", "?": "?"}[zero], 2) + "\n"
		if r.out != want {
			t.Errorf("%s: %q, want %q", h.Type, r.out, want)
		}
		if got := rows(ls(t, "-P", "-r", "-n", "-o", "NS").out)[h.Ino] != nil; got != listed {
			t.Errorf("%s is listed by -P: %t, want %t", h.Type, got, listed)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	// The same by a user of whom one process is all that he sees.
	cmd := shell(t, newNS, `touch $1/keep; unshare --net=$1/keep true
stat -L -c %i $1/keep
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$NSTOOL" ls -r -n -o NS,NPROCS,PID,HOLDERS`, nstest.Dir(t))
	r := finish(t, cmd)
	ino, rest, _ := strings.Cut(r.out, "\n")
	if !strings.Contains(rest, "\n"+ino+" ? ? mounted") && !strings.HasPrefix(rest, ino+" ? ? mounted") {
		t.Errorf("status %d; no %s ? ? mounted in\n%s%s", r.status, ino, rest, r.err)
	}
}

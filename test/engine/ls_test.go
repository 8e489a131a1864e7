package engine_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// A listing is what `nstool ls --json` says, as far as is looked at here.
type listing struct {
	Namespaces []struct {
		NS      uint64
		Type    string
		Members []int
	}
}

func ls(t *testing.T, args ...string) (l listing) {
	t.Helper()
	out, err := exec.Command(nstest.Nstool(t), append([]string{"ls", "--json", "--members"}, args...)...).Output()
	if err != nil {
		t.Fatalf("nstool ls: %v", err)
	}
	if err := json.Unmarshal(out, &l); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return l
}

// wantAll says which of the eight namespaces of a process are not listed, or
// are without the process.
func wantAll(t *testing.T, l listing, what string, pid int) {
	t.Helper()
	for typ, link := range namespaces(t, pid) {
		found, held := false, false
		for _, ns := range l.Namespaces {
			if fmt.Sprintf("%s:[%d]", ns.Type, ns.NS) != link {
				continue
			}
			found = true
			held = slices.Contains(ns.Members, pid)
		}
		if !found || !held {
			t.Errorf("%s: the %s namespace %s of process %d: listed %v, with the process %v", what, typ, link, pid, found, held)
		}
	}
}

// TestLs lists the namespaces of the init of every container there is.
func TestLs(t *testing.T) {
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{})
			wantAll(t, ls(t), c.Name, c.PID)
		})
	}
	t.Run("pod", func(t *testing.T) {
		t.Parallel()
		p := engine.StartPod(t, false, "web", "side")
		l := ls(t)
		wantAll(t, l, "sandbox", p.PID)
		for _, c := range p.Containers {
			wantAll(t, l, c.Name, c.PID)
		}
		// What they share is one namespace, not three.
		for _, typ := range []string{"net", "ipc", "uts"} {
			link, n := namespaces(t, p.PID)[typ], 0
			for _, ns := range l.Namespaces {
				if fmt.Sprintf("%s:[%d]", ns.Type, ns.NS) == link {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s is listed %d times", link, n)
			}
		}
	})
}

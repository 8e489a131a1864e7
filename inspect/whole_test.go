package inspect

import (
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A process that could not be read may be anywhere and hold anything; one of
// which a part could not be read, what that part tells of.
func TestUnseen(t *testing.T) {
	const process = "-- N/ns/links --\nnet -> net:[1]\nmnt -> mnt:[3]\nuser -> user:[2]\n-- N/task/N/ --\n-- N/mountinfo --\n-- N/links --\nroot -> /\n"
	const good = "-- N/fd/ --\n" + process
	of := func(pid, text string) string { return strings.ReplaceAll(text, "N", pid) }
	for _, c := range []struct {
		name, proc string
		opts       []Option
		facts      Facts // what is not known
		why        string
	}{
		{name: "all seen", proc: of("1", good) + of("7", good)},
		{"namespaces unread", of("1", good) + "-- 7/ns --\n-- 7/task/7/ --\n-- 7/fd/ --\n", nil, AllFacts, "1 of 2 processes (PID 7) could not be read"},
		{"descriptors unread", of("1", good) + "-- 7/fd --\n" + of("7", process), nil, FDs | Sockets | Mounts, "descriptors of 1 of 2 processes (PID 7) could not be read"},
		{"threads unread", of("1", good) + "-- 7/fd/ --\n-- 7/ns/links --\nnet -> net:[1]\nmnt -> mnt:[3]\n-- 7/links --\nroot -> /\n-- 7/mountinfo --\n", nil, AllFacts &^ Members, "threads of 1 of 2 processes (PID 7) could not be read"},
		{"mounts unread", "-- 1/mountinfo/ --\n-- 1/fd/ --\n-- 1/ns/links --\nmnt -> mnt:[3]\n-- 1/task/1/ --\n-- 1/links --\nroot -> /\n", nil, Mounts, "mounts of 1 of 1 processes (PID 1) could not be read"},
		{"without descriptors", of("1", good), []Option{WithoutFDs()}, FDs | Sockets | Mounts, "descriptors were not looked at"},
		{"without mounts", of("1", good), []Option{WithoutMounts()}, Mounts, "mounts were not looked at"},
		{"without threads", of("1", good), []Option{WithoutTasks()}, AllFacts &^ Members, "threads were not looked at"},
		{"many", of("1", good) + "-- 2/ns --\n-- 3/ns --\n-- 4/ns --\n-- 5/ns --\n", nil, AllFacts, "4 of 5 processes could not be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Scan(t.Context(), append(c.opts, WithProc(nstest.Proc(t, c.proc)))...)
			if err != nil {
				t.Fatal(err)
			}
			for f := Members; f < AllFacts; f <<= 1 {
				if s.Whole(f) != (c.facts&f == 0) {
					t.Errorf("whole for %b: %t, want %t; gaps %v", f, s.Whole(f), c.facts&f == 0, s.Gaps())
				}
			}
			if got := strings.Join(s.Unseen(AllFacts), "; "); got != c.why {
				t.Errorf("%q, want %q", got, c.why)
			}
		})
	}
}

package sys

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLabels has scripts of which the wiring is wrong: they are not started.
func TestLabels(t *testing.T) {
	handler := func(x *Script) { x.OnFailure(func(Addr) { x.Exit(1) }) }
	for _, tc := range []struct {
		name, want string
		build      func(x *Script)
	}{
		{"nowhere", `script: call 0, read: label "end" is nowhere`, func(x *Script) {
			x.onZero(x.Call("read", unix.SYS_READ), x.label("end"))
			x.Exit(0)
			handler(x)
		}},
		{"two places", `script: call 0, read: label "end" is in two places`, func(x *Script) {
			end := x.label("end")
			x.onError(x.Call("read", unix.SYS_READ), end)
			x.place(end)
			x.Exit(0)
			x.place(end)
			handler(x)
		}},
		{"another script's", "script: call 0, read: label 9 is not the script's", func(x *Script) {
			other := NewScript()
			for range 8 {
				other.label("")
			}
			x.onOther(x.Call("read", unix.SYS_READ), label(9))
			x.Exit(0)
			handler(x)
		}},
		{"no handler", `script: label "failure handler" is nowhere`, func(x *Script) { x.Exit(0) }},
		{"two handlers", `script: label "failure handler" is in two places`, func(x *Script) { handler(x); handler(x) }},
		{"no end", "script: it goes on behind its last call", func(x *Script) { handler(x); x.Setsid() }},
		{"label behind the end", `script: label "end" is behind its last call`, func(x *Script) {
			end := x.label("end")
			x.onZero(x.Call("read", unix.SYS_READ), end)
			handler(x)
			x.place(end)
		}},
	} {
		x := NewScript()
		tc.build(x)
		_, err := x.Start()
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v; want %s", tc.name, err, tc.want)
		}
	}

	x := NewScript()
	x.Here()
	x.onZero(x.own("value", ownValue, 0), x.label("end"))
	if _, err := x.RunHere(); err == nil || !strings.Contains(err.Error(), `"end" is nowhere`) {
		t.Errorf("here: %v", err)
	}
}

// TestLabelsStay has calls appended between a call and the place it leads to,
// after it was wired: it still leads there.
func TestLabelsStay(t *testing.T) {
	for _, calls := range []int{0, 1, 100} {
		_, errno, out, ws := run(t, func(s *Script, _ int) {
			over := s.label("over")
			s.onZero(s.own("value", ownValue, 0), over)
			for range calls {
				s.own("fail", ownFail, uint64(unix.EDOM))
			}
			s.place(over)
			s.Write(1, []byte("over"))
			s.Exit(0)
		})
		if out != "over" || errno != 0 || ws.ExitStatus() != 0 {
			t.Errorf("%d calls between: %q, %v, status %d", calls, out, errno, ws.ExitStatus())
		}
	}
}

package entry

import (
	"testing"
	"time"
)

func TestSilence(t *testing.T) {
	for passed, want := range map[time.Duration]string{
		10*time.Second + 3*time.Millisecond: "web has not answered for 10s: it is in an execve(2) that does not end, or its memory is locked",
		25 * time.Second:                    "web has not answered for 25s, 15s of it for want of a processor on this busy machine: it is in an execve(2) that does not end, or its memory is locked",
	} {
		if got := silence("web", passed); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

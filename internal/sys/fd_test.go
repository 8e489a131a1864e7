package sys

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestFD closes a descriptor twice, and one that was taken away: what has its
// number by then stays open.
func TestFD(t *testing.T) {
	for name, letGo := range map[string]func(f *FD){
		"closed": (*FD).Close,
		"taken":  func(f *FD) { unix.Close(f.Take()) },
	} {
		number, err := OpenNull()
		if err != nil {
			t.Fatal(err)
		}
		fd := FD(number)
		letGo(&fd)
		again, err := OpenNull()
		if err != nil || again != number {
			t.Fatalf("%s: the number is not used again: %d, %v", name, again, err)
		}
		fd.Close()
		if _, err := unix.FcntlInt(uintptr(again), unix.F_GETFD, 0); err != nil {
			t.Errorf("%s: another's descriptor is closed: %v", name, err)
		}
		unix.Close(again)
	}
}

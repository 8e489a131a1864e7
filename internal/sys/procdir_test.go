package sys

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// A signal that comes while a directory is read ends the call early, and not
// the directory: processes at its end would be missing.
func TestEntriesUnderSignals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(pid, tid, unix.SIGURG)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	buf := make([]byte, 64<<10)
	calls, early := 0, 0
	for range 50 {
		dir, err := OpenProc("/proc")
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		for more := true; more; {
			n := len(seen)
			if more, err = dir.Entries(buf, func(name Name) { seen = append(seen, name.String()) }); err != nil {
				t.Fatal(err)
			}
			calls++
			if len(seen) > n {
				early++
			}
		}
		dir.Close()
		if !slices.Contains(seen, strconv.Itoa(pid)) {
			t.Fatalf("the test is not among %d entries", len(seen))
		}
	}
	t.Logf("50 listings took %d calls, %d with entries", calls, early)
}

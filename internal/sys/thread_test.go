package sys

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The main thread is what the kernel shows as the process: it must never be
// the one that joins something.
func TestOnThreadIsNeverTheMainThread(t *testing.T) {
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if err := OnThread(func() error {
				if unix.Gettid() == unix.Getpid() {
					return errors.New("this is the main thread")
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

package sys

import (
	"errors"
	"runtime"
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

// A panic comes out where it was called from, and who ends the goroutine is not
// waited for for ever.
func TestOnThreadEndings(t *testing.T) {
	func() {
		defer func() {
			if r := recover(); r != "oops" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = OnThread(func() error { panic("oops") })
	}()
	if err := OnThread(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error from a function that did not return")
	}
}

package wait

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A goroutine that works, or waits for a processor, is waited for; one that sleeps is not.
func TestMany(t *testing.T) {
	var stop atomic.Bool
	t.Cleanup(func() { stop.Store(true) })
	for _, c := range []struct {
		name string
		ask  func(i int) bool
		want []int
	}{
		{"all answer", func(int) bool { return true }, nil},
		{"work", func(i int) bool {
			for end := time.Now().Add(8 * Short); i < 2 && time.Now().Before(end); {
			}
			return true
		}, nil},
		{"silence", func(i int) bool {
			for i < 2 && !stop.Load() {
				time.Sleep(time.Millisecond * 50)
			}
			return true
		}, []int{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stuck Stuck
			got := 0
			silent := Many(t.Context(), &stuck, 3,
				func() func(int) bool { return c.ask },
				func(int, bool) { got++ }, nil)
			slices.Sort(silent)
			if !slices.Equal(silent, c.want) || got != 3-len(c.want) {
				t.Errorf("%d answered, and not %v; want %v", got, silent, c.want)
			}
		})
	}
}

func TestOne(t *testing.T) {
	var stuck Stuck
	if n, err := One(t.Context(), &stuck, time.Minute, func() (int, error) { return 7, nil }); n != 7 || err != nil || stuck.Count != 0 {
		t.Errorf("%d, %v, %d stuck", n, err, stuck.Count)
	}
	release, closed := make(chan struct{}), make(chan struct{})
	block := func() (int, error) { <-release; return 7, nil }
	if n, err := One(t.Context(), &stuck, time.Millisecond, block); n != 0 || !errors.Is(err, ErrSlow) {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the cause")
	cancel(cause)
	if _, err := One(ctx, &stuck, time.Minute, block); !errors.Is(err, cause) || stuck.Count != 2 {
		t.Errorf("%v, %d stuck", err, stuck.Count)
	}
	stuck.Close(func() { close(closed) })
	select {
	case <-closed:
		t.Error("closed while goroutines are left behind")
	case <-time.After(10 * time.Millisecond):
	}
	close(release)
	<-closed
}

package inspect

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// Who is slow because he works, or would if he were let, is waited for; who
// sleeps is not.
func TestPatience(t *testing.T) {
	var stop atomic.Bool
	t.Cleanup(func() { stop.Store(true) })
	for _, c := range []struct {
		name string
		ask  func(i int) bool
		want []int
	}{
		{"all answer", func(int) bool { return true }, nil},
		{"work", func(i int) bool {
			for end := time.Now().Add(8 * patience); i < 2 && time.Now().Before(end); {
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
			var left leftBehind
			got := 0
			silent := patient(t.Context(), &left, 3,
				func() func(int) bool { return c.ask },
				func(int, bool) { got++ }, nil)
			slices.Sort(silent)
			if !slices.Equal(silent, c.want) || got != 3-len(c.want) {
				t.Errorf("%d answered, and not %v; want %v", got, silent, c.want)
			}
		})
	}
}

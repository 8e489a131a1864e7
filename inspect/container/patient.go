package container

import (
	"sync"
	"time"

	"github.com/nstool/nstool/inspect"
)

// patience is how long an answer may take of what may never come.
const patience = 100 * time.Millisecond

// An asker asks what may never be answered: it leaves behind who waits for that,
// and asks nothing more when it has most of those.
type asker struct {
	most, slow int
	running    sync.WaitGroup
}

// ask calls f and waits for it, but not for ever. f must touch nothing that others
// change.
func ask[T any](a *asker, f func() (T, error)) (answer T, err error) {
	if a.slow >= a.most {
		return answer, inspect.ErrSlow
	}
	type reply struct {
		answer T
		err    error
	}
	replies := make(chan reply, 1) // that may never be taken
	a.running.Go(func() {
		answer, err := f()
		replies <- reply{answer, err}
	})
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case r := <-replies:
		return r.answer, r.err
	case <-late.C:
		a.slow++
		return answer, inspect.ErrSlow
	}
}

// close calls f when nobody waits any more, at once if nobody was left behind.
func (a *asker) close(f func()) {
	if a.slow == 0 {
		f()
		return
	}
	go func() {
		a.running.Wait()
		f()
	}()
}

package inspect

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// patience is how long a scan waits for something that may never answer, and
// mostPatience is how long on a machine that is slow, or busy with much else:
// there it is as long as reading the caller's own links takes pace times, which
// nothing can keep waiting.
const (
	patience     = 100 * time.Millisecond
	mostPatience = time.Second
	pace         = 200
)

// patienceHere returns how long to wait, by how long it takes to read the links
// of the caller.
func (s *scanner) patienceHere() time.Duration {
	took := mostPatience
	for range 2 { // the first time may be slower
		start := time.Now()
		if _, err := s.ownLinks(); err != nil {
			return patience
		}
		took = min(took, time.Since(start))
	}
	return max(patience, min(pace*took, mostPatience))
}

// mostSilent is how many goroutines may wait for answers that do not come.
const mostSilent = 512

// mostIdle is how often in a row there may be no answer within patience: once
// may be a machine with much else to do.
const mostIdle = 2

// mostLate is how often in a row this process may itself be late, because it was
// not run, or had to do much for an answer: then it cannot know whether others
// would have answered.
const mostLate = 20

// patient asks n questions that may never be answered, and returns those that
// were not. Each goroutine asks with what asker made for it; got is called with
// one answer at a time, and late, if not nil, with what comes too late.
//
// It starts with a few goroutines. When none of them has answered for a while
// all of them may be stuck, so as many again are started, as long as there is
// something left to ask, and in the end those that are stuck are left behind:
// an asker must touch nothing that others change.
func patient[T any](ctx context.Context, left *leftBehind, n int, asker func() func(i int) T, got func(i int, answer T), tooLate func(T)) (silent []int) {
	type reply struct {
		i      int
		answer T
	}
	var (
		next    atomic.Int64
		replies = make(chan reply)
		over    = make(chan struct{})
		running int
	)
	defer close(over)
	start := func(more int) {
		for ; more > 0 && running < mostSilent; more-- {
			running++
			left.running.Go(func() {
				ask := asker()
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					r := reply{i, ask(i)}
					select {
					case replies <- r:
					case <-over:
						if tooLate != nil {
							tooLate(r.answer)
						}
						return
					}
				}
			})
		}
	}
	start(min(max(runtime.GOMAXPROCS(0), 2)+left.count, n))
	wait := max(left.patience, patience)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	answered := make([]bool, n)
	late, worked := 0, time.Duration(0)
	for open, idle := n, 0; open > 0; timer.Reset(wait) {
		due := time.Now().Add(wait)
		select {
		case r := <-replies:
			answered[r.i] = true
			got(r.i, r.answer)
			open, idle, late = open-1, 0, 0
			continue
		case <-timer.C:
			if time.Since(due) > wait/4 && late < mostLate {
				late++
				continue
			}
		case <-ctx.Done():
		}
		switch {
		case ctx.Err() != nil:
			idle = mostIdle
		case int(next.Load()) < n && running < mostSilent:
			start(running)
		default:
			// Who waits for what never comes does not work meanwhile, or try to.
			before := worked
			if worked = sys.Scheduled(); idle > 0 && worked-before > wait/4 && late < mostLate {
				late++
				continue
			}
			idle++
		}
		if idle == mostIdle {
			break
		}
	}
	for i, ok := range answered {
		if !ok {
			silent = append(silent, i)
		}
	}
	left.count += len(silent)
	return silent
}

// leftBehind is who waits for an answer still.
type leftBehind struct {
	patience time.Duration // how long to wait, at least the least
	running  sync.WaitGroup
	count    int // how many, about; as many may be met again
}

// close calls f when all have come back, at once if nobody was left behind.
func (l *leftBehind) close(f func()) {
	if l.count > 0 {
		go func() {
			l.running.Wait()
			f()
		}()
	} else {
		f()
	}
}

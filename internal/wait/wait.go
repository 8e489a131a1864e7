// Package wait asks questions that may never be answered.
//
// The command line of a process is in its memory, whose map may be locked; a mount point may be
// below a file system that does not answer. A thread that waits for such a thing cannot be
// called back: the goroutine is left behind, and must touch nothing that others change.
package wait

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrSlow reports that something did not answer in time.
var ErrSlow = errors.New("no answer in time")

// Short is the least time to wait for an answer.
const Short = 100 * time.Millisecond

// A Stuck counts the goroutines that are left behind. The zero value has none.
type Stuck struct {
	Limit   time.Duration // the time to wait in [Many], if it is longer than Short
	Count   int           // about as many; the same number may get stuck again
	running sync.WaitGroup
}

// Close calls f when no goroutine is left behind any more: at once if there is none.
func (s *Stuck) Close(f func()) {
	if s.Count == 0 {
		f()
		return
	}
	go func() {
		s.running.Wait()
		f()
	}()
}

// One asks one question, and waits for the answer no longer than limit: then the error is
// [ErrSlow], or the cause if ctx is done.
func One[T any](ctx context.Context, s *Stuck, limit time.Duration, ask func() (T, error)) (answer T, err error) {
	var reply struct { // which is not read if it comes late
		answer T
		err    error
	}
	if err := one(ctx, s, limit, func() { reply.answer, reply.err = ask() }); err != nil {
		return answer, err
	}
	return reply.answer, reply.err
}

// one is [One] for answers of any type.
func one(ctx context.Context, s *Stuck, limit time.Duration, ask func()) (err error) {
	answered := make(chan struct{})
	s.running.Go(func() {
		ask()
		close(answered)
	})
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-answered:
		return nil
	case <-timer.C:
		err = ErrSlow
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.Count++
	return err
}

const (
	// maxRunning is the largest number of goroutines for one call of Many.
	maxRunning = 512
	// maxIdle is how often in a row no answer may come within the limit: once may be a
	// machine with much else to do.
	maxIdle = 2
	// maxLate is how often in a row this process may itself be late, because it was not run
	// or had much to do for an answer. Then it cannot know whether others would have answered.
	maxLate = 20
)

// Many asks n questions, and returns those that were not answered. Each goroutine asks with
// what asker made for it. got is called with one answer at a time, and tooLate, if not nil,
// with an answer that comes after the end.
//
// A few goroutines start. If none has answered for a while all of them may be stuck, so as
// many again are started while there is something left to ask.
func Many[T any](ctx context.Context, s *Stuck, n int, asker func() func(i int) T, got func(i int, answer T), tooLate func(T)) (silent []int) {
	answers := make([]T, n)
	return many(ctx, s, n, func() func(i int) {
		ask := asker()
		return func(i int) { answers[i] = ask(i) }
	}, func(i int) {
		answer := answers[i]
		answers[i] = *new(T) // got may let go of it
		got(i, answer)
	}, func(i int) {
		if tooLate != nil {
			tooLate(answers[i])
		}
	})
}

// many is [Many] for answers of any type, which the functions hand on by their number.
func many(ctx context.Context, s *Stuck, n int, asker func() func(i int), got, tooLate func(i int)) (silent []int) {
	var (
		next    atomic.Int64
		replies = make(chan int)
		over    = make(chan struct{})
		running int
	)
	defer close(over)
	start := func(more int) {
		for ; more > 0 && running < maxRunning; more-- {
			running++
			s.running.Go(func() {
				ask := asker()
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					ask(i)
					select {
					case replies <- i:
					case <-over:
						tooLate(i)
						return
					}
				}
			})
		}
	}
	start(min(max(runtime.GOMAXPROCS(0), 2)+s.Count, n))
	limit := max(s.Limit, Short)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	answered := make([]bool, n)
	late, worked := 0, time.Duration(0)
	for open, idle := n, 0; open > 0; timer.Reset(limit) {
		due := time.Now().Add(limit)
		select {
		case i := <-replies:
			answered[i] = true
			got(i)
			open, idle, late = open-1, 0, 0
			continue
		case <-timer.C:
			if time.Since(due) > limit/4 && late < maxLate {
				late++
				continue
			}
		case <-ctx.Done():
		}
		switch {
		case ctx.Err() != nil:
			idle = maxIdle
		case int(next.Load()) < n && running < maxRunning:
			start(running)
		default:
			// A goroutine blocked in the kernel uses no CPU. If this process did use CPU, we
			// were slow, not they: wait again.
			before := worked
			if worked = scheduled("self"); idle > 0 && worked-before > limit/4 && late < maxLate {
				late++
				continue
			}
			idle++
		}
		if idle == maxIdle {
			break
		}
	}
	for i, ok := range answered {
		if !ok {
			silent = append(silent, i)
		}
	}
	s.Count += len(silent)
	return silent
}

package main

import (
	"errors"
	"fmt"

	"github.com/nstool/nstool/internal/entry"
)

// A status is an exit status. They are a promise: see EXIT STATUS in nstool(1).
type status int

const (
	statusDone   status = 0 // done
	statusFailed status = 1 // failed
	statusUsage  status = 2 // wrong usage

	// Of nstool-enter(1) and nstool-run(1), as env(1) does.
	statusOwn        status = entry.StatusOwn        // nstool failed, the program did not run
	statusNotInvoked status = entry.StatusNotInvoked // the program could not be invoked
	statusNotFound   status = entry.StatusNotFound   // the program was not found
	statusSignal     status = entry.StatusSignal     // plus N: the program died of signal N
)

// A usageError is a mistake in the command line.
type usageError = entry.UsageError

func usagef(format string, args ...any) error { return usageError{Err: fmt.Errorf(format, args...)} }

// A hinted error has a hint: a line of its own, given only if it is true for this error.
type hinted struct {
	err  error
	hint string
}

func (e hinted) Error() string { return e.err.Error() }
func (e hinted) Unwrap() error { return e.err }
func (e hinted) Hint() string  { return e.hint }

//go:noinline
func withHint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// A statusError has an exit status of its own. With err nil nothing is written, since another
// program, such as the one that was run, has done so.
type statusError struct {
	status status
	err    error
}

func (e statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}
func (e statusError) Unwrap() error { return e.err }

// statusOf returns the exit status after err.
func statusOf(err error) status {
	if err == nil {
		return statusDone
	}
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status
	}
	if e, ok := errors.AsType[entry.Explained](err); ok {
		return status(e.Code)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return statusUsage
	}
	return statusFailed
}

// silent reports whether nothing is to be written for err.
func silent(err error) bool {
	if e, ok := errors.AsType[entry.Explained](err); ok {
		return e.Said
	}
	e, ok := errors.AsType[statusError](err)
	return ok && e.err == nil
}

// hintsOf returns the hints of err, outermost first.
func hintsOf(err error) []string {
	var hints []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		if h, ok := e.(interface{ Hint() string }); ok && h.Hint() != "" {
			hints = append(hints, h.Hint())
		}
	}
	if e, ok := errors.AsType[interface {
		error
		Unseen() bool
	}](err); ok {
		if hint := entry.Blind(e.Unseen()); hint != "" {
			hints = append(hints, hint)
		}
	}
	if hint := entry.Refused(err); hint != "" && hints == nil {
		hints = append(hints, hint)
	}
	return hints
}

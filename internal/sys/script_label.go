package sys

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A label is a position in the calls of a [Script] to go on at. Calls have labels instead of
// addresses until [Script.assemble], so that calls can be appended in between.
type label uint64

// place is the position of a label: before the call of this number, or -1 if not set yet.
// twice: it was set twice.
type place struct {
	name  string
	at    int
	twice bool
}

// label returns a new label, to be set by [Script.place]. Its name is for messages.
//
//go:noinline
func (s *Script) label(name string) label {
	s.labels = append(s.labels, place{name: name, at: -1})
	return label(len(s.labels))
}

// place sets l before the next call.
//
//go:noinline
func (s *Script) place(l label) {
	p := &s.labels[l-1]
	p.twice = p.at >= 0
	p.at = len(s.calls)
}

// mark returns a new label before the next call.
func (s *Script) mark(name string) label {
	l := s.label(name)
	s.place(l)
	return l
}

// onZero makes the script go on at l after the result 0 of call i.
func (s *Script) onZero(i Index, l label) { s.calls[i][wordOnZero/8] = uint64(l) }

// onError is onZero after an error that is ignored.
func (s *Script) onError(i Index, l label) { s.calls[i][wordOnError/8] = uint64(l) }

// onOther is onZero after any other result without an error, and after 0 unless that has a
// label of its own.
func (s *Script) onOther(i Index, l label) { s.calls[i][wordGoto/8] = uint64(l) }

// always makes the script go on at l after any result of call i.
func (s *Script) always(i Index, l label) {
	s.IgnoreAll(i)
	s.onZero(i, l)
	s.onError(i, l)
	s.onOther(i, l)
}

// address returns the address of a label.
func (s *Script) address(l label) (uint64, error) {
	if l == 0 || int(l) > len(s.labels) {
		return 0, fmt.Errorf("label %d is not the script's", l)
	}
	switch p := s.labels[l-1]; {
	case p.at < 0:
		return 0, fmt.Errorf("label %q is nowhere", p.name)
	case p.twice:
		return 0, fmt.Errorf("label %q is in two places", p.name)
	default:
		return callAddr(p.at), nil
	}
}

// assemble returns the calls with addresses in place of labels. It is an error if a label is
// not set, or set twice.
func (s *Script) assemble() ([]call, error) {
	calls := slices.Clone(s.calls)
	for i := range calls {
		for _, word := range [...]int{wordOnZero / 8, wordOnError / 8, wordGoto / 8} {
			if calls[i][word] == 0 {
				continue
			}
			addr, err := s.address(label(calls[i][word]))
			if err != nil {
				return nil, fmt.Errorf("script: call %d, %s: %w", i, s.names[i], err)
			}
			calls[i][word] = addr
		}
	}
	return calls, nil
}

// assembleProcess is assemble for a process, and also returns the address of its failure
// handler. After its last call a process has nothing to go on with.
func (s *Script) assembleProcess() ([]call, uint64, error) {
	failure, err := s.address(s.failure)
	if err != nil {
		return nil, 0, fmt.Errorf("script: %w", err)
	}
	calls, err := s.assemble()
	if err != nil {
		return nil, 0, err
	}
	if last := len(calls) - 1; last < 0 || calls[last][wordOp/8] != unix.SYS_EXIT_GROUP {
		return nil, 0, errors.New("script: it goes on behind its last call")
	}
	for _, p := range s.labels {
		if p.at == len(calls) {
			return nil, 0, fmt.Errorf("script: label %q is behind its last call", p.name)
		}
	}
	return calls, failure, nil
}

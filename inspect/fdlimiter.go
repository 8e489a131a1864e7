package inspect

import "errors"

// maxPerNamespace is how many descriptors of one and the same namespace are noted of a
// process: nobody needs more to know that it holds it.
const maxPerNamespace = 256

// maxDropped is how many more of them are read before no more is read of the
// process. Who has so many wants to keep somebody busy.
const maxDropped = 1024

var errManyFDs = errors.New("it has hundreds of descriptors of one and the same namespace: what comes behind them is left out")

// An fdLimiter counts the descriptors that a process has of each namespace.
type fdLimiter struct {
	pid     int
	of      map[uint64]int
	dropped int
}

// takes reports whether one more descriptor of a namespace is to be noted.
func (c *fdLimiter) allows(p *part, pid int, ino uint64) bool {
	if pid != c.pid {
		c.end(p)
		c.pid = pid
	}
	if c.of == nil {
		c.of = make(map[uint64]int)
	}
	c.of[ino]++
	if c.of[ino] > maxPerNamespace {
		c.dropped++
		return false
	}
	return true
}

// full reports whether no more is to be read.
func (c *fdLimiter) full() bool { return c.dropped > maxDropped }

// end tells what was left out of the process at hand.
func (c *fdLimiter) end(p *part) {
	if c.dropped > 0 {
		p.gaps = append(p.gaps, Gap{c.pid, "fd", errManyFDs})
	}
	clear(c.of)
	c.pid, c.dropped = 0, 0
}

package inspect

import "errors"

// maxPerNamespace is how many descriptors of the same namespace are noted of a process.
const maxPerNamespace = 256

// maxDropped is how many more are read before the rest of the process is left out. A process with
// so many wants to keep its reader busy.
const maxDropped = 1024

var errManyFDs = errors.New("it has hundreds of descriptors of one and the same namespace: what comes behind them is left out")

// An fdLimiter counts the descriptors of a process for each namespace.
type fdLimiter struct {
	pid     int
	of      map[uint64]int
	dropped int
}

// allows reports whether one more descriptor of a namespace is noted.
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

// full reports whether the rest is left out.
func (c *fdLimiter) full() bool { return c.dropped > maxDropped }

// end adds a gap if descriptors of the process were left out.
func (c *fdLimiter) end(p *part) {
	if c.dropped > 0 {
		p.gaps = append(p.gaps, Gap{c.pid, "fd", errManyFDs})
	}
	clear(c.of)
	c.pid, c.dropped = 0, 0
}

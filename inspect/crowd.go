package inspect

import "errors"

// mostOfOne is how many descriptors of one and the same namespace are noted of a
// process: nobody needs more to know that it holds it.
const mostOfOne = 256

// mostSpare is how many more of them are read before no more is read of the
// process. Who has so many wants to keep somebody busy.
const mostSpare = 1024

var errCrowd = errors.New("it has hundreds of descriptors of one and the same namespace: what comes behind them is left out")

// A crowd counts the descriptors that a process has of each namespace.
type crowd struct {
	pid   int
	of    map[uint64]int
	spare int
}

// takes reports whether one more descriptor of a namespace is to be noted.
func (c *crowd) takes(p *part, pid int, ino uint64) bool {
	if pid != c.pid {
		c.end(p)
		c.pid = pid
	}
	if c.of == nil {
		c.of = make(map[uint64]int)
	}
	c.of[ino]++
	if c.of[ino] > mostOfOne {
		c.spare++
		return false
	}
	return true
}

// full reports whether no more is to be read.
func (c *crowd) full() bool { return c.spare > mostSpare }

// end tells what was left out of the process at hand.
func (c *crowd) end(p *part) {
	if c.spare > 0 {
		p.gaps = append(p.gaps, Gap{c.pid, "fd", errCrowd})
	}
	clear(c.of)
	c.pid, c.spare = 0, 0
}

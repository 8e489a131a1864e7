package container

import (
	"strconv"
	"strings"
	"time"
)

// A finder finds the names of containers in one [store]. It changes the
// container that it is given.
type finder struct {
	store *store
	proc  *procDir
	outer *Container
	// speaker returns whose word the command line of a process is, if it runs one of these
	// programs; see [identifier.speaker].
	speaker func(pid int, programs []string) Owner

	// The container's first process, by the engine's state.
	init    int       // its PID
	start   uint64    // when it started, in clock ticks since boot, or 0
	changed time.Time // modification time of the file that has it
}

// setInit sets the first process from a file that was read.
func (f *finder) setInit(pid int) {
	f.init, f.start, f.changed = pid, 0, f.store.last.Changed
}

// readInit sets it from a file that has only the number.
func (f *finder) readInit(dir string, file ...string) {
	if data, ok := f.store.read(dir, file...); ok {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		f.setInit(pid)
	}
}

// isHost reports whether the files are root's on the host, and not those of a user or of a
// container.
func (f *finder) isHost() bool { return f.store.owner == Root }

// A namer fills in what an engine's files say of a container, or else the command line of its
// parent. It reports whether they know the container.
type namer func(f *finder, c *Container, mon func() (Monitor, bool)) bool

// find names c. If its engine is not known every engine is asked, first by its usual
// places, then by the container's parent.
func (f *finder) find(c *Container, mon func() (Monitor, bool)) bool {
	if !isName(c.ID) {
		return false
	}
	if name := c.Engine.entry().find; name != nil {
		return name(f, c, mon)
	}
	for i := range engines {
		if engines[i].anywhere && engines[i].find(f, c, nil) {
			return true
		}
	}
	if mon == nil {
		return false
	}
	if m, ok := mon(); ok && (m.ID == c.ID || m.Many) {
		c.Engine = m.Engine
		return m.Engine.entry().find(f, c, func() (Monitor, bool) { return m, true })
	}
	return false
}

// pod returns the shared Pod that is equal to p.
func (f *finder) pod(p Pod) *Pod {
	if have := f.store.pods[p]; have != nil {
		return have
	}
	f.store.pods[p] = &p
	return &p
}

// hasUsualPlaces reports whether an engine's files are also looked for in the usual places. A
// user's engine says where its files are.
func (f *finder) hasUsualPlaces() bool { return f.isHost() || f.outer != nil }

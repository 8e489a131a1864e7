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
	// speaks returns whose word the command line of a process is that runs one of
	// the programs with these names; see [identifier.speaks].
	speaker func(pid int, programs []string) Owner

	// What the state says of the container's first process.
	init    int       // its PID
	start   uint64    // when it started, in clock ticks since boot, or 0
	changed time.Time // when the file was written that says so
}

// setInit notes what a file that was read says is the first process.
func (f *finder) setInit(pid int) {
	f.init, f.start, f.changed = pid, 0, f.store.last.Changed
}

// readInit notes that of a file with nothing but the number.
func (f *finder) readInit(dir string, file ...string) {
	if data, ok := f.store.read(dir, file...); ok {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		f.setInit(pid)
	}
}

// isHost reports whether what is found is root's, on the host, and not what a user
// says, or somebody in a container.
func (f *finder) isHost() bool { return f.store.owner == Root }

// A namer fills in what an engine's files, or if need be the command line of
// the container's parent, say of a container. It reports whether they know it.
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

// pod returns the one Pod that is equal to p, so that its containers share it.
func (f *finder) pod(p Pod) *Pod {
	if have := f.store.pods[p]; have != nil {
		return have
	}
	f.store.pods[p] = &p
	return &p
}

// hasUsualPlaces reports whether an engine's files are to be looked for in the usual
// places: of a user's engine they are where it says.
func (f *finder) hasUsualPlaces() bool { return f.isHost() || f.outer != nil }

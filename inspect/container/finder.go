package container

// A finder finds the names of containers in one [store]. It changes the
// container that it is given.
type finder struct {
	store *store
	proc  *procDir
	outer *Container
	init  int // what the state says is the PID of the container's first process

	ambiguous bool // the container has several processes, or another has its ID, so init is wanted
	user      bool // its control group is in that of a user, and so not one of root's engines
}

// A namer fills in what an engine's files, or if need be the command line of
// the container's parent, say of a container. It reports whether they know it.
type namer func(f *finder, c *Container, mon func() (Monitor, bool)) bool

// namerOf returns the namer of an engine, or nil if there is none.
func namerOf(e Engine) namer {
	switch e {
	case Docker:
		return (*finder).nameDocker
	case Containerd:
		return (*finder).nameContainerd
	case Podman:
		return (*finder).namePodman
	case CRIO:
		return (*finder).nameCRIO
	case LXC, Incus, LXD:
		return (*finder).nameLXC
	case Nspawn:
		return (*finder).nameNspawn
	case Runc, Crun:
		return (*finder).nameRuntime
	case BuildKit: // which names none
		return func(*finder, *Container, func() (Monitor, bool)) bool { return true }
	}
	return nil
}

// guesses are the engines whose containers can have any control group, in the
// order in which they are asked whether they know one.
var guesses = []Engine{Docker, Containerd, Podman, CRIO, Runc}

// find names c. Where the engine is not known every one is asked, first
// by its usual places, then by the container's parent.
func (f *finder) find(c *Container, mon func() (Monitor, bool)) bool {
	if !isName(c.ID) {
		return false
	}
	if name := namerOf(c.Engine); name != nil {
		return name(f, c, mon)
	}
	for _, engine := range guesses {
		if namerOf(engine)(f, c, nil) {
			return true
		}
	}
	if m, ok := mon(); ok {
		if m.ID == c.ID || m.Many {
			c.Engine = m.Engine
			return namerOf(m.Engine)(f, c, func() (Monitor, bool) { return m, true })
		}
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

package container

import (
	"path"
	"strconv"
	"strings"
)

// lxcRoots are the directories of containers of LXC, Incus and LXD.
var lxcRoots = []struct {
	dir    string
	engine Engine
}{
	{"/var/lib/lxc", LXC},
	{"/var/lib/incus/containers", Incus},
	{"/var/snap/lxd/common/lxd/containers", LXD},
	{"/var/lib/lxd/containers", LXD},
}

// nameLXC finds the engine of a container, LXC, Incus or LXD, and its directory. Its name is its
// ID.
func (f *finder) nameLXC(c *Container, mon func() (Monitor, bool)) bool {
	c.Name = c.ID
	if f.hasUsualPlaces() && f.lxcHome(c, c.ID) {
		return true
	}
	// LXC appends a number if a group with the name was left over.
	if name, n, ok := cutLast(c.ID, "-"); ok && name != "" {
		if _, err := strconv.Atoi(n); err == nil && f.hasUsualPlaces() && f.lxcHome(c, name) {
			return true
		}
	}
	if mon == nil {
		return false
	}
	if m, ok := mon(); ok && m.Engine == LXC {
		c.ID, c.Name, c.Path = m.ID, m.ID, m.Path
		for _, root := range lxcRoots {
			if path.Dir(m.Path) == root.dir {
				c.Engine = root.engine
			}
		}
		lxcProject(c)
	}
	return true
}

func (f *finder) lxcHome(c *Container, name string) bool {
	for _, root := range lxcRoots {
		if f.store.exists(root.dir, name) {
			c.Engine, c.ID, c.Name, c.Path = root.engine, name, name, path.Join(root.dir, name)
			lxcProject(c)
			return true
		}
	}
	return false
}

// lxcProject splits off the project: outside the default one, Incus and LXD name a container
// PROJECT_NAME, and a NAME has no underscore.
func lxcProject(c *Container) {
	if c.Engine == LXC {
		return
	}
	if project, name, ok := cutLast(c.ID, "_"); ok {
		c.Namespace, c.Name = project, name
	}
}

// nameNspawn finds the root directory of a machine. Its name is its ID.
func (f *finder) nameNspawn(c *Container, mon func() (Monitor, bool)) bool {
	c.Name = c.ID
	if data, ok := f.store.read("/run/systemd/machines", c.ID); ok {
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "ROOT":
				c.Path = value
			case "LEADER":
				pid, _ := strconv.Atoi(value)
				f.setInit(pid)
			}
		}
		return true
	}
	if mon == nil {
		return false
	}
	if m, ok := mon(); ok && m.Engine == Nspawn {
		c.Path = m.Path
	}
	return true
}

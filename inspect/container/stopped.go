package container

import (
	"path"
	"strings"
)

// Stopped returns the containers that root's engines of the host know of and that do
// not run, as far as their files tell. It reads the files of all of them, so it
// is for when a name was not found among those that run.
func (s *Set) Stopped() (stopped []*Container) {
	f, err := newIdentifier(s.host)
	if err != nil {
		return nil
	}
	defer f.close()
	f.host = s.initial
	n := f.finder(nil)
	if n == nil {
		return nil
	}
	runs := make(map[string]bool)
	for _, c := range s.Containers {
		if c.Outer == nil && c.User <= Root {
			runs[c.ID] = true
		}
	}
	for _, c := range n.known() {
		if c.User, c.Confirmed = Root, true; !runs[c.ID] && c.Name != "" {
			stopped = append(stopped, c)
		}
	}
	return stopped
}

// known returns every container of which the files of an engine tell.
func (f *finder) known() (all []*Container) {
	s := f.store
	s.docker.asked = true
	s.docker.roots = append(s.docker.roots, dockerRoots...)
	s.docker.add(f.dockerRoot())
	for _, root := range s.docker.roots {
		for _, id := range s.list(path.Join(root, "containers"), maxNames) {
			c := &Container{Engine: Docker, ID: id}
			if isHexID(id) && f.nameDocker(c, nil) {
				all = append(all, c)
			}
		}
	}
	f.namePodman(&Container{}, nil)
	for id, entry := range s.podman.known {
		all = append(all, &Container{Engine: Podman, ID: id, Name: entry.name, Image: entry.image, Path: path.Join(entry.dir, id)})
	}
	for _, root := range lxcRoots {
		for _, name := range s.list(root.dir, maxNames) {
			c := &Container{Engine: root.engine, ID: name, Name: name, Path: path.Join(root.dir, name)}
			lxcProject(c)
			// Of a directory without a configuration nothing can be started.
			if root.engine != LXC || s.exists(root.dir, name, "config") {
				all = append(all, c)
			}
		}
	}
	for _, name := range s.list("/var/lib/machines", maxNames) {
		if !strings.HasPrefix(name, ".") {
			name = strings.TrimSuffix(name, ".raw")
			all = append(all, &Container{Engine: Nspawn, ID: name, Name: name, Path: "/var/lib/machines/" + name})
		}
	}
	return all
}

package container

import (
	"path"
	"strings"
)

// Stopped returns the containers of root's engines on the host that do not run, by their files. It
// reads all of these files, so it is for a name that was not found among the running ones.
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

// known returns every container that the files of an engine have.
func (f *finder) known() (all []*Container) {
	for i := range engines {
		if engines[i].stopped != nil {
			all = append(all, engines[i].stopped(f)...)
		}
	}
	return all
}

func (f *finder) knownDocker() (all []*Container) {
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
	return all
}

func (f *finder) knownPodman() (all []*Container) {
	f.namePodman(&Container{}, nil)
	for id, entry := range f.store.podman.known {
		all = append(all, &Container{Engine: Podman, ID: id, Name: entry.name, Image: entry.image, Path: path.Join(entry.dir, id)})
	}
	return all
}

// knownLXC also returns the containers of Incus and LXD.
func (f *finder) knownLXC() (all []*Container) {
	for _, root := range lxcRoots {
		for _, name := range f.store.list(root.dir, maxNames) {
			c := &Container{Engine: root.engine, ID: name, Name: name, Path: path.Join(root.dir, name)}
			lxcProject(c)
			// A directory without a configuration is no container.
			if root.engine != LXC || f.store.exists(root.dir, name, "config") {
				all = append(all, c)
			}
		}
	}
	return all
}

func (f *finder) knownNspawn() (all []*Container) {
	for _, name := range f.store.list("/var/lib/machines", maxNames) {
		if !strings.HasPrefix(name, ".") {
			name = strings.TrimSuffix(name, ".raw")
			all = append(all, &Container{Engine: Nspawn, ID: name, Name: name, Path: "/var/lib/machines/" + name})
		}
	}
	return all
}

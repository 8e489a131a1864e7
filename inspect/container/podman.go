package container

import (
	"path"
	"slices"
	"strings"
)

// podmanState is the contents of the lists of podman's containers.
type podmanState struct {
	read  []string // directories whose lists were read
	asked bool
	known map[string]podmanEntry // by ID
}

type podmanEntry struct {
	name, image, dir string
}

// podmanRoots are root's directories of containers/storage, which podman and CRI-O use, with a
// directory for each driver.
var podmanRoots = []string{"/var/lib/containers/storage", "/run/containers/storage"}

// podmanLists are the lists of containers in such a directory. The second does not survive a
// reboot.
var podmanLists = []string{"containers.json", "volatile-containers.json"}

// namePodman finds a container of podman in containers.json of its storage: root's, or the one
// that its conmon names.
func (f *finder) namePodman(c *Container, mon func() (Monitor, bool)) bool {
	s := &f.store.podman
	if !s.asked && f.hasUsualPlaces() {
		s.asked = true
		for _, root := range podmanRoots {
			for _, name := range f.store.list(root, maxFew) {
				if strings.HasSuffix(name, "-containers") {
					f.readPodman(path.Join(root, name))
				}
			}
		}
	}
	entry, ok := s.known[c.ID]
	if !ok && mon != nil {
		m, watched := mon()
		if !watched || m.ID != c.ID || m.Engine != Podman {
			return false
		}
		// The bundle is [dir]/ID/userdata.
		dir := path.Dir(path.Dir(m.Path))
		f.readPodman(dir)
		if entry, ok = s.known[c.ID]; !ok {
			entry, ok = podmanEntry{name: m.Name, dir: dir}, m.Name != ""
		}
	}
	if ok {
		if f.isHost() && !f.findRuntimeState(c.ID) {
			// Files that do not survive a reboot are elsewhere.
			f.readInit(path.Join("/run/containers/storage", path.Base(entry.dir)), c.ID, "userdata", "pidfile")
		}
		c.Engine, c.Name, c.Image, c.Path = Podman, entry.name, entry.image, path.Join(entry.dir, c.ID)
		f.store.parse(func(d *document) { c.joined.readConfig(d, c, func(string) {}) }, entry.dir, c.ID, "userdata", "config.json")
	}
	return ok
}

// readPodman reads the lists in a directory, once.
func (f *finder) readPodman(dir string) {
	s := &f.store.podman
	if !path.IsAbs(dir) || slices.Contains(s.read, dir) {
		return
	}
	s.read = append(s.read, dir)
	if s.known == nil {
		s.known = make(map[string]podmanEntry)
	}
	for _, list := range podmanLists {
		f.store.parse(func(d *document) {
			for range d.array() {
				id, entry := readPodmanEntry(d)
				if entry.dir = dir; id != "" && entry.name != "" {
					s.known[id] = entry
				}
			}
		}, dir, list)
	}
}

func readPodmanEntry(d *document) (id string, entry podmanEntry) {
	var meta string
	for key := range d.object() {
		switch key {
		case "id":
			id = d.string()
		case "names":
			for i := range d.array() {
				if i == 0 {
					entry.name = d.string()
				}
			}
		case "metadata":
			meta = d.string()
		}
	}
	// JSON in a string. If it is broken, only the image is lost.
	inner := document{text: []byte(meta)}
	for key := range inner.object() {
		if key == "image-name" {
			entry.image = inner.string()
		}
	}
	return id, entry
}

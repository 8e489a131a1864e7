package container

import (
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// A container can be put into a namespace of another one: "docker run --network container:db",
// "podman run --pod". If the other is restarted it gets a new namespace, and the first container
// stays in a namespace that belongs to no container. Only its configuration shows that it was put
// there.

// A Left is a container that was left behind in a namespace of another one.
type Left struct {
	Container *Container
	Type      inspect.Type
	Ino       uint64 // the namespace
	// Partner is the ID of the container that came with it, or "" if the
	// configuration does not say. It may run again, in another namespace.
	Partner string
}

// Left returns the containers that were put into a namespace of another container which is not in
// it any more, as far as both could be seen.
func (s *Set) Left() []Left { return s.left }

// joined is the namespaces of others that a container was put into, by its configuration.
type joined struct {
	inspect.Types
	partner string
}

// typeOf returns the type for a word in config.json of the Open Container Initiative. It is 0 for
// types that cannot be left behind: a PID namespace ends all its members, and a mount namespace is
// not shared in this way.
func typeOf(word string) inspect.Type {
	if word == "network" {
		return inspect.Net
	}
	t, err := inspect.ParseType(word)
	if err != nil || t == inspect.PID || t == inspect.Mnt || t == inspect.Net {
		return 0
	}
	return t
}

// readConfig reads config.json of the Open Container Initiative. It calls annotation with the key
// of each annotation, to read the value. The rest of the file, after the namespaces, is long and
// is not read.
func (j *joined) readConfig(d *document, c *Container, annotation func(key string)) {
	for key := range d.object() {
		switch key {
		case "mounts":
			j.readMounts(d, c)
		case "annotations":
			for key := range d.object() {
				annotation(key)
			}
		case "linux":
			for key := range d.object() {
				if key == "namespaces" {
					j.readNamespaces(d)
					return
				}
			}
		}
	}
}

// readNamespaces reads the list of namespaces. A path below /proc means that the container joined
// the namespace of a process. Any other path may have been made for this container.
func (j *joined) readNamespaces(d *document) {
	for range d.array() {
		var typ, file string
		for key := range d.object() {
			switch key {
			case "type":
				typ = d.string()
			case "path":
				file = d.string()
			}
		}
		if t := typeOf(typ); t != 0 && strings.HasPrefix(file, "/proc/") {
			j.Types = j.With(t)
		}
	}
}

// readMounts reads the list of mounts: a container that shares the network of another has its
// /etc/hosts.
func (j *joined) readMounts(d *document, c *Container) {
	for range d.array() {
		var to, from string
		for key := range d.object() {
			switch key {
			case "destination":
				to = d.string()
			case "source":
				from = d.string()
			}
		}
		if to == "/etc/hosts" {
			j.partner = partnerIn(from, c)
		}
	}
}

// partnerIn returns the ID of the container whose directory a file is in, or "" for c itself.
func partnerIn(file string, c *Container) string {
	parts := strings.Split(path.Clean(file), "/")
	if i := slices.IndexFunc(parts, isHexID); i >= 0 && parts[i] != c.ID {
		return parts[i]
	}
	return ""
}

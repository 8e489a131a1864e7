package container

import (
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// A container can be put into a namespace of another one: "docker run --network
// container:db", "podman run --pod". If that one is started anew it gets a new
// namespace, and the first is left behind in one that nobody came with. That it
// did not come with it either only its configuration says.

// A Left is a container that was left behind in a namespace of another one.
type Left struct {
	Container *Container
	Type      inspect.Type
	Ino       uint64 // the namespace
	// Partner is the ID of the container that came with it, or "" if the
	// configuration does not say. It may run again, in another namespace.
	Partner string
}

// Left returns the containers that were put into a namespace of another one which
// is not in it any more, as far as both could be seen.
func (s *Set) Left() []Left { return s.left }

// joined is what the configuration of a container says of the namespaces of others
// that it was put into.
type joined struct {
	inspect.Types
	partner string
}

// typeOf returns the type that config.json of the Open Container Initiative calls by
// that word, or 0 if it is none of the types that can be left behind: a PID namespace
// ends all its members, and a mount namespace is never shared so.
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

// readConfig reads config.json of the Open Container Initiative, and calls
// annotation with the key of each of its annotations, to read the value. What
// comes behind the namespaces is long and of no use, and is not read.
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

// readNamespaces reads the list of namespaces. What has the path of a process
// joined that one; a path of any other kind is a name that may have been made for
// this container.
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

// readMounts reads the list of mounts: who shares the network of another container
// has its /etc/hosts.
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

// partnerIn returns the ID of the container in whose directory a file is, or "" if
// it is that of c.
func partnerIn(file string, c *Container) string {
	parts := strings.Split(path.Clean(file), "/")
	if i := slices.IndexFunc(parts, isHexID); i >= 0 && parts[i] != c.ID {
		return parts[i]
	}
	return ""
}

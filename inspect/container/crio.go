package container

import (
	"path"
	"strings"
)

// crioDirs are the directories of bundles of CRI-O: of running containers, and of all.
var crioDirs = []string{
	"/run/containers/storage/overlay-containers",
	"/var/lib/containers/storage/overlay-containers",
}

// nameCRIO finds a container of CRI-O in the config.json of its bundle, or by the name in the
// arguments of its conmon.
func (f *finder) nameCRIO(c *Container, mon func() (Monitor, bool)) bool {
	for _, dir := range crioDirs {
		if f.hasUsualPlaces() && f.crioBundle(c, path.Join(dir, c.ID, "userdata")) {
			return true
		}
	}
	if mon == nil {
		return false
	}
	m, ok := mon()
	if !ok || m.ID != c.ID {
		return false
	}
	if f.crioBundle(c, m.Path) {
		return true
	}
	if !f.nameByKubelet(c, m.Name) {
		return false
	}
	f.crioState(c.ID, m.Path)
	c.Engine = CRIO
	return true
}

func (f *finder) crioBundle(c *Container, bundle string) bool {
	found := false
	ok := path.IsAbs(bundle) && f.store.parse(func(d *document) {
		notes := make(map[string]string)
		c.joined.readConfig(d, c, func(key string) {
			if name, ok := strings.CutPrefix(key, "io.kubernetes."); ok {
				notes[name] = d.string()
			}
		})
		if notes["cri-o.ContainerType"] == "" {
			return // podman writes such annotations too
		}
		found = true
		c.Sandbox = notes["cri-o.ContainerType"] == "sandbox"
		c.Name, c.Image = notes["container.name"], notes["cri-o.ImageName"]
		if c.Image == "" {
			c.Image = notes["cri-o.Image"]
		}
		if pod := notes["pod.name"]; pod != "" {
			c.Pod = f.pod(Pod{notes["pod.namespace"], pod, notes["pod.uid"]})
		}
	}, bundle, "config.json")
	if ok && found {
		f.crioState(c.ID, bundle)
		c.Engine, c.Path = CRIO, bundle
	}
	return ok && found
}

// crioState finds the first process of a container, by the state of the low-level runtime, or by
// the file that its conmon wrote.
func (f *finder) crioState(id, bundle string) {
	if f.isHost() && !f.findRuntimeState(id) {
		f.readInit(bundle, "pidfile")
	}
}

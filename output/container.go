package output

import (
	"github.com/nstool/nstool/inspect/container"
)

// A containerField is a fact about a container, for the tables of namespaces, of processes and
// of containers.
type containerField struct {
	help string
	text func(*container.Container) string
}

// value returns the field as a cell, which is none without a container.
func (f containerField) value(c *container.Container) cellValue {
	if c == nil {
		return cellValue{}
	}
	return textValue(f.text(c))
}

var (
	containerName = containerField{"container, with its engine or its pod: docker:web, shop/cart/app", (*container.Container).String}

	containerEngine = containerField{"engine of the container: docker, podman, containerd, crio, lxc, incus, lxd, nspawn ...", func(c *container.Container) string { return string(c.Engine) }}
	containerUser   = containerField{"user whose engine says what the container is: root, or one who runs his own", (*container.Container).EngineUser}
	containerID     = containerField{"ID of the container", func(c *container.Container) string { return c.ID }}
	containerImage  = containerField{"image of the container", func(c *container.Container) string { return c.Image }}
	containerPod    = containerField{"Kubernetes pod of the container: namespace/pod", func(c *container.Container) string {
		if c.Pod == nil || c.Pod.Name == "" {
			return ""
		}
		return c.Pod.Namespace + "/" + c.Pod.Name
	}}
)

package container

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// dockerState is the known places of the state of Docker.
type dockerState struct {
	roots []string
	asked bool

	runtimes []runtimeDir
	listed   bool
}

// dockerRoots are the default data roots of dockerd.
var dockerRoots = []string{"/var/lib/docker", "/var/snap/docker/common/var-lib-docker"}

// nameDocker finds a container of Docker in config.v2.json, below [data-root]/containers/ID.
func (f *finder) nameDocker(c *Container, mon func() (Monitor, bool)) bool {
	s := f.store
	if s.docker.roots == nil && f.hasUsualPlaces() {
		s.docker.roots = slices.Clone(dockerRoots)
	}
	for tried := 0; ; {
		for ; tried < len(s.docker.roots); tried++ {
			dir := path.Join(s.docker.roots[tried], "containers")
			if s.parse(func(d *document) { f.readDocker(d, c) }, dir, c.ID, "config.v2.json") {
				// Most containers of a host have the same root: try it first.
				s.docker.roots[0], s.docker.roots[tried] = s.docker.roots[tried], s.docker.roots[0]
				c.Engine, c.Namespace, c.Path = Docker, "", path.Join(dir, c.ID)
				if f.isHost() {
					f.findDockerState(c.ID)
				}
				return true
			}
		}
		if !s.docker.asked && f.hasUsualPlaces() {
			s.docker.asked = true
			s.docker.add(f.dockerRoot())
		} else if mon != nil {
			s.docker.add(f.dockerRootOf(c, mon))
			mon = nil
		} else {
			return false
		}
	}
}

func (d *dockerState) add(root string) {
	if root != "" && path.IsAbs(root) && !slices.Contains(d.roots, path.Clean(root)) {
		d.roots = append(d.roots, path.Clean(root))
	}
}

// readDocker reads config.v2.json.
func (f *finder) readDocker(d *document, c *Container) {
	for key := range d.object() {
		switch key {
		case "Name":
			c.Name = strings.TrimPrefix(d.string(), "/")
		case "HostsPath": // another container's if it shares its network
			if c.joined.partner = partnerIn(d.string(), c); c.joined.partner != "" {
				c.joined.Types = c.joined.With(inspect.Net)
			}
		case "ShmPath": // another container's if it shares its IPC
			if partnerIn(d.string(), c) != "" {
				c.joined.Types = c.joined.With(inspect.IPC)
			}
		case "State":
			for key := range d.object() {
				if key == "Pid" {
					f.setInit(d.int())
				}
			}
		case "Config":
			for key := range d.object() {
				if key == "Image" {
					c.Image = d.string()
				}
			}
		}
	}
	// cri-dockerd has the same in labels, but labels can also come from the image.
	f.nameByKubelet(c, c.Name)
}

// nameByKubelet names a container of a pod by the kubelet's form of names,
// k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT. cri-dockerd adds one more word if that name is taken.
// It reports whether the name has the form.
func (f *finder) nameByKubelet(c *Container, name string) bool {
	parts := strings.Split(name, "_")
	if parts[0] != "k8s" || len(parts) != 6 && len(parts) != 7 || slices.Contains(parts[1:4], "") {
		return false
	}
	c.Name, c.Sandbox = parts[1], parts[1] == "POD"
	c.Pod = f.pod(Pod{parts[3], parts[2], parts[4]})
	return true
}

// dockerd returns the command line of the host's daemon, or nil if its number is another process's
// now.
func (f *finder) dockerd() []string {
	// The number in the file is of the daemon's own PID namespace.
	if f.outer != nil || !f.isHost() {
		return nil
	}
	data, ok := f.store.read("/run", "docker.pid")
	if !ok {
		return nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return nil
	}
	argv := f.proc.cmdline(pid)
	if len(argv) == 0 || path.Base(argv[0]) != "dockerd" || f.speaker(pid, []string{"dockerd"}) != Root {
		return nil
	}
	return argv
}

// usualRuntime is the state directory of dockerd's default runtime.
var usualRuntime = runtimeDir{"/run/docker/runtime-runc", "moby"}

// findDockerState is findState for a container of Docker. The daemon is asked for other places
// only if it is not in the usual one.
func (f *finder) findDockerState(id string) bool {
	return f.findState(usualRuntime, id) || slices.ContainsFunc(f.dockerRuntimes(), func(r runtimeDir) bool { return f.findState(r, id) })
}

// dockerRuntimes returns the other state directories of Docker's low-level runtimes: one for each
// runtime in the daemon's configuration.
func (f *finder) dockerRuntimes() []runtimeDir {
	s := &f.store.docker
	if !s.listed {
		s.listed = true
		dirs := []string{"/run/docker", "/run/snap.docker"}
		if dir := option(f.dockerd(), "--exec-root"); path.IsAbs(dir) {
			dirs = append(dirs, path.Clean(dir))
		}
		for _, dir := range dirs {
			for _, name := range f.store.list(dir, maxFew) {
				if r := (runtimeDir{path.Join(dir, name), "moby"}); strings.HasPrefix(name, "runtime-") && r != usualRuntime {
					s.runtimes = append(s.runtimes, r)
				}
			}
		}
	}
	return s.runtimes
}

// dockerRoot returns the data root in the command line or the configuration of the daemon.
func (f *finder) dockerRoot() string {
	argv := f.dockerd()
	if root := option(argv, "--data-root", "-g", "--graph"); root != "" {
		return root
	}
	config := option(argv, "--config-file")
	if config == "" {
		config = "/etc/docker/daemon.json"
	}
	var root string
	f.store.parse(func(d *document) {
		for key := range d.object() {
			if key == "data-root" || key == "graph" {
				root = d.string()
			}
		}
	}, path.Dir(config), path.Base(config))
	return root
}

// dockerRootOf finds the data root in the bundle of a container: Docker mounts files from there
// into every one, such as resolv.conf.
func (f *finder) dockerRootOf(c *Container, mon func() (Monitor, bool)) (root string) {
	m, ok := mon()
	if !ok || m.Path == "" {
		return ""
	}
	f.store.parse(func(d *document) {
		for key := range d.object() {
			if key != "mounts" {
				continue
			}
			for range d.array() {
				for key := range d.object() {
					if key != "source" {
						continue
					}
					if before, _, ok := strings.Cut(d.string(), "/containers/"+c.ID+"/"); ok {
						root = before
					}
				}
			}
		}
	}, m.Path, "config.json")
	return root
}

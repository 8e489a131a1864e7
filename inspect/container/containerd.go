package container

import (
	"path"
	"slices"
	"strings"
)

// containerdState is the known places of the state of containerd.
type containerdState struct {
	states []string
	asked  bool
	tasks  []taskDir // listed once
}

// A taskDir holds the bundles of the tasks of one namespace of containerd.
type taskDir struct {
	dir       string
	namespace string
}

// containerdStates are the state directories of containerd, of its own, in Docker and in the
// distributions of Kubernetes.
var containerdStates = []string{
	"/run/containerd",
	"/run/docker/containerd/daemon",
	"/run/k3s/containerd",
	"/run/k0s/containerd",
	"/var/snap/microk8s/common/run/containerd",
}

// taskDirs are the directories of bundles below those, of the two versions of the runtime.
var taskDirs = []string{"io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"}

// nameContainerd finds a container of containerd in the bundle of its task,
// [state]/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json.
func (f *finder) nameContainerd(c *Container, mon func() (Monitor, bool)) bool {
	if f.bundle(c) {
		return true
	}
	if mon == nil {
		return false
	}
	m, ok := mon()
	if !ok || m.Socket == "" {
		return false
	}
	// The state is beside the socket, and the shim runs in its bundle.
	f.addState(path.Dir(m.Socket))
	f.addState(path.Join(path.Dir(m.Socket), "daemon"))
	if state, _, ok := strings.Cut(m.Path, "/"+taskDirs[0]+"/"); ok {
		f.addState(state)
	}
	if c.Namespace == "" {
		c.Namespace = m.Namespace
	}
	return f.bundle(c)
}

// bundle looks for the bundle of c in every known place.
func (f *finder) bundle(c *Container) bool {
	for _, t := range f.taskDirs() {
		if c.Namespace != "" && c.Namespace != t.namespace {
			continue
		}
		if !f.store.parse(func(d *document) { f.readBundle(d, c) }, t.dir, c.ID, "config.json") {
			continue
		}
		c.Namespace, c.Path = t.namespace, path.Join(t.dir, c.ID)
		if c.Name == "" && !isHexID(c.ID) {
			c.Name = c.ID
		}
		if c.Engine = Containerd; t.namespace == "moby" {
			c.Engine = Docker
		}
		if f.isHost() {
			found := false
			if c.Engine == Docker {
				found = f.findDockerState(c.ID)
			} else {
				found = f.findState(runtimeDir{"/run/containerd/runc", t.namespace}, c.ID)
			}
			if !found {
				f.readInit(t.dir, c.ID, "init.pid")
			}
		}
		return true
	}
	return false
}

// findTask returns the directory with the bundle of a task. It looks in the most usual place
// first, since listing all takes longer than the rest.
func (f *finder) findTask(namespace, id string) (dir string, ok bool) {
	if !isName(namespace) || !isName(id) {
		return "", false
	}
	if dir = path.Join(containerdStates[0], taskDirs[0], namespace); f.hasUsualPlaces() && f.store.exists(dir, id) {
		return dir, true
	}
	for _, t := range f.taskDirs() {
		if t.namespace == namespace && f.store.exists(t.dir, id) {
			return t.dir, true
		}
	}
	return "", false
}

// taskDirs lists the namespaces of every known containerd.
func (f *finder) taskDirs() []taskDir {
	if s := &f.store.containerd; !s.asked {
		s.asked = true
		if !f.isHost() && f.outer == nil {
			return nil // a user's are where the shim says
		}
		for _, state := range containerdStates {
			f.addState(state)
		}
		f.addState(f.containerdConfig())
	}
	return f.store.containerd.tasks
}

// addState adds a state directory, with the namespaces in it.
func (f *finder) addState(state string) {
	s := &f.store.containerd
	state = path.Clean(state)
	if !path.IsAbs(state) || slices.Contains(s.states, state) {
		return
	}
	s.states = append(s.states, state)
	for _, tasks := range taskDirs {
		dir := path.Join(state, tasks)
		names := f.store.list(dir, maxFew)
		slices.Sort(names)
		for _, namespace := range names {
			s.tasks = append(s.tasks, taskDir{path.Join(dir, namespace), namespace})
		}
	}
}

// containerdConfig returns the state directory in the configuration of containerd. That is TOML;
// the value is before the first table.
func (f *finder) containerdConfig() string {
	data, _ := f.store.read("/etc/containerd", "config.toml")
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			break
		}
		if key, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "state" {
			value, _, _ = strings.Cut(value, "#")
			return strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return ""
}

// readBundle reads the annotations of CRI or nerdctl in the config.json of a bundle, and its
// namespaces.
func (f *finder) readBundle(d *document, c *Container) {
	notes := make(map[string]string)
	c.joined.readConfig(d, c, func(key string) {
		if strings.HasPrefix(key, "io.kubernetes.cri.") || strings.HasPrefix(key, "nerdctl/") {
			notes[strings.TrimPrefix(key, "io.kubernetes.cri.")] = d.string()
		}
	})
	c.Name = notes["nerdctl/name"]
	kind := notes["container-type"]
	if kind == "" {
		return
	}
	c.Sandbox = kind == "sandbox"
	c.Name, c.Image = notes["container-name"], notes["image-name"]
	if c.Image == "" {
		c.Image = notes["podsandbox.image-name"]
	}
	pod := Pod{notes["sandbox-namespace"], notes["sandbox-name"], notes["sandbox-uid"]}
	if pod.Name == "" {
		// Before containerd 1.5 only the sandbox has its log directory:
		// /var/log/pods/NAMESPACE_NAME_UID.
		logs := notes["sandbox-log-directory"]
		if logs == "" && !c.Sandbox {
			logs = f.sandboxLogs(notes["sandbox-id"])
		}
		if parts := strings.Split(path.Base(logs), "_"); len(parts) == 3 {
			pod = Pod{parts[0], parts[1], parts[2]}
		}
	}
	if pod.Name != "" {
		c.Pod = f.pod(pod)
	}
}

// sandboxLogs returns the log directory of the sandbox of a container.
func (f *finder) sandboxLogs(sandbox string) (logs string) {
	if !isName(sandbox) {
		return ""
	}
	// The document that is being read is in the store's buffer.
	buf := f.store.buf
	f.store.buf = make([]byte, len(buf))
	defer func() { f.store.buf = buf }()
	for _, t := range f.taskDirs() {
		f.store.parse(func(d *document) {
			for key := range d.object() {
				if key != "annotations" {
					continue
				}
				for key := range d.object() {
					if key == "io.kubernetes.cri.sandbox-log-directory" {
						logs = d.string()
					}
				}
			}
		}, t.dir, sandbox, "config.json")
	}
	return logs
}

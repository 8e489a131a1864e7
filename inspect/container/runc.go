package container

import "path"

// runtimes are the state directories of runc and crun for containers without an engine above, and
// the file in them. Podman and CRI-O use them too.
var runtimes = []struct {
	engine Engine
	dir    string
	file   string
}{
	{Runc, "/run/runc", "state.json"},
	{Crun, "/run/crun", "status"},
}

// nameRuntime finds a container that was started by runc or crun directly. Its name is its ID.
func (f *finder) nameRuntime(c *Container, _ func() (Monitor, bool)) bool {
	if !f.hasUsualPlaces() {
		return false
	}
	for _, r := range runtimes {
		if f.store.parse(func(d *document) { f.readRuntime(d, c) }, r.dir, c.ID, r.file) {
			c.Engine, c.Name = r.engine, c.ID
			return true
		}
	}
	return false
}

// hasRuntime reports whether runc or crun has a container with that ID.
func (f *finder) hasRuntime(id string) bool {
	for _, r := range runtimes {
		if isName(id) && f.store.exists(r.dir, path.Join(id, r.file)) {
			return true
		}
	}
	return false
}

// A runtimeDir is where runc or crun keep state for an engine: below root, in a directory for each
// of its namespaces.
type runtimeDir struct{ root, namespace string }

// findState finds the first process of a container in the state of runc or crun, and reports
// whether there is one.
func (f *finder) findState(r runtimeDir, id string) bool {
	for _, runtime := range runtimes {
		if f.store.parse(func(d *document) { f.readRuntime(d, nil) }, path.Join(r.root, r.namespace), id, runtime.file) {
			return true
		}
	}
	return false
}

// findRuntimeState is findState for engines that leave the place to the runtime.
func (f *finder) findRuntimeState(id string) bool {
	for _, r := range runtimes {
		if f.findState(runtimeDir{root: r.dir}, id) {
			return true
		}
	}
	return false
}

// readRuntime reads state.json of runc, or status of crun. For a nil c it only reads the first
// process.
func (f *finder) readRuntime(d *document, c *Container) {
	var pid, start int
	for key := range d.object() {
		switch key {
		case "init_process_pid", "pid":
			pid = d.int()
		case "init_process_start", "process-start-time":
			start = d.int()
		case "bundle":
			if c != nil {
				c.Path = d.string()
			}
		case "config":
			if c == nil {
				continue
			}
			for key := range d.object() {
				if key == "rootfs" && c.Path == "" {
					c.Path = d.string()
				}
			}
		}
		if c == nil && pid != 0 && start != 0 {
			break // the rest is long and not needed
		}
	}
	f.setInit(pid)
	f.start = uint64(max(0, start))
}

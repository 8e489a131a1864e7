package container

import "path"

// runtimes are where runc and crun keep the state of containers that nobody
// above them looks after, by engine and the file in it.
var runtimes = []struct {
	engine Engine
	dir    string
	file   string
}{
	{Runc, "/run/runc", "state.json"},
	{Crun, "/run/crun", "status"},
}

// nameRuntime finds a container that was started by runc or crun themselves.
// Its name is its ID.
func (f *finder) nameRuntime(c *Container, _ func() (Monitor, bool)) bool {
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

// readRuntime reads state.json of runc, or status of crun.
func (f *finder) readRuntime(d *document, c *Container) {
	for key := range d.object() {
		switch key {
		case "init_process_pid", "pid":
			f.init = d.int()
		case "bundle":
			c.Path = d.string()
		case "config":
			for key := range d.object() {
				if key == "rootfs" && c.Path == "" {
					c.Path = d.string()
				}
			}
		}
	}
}

package container

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// A State is the progress of a container, by the files of its engine.
type State uint8

const (
	// StateUnknown: no file has the state.
	StateUnknown State = iota
	// StateCreated: it is being set up, or waits to be started. Its first process is still that of
	// the runtime.
	StateCreated
	// StateRunning: it was started.
	StateRunning
)

// A Config is the configuration of a container in the files of its engine, and its state. Values
// that no file has are zero.
type Config struct {
	State State
	// PID is that of its first process, as the engine numbers them.
	PID int
	// Runtime is Runc or Crun, if the state of one of them was found.
	Runtime Engine
	// Root is its root directory, as the engine sees it.
	Root string

	// User is the user that its first process starts as, in the numbers of the container, and Env
	// its environment.
	User *User
	Env  []string
	// Caps are its capability sets.
	Caps *Capabilities
	// NoNewPrivs and Seccomp: it gets this attribute, and a filter.
	NoNewPrivs, Seccomp bool
}

// Capabilities are the capability sets of a configuration, by names such as "CAP_NET_RAW".
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient []string
}

// A User is the user of the first process of a container.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Config reads the configuration and the state of a container now. A file that is missing, or that
// the caller may not read, is no error; one that cannot be understood is.
func (s *Set) Config(c *Container) (*Config, error) {
	conf := &Config{}
	err := s.find(c, func(f *finder) {
		if isName(c.ID) {
			f.config(c, conf)
		}
	})
	return conf, err
}

// HasRoot reports whether a directory, by device and inode number, is the root directory of c as
// in conf.
func (s *Set) HasRoot(c *Container, conf *Config, dev, ino uint64) (is bool) {
	if !path.IsAbs(conf.Root) {
		return false
	}
	err := s.find(c, func(f *finder) {
		if dir, ok := f.store.open(conf.Root); ok {
			id, err := dir.ID()
			is = err == nil && id == sys.FileID{Dev: dev, Ino: ino}
		}
	})
	return is && err == nil
}

// IsDaemon reports whether a process is root's, is on the host, and runs the program of that name
// from a place where only root can put one. Name and user alone prove nothing: anybody can run a
// set-user-ID program under any name.
func (s *Set) IsDaemon(pid int, program string) bool {
	id, err := newIdentifier(s.host)
	if err != nil {
		return false
	}
	defer id.close()
	id.host = s.initial
	return id.speaker(pid, []string{program}) == Root
}

// find calls do with a finder for the engine of c.
func (s *Set) find(c *Container, do func(*finder)) error {
	id, err := newIdentifier(s.host)
	if err != nil {
		return err
	}
	defer id.close()
	id.host = s.initial
	if c.Outer != nil {
		id.contents[c.Outer] = &contents{}
	}
	f := id.finder(c.Outer)
	if c.Outer == nil && c.User != Root { // root's files have other containers
		f = id.userFinder(c.User)
	}
	if f != nil {
		do(f)
	}
	var errs []error
	for _, g := range id.set.Gaps {
		if errors.Is(g.Err, errOthers) {
			continue // it is treated as missing
		}
		errs = append(errs, fmt.Errorf("%s: %w", g.What, g.Err))
	}
	return errors.Join(errs...)
}

// config reads the configuration of c, from all kinds of files that exist.
func (f *finder) config(c *Container, conf *Config) {
	e := c.Engine.entry()
	if e.config != nil {
		e.config(f, c, conf)
		return
	}
	var bundle string
	var roots []string
	if e.bundle != nil {
		bundle, roots = e.bundle(f, c)
	}
	if roots == nil {
		roots = f.runtimeRoots(c)
	}
	for _, root := range roots {
		if b, ok := f.runtimeState(path.Join(root, c.ID), conf); ok {
			if b != "" {
				bundle = b
			}
			break
		}
	}
	if c.Engine == Docker {
		f.dockerState(c, conf)
	}
	oci := Config{}
	if !path.IsAbs(bundle) || !f.store.parse(oci.readOCI, bundle, "config.json") {
		return
	}
	conf.User, conf.Env = oci.User, oci.Env
	if conf.Runtime == Runc {
		return // what it keeps of the rest nobody else has written since
	}
	conf.Caps, conf.NoNewPrivs, conf.Seccomp = oci.Caps, oci.NoNewPrivs, oci.Seccomp
	if conf.Root == "" && oci.Root != "" {
		conf.Root = oci.Root
		if !path.IsAbs(oci.Root) {
			conf.Root = path.Join(bundle, oci.Root)
		}
	}
}

// shimBundle is the bundle of an engine whose containers a shim of containerd watches over.
func (f *finder) shimBundle(c *Container) (bundle string, roots []string) {
	namespace := c.Namespace
	if c.Engine == Docker {
		namespace = "moby"
	}
	dir, ok := f.findTask(namespace, c.ID)
	if !ok {
		return "", nil
	}
	bundle = path.Join(dir, c.ID)
	f.store.parse(func(d *document) {
		for key := range d.object() {
			if key == "root" {
				roots = append(roots, path.Join("/", d.string(), namespace))
			}
		}
	}, bundle, "options.json")
	return bundle, append(roots, path.Join("/run/containerd/runc", namespace))
}

// runtimeRoots returns the usual state directories of runc and crun, for root and for users.
func (f *finder) runtimeRoots(c *Container) (roots []string) {
	for _, r := range runtimes {
		roots = append(roots, r.dir)
	}
	for _, user := range f.store.list("/run/user", maxFew) {
		if f.outer == nil && user != strconv.FormatInt(int64(c.User), 10) {
			continue // another's
		}
		for _, r := range runtimes {
			roots = append(roots, path.Join("/run/user", user, path.Base(r.dir)))
		}
	}
	return roots
}

// runtimeState reads the state of a container of runc or crun in dir, and reports whether there is
// one. exec.fifo is there until the program is started.
func (f *finder) runtimeState(dir string, conf *Config) (bundle string, ok bool) {
	if !f.store.exists(path.Dir(dir), path.Base(dir)) {
		return "", false
	}
	conf.State = StateRunning
	if f.store.exists(dir, "exec.fifo") {
		conf.State = StateCreated
	}
	switch {
	case f.store.parse(func(d *document) { bundle = conf.readRunc(d) }, dir, "state.json"):
		conf.Runtime = Runc
	case f.store.parse(func(d *document) { bundle = conf.readCrun(d) }, dir, "status"):
		conf.Runtime = Crun
		if f.store.exists(dir, "config.json") { // a copy, that nobody else writes
			bundle = dir
		}
	default:
		// A container that is being made has no state yet.
		conf.State = StateCreated
	}
	return bundle, true
}

// readRunc reads the state.json of runc, which has the configuration too.
func (conf *Config) readRunc(d *document) (bundle string) {
	for key := range d.object() {
		switch key {
		case "init_process_pid":
			conf.PID = d.int()
		case "config":
			for key := range d.object() {
				switch key {
				case "rootfs":
					conf.Root = d.string()
				case "no_new_privileges":
					conf.NoNewPrivs = d.bool()
				case "seccomp":
					conf.Seccomp = !d.null()
				case "capabilities":
					conf.Caps = readCaps(d)
				case "labels":
					for range d.array() {
						if b, ok := strings.CutPrefix(d.string(), "bundle="); ok {
							bundle = b
						}
					}
				}
			}
		}
	}
	return bundle
}

// readCrun reads the status of crun.
func (conf *Config) readCrun(d *document) (bundle string) {
	for key := range d.object() {
		switch key {
		case "pid":
			conf.PID = d.int()
		case "rootfs":
			conf.Root = d.string()
		case "bundle":
			bundle = d.string()
		}
	}
	return bundle
}

// dockerState reads Docker's state of a container, which is running once the runtime has reported
// it as started.
func (f *finder) dockerState(c *Container, conf *Config) {
	f.store.parse(func(d *document) {
		for key := range d.object() {
			if key != "State" {
				continue
			}
			running, pid := false, 0
			for key := range d.object() {
				switch key {
				case "Running":
					running = d.bool()
				case "Pid":
					pid = d.int()
				}
			}
			switch conf.PID = pid; {
			case !running || pid == 0:
				conf.State, conf.PID = StateCreated, 0
			case conf.State == StateUnknown:
				conf.State = StateRunning
			}
			return
		}
	}, c.Path, "config.v2.json")
}

// readOCI reads the config.json of an OCI bundle.
func (conf *Config) readOCI(d *document) {
	for key := range d.object() {
		switch key {
		case "root":
			for key := range d.object() {
				if key == "path" {
					conf.Root = d.string()
				}
			}
		case "process":
			for key := range d.object() {
				switch key {
				case "user":
					conf.User = readUser(d)
				case "env":
					for range d.array() {
						conf.Env = append(conf.Env, d.string())
					}
				case "capabilities":
					conf.Caps = readCaps(d)
				case "noNewPrivileges":
					conf.NoNewPrivs = d.bool()
				}
			}
		case "linux":
			for key := range d.object() {
				if key != "seccomp" || d.null() {
					continue
				}
				// A configuration without filters is none.
				for key := range d.object() {
					switch key {
					case "defaultAction":
						conf.Seccomp = conf.Seccomp || d.string() != ""
					case "syscalls":
						for range d.array() {
							conf.Seccomp = true
						}
					}
				}
			}
		}
	}
}

func readUser(d *document) *User {
	u := &User{}
	for key := range d.object() {
		switch key {
		case "uid":
			u.UID = uint32(d.int())
		case "gid":
			u.GID = uint32(d.int())
		case "additionalGids":
			for range d.array() {
				u.Groups = append(u.Groups, uint32(d.int()))
			}
		}
	}
	return u
}

// readCaps reads capability sets, by the names of OCI or runc.
func readCaps(d *document) *Capabilities {
	if d.null() {
		return nil
	}
	sets := &Capabilities{}
	for key := range d.object() {
		var to *[]string
		switch strings.ToLower(key) {
		case "bounding":
			to = &sets.Bounding
		case "effective":
			to = &sets.Effective
		case "permitted":
			to = &sets.Permitted
		case "inheritable":
			to = &sets.Inheritable
		case "ambient":
			to = &sets.Ambient
		default:
			continue
		}
		for range d.array() {
			*to = append(*to, d.string())
		}
	}
	return sets
}

// maxLXC is the largest number of files that a configuration of LXC may include.
const maxLXC = 32

// lxcConfig reads the configuration of a container of LXC. Without a root directory in it, the
// container has that of the host. Incus and LXD write it when they start a container.
func (f *finder) lxcConfig(c *Container, conf *Config) {
	file := path.Join(c.Path, "config")
	if c.Engine != LXC {
		log := "/var/log/" + string(c.Engine)
		if c.Engine == LXD && strings.HasPrefix(c.Path, "/var/snap/") {
			log = "/var/snap/lxd/common/lxd/logs"
		}
		file = path.Join(log, c.ID, "lxc.conf")
	}
	left := maxLXC
	if path.IsAbs(c.Path) && f.readLXC(file, conf, &left) && conf.Root == "" {
		conf.Root = "/"
	}
}

func (f *finder) readLXC(file string, conf *Config, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	data, ok := f.store.read(path.Dir(file), path.Base(file))
	if !ok {
		return false
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "lxc.include":
			f.includeLXC(value, conf, left)
		case "lxc.rootfs.path", "lxc.rootfs":
			if kind, dir, ok := strings.Cut(value, ":"); ok && !path.IsAbs(kind) {
				value = dir
			}
			conf.Root = value
		case "lxc.seccomp.profile", "lxc.seccomp":
			conf.Seccomp = value != "" && value != "none"
		case "lxc.no_new_privs":
			n, err := strconv.Atoi(value)
			conf.NoNewPrivs = err == nil && n == 1
		}
	}
	return true
}

// includeLXC reads an included file, or the files *.conf of an included directory.
func (f *finder) includeLXC(file string, conf *Config, left *int) {
	dir, ok := f.store.open(path.Dir(file))
	if !ok || !path.IsAbs(file) {
		return
	}
	if st, err := dir.Stat(path.Base(file), false); err != nil || !st.IsDir() {
		f.readLXC(file, conf, left)
		return
	}
	for _, name := range f.store.list(file, maxFew) {
		if strings.HasSuffix(name, ".conf") {
			f.readLXC(path.Join(file, name), conf, left)
		}
	}
}

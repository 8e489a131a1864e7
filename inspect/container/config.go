package container

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// A State says how far a container is, by the files of its engine.
type State uint8

const (
	// StateUnknown is that of a container of which no file says it.
	StateUnknown State = iota
	// StateCreated is that of one that is being set up, or waits to be started:
	// its first process is the runtime's still.
	StateCreated
	// StateRunning is that of one that was started.
	StateRunning
)

// A Config is what the files of an engine say of a container: how far it is, and
// what its first process is to be. What no file says is the zero value.
type Config struct {
	State State
	// PID is that of its first process, as the engine numbers them.
	PID int
	// Runtime is Runc or Crun, if the state of one of them was found.
	Runtime Engine
	// Root is its root directory, as the engine sees it.
	Root string

	// User is as whom its first process is to run, as the container numbers
	// users, and Env its environment.
	User *User
	Env  []string
	// Caps are the capability sets that it is to have.
	Caps *Capabilities
	// NoNewPrivs and Seccomp say that it is to have that attribute, and a filter.
	NoNewPrivs, Seccomp bool
}

// Capabilities are the capability sets that a configuration has, by names such as
// "CAP_NET_RAW".
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient []string
}

// A User is who the first process of a container is to be.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Config reads what the files of its engine say of a container, now. That there
// is no file, or that the caller may not read it, is no error; that one cannot be
// understood is.
func (s *Set) Config(c *Container) (*Config, error) {
	conf := &Config{}
	err := s.find(c, func(f *finder) {
		if isName(c.ID) {
			f.config(c, conf)
		}
	})
	return conf, err
}

// HasRoot reports whether the directory with that device and inode number is the
// one that conf says is the root directory of c.
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

// IsDaemon reports whether a process is root's, of the host, and runs the program of
// that name from where root alone can put one: what it is called and as which user it
// runs anybody can arrange, by a set-user-ID program.
func (s *Set) IsDaemon(pid int, program string) bool {
	id, err := newIdentifier(s.host)
	if err != nil {
		return false
	}
	defer id.close()
	id.host = s.initial
	return id.speaker(pid, []string{program}) == Root
}

// find calls do with a finder where the engine of c is.
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
	if c.Outer == nil && c.User != Root { // what root's files say is of another
		f = id.userFinder(c.User)
	}
	if f != nil {
		do(f)
	}
	var errs []error
	for _, g := range id.set.Gaps {
		if errors.Is(g.Err, errOthers) {
			continue // it says nothing, as if it were not there
		}
		errs = append(errs, fmt.Errorf("%s: %w", g.What, g.Err))
	}
	return errors.Join(errs...)
}

// config reads the files of every kind that there are of c.
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

// shimBundle is the bundle of an engine whose containers a shim of containerd watches
// over.
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

// runtimeRoots returns the usual directories in which runc and crun keep state, for root
// and for users.
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

// runtimeState reads the state that runc or crun keeps of a container in dir, and
// reports whether it is there. While its program is not started there is
// exec.fifo, by which it is.
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
		// Of a container that is being made there is nothing yet.
		conf.State = StateCreated
	}
	return bundle, true
}

// readRunc reads the state.json of runc, with what it has made of the
// configuration.
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

// dockerState reads what Docker says of a container. It says that it runs when
// the runtime has said that it was started.
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
				// One that says nothing is none.
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

// readCaps reads capability sets, by the names that OCI or runc has for each.
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

// maxLXC bounds how many files a configuration of LXC is made of.
const maxLXC = 32

// lxcConfig reads the configuration of a container of LXC. One that names no root
// directory has that of the host. Incus and LXD write it when they start one.
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

// includeLXC reads a file that a configuration includes, or those in a directory
// whose names end in .conf.
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

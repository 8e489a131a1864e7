package container

import (
	"path"
	"strings"
)

// An engine is everything in which one engine differs from others. A new one is an entry in
// engines, a file with the functions that it names, and a made-up host in testdata/host.
// TARGET, completion, nstool-doctor(1) and a test of the manual read the table.
type engine struct {
	name Engine
	// forms are the names that it gives to control groups.
	forms []form
	// find names a container of it.
	find namer
	// anywhere: its containers can be in any control group, so it is asked about one of
	// an unknown engine, in the order of the table.
	anywhere bool
	// watchers are the programs that watch over a container; "*" stands for any end.
	watchers []string
	// watched: its files do not have the first process, so the program that watches over
	// a container confirms it.
	watched bool
	// stopped returns the containers that its files have; nil for none.
	stopped func(*finder) []*Container
	// config reads the configuration of a container; nil for that of its OCI bundle.
	config func(*finder, *Container, *Config)
	// bundle returns the OCI bundle of a container, and the directories where its runtime
	// keeps state, nil for the usual ones.
	bundle func(*finder, *Container) (bundle string, roots []string)
	Handling
}

// Handling says how a user of an engine deals with a container of it.
type Handling struct {
	// Stop returns the command that stops a container; nil if there is none, and its
	// first process has to be killed.
	Stop func(*Container) []string
	// Restarts: "ENGINE restart -- ID" stops a container and starts it again.
	Restarts bool
	// Flags: flags of "ENGINE run" give a container more rights.
	Flags bool
	// OwnNet and OwnUsers say how to start a container with a network, or with users, of
	// its own. They are "" if leaving out flags does it.
	OwnNet, OwnUsers string
}

// A form is a name of a control group: a prefix and an ID, or an ID below the group parent.
type form struct {
	prefix, parent string
	kind           partKind             // partOther is partContainer
	namespace      string               // of containerd
	text           bool                 // the ID is any text; else it has 64 hexadecimal digits
	is             func(id string) bool // another condition in place of these
	unit           string               // what must follow the ID: the suffix of a unit of systemd
	escaped        bool                 // the ID is escaped as in systemd.unit(5)
}

// id returns the ID in the name of a group, if the name has the form; below is the name of
// the group above.
func (f *form) id(below, name string) (id string, ok bool) {
	if f.parent != "" {
		id, ok = name, below == f.parent
	} else if id, ok = strings.CutPrefix(name, f.prefix); ok {
		switch {
		case f.unit != "":
			id, ok = strings.CutSuffix(id, f.unit)
		case !f.text: // a text may well end in ".scope"
			id = strings.TrimSuffix(id, ".scope")
		}
	}
	switch {
	case !ok || id == "":
		return "", false
	case f.is != nil:
		return id, f.is(id)
	}
	return id, f.text || isHexID(id)
}

// engines are the engines, in the order in which users read them.
var engines = []engine{
	{
		name: Docker, find: (*finder).nameDocker, anywhere: true, watchers: shims, stopped: (*finder).knownDocker, bundle: (*finder).shimBundle,
		forms:    []form{{prefix: "docker-"}, {parent: "docker"}},
		Handling: Handling{Stop: stopByName, Restarts: true, Flags: true},
	},
	{
		name: Podman, find: (*finder).namePodman, anywhere: true, watchers: []string{"conmon"}, stopped: (*finder).knownPodman,
		bundle:   func(_ *finder, c *Container) (string, []string) { return path.Join(c.Path, "userdata"), nil },
		forms:    []form{{prefix: "libpod-conmon-", kind: partMonitor}, {prefix: "libpod-payload-"}, {prefix: "libpod-"}},
		Handling: Handling{Stop: stopByName, Restarts: true, Flags: true},
	},
	{
		name: Containerd, find: (*finder).nameContainerd, anywhere: true, watchers: shims, bundle: (*finder).shimBundle,
		forms: []form{{prefix: "cri-containerd-", namespace: "k8s.io"}, {prefix: "nerdctl-"}},
		Handling: Handling{Flags: true, OwnNet: "without --net-host", Stop: func(c *Container) []string {
			if c.Namespace == "" {
				return nil
			}
			return []string{"ctr", "-n", c.Namespace, "task", "kill", "-s", "SIGKILL", c.ID}
		}},
	},
	{
		name: CRIO, find: (*finder).nameCRIO, anywhere: true, watchers: []string{"conmon", "conmonrs"},
		bundle: func(_ *finder, c *Container) (string, []string) { return c.Path, nil },
		forms:  []form{{prefix: "crio-conmon-", kind: partMonitor}, {prefix: "crio-"}},
	},
	{
		name: LXC, find: (*finder).nameLXC, watchers: []string{"lxc-start", "lxc-execute", "lxc-autostart", "incusd", "lxd"}, watched: true,
		stopped: (*finder).knownLXC, config: (*finder).lxcConfig,
		forms: []form{
			{prefix: "lxc.monitor.", text: true, kind: partMonitor},
			{prefix: "lxc.payload.", text: true},
			{parent: "lxc", text: true},
			{parent: "lxc.payload", text: true},
			{parent: "lxc.monitor", text: true, kind: partMonitor},
		},
		Handling: Handling{OwnNet: "with lxc.net.0.type = veth, or empty", OwnUsers: "with lxc.idmap, as an unprivileged one", Stop: stopLXC},
	},
	{name: Incus, find: (*finder).nameLXC, watched: true, config: (*finder).lxcConfig},
	{name: LXD, find: (*finder).nameLXC, watched: true, config: (*finder).lxcConfig},
	{
		name: Nspawn, find: (*finder).nameNspawn, watchers: []string{"systemd-nspawn"}, watched: true, stopped: (*finder).knownNspawn,
		config: func(*finder, *Container, *Config) {}, // it keeps none
		forms: []form{
			{prefix: "machine-", unit: ".scope", escaped: true, is: isMachine},
			{prefix: "systemd-nspawn@", unit: ".service", escaped: true, text: true},
		},
		Handling: Handling{OwnNet: "with --private-network", OwnUsers: "with --private-users=pick"},
	},
	{name: BuildKit, find: noName, forms: []form{{parent: "buildkit"}, {parent: "buildkit", is: isBuildKitID}, {prefix: "docker-", is: isBuildKitID}}},
	{name: Runc, find: (*finder).nameRuntime, anywhere: true, forms: []form{{prefix: "runc-", unit: ".scope", text: true}}},
	{name: Crun, find: (*finder).nameRuntime, forms: []form{{prefix: "crun-", unit: ".scope", text: true}}},
}

// shims are the programs of containerd that watch over a container.
var shims = []string{"containerd-shim*"}

// Engines returns the engines that this package knows.
func Engines() (all []Engine) {
	for _, e := range engines {
		all = append(all, e.name)
	}
	return all
}

// entry returns the entry of an engine, or an empty one.
func (e Engine) entry() engine {
	for _, entry := range engines {
		if entry.name == e {
			return entry
		}
	}
	return engine{}
}

// Handling returns how a user deals with a container of the engine.
func (e Engine) Handling() Handling { return e.entry().Handling }

func stopByName(c *Container) []string { return []string{string(c.Engine), "stop", "--", c.ID} }

func stopLXC(c *Container) []string {
	words := []string{"lxc-stop", "-t", "10", "-n", c.ID}
	if dir := path.Dir(c.Path); c.Path != "" && dir != "/var/lib/lxc" {
		words = append(words, "-P", dir)
	}
	return words
}

// noName is the namer of an engine whose containers have none.
func noName(*finder, *Container, func() (Monitor, bool)) bool { return true }

// isMachine reports whether systemd-machined calls a container so: it keeps virtual
// machines too, and containers of LXC.
func isMachine(id string) bool {
	return !strings.HasPrefix(id, `qemu\x2d`) && !strings.HasPrefix(id, `lxc\x2d`)
}

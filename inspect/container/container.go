// Package container tells which container a process is in: the engine, the
// container's ID, name and image, and for Kubernetes the pod.
//
// It asks no engine and links none in. What it knows comes from three places,
// each only if the one before did not say enough:
//
//   - the control group of a process, whose path holds the ID. A parser
//     reads all the forms there are, and nests them: a container in a
//     container has both;
//   - the files in which the engine keeps its state, which hold the name. They
//     are read once for each container, a few kilobytes at a time;
//   - the command line of the container's parent (conmon, containerd's shim,
//     the monitor of LXC, systemd-nspawn), which says where those files are
//     when they are not where they usually are.
//
// [Find] does all of it for a snapshot:
//
//	set := container.Find(ctx, snap)
//	for p := range snap.Processes() {
//		fmt.Println(p.PID, set.Of(p).Container)
//	}
//
// # Trust
//
// All of this was written by somebody else: so every fact has an [Owner]. A
// container that is root's is named by root's files, which nobody else can write,
// and only if its first process is the one that they tell of, by its start time
// or in a control group that only root can have made; where there is no file, by
// root's own monitor. What another user's engine says is that user's word. A name
// that cannot be confirmed is no name.
//
// A path is matched as a whole or not
// at all; a file is read only if it is a regular file of a bounded size below
// the directory where it belongs, without following links; JSON is read for the
// few values wanted. A name may still hold anything: clean it before showing
// it. What could not be read costs the name and is a [inspect.Gap], never the container.
package container

// An Engine is a program that runs containers. Its text is the prefix of a
// container's name wherever one is shown or given: "docker:web".
type Engine string

// The engines.
const (
	Docker     Engine = "docker"
	Podman     Engine = "podman"
	Containerd Engine = "containerd" // by itself, through CRI or nerdctl
	CRIO       Engine = "crio"
	LXC        Engine = "lxc"
	Incus      Engine = "incus"
	LXD        Engine = "lxd"
	Nspawn     Engine = "nspawn" // systemd-nspawn and what else systemd-machined keeps
	BuildKit   Engine = "buildkit"
	Runc       Engine = "runc" // by hand, without an engine above it
	Crun       Engine = "crun"
)

// A Container is one container that is running.
type Container struct {
	Engine Engine
	// ID is as the engine has it, never shortened. For LXC, Incus and nspawn
	// it is the name.
	ID string
	// Name is what its user calls it, or "" if it is not known. For a
	// container in a pod it is the name in the pod, such as "app".
	Name string
	// Image is the image as it was asked for, or "" if it is not known or there
	// is none.
	Image string
	// Namespace is containerd's namespace, such as "k8s.io", or the project of
	// Incus, or "".
	Namespace string
	// Path is where the container is on the host of its engine: the bundle or
	// the root directory, or "" if it is not known.
	Path string

	// Pod is the Kubernetes pod, shared by its containers, or nil.
	Pod *Pod
	// Sandbox says that this is the container that only keeps the namespaces of
	// its pod ("pause").
	Sandbox bool

	// User is whose word all of this is: [Root]'s, if the engines of the host say
	// it, or that of the user whose engine does. Of a container in another it is
	// [Unknown] unless that one is a user's: it is the word of who is in there.
	User Owner
	// Account is the name of that user, or his number if he has none. Root's is "".
	Account string
	// Confirmed says that the name is the word of User. If it is not, there is no
	// name: anybody may have called a control group or himself so.
	Confirmed bool
	// neverBlocks says that it does not stand in the way of another of its name: nothing
	// runs in it, or anybody may have said that it is one.
	neverBlocks bool

	// Outer is the container in which the engine of this one runs, or nil.
	Outer *Container

	// Init is the PID of its first process, in the PID namespace of the scan.
	Init int

	joined joined
}

// A Pod is a Kubernetes pod: some containers that share namespaces.
type Pod struct {
	Namespace string
	Name      string
	UID       string
}

// Short is the length of a short ID, as Docker prints it.
const Short = 12

// ShortID returns the ID, shortened if it is one of the long hexadecimal ones.
func (c *Container) ShortID() string {
	if isHexID(c.ID) {
		return c.ID[:Short]
	}
	return c.ID
}

// String returns the name of the container with what tells it apart: its
// engine, "docker:web", or its pod, "shop/cart/app", where "shop/cart" is the
// sandbox. That of a user's engine has the user's name: "podman@ann:web". A
// container in a container stands behind it: "docker:kind-node > shop/cart/app",
// and is called as those in there say. Where there is no name the ID stands, cut
// to twelve digits if it is a long one, and with a "?" if it is not confirmed.
//
// For a nil container String returns "".
func (c *Container) String() string {
	switch {
	case c == nil:
		return ""
	case c.Outer != nil:
		return c.Outer.String() + " > " + c.own()
	}
	return c.own()
}

// own is String without the containers around.
func (c *Container) own() string {
	name := c.label()
	if c.Outer == nil && c.Account != "" {
		return c.engine() + "@" + c.Account + ":" + name
	}
	if c.Pod != nil && c.Pod.Name != "" {
		return name
	}
	return c.engine() + ":" + name
}

// label is own without the engine.
func (c *Container) label() string {
	name := c.Name
	if name == "" {
		if name = c.ShortID(); !c.Confirmed {
			name += "?"
		}
	}
	if c.Pod == nil || c.Pod.Name == "" {
		return name
	}
	pod := c.Pod.Namespace + "/" + c.Pod.Name
	if c.Sandbox {
		return pod
	}
	return pod + "/" + name
}

func (c *Container) engine() string {
	if c.Engine == "" {
		return "container"
	}
	return string(c.Engine)
}

// In reports whether c is outer or in it, however deep.
func (c *Container) In(outer *Container) bool {
	for ; c != nil; c = c.Outer {
		if c == outer {
			return true
		}
	}
	return false
}

// EngineUser returns the user whose engine says what the container is: "root", or
// Account, or "" if it is not known.
func (c *Container) EngineUser() string {
	if c.User == Root {
		return "root"
	}
	return c.Account
}

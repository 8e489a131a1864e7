// Package container finds the container of a process: the engine, the container's ID, name and
// image, and for Kubernetes the pod.
//
// It asks no engine and links none. Its information comes from three sources, each used only if
// the one before is not enough:
//
//   - the control group of a process, whose path has the ID. Forms of all engines are known,
//     also nested ones: a container in a container has both;
//   - the state files of the engine, which have the name. They are read once for each container,
//     a few kilobytes each;
//   - the command line of the container's parent (conmon, containerd's shim, the monitor of LXC,
//     systemd-nspawn), which has the place of those files if it is not the usual one.
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
// Others wrote all of this, so every fact has an [Owner]. A container of root is named by root's
// files, which nobody else can write, and only if its first process is the one in these files,
// by its start time or in a control group that only root can have made. Without such files
// root's own monitor names it. The information of another user's engine is that user's word. A
// name that cannot be confirmed is not shown as one.
//
// A path must match as a whole. A file is read only if it is a regular file of a bounded size
// below the directory where it belongs, and links are not followed. JSON is read for the few
// values that are needed. A name may still contain anything: clean it before showing it. What
// could not be read costs the name and is a [inspect.Gap], never the container.
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
	// ID is as the engine has it, never shortened. For LXC, Incus and nspawn it is the name.
	ID string
	// Name is the name that its user gave it, or "". In a pod it is the name within the pod, such
	// as "app".
	Name string
	// Image is the image as it was asked for, or "" if it is not known or there is none.
	Image string
	// Namespace is containerd's namespace, such as "k8s.io", or the project of Incus, or "".
	Namespace string
	// Path is the bundle or the root directory on the host of its engine, or "" if it is not
	// known.
	Path string

	// Pod is the Kubernetes pod, shared by its containers, or nil.
	Pod *Pod
	// Sandbox: this container only keeps the namespaces of its pod ("pause").
	Sandbox bool

	// User is whose word all of this is: [Root]'s if an engine of the host has it, or that of the
	// user of the engine. For a container in another it is [Unknown], unless the outer one is a
	// user's.
	User Owner
	// Account is the name of that user, or the number of a user without a name. Root's is "".
	Account string
	// Confirmed: the name is the word of User. Without that there is no name: anybody may choose
	// the name of a control group or a process.
	Confirmed bool
	// neverBlocks: it is no reason to refuse another of its name, since nothing runs in it, or
	// anybody may have made the claim.
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

// shortLength is the length of a short ID, as Docker prints it.
const shortLength = 12

// ShortID returns the ID, shortened if it is one of the long hexadecimal ones.
func (c *Container) ShortID() string {
	if isHexID(c.ID) {
		return c.ID[:shortLength]
	}
	return c.ID
}

// String returns the full name of the container: with its engine, "docker:web", or its pod,
// "shop/cart/app", where "shop/cart" is the sandbox. A container of a user's engine has the user
// in it: "podman@ann:web". A container in a container follows the outer one: "docker:kind-node >
// shop/cart/app", with the name it has there. Without a name it is the ID, cut to twelve digits if
// long, with a "?" if it is not confirmed.
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

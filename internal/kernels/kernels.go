// Package kernels is the table of what newer kernels add. KERNEL VERSIONS in nstool(1) is
// made from it, and tests ask it what their kernel must be able to do. The program does not
// use it: it tries.
package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// Oldest is the oldest kernel that everything works on.
const Oldest = "5.10"

// An Addition is something that a newer kernel can do.
type Addition struct {
	// Name is its name in tests: see nstest.Need.
	Name string
	// Since is the version of the kernel that has it first.
	Since string
	// Adds says what it is good for, and Without what happens before: sentences in
	// mdoc(7).
	Adds, Without string
	// Probe tries it. The error is an [errors.ErrUnsupported] if the kernel
	// lacks it.
	Probe func() error
}

// Additions is the table, oldest first.
var Additions = []Addition{
	{
		Name: "useroverlay", Since: "5.11",
		Adds: `An ordinary user can use
.Nm enter Fl -tools
for what runs in their own user namespace.`,
		Without: `Before, this needs CAP_SYS_ADMIN in the initial user namespace.`,
		Probe: func() error {
			out, err := exec.Command("unshare", "-Urm", "mount", "-t", "overlay", "-o", "lowerdir=/bin:/etc", "overlay", "/tmp").CombinedOutput()
			if err != nil {
				return fmt.Errorf("overlay in a user namespace: %s: %w", bytes.TrimSpace(out), errors.ErrUnsupported)
			}
			return nil
		},
	},
	{
		Name: "cached", Since: "5.12",
		Adds: `A mount below a file system that does not answer is asked without asking that file system.`,
		Without: `Before, such a mount point gets a tenth of a second, and standard error says if that was not
enough.`,
		Probe: sys.ProbeCached,
	},
	{
		Name: "netnscookie", Since: "5.14",
		Adds:    `The kernel says the network namespace of a socket without a descriptor of that namespace.`,
		Without: `Before, every socket is asked.`,
		Probe:   sys.ProbeSocketCookie,
	},
	{
		Name: "pidfs", Since: "6.9",
		Adds: `A process can be named by
.Ar PID:INODE ,
and the sockets of a thread with its own table of descriptors are found.`,
		Without: `Before, such a
.Ar TARGET
is refused.`,
		Probe: sys.ProbePidfs,
	},
	{
		Name: "pidns", Since: "6.11",
		Adds: `The kernel translates process IDs, and shows that the first process of a PID namespace has
exited.`,
		Without: `Before, the numbers of each process are read, and only a caller that sees all processes knows
that a PID namespace is dead: it has none.`,
		Probe: probe("pid", func(fd int) error {
			_, _, err := sys.PIDIn(fd, os.Getpid())
			return err
		}),
	},
	{
		Name: "mntns", Since: "6.12",
		Adds: `Mount namespaces are found that only the kernel or a descriptor in a message holds, and the
mounts in a mount namespace without a process are read without joining it.`,
		Without: `Before, a thread joins it for that, and then exits.`,
		Probe: probe("mnt", func(fd int) error {
			info, err := sys.MountInfoOf(fd)
			if err != nil {
				return err
			}
			return sys.NamespaceMounts(info.ID, func(string, string) {})
		}),
	},
	{
		Name: "nsid", Since: "6.18",
		Adds: `Namespaces have identifiers that are never used twice, in
.Cm ls ,
.Cm show
and
.Cm pin ,
and as a
.Ar TARGET :
.Li nsid:4511 .
A namespace that was opened by its number is checked against them.
The kernel says which network and mount namespaces are the initial ones.`,
		Without: `Before, a namespace only has its inode number, which a new one may get once it is freed.`,
		Probe: probe("uts", func(fd int) error {
			_, err := sys.NamespaceID(fd)
			return err
		}),
	},
	{
		Name: "listns", Since: "6.19",
		Adds: `All namespaces that are in use are found, whatever holds them: also a descriptor in a message,
or the kernel alone.
They are opened by their identifier, without a file or process that leads to them.
This needs CAP_SYS_ADMIN in the initial user and PID namespaces.`,
		Without: `Before, a namespace that nothing in
.Pa /proc
leads to is not found, except a mount namespace.`,
		Probe: func() error {
			_, err := sys.ListNamespaces(0, 0)
			return err
		},
	},
}

// Find returns the addition of that name.
func Find(name string) (Addition, bool) {
	for _, a := range Additions {
		if a.Name == name {
			return a, true
		}
	}
	return Addition{}, false
}

// probe returns a probe that asks about a namespace of the caller.
func probe(typ string, ask func(fd int) error) func() error {
	return func() error {
		f, err := os.Open("/proc/self/ns/" + typ)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := ask(int(f.Fd())); err != nil && !errors.Is(err, os.ErrPermission) { // a refusal shows that the kernel knows the call
			return err
		}
		return nil
	}
}

// Manual returns the section KERNEL VERSIONS of nstool(1), for mdoc(7).
func Manual() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".Sh KERNEL VERSIONS\nAll commands work since Linux %s, and do more on newer kernels.\n", Oldest)
	fmt.Fprintf(&b, ".Nm\ntries what the running kernel can do, and never looks at its version.\n.Bl -tag -width \"Linux 6.18\"\n")
	for _, a := range Additions {
		fmt.Fprintf(&b, ".It Linux %s\n%s\n%s\n", a.Since, a.Adds, a.Without)
	}
	fmt.Fprintf(&b, ".El\n")
	return b.String()
}

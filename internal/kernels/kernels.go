// Package kernels is the one table of what newer kernels than the oldest one
// add: KERNEL VERSIONS in nstool(1) is made from it, and the tests ask it what
// the kernel that they run on must be able to do.
//
// The program does not look here. It tries, and takes what it gets.
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
	// Name is what tests call it by: see nstest.Need.
	Name string
	// Since is the version of the kernel that has it first.
	Since string
	// Adds says what it is good for, and Without what is done before: sentences
	// of mdoc(7).
	Adds, Without string
	// Probe tries it. The error is an [errors.ErrUnsupported] if the kernel
	// lacks it.
	Probe func() error
}

// Additions is the table, oldest first.
var Additions = []Addition{
	{
		Name: "useroverlay", Since: "5.11",
		Adds: `An ordinary user brings tools along, by
.Nm enter Fl -tools ,
into what runs in a user namespace of his own.`,
		Without: `Before, that takes CAP_SYS_ADMIN in the initial user namespace.`,
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
		Adds: `What is mounted below a file system that does not answer is asked without
asking that one.`,
		Without: `Before, such a mount point is given a tenth of a second, and told if that is not
enough.`,
		Probe: sys.ProbeCached,
	},
	{
		Name: "netnscookie", Since: "5.14",
		Adds:    `Sockets are told apart without a descriptor of their network namespace.`,
		Without: `Before, each is asked for one.`,
		Probe:   sys.ProbeSocketCookie,
	},
	{
		Name: "pidfs", Since: "6.9",
		Adds: `Processes by
.Ar PID:INODE ,
and the sockets of a thread that has a table of descriptors of its own.`,
		Without: `Before, such a
.Ar TARGET
is refused.`,
		Probe: sys.ProbePidfs,
	},
	{
		Name: "pidns", Since: "6.11",
		Adds: `The kernel translates process IDs, and tells of a PID namespace whose first
process is gone.`,
		Without: `Before, what a process is called elsewhere is read from each, and a PID
namespace is known to be dead by who sees all processes alone: there is none in it.`,
		Probe: probe("pid", func(fd int) error {
			_, _, err := sys.PIDIn(fd, os.Getpid())
			return err
		}),
	},
	{
		Name: "mntns", Since: "6.12",
		Adds: `Mount namespaces are found that only the kernel or a descriptor in a message
holds, and the mounts in one without a process are read without joining it.`,
		Without: `Before, a thread joins it for that, and is thrown away.`,
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
		Adds: `Identifiers of namespaces, which are never used twice, in
.Cm ls ,
.Cm show
and
.Cm pin ,
and as a
.Ar TARGET :
.Li nsid:4511 .
What was opened by its number is checked against them.
Network and mount namespaces are told to be the initial ones.`,
		Without: `Before, a namespace has its inode number alone, which a new one may be given as
soon as it is gone.`,
		Probe: probe("uts", func(fd int) error {
			_, err := sys.NamespaceID(fd)
			return err
		}),
	},
	{
		Name: "listns", Since: "6.19",
		Adds: `All namespaces that are in use, whatever holds them: a descriptor in a message
too, or the kernel alone.
They are opened by their identifier, with no file or process that leads to them.
This takes CAP_SYS_ADMIN in the initial user and PID namespaces.`,
		Without: `Before, what nothing in
.Pa /proc
leads to is not known, mount namespaces excepted.`,
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
		if err := ask(int(f.Fd())); err != nil && !errors.Is(err, os.ErrPermission) { // who is refused was understood
			return err
		}
		return nil
	}
}

// Manual returns the section KERNEL VERSIONS of nstool(1), for mdoc(7).
func Manual() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".Sh KERNEL VERSIONS\nAll commands work from Linux %s on, and do more on newer ones.\n", Oldest)
	fmt.Fprintf(&b, "What the running one can do is found by trying, never by its version.\n.Bl -tag -width \"Linux 6.18\"\n")
	for _, a := range Additions {
		fmt.Fprintf(&b, ".It Linux %s\n%s\n%s\n", a.Since, a.Adds, a.Without)
	}
	fmt.Fprintf(&b, ".El\n")
	return b.String()
}

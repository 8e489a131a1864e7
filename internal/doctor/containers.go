package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
)

// shared are the types of namespace that separate a container from the host, and what
// a container can do that has that of the host.
var shared = []struct {
	typ  inspect.Type
	can  string
	flag string // of docker run and podman run
	spec string // of a pod
}{
	{inspect.Net, "it can reach every local port, and listen on the host's addresses", "--network=host", "hostNetwork"},
	{inspect.PID, "it sees every process, and may signal those of the same user", "--pid=host", "hostPID"},
	{inspect.IPC, "it can read and write shared memory of the host", "--ipc=host", "hostIPC"},
	{inspect.Mnt, "it is in the host's file systems", "", ""},
}

// sharing finds containers in a namespace of the host, of a type that engines make for
// each container. Most containers are in the user namespace of the host, so one note is
// for all of these.
func sharing(h *Host) (found []Finding) {
	set := h.Containers
	var root []string
	for _, c := range set.Containers {
		p, ok := h.Snapshot.Process(c.Init)
		if !ok || h.passed(c) {
			continue
		}
		var types, evidence, flags, specs []string
		how := ""
		for _, s := range shared {
			id, ok := p.Namespace(s.typ)
			if !ok || !set.IsHost(s.typ, id) {
				continue
			}
			types = append(types, s.typ.String())
			evidence = append(evidence, fmt.Sprintf("%s is the host's: %s", inspect.FormatLink(s.typ, id.Ino), s.can))
			if s.flag != "" {
				flags, specs = append(flags, s.flag), append(specs, s.spec+": true")
			}
			if s.typ == inspect.Net {
				how = c.Engine.Handling().OwnNet
			}
		}
		if id, ok := p.Namespace(inspect.User); ok && set.IsHost(inspect.User, id) && c.Outer == nil {
			root = append(root, c.String())
		}
		if len(types) == 0 {
			continue
		}
		if c.Engine.Handling().Restarts {
			how = "without " + strings.Join(flags, " ")
		}
		f := Finding{
			Severity: Warning, Subject: c.String(), links: h.stillIn(c, p),
			What:     fmt.Sprintf("%s shares the host's %s", c, namespacesOf(types)),
			Evidence: append([]string{fmt.Sprintf("its first process is %d", c.Init)}, evidence...),
		}
		if c.Pod != nil {
			f.Evidence = append(f.Evidence, specOf(c, specs))
		}
		if how != "" {
			f.Propose(h.stopForRestart(c, how))
		}
		found = append(found, f)
	}
	return append(found, groupNote("user", root, "shares", "share", "the host's user namespace, where root is root of the host")...)
}

// groupNote is one note about several containers, or none: "docker:web and 3 more
// containers share ...".
func groupNote(subject string, names []string, does, do, what string) []Finding {
	slices.Sort(names)
	f := Finding{Severity: Note, Subject: subject}
	switch n := len(names); n {
	case 0:
		return nil
	case 1:
		f.What = names[0] + " " + does
	case 2:
		f.What = names[0] + " and " + names[1] + " " + do
	default:
		f.What = fmt.Sprintf("%s and %d more containers %s", names[0], n-1, do)
		f.Evidence = names
	}
	f.What += " " + what
	return []Finding{f}
}

// namespacesOf joins names of types: "net and pid namespaces".
func namespacesOf(types []string) string {
	if len(types) == 1 {
		return types[0] + " namespace"
	}
	last := len(types) - 1
	return strings.Join(types[:last], ", ") + " and " + types[last] + " namespaces"
}

// passed reports whether nothing is said of c: the caller itself is in it, as in a debug
// pod, or it is a sandbox that has other containers of its pod, for which the same finding
// is made.
func (h *Host) passed(c *container.Container) bool {
	caller := h.Snapshot.Self()
	if h.Snapshot.Host().Moved {
		caller = os.Getppid() // which has stayed in the container
	}
	if p, ok := h.Snapshot.Process(caller); ok && h.Containers.Of(p).Container == c {
		return true
	}
	return c.Sandbox && c.Pod != nil && slices.ContainsFunc(h.Containers.Containers, func(o *container.Container) bool {
		return o != c && !o.Sandbox && o.Pod == c.Pod
	})
}

// dangerousCaps are the capabilities that each suffice to take over a host, for a process
// in its user namespace. See capabilities(7).
var dangerousCaps = []struct {
	bit  uint
	name string
	old  bool // every engine knows it; an old engine does not know the others
}{
	{21, "CAP_SYS_ADMIN", true},
	{16, "CAP_SYS_MODULE", true},
	{17, "CAP_SYS_RAWIO", true},
	{2, "CAP_DAC_READ_SEARCH", true},
	{33, "CAP_MAC_ADMIN", true},
	{32, "CAP_MAC_OVERRIDE", true},
	{39, "CAP_BPF", false},
}

// capSysPtrace suffices for a process that sees the processes of the host.
const capSysPtrace = 19

// privileges finds containers that can become root of the host. Capabilities in a user
// namespace other than that of the host do not count.
func privileges(h *Host) (found []Finding) {
	set := h.Containers
	var open []string
	for _, c := range set.Containers {
		p, ok := h.Snapshot.Process(c.Init)
		have, known := h.Confinements[c.Init]
		if !ok || !known || h.passed(c) {
			continue
		}
		if user, ok := p.Namespace(inspect.User); !ok || !set.IsHost(inspect.User, user) {
			continue
		}
		if have.Seccomp == 0 && c.Outer == nil {
			open = append(open, c.String())
		}
		var names []string
		for _, m := range dangerousCaps {
			if have.Bounding>>m.bit&1 != 0 {
				names = append(names, m.name)
			}
		}
		if pid, ok := p.Namespace(inspect.PID); ok && set.IsHost(inspect.PID, pid) && have.Bounding>>capSysPtrace&1 != 0 {
			names = append(names, "CAP_SYS_PTRACE")
		}
		if len(names) == 0 {
			continue
		}
		f := Finding{Severity: Warning, Subject: c.String(), links: h.stillIn(c, p), Evidence: []string{
			fmt.Sprintf("its first process is %d; its bounding set is %#x", c.Init, have.Bounding),
		}}
		full := h.full(have.Bounding)
		switch {
		case full && have.Seccomp == 0:
			f.What = fmt.Sprintf("%s runs privileged: it has the capabilities of the host, and no seccomp filter", c)
			f.Propose(h.stopForRestart(c, lesser(c, "without --privileged")))
		case full:
			f.What = fmt.Sprintf("%s has the capabilities of the host", c)
			f.Propose(h.stopForRestart(c, lesser(c, "without --cap-add=ALL")))
		default:
			f.What = fmt.Sprintf("%s may do what it takes to be root of the host: %s", c, strings.Join(names, ", "))
			f.Propose(h.stopForRestart(c, lesser(c, "without "+strings.Join(names, ", "))))
		}
		if c.Pod != nil && full {
			f.Evidence = append(f.Evidence, specOf(c, []string{"privileged: true"}))
		}
		if have.Seccomp == 0 && !full {
			f.Evidence = append(f.Evidence, "no seccomp filter")
		}
		if have.Profile != "" {
			f.Evidence = append(f.Evidence, "security label "+have.Profile)
		}
		found = append(found, f)
	}
	return append(found, groupNote("seccomp", open, "runs", "run", "without a seccomp filter")...)
}

// full reports whether a bounding set has all dangerous capabilities that the first
// process of the host has. An engine may itself lack some of the others.
func (h *Host) full(bounding uint64) bool {
	given := false
	for _, m := range dangerousCaps {
		if !m.old || h.Bounding>>m.bit&1 == 0 {
			continue
		}
		if given = true; bounding>>m.bit&1 == 0 {
			return false
		}
	}
	return given
}

// lesser says how to start a container with fewer rights: without some flags, or, for an
// engine without such flags, in its own user namespace.
func lesser(c *container.Container, flags string) string {
	if h := c.Engine.Handling(); !h.Flags {
		return h.OwnUsers
	}
	return flags
}

// specOf says which lines of the specification of a pod are the cause. Deleting the pod
// would make an equal one.
func specOf(c *container.Container, lines []string) string {
	pod := "pod " + c.Pod.Namespace + "/" + c.Pod.Name
	if c.Pod.Name == "" {
		pod = "its pod"
	}
	return fmt.Sprintf("the spec of %s has %s; it is to be changed there", pod, strings.Join(lines, ", "))
}

// stillIn returns the link that shows that a container still has its first process.
func (h *Host) stillIn(c *container.Container, p *inspect.Process) []link {
	id, ok := p.Namespace(inspect.Mnt)
	if !ok {
		return nil
	}
	return []link{{filepath.Join(h.Snapshot.Proc(), strconv.Itoa(c.Init), "ns/mnt"), inspect.FormatLink(inspect.Mnt, id.Ino)}}
}

package doctor

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/pin"
)

// leaks finds namespaces that something keeps although no process or thread is in them or
// will be, and they own and enclose no other namespace.
func leaks(h *Host) (found []Finding) {
	named := make(map[string]*Name, len(h.Names)) // by path
	for i := range h.Names {
		named[h.Names[i].Path] = &h.Names[i]
	}
	for ns := range h.Snapshot.Namespaces() {
		if len(ns.Members) > 0 || h.Snapshot.Nested(ns) > 0 || len(ns.Others()) == 0 {
			continue
		}
		if f, ok := h.leak(ns, named); ok {
			found = append(found, f)
		}
	}
	return found
}

// leak makes the finding about a namespace without a process. Its severity is that of the
// best reason to keep the namespace.
func (h *Host) leak(ns *inspect.Namespace, named map[string]*Name) (Finding, bool) {
	f := Finding{Subject: ns.String(), order: ns.NSID, transient: true, Severity: Warning}
	var r Remedy
	var pids []int
	mounts, copies := 0, 0
	kept := "" // who keeps it on purpose, and why
	purpose := func(why string) {
		if f.Severity = Note; kept != "" && kept != why {
			why = "several programs, on purpose"
		}
		kept = why
	}
	here := make(map[string]bool) // mount points in the caller's mount namespace
	for _, holder := range ns.Others() {
		if holder.Kind == inspect.ByMount && holder.In == h.Mounts {
			here[holder.Path] = true
		}
	}
	for _, holder := range ns.Others() {
		f.links = append(f.links, h.linkOf(holder))
		switch holder.Kind {
		case inspect.ByFD, inspect.BySocket, inspect.ByNetDevice, inspect.ByProcFile:
			if holder.PID == h.Snapshot.Self() {
				return f, false // this process holds it for a moment
			}
			pids = append(pids, holder.PID)
			f.Evidence = append(f.Evidence, h.byDescriptor(&f, holder))
			// Anybody can give a process this name; only root of the host counts.
			if who := h.Holders[holder.PID]; keepsDescriptors[who.Comm] && who.UID == 0 && who.Container == nil {
				purpose("a descriptor of " + who.Comm)
			}
		case inspect.ByMount:
			name := named[holder.Path]
			if name != nil && name.Dead != nil {
				return f, false // the check names reports it
			}
			if holder.In != h.Mounts && here[holder.Path] {
				copies++
				continue
			}
			if mounts++; mounts > 8 {
				r.no = true
				continue
			}
			k := keeperOf(holder.Path)
			f.Evidence = append(f.Evidence, h.byMount(&f, holder, k, name))
			k.keeps = k.keeps || k.runs != "" && h.runs(k.runs)
			if k.severity == Note || k.keeps {
				purpose(k.what)
			}
			r = r.with(h.unpin(ns.ID, holder, k))
		case inspect.ByKernel:
			purpose("the kernel, for a reason that /proc does not show")
			f.Evidence = append(f.Evidence, "the kernel keeps it, for a reason that /proc does not show: a descriptor in flight, or a file that somebody holds open")
		default:
			return f, false // a thread, or future children
		}
	}
	if mounts > 8 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("and %d more mounts", mounts-8))
	}
	if copies > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%d of it in copies of the mount namespace, which are removed with the file", copies))
	}
	if f.Severity == Note {
		f.group = group{ns.Type.String(), fmt.Sprintf("%s namespaces have no process; what keeps each: %s", ns.Type, kept)}
	}
	f.What = ns.String() + " has no process"
	if !f.Since.IsZero() {
		f.transient = h.Now.Sub(f.Since) < recent || len(pids) > 0
	}
	if why := h.Snapshot.Unseen(inspect.AllFacts); len(why) > 0 {
		r.no = true
		f.Evidence = append(f.Evidence, "what else keeps it is not known: "+strings.Join(why, "; "))
	}
	r = r.with(h.End(pids...))
	r.rests = append([]string{"no process is in " + ns.String()}, r.rests...)
	f.Propose(r)
	return f, true
}

// linkOf returns the link that shows that a holder is still there.
func (h *Host) linkOf(holder inspect.Holder) link {
	switch {
	case holder.Kind == inspect.ByMount && holder.In == h.Mounts && len(h.stack(holder.Path, inspect.ID{})) > 0: // not covered
		return link{path: holder.Path}
	case holder.PID != 0:
		return link{path: filepath.Join(h.Snapshot.Proc(), strconv.Itoa(holder.PID))}
	}
	return link{path: "/"}
}

// since records a time for the age of a finding. The latest one counts: before it,
// something else must have kept the namespace.
func (f *Finding) since(h *Host, holder inspect.Holder, n *Name) {
	switch who, ok := h.Holders[holder.PID]; {
	case n != nil && !n.Made.IsZero():
		f.Since, f.SinceIs = n.Made, SinceFile
	case n == nil && ok && !who.Start.IsZero() && f.SinceIs != SinceFile && who.Start.After(f.Since):
		f.Since, f.SinceIs = who.Start, SinceHolder
	}
}

func (h *Host) byDescriptor(f *Finding, holder inspect.Holder) string {
	f.since(h, holder, nil)
	what := "fd"
	switch holder.Kind {
	case inspect.BySocket:
		what = "socket"
	case inspect.ByNetDevice:
		what = "device"
	case inspect.ByProcFile:
		what = "file of /proc/PID/net,"
	}
	s := fmt.Sprintf("%s %d of %s", what, holder.FD, h.Process(holder.PID))
	if who := h.Holders[holder.PID]; !who.Start.IsZero() {
		s += ", which was started " + h.ago(who.Start) + " ago"
	}
	if c := h.Holders[holder.PID].Container; c != nil {
		s += ", in " + c.String()
	}
	if u := h.Holders[holder.PID].Unit; u != "" {
		s += ", of " + u
	}
	return s
}

// Process names a process: "dockerd (812)".
func (h *Host) Process(pid int) string {
	if who, ok := h.Holders[pid]; ok && who.Comm != "" {
		return fmt.Sprintf("%s (%d)", who.Comm, pid)
	}
	return "process " + strconv.Itoa(pid)
}

func (h *Host) byMount(f *Finding, holder inspect.Holder, k keeper, name *Name) string {
	s := "mounted at " + holder.Path
	if holder.In != h.Mounts {
		s += fmt.Sprintf(" in mnt:[%d]", holder.In.Ino)
		if mnt, ok := h.Snapshot.Namespace(holder.In); ok {
			switch c := h.Containers.With(mnt); {
			case c != nil:
				s += " of " + c.String()
			case holder.PID != 0:
				s += " of " + h.Process(holder.PID)
			}
		}
	} else if name != nil {
		f.since(h, holder, name)
		if !name.Made.IsZero() {
			s += ", made " + h.ago(name.Made) + " ago"
		}
	}
	if k.what != "" {
		s += ": " + k.what
	}
	return s
}

// keepsDescriptors are programs that keep namespaces of others by descriptors: systemd for
// units with FileDescriptorStore= or JoinsNamespaceOf=, and nsresourced for programs that it
// gave a user namespace.
var keepsDescriptors = map[string]bool{"systemd": true, "systemd-nsreso": true}

// A keeper is a place where namespaces without a process are mounted, and what that means.
type keeper struct {
	by       string // the program, as in package pin; or
	dir      string // a directory: everything below it
	severity Severity
	runs     string // while this program runs, the severity is Note
	keeps    bool   // the program removes them itself, and nobody else should
	what     string
}

// keepers are the known ones.
var keepers = []keeper{
	{by: "nstool", severity: Note, what: "a pin of nstool's"},
	{by: "ip-netns", severity: Note, what: "a name of ip-netns(8)"},
	{by: "snapd", severity: Note, keeps: true, what: "snapd keeps the mounts of a snap"},
	{by: "docker", severity: Warning, what: "Docker keeps one for each container that runs"},
	{by: "cni", severity: Warning, what: "the network of a pod of containerd that is gone"},
	{by: "crio", severity: Warning, runs: "crio", what: "CRI-O keeps the namespaces of a pod also while none of its containers runs"},
	{dir: "/var/lib/docker/buildkit", severity: Note, keeps: true, what: "BuildKit keeps some for builds to come"},
	{dir: "/var/lib/buildkit", severity: Note, keeps: true, what: "BuildKit keeps some for builds to come"},
	{dir: "/var/snap/lxd/common/ns", severity: Note, keeps: true, what: "LXD keeps its own"},
	{dir: "/run/user", severity: Note, keeps: true, what: "of an ordinary user"},
}

// isDockerNetwork reports whether a name of Docker is of a network, and not of a container.
func isDockerNetwork(name string) bool {
	return name == "default" || name == "ingress_sbox" || strings.HasPrefix(name, "lb_") || len(name) > 2 && name[1] == '-' && name[0] >= '0' && name[0] <= '9'
}

// keeperOf returns the keeper of a path.
func keeperOf(path string) keeper {
	by := pin.Whose(path)
	for _, k := range keepers {
		if by != "" && k.by == by || k.dir != "" && strings.HasPrefix(path, k.dir+"/") {
			if by == "docker" && isDockerNetwork(filepath.Base(path)) {
				k.severity, k.keeps, k.what = Note, true, "Docker keeps it for its networks"
			}
			return k
		}
	}
	return keeper{severity: Warning}
}

// runs reports whether a process of root with that name runs. Known are processes that hold
// namespaces, and daemons that keep them.
func (h *Host) runs(comm string) bool {
	for _, who := range h.Holders {
		if who.Comm == comm && who.UID == 0 && who.Container == nil {
			return true
		}
	}
	return false
}

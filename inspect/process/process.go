// Package process reads what /proc says of one process at length.
//
// Package inspect reads of very many processes the little that it needs. This
// one is for the few that somebody asks about: it takes some 60 µs for each, by
// github.com/prometheus/procfs, whose start alone takes 0.3 ms. So it is a
// package of its own, which only those pay for who import it.
package process

import (
	"fmt"
	"slices"

	"github.com/prometheus/procfs"
)

// A Status is what /proc/pid/status and /proc/pid/cgroup say.
type Status struct {
	// NSpid is the PID in each PID namespace that the process is in, from that
	// of the proc file system inwards. See proc_pid_status(5); Linux 4.1.
	NSpid []int
	// UID and GID are the real, effective, saved and file system IDs, in the
	// caller's terms.
	UID, GID [4]uint32
	// Cgroups are the control groups, one for each hierarchy.
	Cgroups []Cgroup
}

// A Cgroup is a control group in one hierarchy. See cgroups(7).
type Cgroup struct {
	// Hierarchy is its number; 0 is version 2.
	Hierarchy int
	// Controllers are those of a hierarchy of version 1, "name=systemd" among
	// them.
	Controllers []string
	// Path is from the root of the hierarchy, as the caller's cgroup
	// namespace shows it.
	Path string
}

// Read reads the status of a process in the proc file system mounted at proc.
// The error answers [io/fs.ErrNotExist] if there is no such process. It needs
// no privileges, unless /proc is mounted with hidepid.
func Read(proc string, pid int) (Status, error) {
	failed := func(err error) (Status, error) {
		return Status{}, fmt.Errorf("status of process %d: %w", pid, err)
	}
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return failed(err)
	}
	p, err := fs.Proc(pid)
	if err != nil {
		return failed(err)
	}
	text, err := p.NewStatus()
	if err != nil {
		return failed(err)
	}
	groups, err := p.Cgroups()
	if err != nil {
		return failed(err)
	}
	var s Status
	for _, n := range text.NSpids {
		s.NSpid = append(s.NSpid, int(n))
	}
	for i := range s.UID {
		s.UID[i], s.GID[i] = uint32(text.UIDs[i]), uint32(text.GIDs[i])
	}
	for _, g := range groups {
		s.Cgroups = append(s.Cgroups, Cgroup{g.HierarchyID, slices.Clone(g.Controllers), g.Path})
	}
	return s, nil
}

// Group returns the path of the control group that tells most about a process:
// that of version 2, of systemd's hierarchy, or of any that is not its root.
func (s Status) Group() string {
	best, rank := "", 0
	for _, g := range s.Cgroups {
		r := 1
		switch {
		case g.Path == "/":
		case g.Hierarchy == 0:
			r = 4
		case slices.Contains(g.Controllers, "name=systemd"):
			r = 3
		default:
			r = 2
		}
		if r > rank {
			best, rank = g.Path, r
		}
	}
	return best
}

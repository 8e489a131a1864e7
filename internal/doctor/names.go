package doctor

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/pin"
)

// recent is the age below which a situation may still change by itself.
const recent = 5 * time.Second

// dockerSweepTime is how long Docker may leave the file of a namespace that it has
// unmounted. It removes them once a minute; see libnetwork/osl in its sources.
const dockerSweepTime = 2 * time.Minute

// names finds names in well-known directories that no longer lead to a namespace.
func names(h *Host) (found []Finding) {
	mounted := h.mounted()
	for _, n := range h.Names {
		if n.Dead == nil || errors.Is(n.Dead, pin.ErrElsewhere) {
			continue
		}
		f := Finding{Severity: Warning, Subject: n.Path, links: []link{{path: n.Path}}}
		r := h.removeName(n)
		if !n.Made.IsZero() {
			f.Since, f.SinceIs = n.Made, SinceFile
			f.Evidence = append(f.Evidence, "the file was made "+h.ago(n.Made)+" ago")
		}
		if n.By != "" {
			f.Evidence = append(f.Evidence, "in a directory of "+n.By)
		}
		f.transient = n.Made.IsZero() || h.Now.Sub(n.Made) < recent
		switch {
		case errors.Is(n.Dead, pin.ErrInitGone):
			f.What = fmt.Sprintf("%s keeps a PID namespace in which nothing can be started any more: its first process is gone", n.Path)
		case !errors.Is(n.Dead, pin.ErrUnmounted):
			f.What = fmt.Sprintf("%s is a name without a namespace: %v", n.Path, n.Dead)
		default:
			f.What = n.Path + " is a name without a namespace"
			if in, ok := mounted[place{n.Type, filepath.Base(n.Path)}]; ok {
				f.Severity, r = Note, Remedy{}
				f.What += " here"
				f.Evidence = append(f.Evidence, fmt.Sprintf("a file of that name has one in mnt:[%d]; to remove the name would take it from there", in.Ino))
			} else if n.By == "docker" && isDockerNetwork(n.Set) {
				f.Severity, r = Note, Remedy{}
				f.What += ", which Docker will use again"
			} else if n.By == "docker" && h.Docker.Silent {
				r.no = true
				f.Evidence = append(f.Evidence, "whether Docker is about to remove it is not known: its state could not be read")
			} else if h.dockerSweeps(n) {
				f.Severity, r = Note, Remedy{}
				f.What += ", which Docker removes within a minute"
				f.Evidence = append(f.Evidence, "Docker last changed a container "+h.ago(h.Docker.Changed)+" ago")
				f.group = group{"/run/docker/netns", "names without a namespace are Docker's, which removes them within a minute"}
			}
			if n.Size > 0 {
				f.Evidence = append(f.Evidence, fmt.Sprintf("the file is not empty: %d bytes", n.Size))
			}
		}
		if why := h.Snapshot.Unseen(inspect.Occupants | inspect.FDs | inspect.Mounts); len(why) > 0 && len(r.commands) > 0 && errors.Is(n.Dead, pin.ErrUnmounted) {
			// Removing a file removes what is mounted on it in other mount namespaces.
			r.no = true
			f.Evidence = append(f.Evidence, "whether a namespace is mounted on it elsewhere is not known: "+strings.Join(why, "; "))
		}
		f.Propose(r)
		found = append(found, f)
	}
	return found
}

// A place is a file with a namespace mounted on it, by the last part of its path.
type place struct {
	typ  inspect.Type
	base string
}

// mounted returns the first mount namespace in which a namespace is mounted at each place.
// A dead name may be that file: its directory may have another name there, such as
// /host/run/netns.
func (h *Host) mounted() map[place]inspect.ID {
	in := make(map[place]inspect.ID)
	for ns := range h.Snapshot.Namespaces() {
		for _, holder := range ns.Others() {
			at := place{ns.Type, filepath.Base(holder.Path)}
			if _, have := in[at]; holder.Kind == inspect.ByMount && !have {
				in[at] = holder.In
			}
		}
	}
	return in
}

// dockerSweeps reports whether Docker may be about to remove a dead name. Its daemon
// unmounts a namespace when the container exits, and forgets that when it is restarted
// itself. A container that exited after the file was made has changed the state of Docker.
func (h *Host) dockerSweeps(n Name) bool {
	d := h.Docker
	return n.By == "docker" && !d.Started.IsZero() && !n.Made.IsZero() && d.Started.Before(n.Made) &&
		d.Changed.After(n.Made) && h.Now.Sub(d.Changed) < dockerSweepTime
}

// Package busy finds who keeps a mount point, a block device, a directory or a file
// busy, in whatever mount namespace, and proposes commands that free it.
//
// [inspect.Snapshot.Busy] finds the uses. [Judge] makes findings of them, in the form
// that package doctor gives them.
package busy

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/doctor"
)

// Check is the name of the check in the findings of [Judge].
const Check = "busy"

// Look finds who uses path. It changes nothing. See [inspect.Snapshot.Busy] for the
// privileges.
func Look(ctx context.Context, path string, opts ...inspect.Option) (*doctor.Host, *inspect.Busy, []doctor.Finding, error) {
	h, err := doctor.Scan(ctx, opts...)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := h.Snapshot.Busy(ctx, path)
	if err != nil {
		return nil, nil, nil, err
	}
	h.Gaps = append(h.Gaps, b.Gaps...)
	users := make(map[int]bool)
	for _, u := range b.Uses {
		users[u.PID] = true
		if mnt, ok := h.Snapshot.Namespace(u.Mount.In); ok {
			for _, p := range mnt.Members[:min(len(mnt.Members), doctor.MaxEnded)] {
				users[p.PID] = true
			}
		}
	}
	h.Describe(ctx, func(yield func(*inspect.Process) bool) {
		for p := range h.Snapshot.Processes() {
			if users[p.PID] && !yield(p) {
				return
			}
		}
	})
	return h, b, Judge(h, b), nil
}

// Judge makes a finding of each use. A use that makes umount(2) fail is a
// [doctor.Problem]. One that only keeps the file system is a [doctor.Warning].
func Judge(h *doctor.Host, b *inspect.Busy) (found []doctor.Finding) {
	roots := containersByRoot(h, b)
	var last *doctor.Finding // of the process before
	for _, u := range b.Uses {
		if u.Kind < inspect.ByCwd {
			found = append(found, mountFinding(h, b, u, roots))
			last = nil
			continue
		}
		if last == nil || last.Subject != strconv.Itoa(u.PID) {
			found = append(found, doctor.Finding{Severity: doctor.Warning, Subject: strconv.Itoa(u.PID), What: h.Process(u.PID) + " uses it"})
			last = &found[len(found)-1]
			who := h.Holders[u.PID]
			if who.Container != nil {
				last.What = fmt.Sprintf("%s of %s uses it", h.Process(u.PID), who.Container)
			}
			if who.Unit != "" {
				last.Evidence = []string{"it is of " + who.Unit}
			}
			if !who.Start.IsZero() {
				last.Since, last.SinceIs = who.Start, doctor.SinceHolder
			}
			last.Propose(h.End(u.PID))
		}
		if u.Same || b.Mount.ID == 0 {
			last.Severity = doctor.Problem
		}
		last.Evidence = append(last.Evidence, useText(b, u))
	}
	for i := range found {
		found[i].Check = Check
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].Severity > found[j].Severity })
	return found
}

// useWords say how a process uses a file.
var useWords = map[inspect.UseKind]string{
	inspect.ByCwd: "working directory", inspect.ByRoot: "root directory", inspect.ByExe: "program", inspect.ByMapped: "mapped", inspect.ByBound: "socket",
}

func useText(b *inspect.Busy, u inspect.Use) string {
	s := useWords[u.Kind]
	switch u.Kind {
	case inspect.ByOpen:
		s = "fd " + strconv.Itoa(u.FD)
	case inspect.ByBound:
		s += " " + strconv.Itoa(u.FD) + ", bound to"
	}
	if u.TID != 0 {
		s += fmt.Sprintf(" of thread %d", u.TID)
	}
	s += " " + u.Path
	switch {
	case u.Detached:
		s += ", on a mount that was taken away and is still used"
	case u.Mount.ID != 0 && !u.Same && b.Mount.ID != 0:
		s += fmt.Sprintf(", by the mount at %s in mnt:[%d]", u.Mount.Point, u.Mount.In.Ino)
	}
	return s
}

// mountFinding makes a finding of a use that is not by a process.
func mountFinding(h *doctor.Host, b *inspect.Busy, u inspect.Use, roots map[root]*container.Container) doctor.Finding {
	f := doctor.Finding{Severity: doctor.Warning, Subject: u.Path}
	switch u.Kind {
	case inspect.ByMountBelow:
		f.Severity = doctor.Problem
		f.What = "mounted below it: " + u.Path
		f.Evidence = []string{fmt.Sprintf("%s of %s", u.Mount.Type, u.Mount.Source)}
		if u.Reached {
			f.Propose(doctor.Unmount(u.Mount))
		}
	case inspect.ByLoop, inspect.BySwap, inspect.ByDevice:
		f.Severity = doctor.Problem
		f.What = u.Path + map[inspect.UseKind]string{
			inspect.ByLoop: " is a loop device of it", inspect.BySwap: " is swapped to", inspect.ByDevice: " is made of it",
		}[u.Kind]
		if u.InUse {
			f.Evidence = []string{"it is in use itself: nstool busy " + u.Path}
		}
		f.Propose(doctor.Detach(u))
	default:
		f.What = "also mounted at " + u.Path
		f.Evidence = []string{fmt.Sprintf("%s of %s, device %s, from its %s", u.Mount.Type, u.Mount.Source, u.Mount.Dev, u.Mount.Root)}
		if u.Kind == inspect.ByLayer {
			f.What = "an overlay has a layer of it, at " + u.Path
			f.Evidence = []string{"the layer is " + u.On}
		}
		if u.Mount.In == h.Mounts {
			switch c := roots[rootOf(u.Mount)]; {
			case c != nil:
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s lives in it", c))
				f.Propose(h.Stop(c))
			case b.Root != "": // it does no harm to the mount, and others may go by that name
			case u.Reached:
				f.Propose(doctor.Unmount(u.Mount))
			default:
				f.Evidence = append(f.Evidence, "another mount covers it")
			}
			return f
		}
		in := fmt.Sprintf("mnt:[%d]", u.Mount.In.Ino)
		f.Subject = in + " " + u.Path
		if f.What += " in " + in; u.Kind != inspect.ByLayer {
			f.What = strings.TrimPrefix(f.What, "also ")
		}
		ns, ok := h.Snapshot.Namespace(u.Mount.In)
		if !ok {
			return f
		}
		if b.Root == "" {
			f.Propose(h.EndMembers(u.Mount.In))
		}
		if c := h.Containers.With(ns); c != nil {
			f.What += ", of " + c.String()
		}
		switch l := ns.Leader(); {
		case l != nil:
			f.Evidence = append(f.Evidence, fmt.Sprintf("in that mount namespace is %s", h.Process(l.PID)))
			if n := len(ns.Members); n > 1 {
				f.Evidence[len(f.Evidence)-1] += fmt.Sprintf(", and %d more", n-1)
			}
		case !h.Snapshot.Whole(inspect.Occupants):
			f.Evidence = append(f.Evidence, "no process that can be seen is in that mount namespace")
		default:
			f.Evidence = append(f.Evidence, "no process is in that mount namespace: nstool doctor --check leaks says who keeps it")
		}
	}
	return f
}

// A root is what a mount shows of a file system.
type root struct {
	dev inspect.Device
	dir string
}

func rootOf(m inspect.Mount) root { return root{m.Dev, m.Root} }

// containersByRoot returns the containers whose root directory is one of these mounts.
// Nothing proposes to unmount the root directory of a container that runs.
func containersByRoot(h *doctor.Host, b *inspect.Busy) map[root]*container.Container {
	in := make(map[root]*container.Container)
	for _, u := range b.Uses {
		ns, ok := h.Snapshot.Namespace(u.Mount.In)
		if !ok || u.Mount.Point != "/" || u.Mount.In == h.Mounts {
			continue
		}
		if c := h.Containers.With(ns); c != nil {
			in[rootOf(u.Mount)] = c
		}
	}
	return in
}

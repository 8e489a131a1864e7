// Package busy finds what keeps a mount point, a block device, a directory or a file in
// use, in any mount namespace, and how to free it.
//
//	host, busy, findings, err := busy.Look(ctx, "/mnt/disk")
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

// check is the name of the check in findings.
const check = "busy"

// A host is a host with the methods of this package.
type host struct{ *doctor.Host }

// Look finds what keeps path in use. See [inspect.Snapshot.Busy].
func Look(ctx context.Context, path string, opts ...inspect.Option) (*doctor.Host, *inspect.Busy, []doctor.Finding, error) {
	h, err := doctor.Scan(ctx, opts...)
	if err != nil {
		return nil, nil, nil, err
	}
	busy, err := h.Snapshot.Busy(ctx, path)
	if err != nil {
		return nil, nil, nil, err
	}
	h.Gaps = append(h.Gaps, busy.Gaps...)
	users := make(map[int]bool)
	for _, u := range busy.Uses {
		users[u.PID] = true
		if mnt, ok := h.Snapshot.Namespace(u.Mount.In); ok {
			for _, p := range mnt.Members[:min(len(mnt.Members), doctor.Few)] {
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
	return h, busy, Judge(h, busy), nil
}

// Judge returns what keeps a mount or a file system in use: a [doctor.Problem] makes
// umount(2) fail, a [doctor.Warning] only keeps the file system.
func Judge(known *doctor.Host, busy *inspect.Busy) (found []doctor.Finding) {
	h := host{known}
	lives := h.lives(busy)
	var last *doctor.Finding // that of the process before
	for _, u := range busy.Uses {
		if u.Kind < inspect.ByCwd {
			found = append(found, h.busyMount(busy, u, lives))
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
			last.By(h.End(u.PID))
		}
		if u.Same || busy.Mount.ID == 0 {
			last.Severity = doctor.Problem
		}
		last.Evidence = append(last.Evidence, h.use(busy, u))
	}
	for i := range found {
		found[i].Check = check
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].Severity > found[j].Severity })
	return found
}

// useWords say how a process uses a file.
var useWords = map[inspect.UseKind]string{
	inspect.ByCwd: "working directory", inspect.ByRoot: "root directory", inspect.ByExe: "program", inspect.ByMapped: "mapped", inspect.ByBound: "socket",
}

func (h host) use(busy *inspect.Busy, u inspect.Use) string {
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
	case u.Mount.ID != 0 && !u.Same && busy.Mount.ID != 0:
		s += fmt.Sprintf(", by the mount at %s in mnt:[%d]", u.Mount.Point, u.Mount.In.Ino)
	}
	return s
}

// busyMount judges a use that is not a process's.
func (h host) busyMount(busy *inspect.Busy, u inspect.Use, lives map[root]*container.Container) doctor.Finding {
	f := doctor.Finding{Severity: doctor.Warning, Subject: u.Path}
	switch u.Kind {
	case inspect.ByMountBelow:
		f.Severity = doctor.Problem
		f.What = "mounted below it: " + u.Path
		f.Evidence = []string{fmt.Sprintf("%s of %s", u.Mount.Type, u.Mount.Source)}
		if u.Reached {
			f.By(doctor.Unmount(u.Mount))
		}
	case inspect.ByLoop, inspect.BySwap, inspect.ByDevice:
		f.Severity = doctor.Problem
		f.What = u.Path + map[inspect.UseKind]string{
			inspect.ByLoop: " is a loop device of it", inspect.BySwap: " is swapped to", inspect.ByDevice: " is made of it",
		}[u.Kind]
		if u.InUse {
			f.Evidence = []string{"it is in use itself: nstool busy " + u.Path}
		}
		f.By(doctor.Release(u))
	default:
		f.What = "also mounted at " + u.Path
		f.Evidence = []string{fmt.Sprintf("%s of %s, device %s, from its %s", u.Mount.Type, u.Mount.Source, u.Mount.Dev, u.Mount.Root)}
		if u.Kind == inspect.ByLayer {
			f.What = "an overlay has a layer of it, at " + u.Path
			f.Evidence = []string{"the layer is " + u.On}
		}
		if u.Mount.In == h.Mounts {
			switch c := lives[rootOf(u.Mount)]; {
			case c != nil:
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s lives in it", c))
				f.By(h.Stop(c))
			case busy.Root != "": // it does no harm to the mount, and others may go by that name
			case u.Reached:
				f.By(doctor.Unmount(u.Mount))
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
		if busy.Root == "" {
			f.By(h.Leave(u.Mount.In))
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

// lives returns the containers that have such a root directory: to take it from
// below them is no way to put anything right.
func (h host) lives(busy *inspect.Busy) map[root]*container.Container {
	in := make(map[root]*container.Container)
	for _, u := range busy.Uses {
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

package inspect

import (
	"iter"
	"strconv"

	"github.com/nstool/nstool/internal/sys"
)

// A way leads to a namespace: it can be opened, to ask the kernel about it.
type way struct {
	kind     wayKind
	pid, tid int
	fd       int
	name     string // the link under ns, or the mount point
	handle   sys.Handle
}

type wayKind uint8

const (
	noWay    wayKind = iota
	byLink           // a link under /proc/pid/ns or /proc/pid/task/tid/ns
	byFD             // a descriptor of a process
	byPath           // a mount point, as seen by a process, or by us with pid 0
	bySocket         // a descriptor of a process that is a socket, or /dev/net/tun, of which the same is asked
	byTaken          // a descriptor that the scan holds itself
	byHandle         // what the kernel calls it by: nothing need lead there
)

func taskWay(pid, tid int, link string) way { return way{kind: byLink, pid: pid, tid: tid, name: link} }
func fdWay(pid, tid, fd int) way            { return way{kind: byFD, pid: pid, tid: tid, fd: fd} }
func socketWay(pid, tid, fd int) way        { return way{kind: bySocket, pid: pid, tid: tid, fd: fd} }
func mountWay(pid int, path string) way     { return way{kind: byPath, pid: pid, name: path} }
func takenWay(fd int) way                   { return way{kind: byTaken, fd: fd} }
func handleWay(h sys.Handle) way            { return way{kind: byHandle, handle: h} }

// task returns the directory of the process or thread, relative to the proc
// file system.
func (w way) task() string {
	d := strconv.Itoa(w.pid)
	if w.tid != 0 {
		d += "/task/" + strconv.Itoa(w.tid)
	}
	return d
}

// path returns the file that leads to the namespace, relative to the proc file
// system unless it is absolute, or "".
func (w way) path() string {
	switch w.kind {
	case byLink:
		return w.task() + "/ns/" + w.name
	case byFD:
		return w.task() + "/fd/" + strconv.Itoa(w.fd)
	case byPath:
		if w.pid == 0 {
			return w.name
		}
		return strconv.Itoa(w.pid) + "/root" + w.name
	}
	return ""
}

// mostMembers is how many members of a namespace are tried: if three of them
// do not lead there, the fourth will not either.
const mostMembers = 3

// ways yields the ways to ns, by its members and whatever else holds it, but for
// mounts that no process sees.
func (ns *Namespace) ways() iter.Seq[way] {
	return func(yield func(way) bool) {
		for _, p := range ns.Members[:min(len(ns.Members), mostMembers)] {
			if !yield(taskWay(p.PID, p.heir, ns.Type.String())) {
				return
			}
		}
		for _, h := range ns.holders {
			if w := h.way(ns.Type); w.kind != noWay && !yield(w) {
				return
			}
		}
	}
}

// way returns the way by which h leads to the namespace of type t that it holds.
func (h Holder) way(t Type) way {
	switch h.Kind {
	case ByTask:
		return taskWay(h.PID, h.TID, t.String())
	case ByChildren:
		return taskWay(h.PID, h.TID, t.ForChildren())
	case ByFD:
		return fdWay(h.PID, h.TID, h.FD)
	case BySocket, ByNetDevice:
		return socketWay(h.PID, h.TID, h.FD)
	case ByMount:
		if h.PID != 0 {
			return mountWay(h.PID, h.Path)
		}
	}
	return way{}
}

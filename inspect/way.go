package inspect

import (
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
	bySocket         // a descriptor of a process that is a socket
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

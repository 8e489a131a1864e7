package inspect

import (
	"iter"
	"strconv"

	"github.com/nstool/nstool/internal/sys"
)

// An opener says how to open a namespace, to ask the kernel about it.
type opener struct {
	kind     openerKind
	pid, tid int
	fd       int
	name     string // the link under ns, or the mount point
	handle   sys.Handle
}

type openerKind uint8

const (
	noOpener openerKind = iota
	byLink              // a link under /proc/pid/ns or /proc/pid/task/tid/ns
	byFD                // a descriptor of a process
	byPath              // a mount point, as seen by a process, or by us with pid 0
	bySocket            // a socket of a process, or its /dev/net/tun
	byOwn               // a descriptor of the scan itself
	byHandle            // a file handle, without a holder
)

func linkOpener(pid, tid int, link string) opener {
	return opener{kind: byLink, pid: pid, tid: tid, name: link}
}

func fdOpener(pid, tid, fd int) opener { return opener{kind: byFD, pid: pid, tid: tid, fd: fd} }

func socketOpener(pid, tid, fd int) opener    { return opener{kind: bySocket, pid: pid, tid: tid, fd: fd} }
func mountOpener(pid int, path string) opener { return opener{kind: byPath, pid: pid, name: path} }
func ownOpener(fd int) opener                 { return opener{kind: byOwn, fd: fd} }
func handleOpener(h sys.Handle) opener        { return opener{kind: byHandle, handle: h} }

// task returns the directory of the process or thread, relative to the proc file system.
func (w opener) task() string {
	d := strconv.Itoa(w.pid)
	if w.tid != 0 {
		d += "/task/" + strconv.Itoa(w.tid)
	}
	return d
}

// path returns the file that leads to the namespace, relative to the proc file system unless it is
// absolute, or "".
func (w opener) path() string {
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

// maxMembers is how many members of a namespace are tried: if three fail, the fourth will too.
const maxMembers = 3

// openers yields the openers of ns: its members and other holders, without mounts that no process
// sees.
func (ns *Namespace) openers() iter.Seq[opener] {
	return func(yield func(opener) bool) {
		for _, p := range ns.Members[:min(len(ns.Members), maxMembers)] {
			if !yield(linkOpener(p.PID, p.heir, ns.Type.String())) {
				return
			}
		}
		for _, h := range ns.holders {
			if w := h.opener(ns.Type); w.kind != noOpener && !yield(w) {
				return
			}
		}
	}
}

// opener returns the opener of the namespace of type t that h holds.
func (h Holder) opener(t Type) opener {
	switch h.Kind {
	case ByTask:
		return linkOpener(h.PID, h.TID, t.String())
	case ByChildren:
		return linkOpener(h.PID, h.TID, t.ForChildren())
	case ByFD:
		return fdOpener(h.PID, h.TID, h.FD)
	case BySocket, ByNetDevice:
		return socketOpener(h.PID, h.TID, h.FD)
	case ByMount:
		if h.PID != 0 {
			return mountOpener(h.PID, h.Path)
		}
	}
	return opener{}
}

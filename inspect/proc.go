package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/nstool/nstool/internal/sys"
)

// A procFS is the proc file system that is read.
type procFS struct {
	path  string
	dir   sys.ProcDir
	nsDev uint64 // the device of nsfs, which all namespaces share
	self  int    // the caller's PID there, or 0
	real  bool   // it is procfs, so its links lead to namespaces
	ours  bool   // it has the same numbers for processes as the caller
	gaps  []Gap
	blind []Gap // why it may not show every process

	initial bool // it is of the initial PID namespace
}

// openProc opens the proc file system at path and finds out what it is.
func openProc(path string) (*procFS, error) {
	dir, err := sys.OpenProc(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	p := &procFS{path: path, dir: dir}
	if p.real, err = dir.IsProcfs(); err != nil {
		dir.Close()
		return nil, fmt.Errorf("statfs %s: %w", path, err)
	}
	if !p.real {
		if path == "/proc" {
			dir.Close()
			return nil, errors.New("/proc is not a proc file system")
		}
		p.gaps = append(p.gaps, Gap{What: path, Err: errors.New("not a proc file system: shown as it is, the kernel is not asked")})
		return p, nil
	}
	var buf [32]byte
	n, err := dir.Readlink(sys.NewName("self"), buf[:])
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		dir.Close()
		return nil, fmt.Errorf("readlink %s/self: %w", path, err)
	}
	p.self, _ = strconv.Atoi(string(buf[:n]))
	switch p.ours = p.self == os.Getpid() && p.innermost(); {
	case p.ours:
		p.findBlindSpots()
	case p.self == 0:
		p.blind = append(p.blind, Gap{What: path, Err: errors.New("it belongs to another PID namespace, which this process is not in")})
	default:
		p.blind = append(p.blind, Gap{What: path, Err: fmt.Errorf("it belongs to another PID namespace: process %d of ours is %d there", os.Getpid(), p.self)})
	}
	if p.self != 0 {
		st, err := dir.Stat(sys.NewName("thread-self/ns/user"))
		if err != nil {
			dir.Close()
			return nil, fmt.Errorf("stat %s/thread-self/ns/user: %w", path, err)
		}
		p.nsDev = st.ID.Dev
	}
	return p, nil
}

// pids returns the processes, in order.
func (p *procFS) pids() ([]int, error) {
	var pids []int
	buf := make([]byte, 64<<10)
	add := func(name sys.Name) {
		if n, ok := parsePID(name[:len(name)-1]); ok {
			pids = append(pids, n)
		}
	}
	for failed := false; ; {
		more, err := p.dir.Entries(buf, add)
		switch {
		case err == nil && !more:
			// procfs has them in order, other file systems may not.
			slices.Sort(pids)
			return slices.Compact(pids), nil
		case err != nil && failed:
			return nil, fmt.Errorf("read %s: %w", p.path, err)
		case err != nil:
			failed = true // memory may have been short for a moment
		}
	}
}

// gone reports whether err is due to the exit of a process.
func (p *procFS) gone(pid int, err error) bool {
	if !sys.Gone(err) {
		return false
	}
	_, err = p.dir.Stat(sys.AppendName(nil, pid, ""))
	return errors.Is(err, fs.ErrNotExist)
}

// closed reports whether err is due to the exit of a process, or of the only thread of one: that
// has no descriptors any more, and pidfd_getfd(2) says so before /proc/pid is gone.
func (p *procFS) closed(pid int, err error) bool {
	if !sys.Gone(err) {
		return false
	}
	st, err := p.dir.Stat(sys.AppendName(nil, pid, "/task"))
	return errors.Is(err, fs.ErrNotExist) || err == nil && st.Nlink <= 3 // ".", ".." and a thread
}

// parsePID reads the name of a process directory.
func parsePID(name []byte) (int, bool) {
	n := 0
	for _, c := range name {
		if c < '0' || c > '9' || n > 1<<30 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n > 0
}

// A linkSet is the links of a process to read.
type linkSet struct {
	links []nsLink
	// open: open /proc/pid/ns first. That is faster for many links.
	open bool
}

// An nsLink is a link under /proc/pid/ns.
type nsLink struct {
	name     sys.Name
	typ      Type
	children bool // *_for_children
}

// linksOf returns the links of the given types.
func linksOf(types Types) linkSet {
	set := linkSet{open: types.Len() > 3}
	add := func(name string, t Type, children bool) {
		if !set.open {
			name = "ns/" + name
		}
		set.links = append(set.links, nsLink{sys.NewName(name), t, children})
	}
	for t := range types.All() {
		add(t.String(), t, false)
		if c := t.ForChildren(); c != "" {
			add(c, t, true)
		}
	}
	return set
}

// parseIno reads the inode number in the text of a namespace link: "net:[4026531840]". 0 is none.
func parseIno(text []byte) uint64 {
	for i, c := range text {
		if c != '[' {
			continue
		}
		var n uint64
		for _, c := range text[i+1:] {
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + uint64(c-'0')
		}
		return n
	}
	return 0
}

// links is the namespaces of a process or thread, by its links.
type links struct {
	ino             Inodes
	pidForChildren  uint64
	timeForChildren uint64
}

// readLinks reads the namespace links of a process or thread in its directory dir. Missing links,
// as of a zombie or on an old kernel, are no error.
func readLinks(dir sys.ProcDir, set linkSet, buf []byte) (l links, any bool, err error) {
	if set.open {
		if dir, err = dir.OpenPath(nameNS); err != nil {
			return l, false, err
		}
		defer dir.CloseRaw()
	}
	for i := range set.links {
		link := &set.links[i]
		n, e := dir.Readlink(link.name, buf)
		if e != nil && !errors.Is(e, fs.ErrPermission) {
			n, e = dir.Readlink(link.name, buf) // memory may have been short for a moment
		}
		if e != nil {
			if errors.Is(e, fs.ErrPermission) {
				return l, any, e // the others will fail too
			}
			if !sys.Gone(e) && err == nil {
				err = e
			}
			continue
		}
		ino := parseIno(buf[:n])
		any = any || ino != 0
		switch {
		case !link.children:
			l.ino[link.typ] = ino
		case link.typ == PID:
			l.pidForChildren = ino
		default:
			l.timeForChildren = ino
		}
	}
	return l, any, err
}

// The names under /proc/pid that a scan reads.
var (
	nameNS   = sys.NewName("ns")
	nameTask = sys.NewName("task")
	nameFD   = sys.NewName("fd")
)

package inspect

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"sort"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// A part is the findings of one goroutine of readProcesses.
type part struct {
	processes  []Process
	references []reference
	sockets    []socketRef
	held       []socketRef
	odd        []oddRef
	names      []nameRef
	gaps       []Gap

	// Buffers, and the current process.
	name    []byte
	link    []byte
	entries []byte
	numbers []int
	fds     fdLimiter
}

// A reference is a namespace with a holder that is no member.
type reference struct {
	typ    Type
	ino    uint64
	holder Holder
}

// A socketRef is a descriptor of a socket.
type socketRef struct {
	pid, tid, fd int
	netns        uint64 // the network namespace of the process
	ino          uint64 // of the socket
}

// readProcesses reads the namespaces of processes, and those that their threads and descriptors
// hold. The iterators read many at once. A few processes, and those that the iterators do not
// have, are read from /proc.
func (s *scanner) readProcesses(ctx context.Context, pids []int) {
	set := linksOf(s.wanted)
	s.processes = make([]Process, 0, len(pids))
	p, err := s.readByBPF(len(pids))
	if err == nil {
		s.merge(p)
		pids = slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
			_, bpfTasks := findProcess(p.processes, pid)
			return bpfTasks
		})
	}
	s.bpfErr = err
	const chunk = 16
	if slow := s.readSome(ctx, pids, set, chunk); len(slow) > 0 {
		for _, pid := range s.readSome(ctx, slow, set, 1) {
			s.gap(Gap{pid, "ns", ErrSlow})
		}
	}
	sort.Slice(s.processes, func(i, j int) bool { return s.processes[i].PID < s.processes[j].PID })
	s.addMembers()
}

// merge adds the findings of a part.
func (s *scanner) merge(p *part) {
	s.processes = append(s.processes, p.processes...)
	s.gaps = append(s.gaps, p.gaps...)
	s.sockets = append(s.sockets, p.sockets...)
	s.held = append(s.held, p.held...)
	s.odd = append(s.odd, p.odd...)
	s.names = append(s.names, p.names...)
	for _, g := range p.references {
		s.hold(g.typ, g.ino, g.holder, g.holder.opener(g.typ))
	}
}

// readSome reads processes in chunks of that size, and returns the chunks with a process that does
// not answer.
func (s *scanner) readSome(ctx context.Context, pids []int, set linkSet, size int) (slow []int) {
	chunks := slices.Collect(slices.Chunk(pids, size))
	silent := wait.Many(ctx, &s.stuck, len(chunks),
		func() func(int) *part {
			p := &part{name: make([]byte, 0, 64), link: make([]byte, 256), entries: make([]byte, 32<<10)}
			return func(i int) *part {
				p.processes, p.references, p.sockets, p.odd, p.names, p.gaps = make([]Process, 0, size), nil, nil, nil, nil, nil
				for _, pid := range chunks[i] {
					s.readProcess(p, pid, set)
				}
				return &part{processes: p.processes, references: p.references, sockets: p.sockets, odd: p.odd, names: p.names, gaps: p.gaps}
			}
		},
		func(_ int, p *part) { s.merge(p) }, nil)
	for _, i := range silent {
		slow = append(slow, chunks[i]...)
	}
	return slow
}

// readProcess reads one process. If it exits meanwhile it is left out.
func (s *scanner) readProcess(p *part, pid int, set linkSet) {
	dir, err := s.proc.dir.OpenPath(sys.AppendName(p.name[:0], pid, ""))
	if err != nil {
		if !s.proc.gone(pid, err) {
			p.gaps = append(p.gaps, Gap{pid, "ns", err})
		}
		return
	}
	defer dir.CloseRaw()
	st, err := dir.Stat(nameTask)
	if err != nil {
		if !s.proc.gone(pid, err) {
			p.gaps = append(p.gaps, Gap{pid, "task", err})
		}
		st.Nlink = 3
	}
	threads := max(int(st.Nlink)-2, 0) // "." and ".." are links too
	l, any, err := readLinks(dir, set, p.link)
	if err != nil || !any {
		// Without any link, or without the right to them, the process may have exited.
		if _, e := s.proc.dir.Stat(sys.AppendName(p.name[:0], pid, "")); errors.Is(e, fs.ErrNotExist) {
			return
		}
	}
	if err != nil {
		p.gaps = append(p.gaps, Gap{pid, "ns", err})
	}
	p.processes = append(p.processes, Process{PID: pid, Threads: threads, dev: s.proc.nsDev, links: l})
	if errors.Is(err, fs.ErrPermission) {
		return // the rest would fail too
	}
	proc := &p.processes[len(p.processes)-1]
	s.noteChildren(p, proc, 0, l)
	// A zombie only has its PID and user namespace. If other threads of it run, the first of those
	// stands for the process.
	zombie := err == nil && s.hasExited(l)
	if threads > 1 && (s.tasks || zombie) {
		s.readTasks(p, dir, proc, set, zombie)
	}
	if s.fds && !zombie {
		s.readFDs(p, dir, proc, 0)
	}
}

// hasExited reports whether links are those of a task that has exited: it has none of the wanted
// namespaces that it releases at its exit.
func (s *scanner) hasExited(l links) bool {
	kept := TypesOf(PID, User)
	wanted := false
	for t := range s.wanted.All() {
		if kept.Has(t) {
			continue
		}
		if wanted = true; l.ino[t] != 0 {
			return false
		}
	}
	return wanted
}

// inherit makes a thread stand for its process, whose first thread has exited.
func (p *Process) inherit(tid int, l links) { p.heir, p.links = tid, l }

// noteChildren notes the namespaces for children that are not those of the process or thread
// itself.
func (s *scanner) noteChildren(p *part, proc *Process, tid int, l links) {
	for _, link := range [...]struct {
		typ Type
		ino uint64
	}{{PID, l.pidForChildren}, {Time, l.timeForChildren}} {
		if link.ino != 0 && link.ino != l.ino[link.typ] {
			p.references = append(p.references, reference{link.typ, link.ino, Holder{Kind: ByChildren, PID: proc.PID, TID: tid}})
		}
	}
}

// noteThread notes the namespaces of a thread that its process is not in.
func (s *scanner) noteThread(p *part, proc *Process, tid int, l links) {
	for t := range s.wanted.All() {
		if ino := l.ino[t]; ino != 0 && ino != proc.ino[t] {
			p.references = append(p.references, reference{t, ino, Holder{Kind: ByTask, PID: proc.PID, TID: tid}})
		}
	}
	if l.pidForChildren != proc.pidForChildren || l.timeForChildren != proc.timeForChildren {
		s.noteChildren(p, proc, tid, l)
	}
}

// readTasks reads the threads of a process, and notes those in other namespaces than the first.
func (s *scanner) readTasks(p *part, dir sys.ProcDir, proc *Process, set linkSet, zombie bool) {
	tasks, err := dir.Open(nameTask)
	if err != nil {
		if !s.proc.gone(proc.PID, err) {
			p.gaps = append(p.gaps, Gap{proc.PID, "task", err})
		}
		return
	}
	defer tasks.CloseRaw()
	tids, err := p.list(tasks)
	if err != nil && !s.proc.gone(proc.PID, err) {
		p.gaps = append(p.gaps, Gap{proc.PID, "task", err})
	}
	if zombie {
		slices.Sort(tids)
	}
	for _, tid := range tids {
		if tid == proc.PID {
			continue
		}
		task, err := tasks.OpenPath(sys.AppendName(p.name[:0], tid, ""))
		if err != nil {
			if !sys.Gone(err) {
				p.gaps = append(p.gaps, Gap{proc.PID, "task", err})
			}
			continue
		}
		l, _, err := readLinks(task, set, p.link)
		if err != nil && !sys.Gone(err) {
			p.gaps = append(p.gaps, Gap{proc.PID, "task", err})
		}
		switch {
		case zombie && proc.heir == 0 && !s.hasExited(l):
			proc.inherit(tid, l)
			s.noteChildren(p, proc, tid, l)
		case s.tasks:
			s.noteThread(p, proc, tid, l)
		}
		if s.fds && s.tasks && (zombie || s.proc.ours && sys.OwnFiles(proc.PID, tid)) {
			s.readFDs(p, task, proc, tid)
		}
		task.CloseRaw()
	}
}

// list returns the numbers in a directory. They are valid until the next call.
func (p *part) list(dir sys.ProcDir) ([]int, error) {
	p.numbers = p.numbers[:0]
	for {
		more, err := dir.Entries(p.entries, func(name sys.Name) {
			if n, ok := parseFD(name[:len(name)-1]); ok {
				p.numbers = append(p.numbers, n)
			}
		})
		if err != nil || !more {
			return p.numbers, err
		}
	}
}

// parseFD reads the name of an entry of /proc/pid/fd. 0 is valid.
func parseFD(name []byte) (int, bool) {
	if len(name) == 1 && name[0] == '0' {
		return 0, true
	}
	return parsePID(name)
}

// readFDs reads the links of the descriptors of a process. It opens nothing, and asks nothing that
// could wait for a file system.
func (s *scanner) readFDs(p *part, dir sys.ProcDir, proc *Process, tid int) {
	// A thread may exit at any time.
	gone := func(err error) bool { return s.proc.gone(proc.PID, err) || tid != 0 && sys.Gone(err) }
	fds, err := dir.Open(nameFD)
	if err != nil {
		if !gone(err) {
			p.gaps = append(p.gaps, Gap{proc.PID, "fd", err})
		}
		return
	}
	defer fds.CloseRaw()
	defer p.fds.end(p)
	failed := false
	for {
		more, err := fds.Entries(p.entries, func(name sys.Name) {
			if name[0] == '.' || p.fds.full() {
				return
			}
			n, err := fds.Readlink(name, p.link)
			if err != nil {
				n, err = fds.Readlink(name, p.link) // a closed one fails again
			}
			if err != nil {
				failed = failed || !sys.Gone(err)
				return
			}
			switch text := p.link[:n]; {
			case n == 0:
			case text[0] == '/':
				s.notePath(p, proc, tid, name, text)
			case text[n-1] == ']':
				fd, _ := parseFD(name[:len(name)-1])
				s.noteFD(p, proc, tid, fd, text)
			}
		})
		if err != nil && !gone(err) || failed {
			p.gaps = append(p.gaps, Gap{proc.PID, "fd", errors.Join(err, errUnreadable(failed))})
			failed = false
		}
		if err != nil || !more || p.fds.full() {
			return
		}
	}
}

func errUnreadable(some bool) error {
	if some {
		return errors.New("some descriptors could not be read")
	}
	return nil
}

var (
	socketPrefix = []byte("socket:[")
	pipePrefix   = []byte("pipe:[")
)

// noteFD notes a descriptor whose link is like "net:[4026531840]".
func (s *scanner) noteFD(p *part, proc *Process, tid, fd int, text []byte) {
	if bytes.HasPrefix(text, socketPrefix) {
		if s.types.Has(Net) {
			p.sockets = append(p.sockets, socketRef{proc.PID, tid, fd, proc.ino[Net], parseIno(text)})
		}
		return
	}
	if bytes.HasPrefix(text, pipePrefix) {
		return
	}
	if t, ino, ok := ParseLink(string(text)); ok && s.wanted.Has(t) && p.fds.allows(p, proc.PID, ino) {
		p.references = append(p.references, reference{t, ino, Holder{Kind: ByFD, PID: proc.PID, TID: tid, FD: fd}})
	}
}

// addMembers makes each process a member of its namespaces.
func (s *scanner) addMembers() {
	var last [UTS + 1]*record // neighbours are often in the same one
	for i := range s.processes {
		p := &s.processes[i]
		for t := range s.wanted.All() {
			ino := p.ino[t]
			if ino == 0 {
				continue
			}
			f := last[t]
			if f == nil || f.ns.ID.Ino != ino {
				f = s.find(t, ino)
				last[t] = f
				if len(f.ns.Members) == 0 {
					// This opener is more reliable than those before.
					f.opener = linkOpener(p.PID, p.heir, t.String())
				}
			}
			f.ns.Members = append(f.ns.Members, p)
			f.ns.Threads += p.Threads
		}
	}
	for _, f := range s.known {
		for _, h := range f.ns.holders {
			if h.Kind != ByTask {
				continue
			}
			f.ns.Threads++
			if p, ok := s.process(h.PID); ok {
				if id, ok := p.Namespace(f.ns.Type); ok {
					s.find(f.ns.Type, id.Ino).ns.Threads--
				}
			}
		}
	}
}

func (s *scanner) process(pid int) (*Process, bool) {
	return findProcess(s.processes, pid)
}

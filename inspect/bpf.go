package inspect

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sort"

	"github.com/nstool/nstool/internal/sys"
)

// bpfFrom is the number of threads from which on BPF iterators are faster. Learning the kernel's
// types and loading the programs takes as long as reading 250 to 400 threads from /proc, with the
// descriptors that such processes have, and longer where the types cannot be mapped (before
// Linux 6.16).
const bpfFrom = 400

// readByBPF has the kernel list all its tasks and their descriptors. The result is that of reading
// /proc. After an error nothing was noted.
//
// It takes many threads, the privileges and the kernel of [sys.ReadTasks], and a caller in the
// initial PID namespace, since the kernel uses the numbers of that one.
func (s *scanner) readByBPF(processes int) (*part, error) {
	if processes < s.bpfFrom && s.proc.threads() < s.bpfFrom {
		return nil, ErrNotAsked
	}
	all, self, err := s.readBPFTasks(s.fds, s.fds && s.holds)
	if err != nil {
		return nil, err
	}
	bpfTasks := all.Processes
	if s.bpfAgrees(self) {
		s.bpfTasks = bpfTasks
	}
	if all.PinnedKnown {
		s.pinned = make(map[uint64]bool, len(all.Pinned))
		for _, ino := range all.Pinned {
			s.pinned[uint64(ino)] = true
		}
	}
	p := part{processes: make([]Process, len(bpfTasks))}
	for i := range bpfTasks {
		t, proc := &bpfTasks[i], &p.processes[i]
		*proc = Process{PID: int(t.PID), Threads: int(t.Threads), dev: s.proc.nsDev, links: linksOfTask(t)}
		s.narrow(&proc.links)
		s.noteChildren(&p, proc, 0, proc.links)
	}
	s.noteHeirs(&p, all.Threads)
	if s.tasks {
		s.noteThreads(&p, all.Threads)
	}
	s.noteFiles(&p, all.Files)
	return &p, nil
}

// readBPFTasks returns all tasks of the kernel, in order, with files and sockets of descriptors if
// asked for, and the task of the caller.
func (s *scanner) readBPFTasks(files, sockets bool) (*sys.Tasks, *sys.Task, error) {
	if s.bpfFrom == math.MaxInt || !s.proc.ours || s.proc.path != "/proc" {
		return nil, nil, ErrNotAsked
	}
	own, err := s.ownLinks()
	if err != nil {
		return nil, nil, err
	}
	if initial, _ := PID.InitialIno(); own.ino[PID] != initial {
		return nil, nil, ErrNotAsked
	}
	all, err := sys.ReadTasks(files, sockets)
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(all.Processes, func(i, j int) bool { return all.Processes[i].PID < all.Processes[j].PID })
	self, ok := taskOf(all.Processes, s.proc.self)
	if !ok || linksOfTask(self) != own {
		return nil, nil, errors.New("iterator and /proc disagree") // do not trust it about others
	}
	return all, self, nil
}

// ownLinks reads the caller's links in /proc.
func (s *scanner) ownLinks() (links, error) {
	self, err := s.proc.dir.OpenPath(sys.NewName("self"))
	if err != nil {
		return links{}, err
	}
	defer self.CloseRaw()
	l, _, err := readLinks(self, linksOf(AllTypes), make([]byte, 64))
	return l, err
}

func linksOfTask(t *sys.Task) links {
	l := links{pidForChildren: uint64(t.PIDForChildren), timeForChildren: uint64(t.TimeForChildren)}
	for i, flag := range sys.TaskFlags {
		if typ, ok := TypeOfFlag(flag); ok {
			l.ino[typ] = uint64(t.NS[i])
		}
	}
	return l
}

// taskOf finds a process among tasks.
func taskOf(bpfTasks []sys.Task, pid int) (*sys.Task, bool) {
	i, ok := slices.BinarySearchFunc(bpfTasks, pid, func(t sys.Task, pid int) int { return cmp.Compare(int(t.PID), pid) })
	if !ok {
		return nil, false
	}
	return &bpfTasks[i], true
}

// bpfAgrees reports whether the iterators have the owner and the identifier of a namespace of the
// caller that the kernel returns for it.
func (s *scanner) bpfAgrees(self *sys.Task) bool {
	i := slices.Index(sys.TaskFlags[:], UTS.Flag())
	file, err := s.kernel.open(linkOpener(s.proc.self, 0, UTS.String()), uint64(self.NS[i]))
	if err != nil {
		return false
	}
	defer file.close()
	owner, err := file.owner()
	if err != nil {
		return false
	}
	defer owner.close()
	id, err := owner.id()
	nsid, _ := file.nsid() // 0 where the kernel has none
	return err == nil && id.Ino == uint64(self.Owner[i]) && nsid == self.NSID[i]
}

// relateKnown fills in the relations of ns from the lists and iterators, if they have all of them.
// Network namespaces have more to ask, and owners that nothing else showed have to be asked for.
func (s *scanner) relateKnown(ns *Namespace) bool {
	if owner, ok := s.owners[ns.NSID]; ok && ns.NSID != 0 {
		ns.Owner, ns.Parent = Relation{ID: owner}, Relation{}
		return true
	}
	i := slices.Index(sys.TaskFlags[:len(sys.Task{}.Owner)], ns.Type.Flag())
	if i < 0 || ns.Type == Net || s.bpfTasks == nil || ns.Leader() == nil {
		return false
	}
	t, ok := taskOf(s.bpfTasks, ns.Leader().PID)
	if !ok || uint64(t.NS[i]) != ns.ID.Ino || s.known[uint64(t.Owner[i])] == nil {
		return false
	}
	ns.Owner = Relation{ID: ID{Dev: s.proc.nsDev, Ino: uint64(t.Owner[i])}}
	ns.Parent = Relation{}
	ns.NSID = t.NSID[i]
	return true
}

// narrow removes from l what is not wanted.
func (s *scanner) narrow(l *links) {
	for t := range l.ino {
		if !s.wanted.Has(Type(t)) {
			l.ino[t] = 0
		}
	}
	if !s.wanted.Has(PID) {
		l.pidForChildren = 0
	}
	if !s.wanted.Has(Time) {
		l.timeForChildren = 0
	}
}

// noteHeirs has threads stand for processes whose first thread has exited.
func (s *scanner) noteHeirs(p *part, threads []sys.Task) {
	for i := range threads {
		t := &threads[i]
		proc, ok := findProcess(p.processes, int(t.PID))
		if !ok || !s.hasExited(proc.links) && (proc.heir == 0 || int(t.TID) > proc.heir) {
			continue
		}
		l := linksOfTask(t)
		if s.narrow(&l); !s.hasExited(l) {
			proc.inherit(int(t.TID), l)
		}
	}
	for i := range p.processes {
		if proc := &p.processes[i]; proc.heir != 0 {
			s.noteChildren(p, proc, proc.heir, proc.links)
		}
	}
}

// noteThreads notes the threads in other namespaces than their process.
func (s *scanner) noteThreads(p *part, threads []sys.Task) {
	for i := range threads {
		t := &threads[i]
		if proc, ok := findProcess(p.processes, int(t.PID)); ok {
			l := linksOfTask(t)
			s.narrow(&l)
			s.noteThread(p, proc, int(t.TID), l)
		}
	}
}

// noteFiles notes the descriptors that hold namespaces.
func (s *scanner) noteFiles(p *part, files []sys.TaskFile) {
	for _, f := range files {
		proc, ok := findProcess(p.processes, int(f.PID))
		if !ok || f.TID != f.PID && !s.tasks {
			continue
		}
		h := Holder{Kind: ByFD, PID: proc.PID, FD: int(f.FD)}
		if f.TID != f.PID {
			h.TID = int(f.TID)
		}
		ino := uint64(f.Ino)
		if f.Flag == 0 {
			h.Kind = BySocket
			if s.types.Has(Net) && proc.ino[Net] != ino {
				p.references = append(p.references, reference{Net, ino, h})
			}
			if s.holds {
				p.held = append(p.held, socketRef{h.PID, h.TID, h.FD, proc.ino[Net], uint64(f.Socket)})
			}
			continue
		}
		if k := kindOfFile(f); k != 0 {
			if h.Kind = k; s.types.Has(Net) && p.fds.allows(p, proc.PID, ino) {
				p.references = append(p.references, reference{Net, ino, h})
				s.openByID(f)
			}
			continue
		}
		if t, ok := TypeOfFlag(int(f.Flag)); ok && s.wanted.Has(t) && p.fds.allows(p, proc.PID, ino) {
			p.references = append(p.references, reference{t, ino, h})
		}
	}
	p.fds.end(p)
}

package inspect

import (
	"cmp"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/passwd"
	"github.com/nstool/nstool/internal/sys"
)

// containers is what [Snapshot.Containers] found, once it was asked.
type containers struct {
	once   sync.Once
	hidden bool
	set    *container.Set
}

// Containers returns the containers that the processes of the snapshot are in.
// They are looked for when it is first called, at the cost of some reading of
// control groups and of the files of container engines; see package container.
// What could not be read is in the set's own list of gaps.
func (s *Snapshot) Containers() *container.Set {
	s.containers.once.Do(func() {
		host := container.Host{Proc: s.proc.path, Self: s.proc.self, Hidden: s.containers.hidden}
		if s.proc.real {
			host.Far, host.UserName = s.farMounts, passwd.Names()
			host.Caller = container.Owner(os.Geteuid())
		} else {
			host.Stated = true
			host.Root = path.Join(s.proc.path, "1/root") // and not this system's own
		}
		s.containers.set = container.Identify(host, s.inodes())
	})
	return s.containers.set
}

// farMounts returns the mount points that a process sees of file systems that may
// never answer.
func (s *Snapshot) farMounts(pid int) (far []string, err error) {
	mounts, err := readMountTable(filepath.Join(s.proc.path, strconv.Itoa(pid), "mountinfo"), ID{})
	for _, m := range mounts {
		if !sys.IsNear(m.Type) {
			far = append(far, m.Point)
		}
	}
	return far, err
}

// inodes yields the processes with the inode numbers of their namespaces.
func (s *Snapshot) inodes() iter.Seq2[int, *container.Inodes] {
	return func(yield func(int, *container.Inodes) bool) {
		for i := range s.processes {
			if !yield(s.processes[i].PID, &s.processes[i].ino) {
				return
			}
		}
	}
}

// ContainerOf returns whose process p is.
func (s *Snapshot) ContainerOf(p *Process) container.Membership {
	set := s.Containers()
	i, ok := slices.BinarySearchFunc(s.processes, p.PID, func(p Process, pid int) int { return cmp.Compare(p.PID, pid) })
	if !ok || i >= len(set.Members) {
		return container.Membership{}
	}
	return set.Members[i]
}

// ContainerWith returns the container that a namespace belongs to, or nil for
// one of the host: the one that it came with, or else that of its leader.
func (s *Snapshot) ContainerWith(ns *Namespace) *container.Container {
	if c := s.Containers().Owner(ns.ID.Ino); c != nil {
		return c
	}
	if l := ns.Leader(); l != nil {
		if m := s.ContainerOf(l); !m.Guest {
			return m.Container
		}
	}
	return nil
}

// Guests returns those of the given processes that are in the namespaces of a
// container and came there from outside; see [container.Set.Guests].
func (s *Snapshot) Guests(procs iter.Seq[*Process]) map[int]bool {
	return s.Containers().Guests(func(yield func(int, container.Membership) bool) {
		for p := range procs {
			if !yield(p.PID, s.ContainerOf(p)) {
				return
			}
		}
	})
}

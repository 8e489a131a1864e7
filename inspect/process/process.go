// Package process reads the status of a process by github.com/prometheus/procfs, also
// in a proc file system of another PID namespace.
//
// It is a package of its own because to start procfs takes 0.3 ms, which a program that
// does not import this package saves. Package task has all of a process, as the caller's
// own proc file system shows it.
package process

import (
	"fmt"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/nstool/nstool/inspect/task"
)

// Read reads NSpid, UID, GID and Cgroups of a process, in the proc file system that is
// mounted at proc. It needs no privileges, unless that is mounted with hidepid. The error
// is an [io/fs.ErrNotExist] if there is no such process.
func Read(proc string, pid int) (*task.Task, error) {
	failed := func(err error) (*task.Task, error) {
		return nil, fmt.Errorf("status of process %d: %w", pid, err)
	}
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return failed(err)
	}
	p, err := fs.Proc(pid)
	if err != nil {
		return failed(err)
	}
	status, err := p.NewStatus()
	if err != nil {
		return failed(err)
	}
	groups, err := p.Cgroups()
	if err != nil {
		return failed(err)
	}
	t := &task.Task{PID: pid, UID: idsOf(status.UIDs), GID: idsOf(status.GIDs)}
	for _, n := range status.NSpids {
		t.NSpid = append(t.NSpid, int(n))
	}
	for _, g := range groups {
		t.Cgroups = append(t.Cgroups, task.Cgroup{Controllers: strings.Join(g.Controllers, ","), Path: g.Path})
	}
	return t, nil
}

func idsOf(n [4]uint64) task.IDs {
	return task.IDs{Real: uint32(n[0]), Effective: uint32(n[1]), Saved: uint32(n[2]), FS: uint32(n[3])}
}

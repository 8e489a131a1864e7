package enter

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// Expected is what must be true of the first process of a container before it counts as the
// container. Until then it is a process of the runtime: it has the name, the control group and
// the namespaces of the container already, but still the root directory and the capabilities of
// the host, and no filter.
type Expected struct {
	// Name is the container's, for messages.
	Name string
	// Created: by its state, the engine has not started the container yet.
	Created bool
	// PID is that of the first process in the PID namespace of the engine, or 0.
	PID int
	// HasRoot reports whether the directory with this device and inode number is the intended
	// root directory of the container. It is called if the root directory is one of the host.
	// nil means no.
	HasRoot func(dev, ino uint64) bool
	// Seccomp: the container is to have a filter. NoNewPrivs: it is to have that attribute.
	Seccomp, NoNewPrivs bool
	// Bounding, if not nil, is all that its bounding set may hold.
	Bounding *Caps
	// Env is its environment, and UID the user of the container that it is started as: nil if
	// not known.
	Env []string
	UID *uint32
	// Stateless: the engine writes no state that says how far it is.
	Stateless bool
}

// A StartingError reports that a container is still being set up.
type StartingError struct {
	Name string
	Why  string
}

func (e *StartingError) Error() string {
	return fmt.Sprintf("%s is being started: %s", e.Name, e.Why)
}

// Ready returns nil if the target is the first process of a container that has been set up, and
// else a [*StartingError]. Once nil, it stays nil while the target lives. It also returns nil
// if the caller may not read the root directory of the target: joining its namespaces needs the
// same right.
func (t *Target) Ready(terms Expected) error {
	why, err := t.unready(terms)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return t.Alive()
	case err != nil:
		return cmp.Or(t.Alive(), err)
	case why != "":
		// A process that is ending can look like anything.
		return cmp.Or[error](t.Alive(), &StartingError{terms.Name, why})
	}
	return t.Alive()
}

// unready returns why the target is not ready, or "".
func (t *Target) unready(terms Expected) (why string, err error) {
	p := t.proc
	root, err := p.Where("root")
	if err != nil {
		return "", err
	}
	status, err := statusOf(p, "NSpid", "CapBnd", "PPid")
	if err != nil {
		return "", err
	}
	forked, err := neverExecuted(p)
	if err != nil {
		return "", err
	}
	hosts := t.isOutside(root, status.PPID)
	switch {
	case hosts && (terms.HasRoot == nil || !terms.HasRoot(root.Dev, root.Ino)):
		return "its root directory is still that of who starts it", nil
	case hosts && forked, terms.Created && forked, terms.Stateless && forked && t.isRuntime(status):
		return "its program is not executed yet", nil
	case terms.PID != 0 && !slices.Contains(status.NSpid, terms.PID) && forked:
		return "its engine knows nothing of it yet", nil
	case terms.Seccomp && status.Seccomp == task.SeccompNone:
		return "it has no seccomp filter yet", nil
	case terms.NoNewPrivs && !status.NoNewPrivs:
		return "it has no no_new_privs attribute yet", nil
	case terms.Bounding != nil && status.Caps.Bounding&^*terms.Bounding != 0:
		return "it has more capabilities than it will have", nil
	}
	return "", nil
}

// neverExecuted reports whether a process is the fork of another and has not executed a program
// since (PF_FORKNOEXEC in the kernel's linux/sched.h). It is about the first thread only. For
// some first processes it stays true: the ones that systemd-nspawn and bubblewrap provide, and
// those that CRIU has restored.
func neverExecuted(p *sys.Process) (bool, error) {
	stat, err := p.ReadFile("stat", 4096)
	if err != nil {
		return false, err
	}
	s, err := procfile.ParseStat(stat)
	if err != nil {
		return false, fmt.Errorf("%s: %w", p.Path("stat"), err)
	}
	return s.NeverExecuted(), nil
}

// isOutside reports whether a directory is the root directory of the caller, of process 1, or
// of the parent of the target if that is in another mount namespace. Directories are compared,
// not the texts of the links, which are "/" also for an unmounted directory, nor the mounts,
// which each namespace has its own of.
func (t *Target) isOutside(root sys.FileID, ppid int) bool {
	p := t.proc
	others := []string{"thread-self", "1"}
	mnt, err := p.Readlink("ns/mnt")
	if parent := strconv.Itoa(ppid); err == nil && ppid > 1 {
		if theirs, err := sys.ReadlinkAt(p.Proc, parent+"/ns/mnt"); err == nil && theirs != mnt {
			others = append(others, parent)
		}
	}
	return slices.ContainsFunc(others, func(other string) bool {
		id, err := sys.WhereAt(p.Proc, other+"/root")
		return err == nil && id == root
	})
}

// isRuntime reports whether the target still runs the program of its parent, and is not the
// init that systemd-nspawn provides, which does so on purpose.
func (t *Target) isRuntime(status *task.Task) bool {
	own, err := t.proc.Where("exe")
	if err != nil {
		return false
	}
	parents, err := sys.WhereAt(t.proc.Proc, strconv.Itoa(status.PPID)+"/exe")
	return err == nil && own == parents && status.Comm != "(sd-stubinit)"
}

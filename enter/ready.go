package enter

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// Expected are what must be true of the first process of a container before it is
// the container. Until then it is a process of the runtime's, which has the name,
// the control group and the namespaces of the container already, and the root
// directory, the capabilities and no filter of the host still.
type Expected struct {
	// Name is the container's, for messages.
	Name string
	// Created says that the engine has not started it, as far as it says.
	Created bool
	// PID is that of the first process in the PID namespace of the engine, or 0.
	PID int
	// HasRoot reports whether the root directory of the container is to be the
	// directory with this device and inode number. It is asked if that is one of
	// the host's. nil is never.
	HasRoot func(dev, ino uint64) bool
	// Seccomp and NoNewPrivs say that it is to have a filter, and the attribute.
	Seccomp, NoNewPrivs bool
	// Bounding, if not nil, is all that its bounding set may hold.
	Bounding *Caps
	// Env is the environment that it is given, and UID as which user of the
	// container it is started: nil if that is not known.
	Env []string
	UID *uint32
	// Stateless says that the engine leaves no word of how far it is.
	Stateless bool
}

// A StartingError says that a container is not one yet.
type StartingError struct {
	Name string
	Why  string
}

func (e *StartingError) Error() string {
	return fmt.Sprintf("%s is being started: %s", e.Name, e.Why)
}

// Ready returns nil if the target is the first process of a container that has
// been set up, and else a [*StartingError]. What is true once stays so while the
// target lives. Of whom the caller may not look at the root directory it says
// nothing: the same is needed to join its namespaces.
func (t *Target) Ready(terms Expected) error {
	why, err := t.unready(terms)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return t.Alive()
	case err != nil:
		return cmp.Or(t.Alive(), err)
	case why != "":
		// What ends meanwhile may look like anything.
		return cmp.Or[error](t.Alive(), &StartingError{terms.Name, why})
	}
	return t.Alive()
}

// unready says why the target is not ready, "" if it is.
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

// neverExecuted reports whether a process is the fork of another and has not
// executed a program since (PF_FORKNOEXEC in the kernel's linux/sched.h). Of other
// threads than the first one it says nothing, and of some first processes it is
// true for ever: of what systemd-nspawn and bubblewrap have in that place, and of
// what CRIU has restored.
func neverExecuted(p *sys.Process) (bool, error) {
	stat, err := p.ReadFile("stat", 4096)
	if err != nil {
		return false, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const flags = 6 // 9 in proc_pid_stat(5)
	if len(fields) <= flags {
		return false, fmt.Errorf("%s: %d fields", p.Path("stat"), len(fields))
	}
	n, err := strconv.ParseUint(fields[flags], 10, 64)
	return n&0x40 != 0, err
}

// isOutside reports whether a directory is the root directory of the caller, of
// process 1, or of the parent of the target if that is in another mount namespace.
// What is compared is the directory, and not the text of a link, which is "/" also
// of one that was unmounted, nor the mount, of which each namespace has its own.
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

// isRuntime reports whether the target still runs the program of its parent, and
// is not meant to do so for ever, as the init that systemd-nspawn brings.
func (t *Target) isRuntime(status *task.Task) bool {
	own, err := t.proc.Where("exe")
	if err != nil {
		return false
	}
	parents, err := sys.WhereAt(t.proc.Proc, strconv.Itoa(status.PPID)+"/exe")
	return err == nil && own == parents && status.Comm != "(sd-stubinit)"
}

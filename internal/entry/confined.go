package entry

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// confined returns how nstool itself is confined, like an unprivileged container, or "". Hints begin
// with it, because little else helps then.
func confined() string {
	text, err := sys.ReadRegular("/proc/thread-self/status", task.MaxStatus)
	if err != nil {
		return ""
	}
	t, err := task.ParseStatus(string(text), "CapBnd")
	if err != nil {
		return ""
	}
	return confinedBy(t.Seccomp == task.SeccompFilter, t.Caps.Bounding)
}

// needed are the capabilities that looking at others and joining their namespaces needs.
const needed = enter.Caps(1<<19 | 1<<21) // CAP_SYS_PTRACE, CAP_SYS_ADMIN

// confinedBy is confined for a process with this filter and bounding set.
func confinedBy(filter bool, bounding enter.Caps) string {
	lacks := strings.Join((needed &^ bounding).Names(), " or ")
	switch {
	case filter && lacks != "":
		return "nstool is itself confined, by a seccomp filter and by a bounding set without " + lacks + ", as in a container that is not privileged"
	case lacks != "":
		return "the bounding set of nstool itself has no " + lacks + ", as in a container that is not privileged"
	case filter:
		return "nstool is itself under a seccomp filter, which may be what denies it"
	}
	return ""
}

// begin puts the confinement of nstool itself before a hint.
func begin(hint string) string {
	first := confined()
	switch {
	case first == "" || strings.HasPrefix(hint, first):
		return hint
	case hint == "":
		return first
	}
	return first + "; " + hint
}

// Refused returns what would permit the action that err says is denied, or "" for another error.
func Refused(err error) string {
	if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	if e, ok := errors.AsType[*enter.NamespaceError](err); ok {
		return Looking(e)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(e.Path, "/proc/") && os.Geteuid() == 0 {
		return begin("looking at it takes CAP_SYS_PTRACE in its user namespace, and what the process is permitted")
	}
	return begin("")
}

// some returns the first of many names of capabilities.
func some(caps enter.Caps) string {
	names := caps.Names()
	const most = 4
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:most], " ") + " and others"
}

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

// confined says what confines nstool itself as it does a container that is not
// privileged, or "". A hint begins with it: while that is so, little else helps.
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

// needed are the capabilities without which nobody looks at others and joins them.
const needed = enter.Caps(1<<19 | 1<<21) // CAP_SYS_PTRACE, CAP_SYS_ADMIN

// confinedBy says it of a process that is under a filter, or not, with a bounding
// set.
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

// begin puts what confines nstool itself before a hint on what it may not do.
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

// Refused says what it would take to do what err says that nstool may not do, or
// "" for any other error.
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

// some names the first of many capabilities.
func some(caps enter.Caps) string {
	names := caps.Names()
	const most = 4
	if len(names) <= most {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:most], " ") + " and others"
}

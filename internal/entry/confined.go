package entry

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// Capabilities that joining the namespaces of others needs, and those for seeing everything.
const (
	joining = enter.Caps(1<<19 | 1<<21)   // CAP_SYS_PTRACE, CAP_SYS_ADMIN
	seeing  = joining | enter.Caps(1<<12) // CAP_NET_ADMIN, for the namespaces of sockets
)

// confined returns how nstool itself is confined, like an unprivileged container, or "". Hints begin
// with it, because little else helps then.
func confined() string { return lacking(false, true, joining) }

// Blind returns what nstool itself lacks to see the host, as in a pod that is not privileged, or "".
// Denied says that the kernel refused something, or may have.
func Blind(denied bool) string {
	own, err := sys.ReadlinkAt(sys.CurrentDir, "/proc/self/ns/pid")
	initial, _ := inspect.PID.InitialIno()
	return lacking(err == nil && own != inspect.FormatLink(inspect.PID, initial), denied, seeing)
}

// lacking returns what of this nstool itself lacks: the host's PID namespace, if it is elsewhere, and
// if something was denied, or will be, the needed capabilities.
func lacking(elsewhere, denied bool, needed enter.Caps) string {
	var words []string
	if elsewhere {
		words = append(words, "hostPID: true (--pid=host)")
	} else if !denied {
		return ""
	}
	filter := false
	if text, err := sys.ReadRegular("/proc/thread-self/status", task.MaxStatus); err == nil {
		if t, err := task.ParseStatus(string(text), "CapBnd"); err == nil {
			words = append(words, (needed &^ t.Caps.Bounding).Names()...)
			filter = t.Seccomp == task.SeccompFilter
		}
	}
	switch text := "nstool itself is confined, as in a container that lacks " + strings.Join(words, ", "); {
	case len(words) > 0 && filter:
		return text + "; its own seccomp filter may be in the way, too"
	case len(words) > 0:
		return text
	case filter:
		return "nstool is itself under a seccomp filter, which may be what denies it: an unconfined profile has none"
	}
	return ""
}

// Begin puts the confinement of nstool itself before a hint.
func Begin(hint string) string {
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
		return Begin("looking at it takes CAP_SYS_PTRACE in its user namespace, and what the process is permitted")
	}
	return Begin("")
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

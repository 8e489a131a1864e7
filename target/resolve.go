package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/pin"
)

// A Found is a TARGET in a snapshot: a process, a thread, a namespace, a set of pinned
// namespaces, or a container or pod by its first process.
type Found struct {
	Process   *inspect.Process
	TID       int // a thread of Process, or 0
	Namespace *inspect.Namespace
	Pinned    []*inspect.Namespace // by type

	// Match is the container or the pod that was named. Otherwise it is empty.
	Match container.Match
	// Containers are all of the snapshot, if a container or a pod was named.
	Containers *container.Set
	inits      []*inspect.Process // the first processes of its containers
}

// Namespaces returns the namespaces of a Found: the one, those of the set, or all of the
// process, the thread or the containers.
func (f Found) Namespaces(snap *inspect.Snapshot) []*inspect.Namespace {
	if f.Namespace != nil {
		return []*inspect.Namespace{f.Namespace}
	}
	if f.Process == nil {
		return f.Pinned
	}
	var all []*inspect.Namespace
	add := func(f Found) {
		for t := range inspect.AllTypes.All() {
			if ns := f.of(snap, t); ns != nil && !slices.Contains(all, ns) {
				all = append(all, ns)
			}
		}
	}
	add(f)
	for _, p := range f.inits {
		add(Found{Process: p})
	}
	return all
}

// Open opens the namespaces of a Found. The caller closes them. It needs what
// [inspect.Snapshot.Open] needs.
func (f Found) Open(ctx context.Context, snap *inspect.Snapshot) (map[inspect.Type]*os.File, error) {
	files := make(map[inspect.Type]*os.File)
	for _, ns := range f.Namespaces(snap) {
		file, err := snap.Open(ctx, ns)
		if err != nil {
			for _, file := range files {
				file.Close()
			}
			return nil, err
		}
		files[ns.Type] = file
	}
	return files, nil
}

// of returns the namespace of type t. A thread that has left the namespace of its process is a
// holder of another one.
func (f Found) of(snap *inspect.Snapshot, t inspect.Type) *inspect.Namespace {
	if f.TID != 0 && f.TID != f.Process.PID {
		for ns := range snap.Namespaces(t) {
			for _, h := range ns.Others() {
				if h.Kind == inspect.ByTask && h.PID == f.Process.PID && h.TID == f.TID {
					return ns
				}
			}
		}
	}
	ns, _ := snap.Of(f.Process, t)
	return ns
}

// Find finds a TARGET in a snapshot. Paths and names of pins are looked up in the mount
// namespace of the caller. containers is called if ref may name a container, see
// [container.Lookup]. The error is an [fs.ErrNotExist] if there is no such target.
func Find(snap *inspect.Snapshot, containers func() *container.Set, ref Ref) (Found, error) {
	switch ref.Kind {
	case Process:
		return findProcess(snap, ref)
	case Namespace:
		ns, ok := snap.Find(ref.Ino)
		if !ok {
			return Found{}, unseen(snap, "no namespace %s", ref.Text)
		}
		if ref.Type != 0 && ns.Type != ref.Type {
			return Found{}, missing("no namespace %s: %d is of type %s", ref.Text, ref.Ino, ns.Type)
		}
		return Found{Namespace: ns}, nil
	case NSID:
		for ns := range snap.Namespaces() {
			if ns.NSID == ref.Ino && ref.Ino != 0 {
				return Found{Namespace: ns}, nil
			}
		}
		return Found{}, noNSID(snap, ref)
	case File:
		return findFile(snap, ref.Path)
	case Netns:
		return findFile(snap, snap.Host().Path(filepath.Join(pin.IPNetnsDir, ref.Name)))
	case Pin:
		return findPin(snap, ref)
	case Container, Pod, Word:
		return findContainer(snap, containers(), ref)
	}
	return Found{}, fmt.Errorf("target %q: %w", ref.Text, errors.ErrUnsupported)
}

// noNSID returns the error for an identifier that no namespace has. It says what was not
// looked at.
func noNSID(snap *inspect.Snapshot, ref Ref) error {
	numbered := false
	for ns := range snap.Namespaces() {
		numbered = numbered || ns.NSID != 0
	}
	switch {
	case !numbered:
		return missing("no namespace has the identifier %d: this kernel gives none, as Linux does from 6.18 on", ref.Ino)
	case !snap.Listed():
		return missingError{text: fmt.Sprintf("no namespace that /proc shows has the identifier %d; this kernel does not show others to the caller", ref.Ino), hint: notSeen(snap)}
	}
	return missing("no namespace has the identifier %d", ref.Ino)
}

func findProcess(snap *inspect.Snapshot, ref Ref) (Found, error) {
	pid := ref.PID
	if pid == 0 {
		if pid = snap.Self(); pid == 0 {
			return Found{}, errors.New("this proc file system does not show the caller")
		}
	}
	if err := ref.Check(pid); err != nil {
		return Found{}, err
	}
	for _, g := range snap.Gaps() {
		if g.PID == pid && g.What == "ns" {
			return Found{}, fmt.Errorf("the namespaces of process %d cannot be read: %w", pid, g.Err)
		}
	}
	p, ok := snap.Process(pid)
	if !ok {
		return Found{}, NoProcess(snap, pid)
	}
	if ref.TID != 0 {
		if _, err := os.Stat(fmt.Sprintf("%s/%d/task/%d", snap.Proc(), pid, ref.TID)); errors.Is(err, fs.ErrNotExist) {
			return Found{}, missing("no thread %d of process %d", ref.TID, pid)
		}
	}
	return Found{Process: p, TID: ref.TID}, nil
}

// NoProcess returns the error for a process that does not exist, or cannot be seen.
func NoProcess(snap *inspect.Snapshot, pid int) error {
	switch why := snap.Missing(pid); {
	case why == nil:
		return missing("no process %d", pid)
	case errors.Is(why, fs.ErrPermission):
		return fmt.Errorf("process %d cannot be looked at: %w", pid, why)
	default:
		return missingError{text: fmt.Sprintf("no process %d that can be seen", pid), hint: why.Error()}
	}
}

// Check returns nil if process pid has the pidfd inode number of ref, or ref has none. Facts
// that were read before are then of this process.
func (ref Ref) Check(pid int) error {
	if ref.PidfdIno == 0 {
		return nil
	}
	p, err := sys.OpenProcess(pid, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return missing("no process %d", pid)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ref.Text, err)
	}
	defer p.Close()
	switch ino, err := p.PidfdInode(); {
	case err != nil:
		return fmt.Errorf("%s: %w", ref.Text, err)
	case ino != ref.PidfdIno:
		return missing("no process %s: process %d is another one", ref.Text, pid)
	}
	return nil
}

// findPin finds the namespaces of a pin.
func findPin(snap *inspect.Snapshot, ref Ref) (found Found, err error) {
	files := make(map[inspect.Type]*os.File)
	if ref.Type != 0 {
		files[ref.Type], err = pin.OpenType(ref.Name, ref.Type)
	} else {
		files, err = pin.Open(ref.Name)
	}
	if err != nil {
		return Found{}, err
	}
	for t := range inspect.AllTypes.All() {
		f := files[t]
		if f == nil {
			continue
		}
		defer f.Close()
		id, err := sys.Fstat(int(f.Fd()))
		if err != nil {
			return Found{}, err
		}
		ns, ok := snap.Namespace(inspect.ID(id))
		if !ok {
			return Found{}, missingError{text: fmt.Sprintf("%s: the scan did not find %s", ref.Text, inspect.FormatLink(t, id.Ino)), hint: notSeen(snap)}
		}
		found.Pinned = append(found.Pinned, ns)
	}
	if ref.Type != 0 {
		return Found{Namespace: found.Pinned[0]}, nil
	}
	return found, nil
}

func findFile(snap *inspect.Snapshot, path string) (Found, error) {
	id, err := fileID(path)
	if err != nil {
		return Found{}, err
	}
	ns, ok := snap.Namespace(id)
	if !ok {
		return Found{}, missingError{text: path + ": the scan did not find that namespace", hint: notSeen(snap)}
	}
	return Found{Namespace: ns}, nil
}

// fileID returns the identity of the namespace that a file leads to. A file that is no
// namespace is not opened.
func fileID(path string) (inspect.ID, error) {
	fd, err := sys.OpenNamespace(sys.CurrentDir, path)
	if err != nil {
		return inspect.ID{}, fmt.Errorf("%s: %w", path, cause(err))
	}
	defer sys.CloseFD(fd)
	id, err := sys.Fstat(fd)
	return inspect.ID(id), err
}

// cause removes the name of the system call from an error.
func cause(err error) error {
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	return err
}

// A missingError means that a target does not exist.
type missingError struct {
	text, hint string
	named      bool // it was looked for by a name that is read from files
}

func (e missingError) Error() string        { return e.text }
func (e missingError) Is(target error) bool { return target == fs.ErrNotExist }

// Unseen reports that it may be there where the caller does not see it, and whether that may be
// for want of privileges.
func (e missingError) Unseen() (denied bool) { return e.named }

// Hint returns a further explanation, or "".
func (e missingError) Hint() string { return e.hint }

func missing(format string, args ...any) missingError {
	return missingError{text: fmt.Sprintf(format, args...)}
}

// unseen is like missing, for a namespace. If the kernel does not list all namespaces, the
// error says that something that could not be seen may keep it.
func unseen(snap *inspect.Snapshot, format string, args ...any) error {
	e := missingError{text: fmt.Sprintf(format, args...)}
	if why := notSeen(snap); why != "" && !snap.Listed() {
		e.text, e.hint = e.text+" that can be seen", why
	}
	return e
}

// notSeen returns what the scan could not look at, or "".
func notSeen(snap *inspect.Snapshot) string {
	return strings.Join(snap.Unseen(inspect.AllFacts), "; ")
}

// Package task reads what one process or thread is and may do: its IDs in every PID
// namespace, its users inside and outside its user namespace, its capabilities and
// confinement, its root directory and its control groups.
//
//	t, err := task.Read(ctx, 4242, 0)
//	if err != nil {
//		return err
//	}
//	fmt.Println(t.Comm, t.NSpid, t.Caps.Effective.Names())
//
// Everything is read through one descriptor of /proc/PID. A pidfd shows afterwards that the
// process existed all the time, so nothing is of another process with the same number.
//
// Package inspect reads little of very many processes. This package is for the few that
// somebody asks about.
package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// A Task is a process, or a thread of one. Unless a field says otherwise, users and groups
// are those of the user namespace of the caller, and PIDs those of its PID namespace.
type Task struct {
	PID int // the process
	TID int // the thread that was asked for, or 0

	// Namespaces are the inode numbers of those that it is in, by type. A type that could
	// not be read is missing, as all are for a zombie.
	Namespaces map[inspect.Type]uint64
	// Ticks is the start time of the process in clock ticks since boot. Together with the
	// PID it identifies the process.
	Ticks uint64

	Comm    string // the name of the command; the process chooses it
	State   byte   // as in proc_pid_stat(5): 'R', 'S', 'D', 'Z' ...
	PPID    int
	Tracer  int // the process that traces it, or 0
	Threads int

	// NSpid and NStgid are the IDs of the task and of its process in each PID namespace
	// that it is in, beginning with that of the proc file system. Linux 4.1.
	NSpid, NStgid []int

	UID, GID IDs
	Groups   []uint32
	// UIDMap and GIDMap map the IDs of the caller to those inside the user namespace of
	// the task. They are nil if they could not be read.
	UIDMap, GIDMap IDMap

	// Umask is its file mode creation mask, or -1 if it has none, as a zombie.
	Umask int

	Caps       CapSets
	NoNewPrivs bool
	Seccomp    Seccomp
	Filters    int // the number of its seccomp filters, or -1 (before Linux 5.9)
	// Label is the label of a security module, such as "docker-default (enforce)" of
	// AppArmor, or "".
	Label string

	Cgroups []Cgroup

	Root, Cwd, Exe Link

	// Gaps are what could not be read, by file.
	Gaps []inspect.Gap
}

// IDs are the users, or the groups, of a task: see credentials(7).
type IDs struct{ Real, Effective, Saved, FS uint32 }

// All returns the four.
func (ids IDs) All() [4]uint32 { return [4]uint32{ids.Real, ids.Effective, ids.Saved, ids.FS} }

// A Seccomp is the mode of seccomp(2) that a task is in.
type Seccomp int8

// The modes of seccomp(2), by their numbers in proc_pid_status(5).
const (
	SeccompUnknown Seccomp = iota - 1 // the kernel does not say
	SeccompNone
	SeccompStrict
	SeccompFilter
)

// String returns a word for s: "none", "strict", "filter" or "unknown".
func (s Seccomp) String() string {
	switch s {
	case SeccompNone:
		return "none"
	case SeccompStrict:
		return "strict"
	case SeccompFilter:
		return "filter"
	}
	return "unknown"
}

// A Link is the path that a link in /proc/pid leads to, as seen from the root directory of
// the caller, or an error.
type Link struct {
	Path string
	Err  error
}

// A Cgroup is a control group in one hierarchy; see cgroups(7).
type Cgroup struct {
	// Controllers is empty for version 2; else it is as in /proc/pid/cgroup:
	// "cpu,cpuacct", "name=systemd".
	Controllers string
	// Path begins at the root of the cgroup namespace of the reader.
	Path string
}

// Cgroup returns the path of the control group that says most about the task: that of
// version 2, else of systemd's hierarchy, else of any hierarchy in which it is not in the
// root group.
func (t *Task) Cgroup() string {
	best, rank := "", 0
	for _, g := range t.Cgroups {
		r := 2
		switch {
		case g.Path == "/":
			r = 1
		case g.Controllers == "":
			r = 4
		case slices.Contains(strings.Split(g.Controllers, ","), "name=systemd"):
			r = 3
		}
		if r > rank {
			best, rank = g.Path, r
		}
	}
	return best
}

// patience is how long a process may take to answer. A process that answers needs a thousandth
// of that, but some files of procfs wait for an execve(2) that never ends.
const patience = time.Second

// Read reads a process, or its thread tid if that is not 0. Root, Cwd, Exe and Namespaces
// need PTRACE_MODE_READ access to the process (ptrace(2)); the rest needs no privileges.
// Gaps has the parts that could not be read. If the process does not answer in time, the task
// has the parts that were read until then, and one gap is an [inspect.ErrSlow]. The error is an
// [fs.ErrNotExist] if there is no such process or thread.
func Read(ctx context.Context, pid, tid int) (*Task, error) {
	type answer struct {
		t    *Task
		err  error
		last bool
	}
	answers := make(chan answer, len(parts)+1) // late answers block nobody
	go func() {
		t, err := read(pid, tid, func(partial *Task) { answers <- answer{t: partial} })
		answers <- answer{t, err, true}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	slow := fmt.Errorf("process %d: %w", pid, inspect.ErrSlow)
	var partial *Task // what was read so far
	for {
		select {
		case a := <-answers:
			if a.last {
				return a.t, a.err
			}
			partial = a.t
		case <-timer.C:
			if partial == nil {
				return nil, slow
			}
			partial.Gaps = append(partial.Gaps, inspect.Gap{PID: pid, What: "status", Err: inspect.ErrSlow})
			return partial, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// parts read a task, after its status. Those that may wait for ever are last.
var parts = []func(*Task, *sys.Process) error{readMaps, readGroups, readLabel, readLinks, readNamespaces, readTicks}

// read reads a task, and reports what it has after each part.
func read(pid, tid int, report func(*Task)) (*Task, error) {
	p, err := sys.OpenProcess(pid, tid)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = gone(pid, tid)
		}
		return nil, err
	}
	defer p.Close()
	text, err := p.ReadFile("status", MaxStatus)
	if err != nil {
		return nil, ended(p, err)
	}
	t, err := ParseStatus(string(text), "Name", "State")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path("status"), err)
	}
	t.PID, t.TID = pid, tid
	t.Root.Err, t.Cwd.Err, t.Exe.Err = inspect.ErrSlow, inspect.ErrSlow, inspect.ErrSlow // until they are read
	for _, part := range parts {
		copied := *t
		copied.Gaps = slices.Clone(t.Gaps)
		report(&copied)
		if err := part(t, p); err != nil {
			return nil, ended(p, err)
		}
	}
	sort.Slice(t.Gaps, func(i, j int) bool { return t.Gaps[i].What < t.Gaps[j].What })
	if err := p.Alive(); err != nil {
		return nil, ended(p, err)
	}
	return t, nil
}

// note makes a gap of an error. A zombie has already released these things; that is not a gap.
func (t *Task) note(what string, err error) {
	if err != nil && t.State != 'Z' {
		t.Gaps = append(t.Gaps, inspect.Gap{PID: t.PID, What: what, Err: err})
	}
}

func readMaps(t *Task, p *sys.Process) error {
	for _, m := range []struct {
		name string
		to   *IDMap
	}{{"uid_map", &t.UIDMap}, {"gid_map", &t.GIDMap}} {
		text, err := p.ReadFile(m.name, 64<<10)
		if err == nil {
			*m.to, err = ParseIDMap(string(text))
		}
		t.note(m.name, err)
	}
	return nil
}

func readGroups(t *Task, p *sys.Process) error {
	text, err := p.ReadFile("cgroup", 1<<20)
	if err == nil {
		t.Cgroups, err = ParseCgroups(string(text))
	}
	if !errors.Is(err, fs.ErrNotExist) { // a kernel without control groups has no such file
		t.note("cgroup", err)
	}
	return nil
}

func readLabel(t *Task, p *sys.Process) error {
	var err error
	t.Label, _, err = ReadLabel(p.ReadFile)
	t.note("attr/current", err)
	return nil
}

// ReadLabel reads the label that a security module gives a task. The function read reads a
// file in /proc/pid. ReadLabel also returns the directory of the label: AppArmor has its own
// since Linux 5.8, and other modules share one. The label is "" if there is none.
func ReadLabel(read func(name string, most int) ([]byte, error)) (label, dir string, err error) {
	for _, dir := range []string{"attr/apparmor", "attr"} {
		text, err := read(dir+"/current", 64<<10)
		switch {
		case err == nil:
			if label := strings.TrimRight(string(text), "\n\x00"); label != "" {
				return label, dir, nil
			}
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL): // no module that has labels
		default:
			return "", "", err
		}
	}
	return "", "", nil
}

func readLinks(t *Task, p *sys.Process) error {
	for _, l := range []struct {
		name string
		to   *Link
	}{{"root", &t.Root}, {"cwd", &t.Cwd}, {"exe", &t.Exe}} {
		l.to.Path, l.to.Err = p.Readlink(l.name)
		if l.name == "exe" && errors.Is(l.to.Err, fs.ErrNotExist) {
			l.to.Err = nil // a kernel thread has none
		}
		t.note(l.name, l.to.Err)
	}
	return nil
}

func readNamespaces(t *Task, p *sys.Process) error {
	namespaces := make(map[inspect.Type]uint64)
	for typ := range inspect.AllTypes.All() {
		if link, err := p.Readlink("ns/" + typ.String()); err == nil {
			_, namespaces[typ], _ = inspect.ParseLink(link)
		}
	}
	t.Namespaces = namespaces
	if own, err := p.Own("ns/user"); err == nil && own == inspect.FormatLink(inspect.User, namespaces[inspect.User]) {
		// The maps are about the parent then, and the IDs are those of the caller.
		t.UIDMap, t.GIDMap = identity, identity
	}
	return nil
}

// readTicks reads the start time.
func readTicks(t *Task, p *sys.Process) error {
	text, err := p.ReadFile("stat", 4096)
	if err != nil {
		return err
	}
	s, err := procfile.ParseStat(text)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Path("stat"), err)
	}
	t.Ticks = s.Start
	return nil
}

// ProcessOf returns the process of a thread. The error is an [fs.ErrNotExist] if there is no
// such thread.
func ProcessOf(tid int) (int, error) {
	dir, err := sys.OpenProc("/proc")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	buf := make([]byte, 64<<10)
	n, err := dir.ReadFile(sys.AppendName(nil, tid, "/status"), buf)
	if sys.Gone(err) {
		return 0, fmt.Errorf("process %d: %w", tid, fs.ErrNotExist)
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(procfile.Field(buf[:n], "Tgid"))
}

// Threads returns the threads of a process.
func Threads(pid int) ([]int, error) {
	p, err := sys.OpenProcess(pid, 0)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	dir, err := sys.OpenAt(p.Dir, "task", false)
	if err != nil {
		return nil, ended(p, err)
	}
	defer sys.CloseFD(dir)
	names, err := sys.ReadNames(dir)
	if err != nil {
		return nil, ended(p, err)
	}
	var tids []int
	for _, name := range names {
		if tid, err := strconv.Atoi(name); err == nil {
			tids = append(tids, tid)
		}
	}
	slices.Sort(tids)
	return tids, nil
}

// ended replaces the different errors for a process that has exited by one.
func ended(p *sys.Process, err error) error {
	if sys.Gone(err) {
		return gone(p.PID, p.TID)
	}
	return err
}

func gone(pid, tid int) error {
	if tid != 0 {
		return fmt.Errorf("thread %d of process %d: %w", tid, pid, fs.ErrNotExist)
	}
	return fmt.Errorf("process %d: %w", pid, fs.ErrNotExist)
}

// ParseCgroups reads the text of /proc/pid/cgroup, in lines of ID:CONTROLLERS:PATH.
func ParseCgroups(text string) ([]Cgroup, error) {
	var list []Cgroup
	for line := range strings.Lines(text) {
		controllers, path, ok := procfile.ParseCgroup(line)
		if !ok {
			return nil, fmt.Errorf("a line says %q", line)
		}
		list = append(list, Cgroup{controllers, path})
	}
	return list, nil
}

// Package task reads what one process or thread is and may do: its IDs in every
// PID namespace, its users inside and outside of its user namespace, its
// capabilities, what confines it, its root directory and control groups.
//
//	t, err := task.Read(ctx, 4242, 0)
//	if err != nil {
//		return err
//	}
//	fmt.Println(t.Comm, t.NSpid, t.Caps.Effective.Names())
//
// All of it is read through one descriptor of /proc/PID, and a pidfd says
// afterwards that the process was there all the time: nothing is of another
// process that was given the same number.
//
// Package inspect finds namespaces and reads no more of very many processes
// than that takes; this package is for the few that somebody asks about.
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

// A Task is a process, or a thread of one. Users and groups are those of the
// caller's user namespace, PIDs those of its PID namespace, but where it says
// otherwise.
type Task struct {
	PID int // the process
	TID int // the thread that was asked for, or 0

	// Namespaces are the inode numbers of those that it is in, by type. One that
	// could not be read, as those of a zombie, is not there.
	Namespaces map[inspect.Type]uint64
	// Ticks is the start time in clock ticks since boot, of the process: together
	// with the PID it tells it from a later one.
	Ticks uint64

	Comm    string // the name of the command; the process chooses it
	State   byte   // as in proc_pid_stat(5): 'R', 'S', 'D', 'Z' ...
	PPID    int
	Tracer  int // who traces it, or 0
	Threads int

	// NSpid and NStgid are the IDs of the task and of its process in each PID
	// namespace that it is in, that of the proc file system first. Linux 4.1.
	NSpid, NStgid []int

	UID, GID IDs
	Groups   []uint32
	// UIDMap and GIDMap say what the caller's IDs are inside the user namespace
	// of the task. They are nil if they could not be read.
	UIDMap, GIDMap IDMap

	// Umask is its mask of permissions, or -1 if it has none, as a zombie.
	Umask int

	Caps       CapSets
	NoNewPrivs bool
	Seccomp    Seccomp
	Filters    int // number of its seccomp filters, or -1 (before Linux 5.9)
	// Label is what a security module calls the task, such as
	// "docker-default (enforce)" of AppArmor, or "" where there is none.
	Label string

	Cgroups []Cgroup

	Root, Cwd, Exe Link

	// Gaps are what could not be read, by file.
	Gaps []inspect.Gap
}

// IDs are the users, or groups, that a task acts as: see credentials(7).
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

// A Link is a path that /proc/pid has a link for, as the caller's root directory
// shows it, or Err.
type Link struct {
	Path string
	Err  error
}

// A Cgroup is a control group in one hierarchy. See cgroups(7).
type Cgroup struct {
	// Controllers is empty for version 2; else it is as in /proc/pid/cgroup:
	// "cpu,cpuacct", "name=systemd".
	Controllers string
	// Path is from the root of the cgroup namespace that it was read in.
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

// patience is how long a process may take to answer. A thousandth of that is
// plenty, but some files of procfs wait for an execve(2) that does not end.
const patience = time.Second

// Read reads a process, or thread tid of it if that is not 0. It needs no
// privileges for most; Root, Cwd, Exe and Namespaces take the right to look into
// the process (PTRACE_MODE_READ of ptrace(2)). What could not be read is in Gaps.
// Of a process that does not answer it is what it said until then, with a gap
// that is [inspect.ErrSlow]. The error answers [fs.ErrNotExist] if there is no
// such process or thread.
func Read(ctx context.Context, pid, tid int) (*Task, error) {
	type answer struct {
		t    *Task
		err  error
		last bool
	}
	answers := make(chan answer, len(parts)+1) // who comes late finds room
	go func() {
		t, err := read(pid, tid, func(so *Task) { answers <- answer{t: so} })
		answers <- answer{t, err, true}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	slow := fmt.Errorf("process %d: %w", pid, inspect.ErrSlow)
	var so *Task // as far as it has got
	for {
		select {
		case a := <-answers:
			if a.last {
				return a.t, a.err
			}
			so = a.t
		case <-timer.C:
			if so == nil {
				return nil, slow
			}
			so.Gaps = append(so.Gaps, inspect.Gap{PID: pid, What: "status", Err: inspect.ErrSlow})
			return so, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// parts are what is read of a task besides its status, those last that may take
// for ever.
var parts = []func(*Task, *sys.Process) error{readMaps, readGroups, readLabel, readLinks, readNamespaces, readTicks}

// read reads a task, and calls so with what it has got after each part.
func read(pid, tid int, so func(*Task)) (*Task, error) {
	p, err := sys.OpenProcess(pid, tid)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = gone(pid, tid)
		}
		return nil, err
	}
	defer p.Close()
	text, err := p.ReadFile("status", MostStatus)
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
		so(&copied)
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

// note makes a gap of an error. What a zombie has no more is none.
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

// ReadLabel reads what a security module calls a task, by read, which reads files
// under /proc/pid. It returns the directory in which that stands, too: AppArmor
// has one of its own since Linux 5.8; before, and for SELinux and Smack, there is
// one that all modules share. The label is "" where there is none.
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
		// Then the maps are about the parent, and the IDs are as they are.
		t.UIDMap, t.GIDMap = identity, identity
	}
	return nil
}

// readTicks reads the start time. The name of the command stands in parentheses
// and may hold anything: what counts begins behind the last one.
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

// ProcessOf returns the process that a thread is of: itself, if it is the one
// that the process is named for. The error answers [fs.ErrNotExist] if there is
// no such thread.
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

// ended turns the errors of a process that is not there any more into one.
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

// ParseCgroups reads the text of /proc/pid/cgroup: lines of ID:CONTROLLERS:PATH,
// where both controllers and path may have colons of their own only after the
// second.
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

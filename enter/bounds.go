package enter

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// A Part is a part of the confinement of a process. Its value is the word by which a user
// allows it to be missing.
type Part string

// The parts of a confinement.
const (
	PartCaps    Part = "caps"    // capability sets
	PartNNP     Part = "nnp"     // no_new_privs
	PartSeccomp Part = "seccomp" // seccomp filters
	PartCgroup  Part = "cgroup"  // control groups
	PartLabel   Part = "label"   // AppArmor profile or SELinux context
	PartLimits  Part = "rlimits" // resource limits
	PartOOM     Part = "oom"     // oom_score_adj
	PartNotify  Part = "notify"  // the supervisor of its seccomp filters, see seccomp_unotify(2)
)

// Parts are all parts of a confinement.
var Parts = []Part{PartCaps, PartNNP, PartSeccomp, PartCgroup, PartLabel, PartLimits, PartOOM, PartNotify}

// A MissingError reports that a part of the confinement of a process cannot be taken.
type MissingError struct {
	Part Part
	Of   string // "process 4242"
	Err  error
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("cannot take over the %s of %s: %v", e.Part.noun(), e.Of, e.Err)
}

// Unwrap returns the cause.
func (e *MissingError) Unwrap() error { return e.Err }

func (p Part) noun() string {
	switch p {
	case PartCaps:
		return "capabilities"
	case PartNNP:
		return "no_new_privs attribute"
	case PartSeccomp:
		return "seccomp filter"
	case PartCgroup:
		return "cgroup"
	case PartLabel:
		return "security label"
	case PartLimits:
		return "resource limits"
	case PartOOM:
		return "OOM score"
	case PartNotify:
		return "seccomp supervisor"
	}
	return string(p)
}

// Caps is a set of capabilities, bit N for capability N of capabilities(7).
type Caps = task.Caps

// CapSets are the capability sets of a process. They hold in its user namespace.
type CapSets = task.CapSets

// A Limit is a resource limit of getrlimit(2). Unlimited is the largest value.
type Limit struct{ Soft, Hard uint64 }

// Limits has the limit of each resource of getrlimit(2), by its number.
type Limits [16]Limit

const unlimited = ^uint64(0)

// A Cgroup is a control group of a process, in one hierarchy.
type Cgroup = task.Cgroup

// bounds are what limits a process in addition to its namespaces. A program that is to be no
// more powerful must have them too.
//
// Another process cannot read the securebits, so they are not here.
type bounds struct {
	Caps        CapSets
	NoNewPrivs  bool
	Seccomp     task.Seccomp
	Filters     [][]byte // of SeccompFilter, oldest first, as the kernel has them
	Label       Label
	Cgroups     []Cgroup
	Limits      Limits
	OOMScoreAdj int
	Umask       int
	// Personality is that of personality(2), or -1 if the caller may not read it.
	Personality int64

	// As the reader's user namespace maps them: real, effective, saved, and file system ID.
	UID, GID [4]uint32
	Groups   []uint32

	missing []*MissingError
}

// A Label is the label that a Linux security module gives a process, and the file that sets it
// for the next exec, relative to /proc/pid.
type Label struct {
	Text string // "" is none
	File string
	Exec string // what to write to File
}

// miss notes why a part could not be read.
func (b *bounds) miss(p Part, err error) {
	b.missing = append(b.missing, &MissingError{Part: p, Err: err})
}

// read reads the bounds of a process whose status is given, except for its seccomp filters: the
// process has to be stopped for those (readFilters). Parts that could not be read are in
// missing. The caller checks afterwards that it is still the same process.
func (b *bounds) read(file func(name string, most int) ([]byte, error), status *task.Task) error {
	if status == nil || status.Umask < 0 {
		// A zombie has no Umask, since it has no file system any more, and is no target.
		// Neither is a process that lacks another field.
		return errors.New("not all there: the process is ending, or the kernel is older than 4.10")
	}
	b.of(status)
	b.readRest(file)
	return nil
}

// readFilters reads the seccomp filters of the process.
func (b *bounds) readFilters(p *sys.Process) {
	switch b.Seccomp {
	case task.SeccompStrict:
		b.miss(PartSeccomp, errors.New("it is in strict mode, where no program can be executed"))
	case task.SeccompFilter:
		tid := p.PID
		if p.TID != 0 {
			tid = p.TID
		}
		var err error
		if b.Filters, err = sys.SeccompFilters(tid); err != nil {
			if tid := sameFilters(p); tid != 0 {
				if f, e := sys.SeccompFilters(tid); e == nil && sameFilters(p) == tid { // it is still the same one
					b.Filters, err = f, nil
				}
			}
		}
		if err != nil {
			b.miss(PartSeccomp, tracedBy(p, err))
		} else if len(b.Filters) == 0 {
			b.miss(PartSeccomp, errors.New("the kernel shows none of it"))
		}
		b.judgeFilters()
	}
}

// sameFilters returns a task without a tracer that has as many filters as p, which has a
// tracer, or 0. It is another thread of the process, or else a process in the same mount and
// PID namespace and control groups. The caller's own PID namespace is left out, since it has
// any program of the host.
func sameFilters(p *sys.Process) int {
	status, err := statusOf(p, "Seccomp")
	if err != nil || status.Tracer == 0 || status.Filters <= 0 {
		return 0
	}
	fits := func(read func(name string) ([]byte, error)) bool {
		text, err := read("status")
		if err != nil {
			return false
		}
		t, err := task.ParseStatus(string(text), "Seccomp")
		return err == nil && t.Tracer == 0 && t.Seccomp == task.SeccompFilter && t.Filters == status.Filters && t.NoNewPrivs == status.NoNewPrivs
	}
	for _, tid := range sys.Numbers(p.Proc, strconv.Itoa(p.PID)+"/task") {
		dir := fmt.Sprintf("%d/task/%d/", p.PID, tid)
		if fits(func(name string) ([]byte, error) { return sys.ReadAt(p.Proc, dir+name, task.MaxStatus) }) {
			return tid
		}
	}
	own := func(dir string) (s [3]string, err error) {
		for i, t := range []inspect.Type{inspect.Mnt, inspect.PID} {
			if s[i], err = sys.ReadlinkAt(p.Proc, dir+"ns/"+t.String()); err != nil {
				return s, err
			}
		}
		groups, err := sys.ReadAt(p.Proc, dir+"cgroup", 1<<20)
		s[2] = string(groups)
		return s, err
	}
	want, err := own(fmt.Sprintf("%d/", p.PID))
	if here, e := p.Own("ns/pid"); err != nil || e != nil || want[1] == here {
		return 0
	}
	for _, pid := range sys.Numbers(p.Proc, ".") {
		dir := fmt.Sprintf("%d/", pid)
		if !fits(func(name string) ([]byte, error) { return sys.ReadAt(p.Proc, dir+name, task.MaxStatus) }) {
			continue
		}
		if got, err := own(dir); err == nil && got == want {
			return pid
		}
	}
	return 0
}

// judgeFilters notes what a program under a copy of the filters would lack: a supervisor
// listens only to the target's own filter, and a filter may forbid execve(2).
func (b *bounds) judgeFilters() {
	stack := newFilterStack(b.Filters)
	if v, ok := stack.answer(sys.ExecveCall); ok && !v.passes() {
		b.miss(PartSeccomp, fmt.Errorf("it answers execve(2) with %v, so that no program can be run under it", v))
	} else if calls := stack.notified(); len(calls) > 0 {
		b.miss(PartNotify, fmt.Errorf("without it the system calls that the filter leaves to it fail with ENOSYS, by number: %s",
			strings.Trim(fmt.Sprint(calls), "[]")))
	}
}

// readRest reads the bounds that have files of their own.
func (b *bounds) readRest(read func(name string, most int) ([]byte, error)) {
	var err error
	b.Cgroups, err = readCgroups(read)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without cgroups
		b.miss(PartCgroup, err)
	}
	text, err := read("limits", 65536)
	if err == nil {
		b.Limits, err = parseLimits(text)
	}
	if err != nil {
		b.miss(PartLimits, err)
	}
	if text, err = read("oom_score_adj", 64); err == nil {
		b.OOMScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		b.miss(PartOOM, err)
	}
	b.Personality = -1
	if text, err = read("personality", 64); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 32); err == nil {
			b.Personality = int64(n)
		}
	}
	label, dir, err := task.ReadLabel(read)
	if err != nil {
		b.miss(PartLabel, err)
	}
	b.Label = parseLabel(label, dir+"/exec")
}

// tracedBy adds the tracer of the process to err, as the likely reason.
func tracedBy(p *sys.Process, err error) error {
	if t, e := statusOf(p); e == nil && t.Tracer != 0 {
		return fmt.Errorf("process %d traces it: %w", t.Tracer, err)
	}
	return err
}

// statusOf reads /proc/pid/status of a process. It is an error if a field of need is missing.
func statusOf(p *sys.Process, need ...string) (*task.Task, error) {
	text, err := p.ReadFile("status", task.MaxStatus)
	if err != nil {
		return nil, err
	}
	t, err := task.ParseStatus(string(text), need...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path("status"), err)
	}
	return t, nil
}

// boundFields are the fields of /proc/pid/status that bounds are read from.
var boundFields = []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Uid", "Gid", "Groups"}

// of takes the bounds from a status.
func (b *bounds) of(t *task.Task) {
	b.Caps, b.NoNewPrivs, b.Umask = t.Caps, t.NoNewPrivs, t.Umask
	b.Seccomp = max(t.Seccomp, task.SeccompNone) // absent in a kernel without it
	b.UID, b.GID, b.Groups = t.UID.All(), t.GID.All(), t.Groups
}

// limitNames are the names of /proc/pid/limits, by the numbers of getrlimit(2).
var limitNames = [len(Limits{})]string{
	"Max cpu time", "Max file size", "Max data size", "Max stack size",
	"Max core file size", "Max resident set", "Max processes", "Max open files",
	"Max locked memory", "Max address space", "Max file locks", "Max pending signals",
	"Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
}

// parseLimits reads /proc/pid/limits, a table of fixed columns.
func parseLimits(text []byte) (l Limits, err error) {
	seen := 0
	for line := range strings.Lines(string(text)) {
		i := slices.IndexFunc(limitNames[:], func(name string) bool { return strings.HasPrefix(line, name+"  ") })
		if i < 0 {
			continue
		}
		fields := strings.Fields(line[len(limitNames[i]):])
		if len(fields) < 2 {
			return l, fmt.Errorf("a line of /proc/pid/limits says %q", line)
		}
		for j, to := range []*uint64{&l[i].Soft, &l[i].Hard} {
			if fields[j] == "unlimited" {
				*to = unlimited
			} else if *to, err = strconv.ParseUint(fields[j], 10, 64); err != nil {
				return l, err
			}
		}
		seen++
	}
	if seen != len(l) {
		return l, fmt.Errorf("/proc/pid/limits has %d of %d limits", seen, len(l))
	}
	return l, nil
}

// parseLabel distinguishes labels of AppArmor, "docker-default (enforce)" or "unconfined", from
// labels of SELinux, "system_u:system_r:container_t:s0:c1,c2".
func parseLabel(text, file string) Label {
	if text == "" {
		return Label{}
	}
	profile, _, moded := strings.Cut(text, " (")
	if moded && strings.HasSuffix(text, ")") || text == "unconfined" || file != "attr/exec" {
		return Label{Text: text, File: file, Exec: "exec " + profile}
	}
	return Label{Text: text, File: file, Exec: text}
}

// readCgroups reads the cgroups of a process, as the calling thread sees them.
func readCgroups(read func(name string, most int) ([]byte, error)) ([]Cgroup, error) {
	text, err := read("cgroup", 1<<20)
	if err != nil {
		return nil, err
	}
	return task.ParseCgroups(string(text))
}

// A cgroupMount is a mount of a cgroup hierarchy that the caller sees.
type cgroupMount struct {
	controllers []string // empty for cgroup v2
	root, dir   string
}

// parseCgroupMounts finds the cgroup file systems in /proc/self/mountinfo.
func parseCgroupMounts(text []byte) []cgroupMount {
	var list []cgroupMount
	for found := range procfile.Mounts(text) {
		m := cgroupMount{root: found.Root, dir: found.Point}
		switch found.Type {
		case "cgroup2":
		case "cgroup":
			m.controllers = strings.Split(found.Super, ",")
		default:
			continue
		}
		list = append(list, m)
	}
	return list
}

// dirOf returns the directory of cgroup g in the mounts. A later mount may cover an earlier
// one, so the last that fits is used.
func dirOf(g Cgroup, mounts []cgroupMount) (string, error) {
	if strings.HasSuffix(g.Path, " (deleted)") {
		return "", fmt.Errorf("%s is gone: %w", g.Path, fs.ErrNotExist)
	}
	for _, m := range slices.Backward(mounts) {
		if g.Controllers == "" != (m.controllers == nil) {
			continue
		}
		if g.Controllers != "" && slices.ContainsFunc(strings.Split(g.Controllers, ","), func(c string) bool { return !slices.Contains(m.controllers, c) }) {
			continue
		}
		rest, ok := strings.CutPrefix(g.Path, strings.TrimSuffix(m.root, "/"))
		if !ok || rest != "" && rest[0] != '/' || slices.Contains(strings.Split(rest, "/"), "..") {
			continue
		}
		return path.Join(m.dir, rest), nil
	}
	what := "cgroup v2"
	if g.Controllers != "" {
		what = "the cgroup hierarchy " + g.Controllers
	}
	return "", fmt.Errorf("%s of %s is not mounted where the caller sees it: %w", g.Path, what, fs.ErrNotExist)
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/inspect/process"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/pin"
)

// pause is the time between the two looks of [Look].
const pause = time.Second

// Look reads the host and examines it. A situation that may change in a moment, such as a
// namespace that is about to get its first process, is a finding only if it is still there
// one second later.
func Look(ctx context.Context, checks []Check, opts ...inspect.Option) (*Host, []Finding, error) {
	return look(ctx, checks, func() { sleep(ctx, pause) }, opts...)
}

// look is Look, which calls wait before it looks again.
func look(ctx context.Context, checks []Check, wait func(), opts ...inspect.Option) (*Host, []Finding, error) {
	h, err := Read(ctx, checks, opts...)
	if err != nil {
		return nil, nil, err
	}
	found := h.Examine(checks)
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.transient }) {
		return h, slices.DeleteFunc(found, func(f Finding) bool { return !f.still() }), nil
	}
	before := make(map[string]bool)
	for _, f := range found {
		before[f.key()] = true
	}
	wait()
	if h, err = Read(ctx, checks, opts...); err != nil {
		return nil, nil, err
	}
	found = slices.DeleteFunc(h.Examine(checks), func(f Finding) bool { return f.transient && !before[f.key()] || !f.still() })
	return h, found, nil
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Read gathers what the checks look at: a scan, with the given options, and then what
// the scan alone does not have. It needs what [inspect.Scan] needs, and fails only if that
// does; what else could not be read is in [Host.Gaps].
func Read(ctx context.Context, checks []Check, opts ...inspect.Option) (*Host, error) {
	var reads part
	members := true
	for _, c := range checks {
		reads |= c.reads
		members = members && c.members
	}
	if members {
		opts = append(opts, inspect.WithoutTasks(), inspect.WithoutFDs(), inspect.WithoutMounts())
	}
	h, err := Scan(ctx, opts...)
	if err != nil {
		return nil, err
	}
	if reads&readNames != 0 && h.Snapshot.Proc() == "/proc" {
		h.readStacks()
		h.readNames(ctx) // of this system, and not of that which another proc file system shows
		h.readDaemons(ctx)
	}
	if reads&readCleaner != 0 {
		h.readCleaner()
	}
	if reads&readHolders != 0 {
		h.readHolders(ctx)
	}
	if reads&readLimits != 0 {
		h.readLimits(ctx)
	}
	if reads&readConfinements != 0 {
		h.readConfinements()
	}
	return h, ctx.Err()
}

// Scan scans the host and finds its containers.
func Scan(ctx context.Context, opts ...inspect.Option) (*Host, error) {
	snap, err := inspect.Scan(ctx, opts...)
	if err != nil {
		return nil, err
	}
	h := &Host{Snapshot: snap, Containers: container.Find(ctx, snap, container.WithHidden()), Now: time.Now(), Holders: make(map[int]Holder)}
	h.Mounts = h.ownMounts()
	return h, nil
}

// ownMounts returns the mount namespace of the caller, or that of the host if the caller
// cannot be seen.
func (h *Host) ownMounts() inspect.ID {
	if self, ok := h.Snapshot.Process(h.Snapshot.Self()); ok {
		id, _ := self.Namespace(inspect.Mnt)
		return id
	}
	for ns := range h.Snapshot.Namespaces(inspect.Mnt) {
		if h.Containers.IsHost(inspect.Mnt, ns.ID) {
			return ns.ID
		}
	}
	return inspect.ID{}
}

func (h *Host) gap(pid int, what string, err error) {
	h.Gaps = append(h.Gaps, inspect.Gap{PID: pid, What: what, Err: err})
}

// readNames finds the pins of every program.
func (h *Host) readNames(ctx context.Context) {
	for _, source := range []func(func(pin.Set, error) bool){pin.All(ctx), pin.Others(ctx)} {
		for set, err := range source {
			if err != nil {
				h.gap(0, "pins of "+set.By, err)
				continue
			}
			for _, p := range set.Pins {
				n := Name{By: set.By, Set: set.Name, Made: set.Made, Pin: p}
				if p.Dead != nil {
					if st, err := sys.StatPath(p.Path, false); err == nil && st.IsRegular() {
						n.Size = st.Size
					}
				}
				h.Names = append(h.Names, n)
			}
		}
	}
}

// readStacks reads the mounts on names of namespaces.
func (h *Host) readStacks() {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		h.gap(0, "mountinfo", err)
		return
	}
	mounts, err := inspect.ParseMounts(text)
	if err != nil {
		h.gap(0, "mountinfo", err)
	}
	tree := inspect.NewMountTree(mounts)
	h.Stacks = make(map[string][]uint64)
	for _, m := range mounts {
		if _, done := h.Stacks[m.Point]; done || m.Type != "nsfs" {
			continue
		}
		stack := []uint64{}
		for _, on := range tree.At(m.Point) {
			_, ino, _ := on.Namespace()
			stack = append(stack, ino)
		}
		h.Stacks[m.Point] = stack
	}
}

// readHolders reads who the processes are that hold namespaces without being in them.
func (h *Host) readHolders(ctx context.Context) {
	var procs []*inspect.Process
	for ns := range h.Snapshot.Namespaces() {
		for _, holder := range h.foreign(ns) {
			if p, ok := h.Snapshot.Process(holder.PID); ok {
				procs = append(procs, p)
			}
		}
		if len(ns.Members) > 0 {
			continue
		}
		for _, holder := range ns.Others() {
			if p, ok := h.Snapshot.Process(holder.PID); ok {
				procs = append(procs, p)
			}
			if mnt, ok := h.Snapshot.Namespace(holder.In); ok && holder.In != h.Mounts {
				procs = append(procs, mnt.Members[:min(len(mnt.Members), MaxEnded)]...)
			}
		}
	}
	h.Describe(ctx, slices.Values(procs))
}

// Describe reads into [Host.Holders] who processes are.
func (h *Host) Describe(ctx context.Context, procs iter.Seq[*inspect.Process]) {
	for pid, d := range h.Snapshot.Describe(ctx, procs) {
		who := Holder{Detail: d}
		p, _ := h.Snapshot.Process(pid)
		if m := h.Containers.Of(p); !m.Guest {
			who.Container = m.Container
		}
		if t, err := process.Read(h.Snapshot.Proc(), pid); err == nil {
			who.Unit = unit(t.Cgroup())
		}
		if text, err := os.ReadFile(filepath.Join(h.Snapshot.Proc(), strconv.Itoa(pid), "status")); err == nil {
			who.Mortality = parseMortality(text)
		}
		h.Holders[pid] = who
	}
}

// unit returns the system service that a control group is of, or "". A service in which
// all programs of a user run does not count.
func unit(cgroup string) string {
	rest, ok := strings.CutPrefix(cgroup, "/system.slice/")
	if !ok {
		return ""
	}
	for part := range strings.SplitSeq(rest, "/") {
		if strings.HasSuffix(part, ".service") {
			return part
		}
	}
	return ""
}

// readDaemons looks for daemons that keep namespaces, if there are any that they may keep.
func (h *Host) readDaemons(ctx context.Context) {
	docker := slices.ContainsFunc(h.Names, func(n Name) bool { return n.By == "docker" && n.Dead != nil })
	crio := slices.ContainsFunc(h.Names, func(n Name) bool { return n.By == "crio" })
	if !docker && !crio {
		return
	}
	for pid, d := range h.Snapshot.Describe(ctx, h.Snapshot.Processes()) {
		switch {
		case d.Comm == "dockerd" && docker && d.UID == 0:
			if h.Docker.Started.IsZero() || d.Start.Before(h.Docker.Started) {
				if !h.Containers.IsDaemon(pid, "dockerd") {
					continue // a Docker in a container has names of its own
				}
				p, _ := h.Snapshot.Process(pid)
				args := h.Snapshot.Describe(ctx, slices.Values([]*inspect.Process{p}), inspect.WithArgs())[pid].Args
				changed, err := lastChange(dockerRoot(args))
				if err != nil {
					h.gap(0, "state of Docker", err)
				}
				h.Docker = Docker{Started: d.Start, Changed: changed, Silent: err != nil}
			}
		case d.Comm == "crio" && d.UID == 0 && h.Containers.IsDaemon(pid, "crio"):
			h.Holders[pid] = Holder{Detail: d}
		}
	}
}

// dockerRoot returns the directory in which a daemon of Docker keeps its state.
func dockerRoot(args []string) string {
	root, config := "/var/lib/docker", "/etc/docker/daemon.json"
	given := false
	for i, arg := range args {
		for _, flag := range []string{"--data-root", "-g", "--graph", "--config-file"} {
			value, ok := strings.CutPrefix(arg, flag+"=")
			if !ok && arg == flag && i+1 < len(args) {
				value, ok = args[i+1], true
			}
			switch {
			case ok && flag == "--config-file":
				config = value
			case ok:
				root, given = value, true
			}
		}
	}
	if text, err := sys.ReadRegular(config, 1<<20); err == nil && !given {
		var c struct {
			Root string `json:"data-root"`
		}
		if json.Unmarshal(text, &c) == nil && filepath.IsAbs(c.Root) {
			root = c.Root
		}
	}
	return root
}

// lastChange returns when Docker last made, started, stopped or removed a container, each
// of which changes a directory.
func lastChange(root string) (last time.Time, err error) {
	dir := filepath.Join(root, "containers")
	entries, err := sys.ReadDir(dir)
	if errors.Is(err, sys.ErrNoAnswer) {
		return last, err
	}
	paths := []string{dir}
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name))
	}
	for _, path := range paths {
		if st, err := sys.StatPath(path, false); err == nil && st.Changed.After(last) {
			last = st.Changed
		}
	}
	return last, nil
}

// maxInner limits how many user namespaces are read for their limits. Each takes a process.
const maxInner = 32

// readLimits reads how many namespaces of each type a user may have, here and in the user
// namespaces that own many. A kernel that lacks a type lacks its file.
func (h *Host) readLimits(ctx context.Context) {
	h.Limits = make(map[inspect.Type]uint64)
	for t := range inspect.AllTypes.All() {
		path := filepath.Join(h.Snapshot.Proc(), "sys/user", "max_"+t.String()+"_namespaces")
		text, err := sys.ReadRegular(path, 64)
		if err == nil {
			h.Limits[t], err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.gap(0, path, err)
		}
	}
	h.Inner = make(map[inspect.ID]map[inspect.Type]int)
	if h.Snapshot.Proc() != "/proc" {
		return // its namespaces cannot be joined
	}
	all := h.nearLimits()
	for _, c := range all[:min(len(all), maxInner)] {
		in := inside.Read(ctx, h.Snapshot, c.user)
		if in.User != nil && in.User.Limits != nil {
			h.Inner[c.user.ID] = in.User.Limits
		} else {
			h.Gaps = append(h.Gaps, in.Gaps...)
		}
	}
}

// readConfinements reads what the first processes of containers are allowed.
func (h *Host) readConfinements() {
	h.Confinements = make(map[int]Confinement)
	dir, err := sys.OpenProc(h.Snapshot.Proc())
	if err != nil {
		h.gap(0, h.Snapshot.Proc(), err)
		return
	}
	defer dir.Close()
	buf := make([]byte, task.MaxStatus)
	file := func(pid int) func(string, int) ([]byte, error) {
		return func(name string, most int) ([]byte, error) {
			n, err := dir.ReadFile(sys.AppendName(nil, pid, "/"+name), buf[:most])
			return buf[:n], err
		}
	}
	read := func(pid int) (Confinement, error) {
		text, err := file(pid)("status", len(buf))
		if err != nil {
			return Confinement{}, err
		}
		return parseStatus(text)
	}
	for _, c := range h.Containers.Containers {
		have, err := read(c.Init)
		switch {
		case err == nil:
			have.Profile, _, _ = task.ReadLabel(file(c.Init))
			h.Confinements[c.Init] = have
		case !sys.Gone(err):
			h.gap(c.Init, "status", err)
		}
	}
	if first, err := read(1); err == nil {
		h.Bounding = first.Bounding
	}
	h.Gaps = append(h.Gaps, h.Containers.Gaps...)
}

// parseStatus reads the text of /proc/pid/status. Without seccomp in the kernel there are
// no filters.
func parseStatus(text []byte) (Confinement, error) {
	t, err := task.ParseStatus(string(text), "CapBnd")
	if err != nil {
		return Confinement{}, err
	}
	return Confinement{Bounding: uint64(t.Caps.Bounding), Seccomp: max(int(t.Seccomp), 0), Mortality: parseMortality(text)}, nil
}

// parseMortality reads the text of /proc/pid/status.
func parseMortality(status []byte) Mortality {
	resists := func(signals string) bool {
		set, err := strconv.ParseUint(procfile.Field(status, signals), 16, 64)
		return err == nil && set>>(syscall.SIGTERM-1)&1 != 0
	}
	pids := strings.Fields(procfile.Field(status, "NSpid"))
	return Mortality{
		First:  len(pids) > 1 && pids[len(pids)-1] == "1",
		Immune: strings.HasPrefix(procfile.Field(status, "State"), "T") || resists("SigBlk") || resists("SigIgn"),
	}
}

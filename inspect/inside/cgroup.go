package inside

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/sys"
)

// Cgroup is what is inside a control group namespace: see cgroup_namespaces(7).
type Cgroup struct {
	// Roots are the control groups that are "/" in it, one in each hierarchy, by their paths in
	// the caller's namespace. A path is "" if no process shows it.
	Roots []task.Cgroup
}

func (r *reader) cgroup() *Cgroup {
	if r.own(r.ns) {
		groups, err := r.groups("self/cgroup")
		if err != nil {
			r.gap("root", err)
			return nil
		}
		for i := range groups {
			groups[i].Path = "/"
		}
		return &Cgroup{Roots: groups}
	}
	// The namespace shows every group by its path from the root of the namespace. A process
	// below the root has one path there and one here, and their difference is the root. Members
	// are tried first.
	var roots []task.Cgroup
	for pids, n := r.witnesses(), 2; len(pids) > 0; n = 64 {
		n = min(n, len(pids))
		more, err := r.roots(pids[:n])
		if err != nil {
			r.gap("root", err)
			return nil
		}
		if roots = merge(roots, more); len(roots) > 0 && !slices.ContainsFunc(roots, unknown) {
			break
		}
		pids = pids[n:]
	}
	if slices.ContainsFunc(roots, unknown) {
		r.gap("root", errors.New("no process is below it"))
	}
	return &Cgroup{Roots: roots}
}

func unknown(g task.Cgroup) bool { return g.Path == "" }

// witnesses returns the processes to compare, the members first.
func (r *reader) witnesses() []int {
	var pids []int
	member := make(map[int]bool, len(r.ns.Members))
	for _, p := range r.ns.Members {
		member[p.PID] = true
		pids = append(pids, p.PID)
	}
	for p := range r.snap.Processes() {
		if !member[p.PID] {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// roots compares the control groups of processes here and in the namespace.
func (r *reader) roots(pids []int) ([]task.Cgroup, error) {
	paths := make([]string, len(pids))
	for i, pid := range pids {
		paths[i] = fmt.Sprintf("%d/cgroup", pid)
	}
	here, err := sys.ReadJoined(r.proc, nil, paths, maxFile)
	if err != nil {
		return nil, err
	}
	there, err := r.joined(paths...)
	if err != nil {
		return nil, err
	}
	// Read twice: a process that moved meanwhile shows nothing.
	after, err := sys.ReadJoined(r.proc, nil, paths, maxFile)
	if err != nil {
		return nil, err
	}
	var roots []task.Cgroup
	for i := range paths {
		if string(here[i]) != string(after[i]) {
			continue
		}
		a, err := task.ParseCgroups(string(here[i]))
		b, e := task.ParseCgroups(string(there[i]))
		if err == nil && e == nil {
			roots = merge(roots, rootsOf(a, b))
		}
	}
	return roots, nil
}

// rootsOf returns the roots of the hierarchies of a namespace in which a process has the groups
// there, while it has the groups here.
func rootsOf(here, there []task.Cgroup) []task.Cgroup {
	if len(here) != len(there) {
		return nil
	}
	roots := make([]task.Cgroup, len(here))
	for i := range here {
		if here[i].Controllers != there[i].Controllers {
			return nil
		}
		roots[i].Controllers = here[i].Controllers
		roots[i].Path = rootOf(here[i].Path, there[i].Path)
	}
	return roots
}

// rootOf returns the root of a namespace in which the path here is there, or "".
func rootOf(here, there string) string {
	if there == "/.." || strings.HasPrefix(there, "/../") {
		return "" // the group is not below the root
	}
	root, ok := strings.CutSuffix(here, strings.TrimSuffix(there, "/"))
	switch {
	case !ok:
		return ""
	case root == "":
		return "/"
	}
	return root
}

// merge adds the roots in more that are missing.
func merge(roots, more []task.Cgroup) []task.Cgroup {
	for _, g := range more {
		i := slices.IndexFunc(roots, func(have task.Cgroup) bool { return have.Controllers == g.Controllers })
		if i < 0 {
			roots = append(roots, g)
		} else if roots[i].Path == "" {
			roots[i].Path = g.Path
		}
	}
	return roots
}

// groups reads and parses a file of control groups.
func (r *reader) groups(path string) ([]task.Cgroup, error) {
	texts, err := sys.ReadJoined(r.proc, nil, []string{path}, maxFile)
	if err != nil {
		return nil, err
	}
	if texts[0] == nil {
		return nil, fmt.Errorf("%s: %w", path, inspect.ErrNotAsked)
	}
	return task.ParseCgroups(string(texts[0]))
}

package container

import (
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/procfile"
)

// A Ref is a container as the name of a control group, or the command line of its parent, gives
// it.
type Ref struct {
	// Engine is empty if it is not known: below a --cgroup-parent of its own a container has only
	// its ID.
	Engine Engine
	// ID is the identifier as the engine has it, never shortened. For LXC,
	// Incus and nspawn that is the name.
	ID string
	// Namespace is containerd's, such as "k8s.io", or "".
	Namespace string
	// Pod is the UID of the Kubernetes pod, or the ID of podman's.
	Pod string

	// base is the control group of the container, or something else by which two containers with
	// the same ID differ.
	base string
	// tree is the hierarchy of that control group, as /proc/pid/cgroup calls it.
	tree string
}

// A treePath is a control group: its hierarchy and its path in that.
type treePath struct{ tree, path string }

// parseCgroup returns the control groups in /proc/pid/cgroup that can name a container, without
// repeated paths: that of the hierarchy of systemd, then that of cgroup v2, then the others.
func parseCgroup(text string) (paths []treePath) {
	for _, g := range allCgroups(text) {
		if !slices.ContainsFunc(paths, func(have treePath) bool { return have.path == g.path }) {
			paths = append(paths, g)
		}
	}
	return paths
}

func allCgroups(text string) []treePath {
	var named, unified, others []treePath
	for line := range strings.Lines(text) {
		controllers, path, ok := procfile.ParseCgroup(line)
		if !ok {
			continue
		}
		path = strings.TrimSuffix(path, " (deleted)")
		switch {
		case controllers == "name=systemd":
			named = append(named, treePath{controllers, path})
		case controllers == "":
			unified = append(unified, treePath{"", path})
		default:
			others = append(others, treePath{sortWords(strings.Split(controllers, ",")), path})
		}
	}
	return append(append(named, unified...), others...)
}

// RefsOf returns the containers that the text of /proc/pid/cgroup names, outermost first. If
// hierarchies differ, the one that names the most is used.
func RefsOf(text string) []Ref { return place(text, nil).refs }

// unseenTree is the hierarchy of a group that is not below the reader's.
const unseenTree = "?"

// A placed is the place of a process in the control groups.
type placed struct {
	refs []Ref
	// rest is the part of the path after the innermost container.
	rest []string
	tree string // the hierarchy
	// relative: the path is above or beside the reader's own.
	relative bool
}

// place is RefsOf with more results. With owners, a hierarchy in which root made the group is
// preferred: in version 1 a user with a group of their own may move their processes into it, also
// those in a container.
func place(text string, o *owners) (best placed) {
	for i, g := range parseCgroup(text) {
		p := placed{tree: g.tree, relative: strings.HasPrefix(g.path, "/..")}
		if p.relative {
			p.tree = unseenTree
		}
		p.refs, p.rest = parsePath(g.path)
		for i := range p.refs {
			p.refs[i].tree = p.tree
		}
		if i == 0 || p.beats(best, o) {
			best = p
		}
	}
	return best
}

// beats reports whether a hierarchy is better than the best of those before it.
func (p placed) beats(best placed, o *owners) bool {
	if o != nil && len(p.refs) > 0 && len(best.refs) > 0 && p.refs[0].base != best.refs[0].base {
		ours, theirs := o.maker(p.refs[0]) == Root, o.maker(best.refs[0]) == Root
		if ours != theirs {
			return ours
		}
	}
	return len(p.refs) > len(best.refs)
}

// maxNested is the largest number of nested containers that is read from a path. A user who may
// make control groups can make any number.
const maxNested = 8

// parsePath reads a path from /proc/pid/cgroup. It returns the containers that it names, outermost
// first and at most eight, and the rest of the path.
//
// A path is relative to the cgroup namespace of the reader: "/../ID" is beside the reader's own
// group, and the groups above are not shown.
func parsePath(path string) (refs []Ref, rest []string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for len(parts) > 0 && (parts[0] == ".." || parts[0] == "") {
		parts = parts[1:]
	}
	var (
		before string // the component before this one
		pod    string // the pod whose group we are in, until its container is found
		kube   bool   // below a group of the kubelet
		last   = -1   // index of the last component that belongs to a container
	)
	for i, part := range parts {
		if len(refs) == maxNested {
			break
		}
		next := ""
		if i+1 < len(parts) {
			next = parts[i+1]
		}
		ref, kind := parsePart(before, part)
		ref.base = strings.Join(parts[:i+1], "/")
		switch {
		case kind == partMonitor:
			// A monitor is not in its container.
			return refs, nil
		case kind == partContainer:
			ref.Pod = pod
			pod = ""
			refs, last, kube = append(refs, ref), i, false
		case strings.Contains(part, "kubepods") || kube:
			kube = true
			if uid, ok := kubePod(part); ok {
				pod, last = uid, i
			} else if isHexID(part) {
				refs, last, kube = append(refs, Ref{ID: part, Pod: pod, base: ref.base}), i, false
				pod = ""
			}
		case strings.HasPrefix(part, "machine-libpod_pod_"):
			pod, last = strings.TrimSuffix(part[len("machine-libpod_pod_"):], ".slice"), i
		case isHexID(part) && strings.HasPrefix(next, "libpod-"):
			pod, last = part, i
		case isHexID(part):
			refs, last = append(refs, Ref{ID: part, base: ref.base}), i
		}
		before = part
	}
	return refs, parts[last+1:]
}

// partKind is the kind of a component of a path.
type partKind uint8

const (
	partOther     partKind = iota
	partContainer          // the group of a container
	partMonitor            // the group of its monitor
)

// parsePart returns the kind of a component of a path, given the one before.
func parsePart(before, part string) (Ref, partKind) {
	if ref, kind := matchForms(before, part, true); kind != partOther {
		return ref, kind
	}
	// A path for systemd, "SLICE:PREFIX:ID", that was given to a program that makes plain groups.
	if slice, name, ok := strings.Cut(part, ":"); ok && strings.HasSuffix(slice, ".slice") {
		part = strings.Replace(name, ":", "-", 1)
	}
	return matchForms(before, part, false)
}

// matchForms looks for a component of a path among the forms with a parent, or those without.
func matchForms(before, part string, parents bool) (Ref, partKind) {
	for i := range engines {
		for j := range engines[i].forms {
			f := &engines[i].forms[j]
			if (f.parent != "") != parents {
				continue
			}
			if id, ok := f.id(before, part); ok {
				if f.escaped {
					id = unescapeUnit(id)
				}
				return Ref{Engine: engines[i].name, ID: id, Namespace: f.namespace}, max(f.kind, partContainer)
			}
		}
	}
	return Ref{}, partOther
}

// kubePod returns the UID of the pod of a group, as the cgroupfs driver of the kubelet names it
// ("podUID") or its systemd driver ("kubepods-burstable-podUID.slice", with "_" for "-" in the
// UID).
func kubePod(part string) (uid string, ok bool) {
	if name, slice := strings.CutSuffix(part, ".slice"); slice {
		i := strings.LastIndex(name, "-pod")
		if i < 0 {
			return "", false
		}
		return strings.ReplaceAll(name[i+len("-pod"):], "_", "-"), true
	}
	uid, ok = strings.CutPrefix(part, "pod")
	return uid, ok && uid != "" && uid != "s"
}

// isHexID reports whether s is an ID of 64 hexadecimal digits, as most engines give them.
func isHexID(s string) bool {
	return len(s) == 64 && isAll(s, func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' })
}

// isBuildKitID reports whether s is an ID of BuildKit: 25 digits of base 36.
func isBuildKitID(s string) bool {
	return len(s) == 25 && isAll(s, func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' })
}

func isAll(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

// unescapeUnit resolves the \xNN in the name of a systemd unit, see systemd.unit(5).
func unescapeUnit(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

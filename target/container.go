package target

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/sys"
)

// findContainer finds a container or a pod by name.
func findContainer(snap *inspect.Snapshot, set *container.Set, ref Ref) (Found, error) {
	var matches []container.Match
	what := "container"
	switch {
	case ref.Kind == Pod:
		what = "pod"
		if matches = set.Pods(ref.PodNS, ref.Pod, ref.Name); ref.Name != "" {
			what = "container"
		}
	case ref.Engine != "":
		what = ref.Engine + " container"
		matches = set.Match(container.Engine(ref.Engine), ref.Name)
	default:
		matches = set.Match("", ref.Name)
	}
	switch len(matches) {
	case 0:
		e := noContainer(set, ref, what)
		e.named = true
		return Found{}, e
	case 1:
		m := matches[0]
		found := Found{Match: m, Containers: set}
		for _, c := range m.Containers {
			if p, ok := snap.Process(c.Init); ok {
				found.inits = append(found.inits, p)
			}
		}
		if len(found.inits) == 0 {
			return Found{}, missing("%s has no process that can be seen", m.Main())
		}
		found.Process = found.inits[0]
		return found, nil
	}
	words := make([]string, len(matches))
	for i, m := range matches {
		words[i] = set.Target(m)
	}
	return Found{}, &ambiguousError{Text: ref.Text, Targets: words}
}

// Single returns the process of a target. For a pod it is that of its only container besides
// the sandbox.
func (f Found) Single(snap *inspect.Snapshot, ref Ref) (*inspect.Process, error) {
	inner := f.Match.Inner()
	switch len(inner) {
	case 0:
		return f.Process, nil
	case 1:
		p, ok := snap.Process(inner[0].Init)
		if !ok {
			return nil, fmt.Errorf("%s: %w", inner[0], inspect.ErrGone)
		}
		return p, nil
	}
	return nil, f.Several(ref)
}

// Several returns the error for a pod with several containers.
func (f Found) Several(ref Ref) error {
	e := &ambiguousError{Text: ref.Text}
	for _, c := range f.Match.Inner() {
		e.Targets = append(e.Targets, "pod:"+c.String())
	}
	return e
}

// An ambiguousError means that a word fits several things.
type ambiguousError struct {
	Text    string
	Targets []string // what to write to mean each
}

func (e *ambiguousError) Error() string {
	last := len(e.Targets) - 1
	return fmt.Sprintf("%q fits %d containers: %s and %s", e.Text, len(e.Targets), strings.Join(e.Targets[:last], ", "), e.Targets[last])
}

// noContainer returns the error for a container that does not run. It mentions one that is
// stopped, or the nearest name.
func noContainer(set *container.Set, ref Ref, what string) missingError {
	name := ref.Name
	if ref.Kind == Pod {
		name = strings.TrimSuffix(ref.PodNS+"/"+ref.Pod+"/"+ref.Name, "/")
	}
	stopped := &container.Set{Containers: set.Stopped()}
	if ref.Kind != Pod {
		if matches := stopped.Match(container.Engine(ref.Engine), name); len(matches) > 0 {
			return missing("%s is stopped", matches[0].Main())
		}
	}
	text := fmt.Sprintf("no %s %q", what, name)
	if ref.Kind != Pod {
		if c := set.Unconfirmed(container.Engine(ref.Engine), name); c != nil {
			return missing("%s; %s is not confirmed to be what it is called: pid:%d is its first process", text, c, c.Init)
		}
		if c := set.OfUser(container.Engine(ref.Engine), name); c != nil {
			return missing("%s; there is %s, of that user's engine", text, c)
		}
	}
	names := append(set.Named(), stopped.Named()...)
	for _, g := range set.Gaps {
		if errors.Is(g.Err, fs.ErrPermission) || errors.Is(g.Err, sys.ErrNoAnswer) {
			return missing("%s; not all names could be read: %v", text, g.Err)
		}
	}
	if near, ok := container.Nearest(name, names); ok {
		return missing("%s; the nearest name is %s", text, near)
	}
	return missing("%s", text)
}

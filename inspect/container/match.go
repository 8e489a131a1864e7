package container

import (
	"slices"
	"strconv"
	"strings"
)

// A Match is what a name stands for: a container, or a pod with all that is in
// it.
type Match struct {
	// Pod is set if the name is that of a whole pod.
	Pod *Pod
	// Containers are the one container, or those of the pod, the sandbox first.
	Containers []*Container
}

// Main returns the container by which the match is entered and shown: of a pod
// the sandbox, or if the engine has none the first.
func (m Match) Main() *Container { return m.Containers[0] }

// Inner returns the containers of the match that run something: of a pod all
// but the sandbox.
func (m Match) Inner() []*Container {
	if len(m.Containers) > 1 && m.Containers[0].Sandbox {
		return m.Containers[1:]
	}
	return m.Containers
}

// Target returns how to write the match so that nothing else is meant.
func (s *Set) Target(m Match) string {
	c := m.Main()
	if m.Pod != nil {
		return "pod:" + m.Pod.Namespace + "/" + m.Pod.Name
	}
	words := []string{string(c.Engine) + ":" + c.Name, string(c.Engine) + ":" + c.ShortID(), string(c.Engine) + ":" + c.ID}
	if c.Pod != nil && c.Pod.Name != "" {
		words = slices.Insert(words, 0, "pod:"+c.Pod.Namespace+"/"+c.Pod.Name+"/"+c.Name)
		if c.Sandbox {
			words[0] = "pod:" + c.Pod.Namespace + "/" + c.Pod.Name
		}
	}
	words = append(words, "container:"+c.String())
	for _, word := range words {
		found := s.Match("", word)
		if len(found) == 1 && slices.Contains(found[0].Containers, c) {
			return word
		}
	}
	return "pid:" + strconv.Itoa(c.Init)
}

// Match returns what a name stands for, among the containers of an engine, or
// of all if it is empty. What is most exactly meant comes alone: a container or
// pod of just that name, as [Container.String] has it or without what stands
// before it, and only if there is none the containers whose ID begins so.
func (s *Set) Match(engine Engine, name string) []Match {
	if name == "" {
		return nil
	}
	// "docker:web", where the engine was not given apart.
	if prefix, rest, ok := strings.Cut(name, ":"); ok && engine == "" && !strings.Contains(name, " > ") {
		switch {
		case namerOf(Engine(prefix)) != nil:
			return s.Match(Engine(prefix), rest)
		case prefix == "container":
			return s.Match("", rest)
		case prefix == "pod":
			namespace, rest, _ := strings.Cut(rest, "/")
			pod, in, _ := strings.Cut(rest, "/")
			return s.Pods(namespace, pod, in)
		}
	}
	whole := name
	if engine != "" {
		whole = string(engine) + ":" + name // that of no container in another
	}
	for _, fits := range []func(*Container) bool{
		func(c *Container) bool { return c.String() == whole || c.ID == name },
		func(c *Container) bool { return c.own() == name },
		func(c *Container) bool { return c.Name == name && !c.Sandbox },
		func(c *Container) bool { return isHexID(c.ID) && strings.HasPrefix(c.ID, name) },
	} {
		var found []Match
		for _, c := range s.Containers {
			if (engine == "" || c.Engine == engine) && fits(c) {
				found = append(found, s.match(c))
			}
		}
		// A pod of that name is meant as much as a container is.
		if engine == "" {
			for _, m := range s.pods() {
				if m.Pod.Name == name || m.Pod.Namespace+"/"+m.Pod.Name == name {
					found = append(found, m)
				}
			}
		}
		if found = distinct(found); len(found) > 0 {
			return found
		}
	}
	return nil
}

// Pods returns the pod with that name, or the container in it.
func (s *Set) Pods(namespace, pod, name string) (found []Match) {
	for _, m := range s.pods() {
		if m.Pod.Namespace != namespace || m.Pod.Name != pod {
			continue
		}
		if name == "" {
			found = append(found, m)
			continue
		}
		for _, c := range m.Containers {
			if c.Name == name && !c.Sandbox {
				found = append(found, Match{Containers: []*Container{c}})
			}
		}
	}
	return found
}

// match makes a match of a container. That of a sandbox is its pod.
func (s *Set) match(c *Container) Match {
	if c.Sandbox && c.Pod != nil {
		for _, m := range s.pods() {
			if m.Pod == c.Pod {
				return m
			}
		}
	}
	return Match{Containers: []*Container{c}}
}

// pods returns all pods, by name.
func (s *Set) pods() []Match {
	var all []Match
	index := make(map[*Pod]int)
	for _, c := range s.Containers {
		if c.Pod == nil || c.Pod.Name == "" {
			continue
		}
		i, ok := index[c.Pod]
		if !ok {
			i = len(all)
			index[c.Pod] = i
			all = append(all, Match{Pod: c.Pod})
		}
		all[i].Containers = append(all[i].Containers, c)
	}
	for _, m := range all {
		slices.SortStableFunc(m.Containers, func(a, b *Container) int { return -compareBool(a.Sandbox, b.Sandbox) })
	}
	return all
}

// distinct takes away what is there twice, and containers whose whole pod is
// there.
func distinct(found []Match) (kept []Match) {
	for i, m := range found {
		if !slices.ContainsFunc(found[:i], func(n Match) bool { return n.Pod == m.Pod && n.Main() == m.Main() }) {
			kept = append(kept, m)
		}
	}
	return kept
}

// Nearest returns the name that is most like the one given, if one is.
func Nearest(name string, names []string) (string, bool) {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, n := range names {
		d := distance(name, n)
		// "shop/cart" is near to "cart", "docker:web" to "web".
		for _, part := range strings.FieldsFunc(n, func(r rune) bool { return r == ':' || r == '/' }) {
			d = min(d, distance(name, part))
		}
		if d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best, best != ""
}

// distance returns how many bytes must be added, taken away or changed to make
// b of a.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // not what somebody mistyped
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

package container

import (
	"slices"
	"strconv"
	"strings"
)

// A Match is what a name stands for: a container, or a pod with all that is in it.
type Match struct {
	// Pod is set if the name is that of a whole pod.
	Pod *Pod
	// Containers are the one container, or those of the pod, the sandbox first.
	Containers []*Container
}

// Main returns the container that is entered and shown: for a pod the sandbox, or if the engine
// has none the first.
func (m Match) Main() *Container { return m.Containers[0] }

// Inner returns the containers of the match that run something: for a pod all but the sandbox.
func (m Match) Inner() []*Container {
	if len(m.Containers) > 1 && m.Containers[0].Sandbox {
		return m.Containers[1:]
	}
	return m.Containers
}

// Target returns a word that stands for the match and nothing else.
func (s *Set) Target(m Match) string {
	c := m.Main()
	var words []string
	switch pod := m.Pod; {
	case c.Outer != nil, c.Account != "":
	case pod != nil:
		words = append(words, "pod:"+pod.Namespace+"/"+pod.Name)
	case c.Pod != nil && c.Pod.Name != "" && !c.Sandbox:
		words = append(words, "pod:"+c.own())
	case c.Pod != nil && c.Pod.Name != "":
		words = append(words, "pod:"+c.own())
	}
	if c.Outer == nil {
		for _, engine := range []string{c.user(), c.engine() + "@" + c.account()} {
			for _, name := range []string{c.Name, c.ShortID(), c.ID} {
				words = append(words, engine+":"+name)
			}
		}
	}
	words = append(words, "container:"+c.String())
	for _, word := range words {
		found := s.Match("", word)
		if len(found) == 1 && slices.Contains(found[0].Containers, c) && (m.Pod == nil) == (found[0].Pod == nil) {
			return word
		}
	}
	return "pid:" + strconv.Itoa(c.Init)
}

// user returns the engine of a container, with its user if that is not root.
func (c *Container) user() string {
	if c.Account != "" {
		return c.engine() + "@" + c.Account
	}
	return c.engine()
}

// account returns the user of a container as a word.
func (c *Container) account() string {
	if c.Account == "" {
		return "root"
	}
	return c.Account
}

// SplitEngine reads an engine before the colon of a name, with or without its user: "docker",
// "podman@ann". It reports whether there is such an engine.
func SplitEngine(word string) (engine Engine, account string, ok bool) {
	name, account, at := strings.Cut(word, "@")
	return Engine(name), account, Engine(name).entry().name != "" && (!at || account != "")
}

// Match returns the containers and pods that a name stands for, among those of an engine, or of
// all for "". The most exact matches win: those with just that name, as [Container.String] has it
// or a part of that. Only without one, an ID may begin with the name.
//
// Only confirmed names count: those of root, and of the caller. A container of another user's
// engine is found with that user, "podman@ann:web", and a container in another by the whole of
// [Container.String]. An unconfirmed container of that name is also among the matches, but never
// alone.
func (s *Set) Match(engine Engine, name string) []Match {
	if name == "" {
		return nil
	}
	// "docker:web", without a separate engine.
	if prefix, rest, ok := strings.Cut(name, ":"); ok && engine == "" && !strings.Contains(name, " > ") {
		switch _, _, known := SplitEngine(prefix); {
		case known:
			return s.Match(Engine(prefix), rest)
		case prefix == "container":
			return s.Match("", rest)
		case prefix == "pod":
			namespace, rest, _ := strings.Cut(rest, "/")
			pod, in, _ := strings.Cut(rest, "/")
			return s.Pods(namespace, pod, in)
		}
	}
	if strings.Contains(name, " > ") {
		return s.chain(strings.TrimPrefix(name, "container:"), engine)
	}
	kind, account, _ := SplitEngine(string(engine))
	candidate := func(c *Container) bool {
		switch {
		case c.Outer != nil, kind != "" && c.Engine != kind:
			return false
		case account != "":
			return c.account() == account || account == strconv.FormatInt(int64(c.User), 10)
		}
		return s.callable(c)
	}
	var claimed []Match
	for _, c := range s.Containers {
		if candidate(c) && !c.Confirmed && !c.neverBlocks && (c.ID == name || c.own() == name || len(name) >= minPrefix && isHexID(c.ID) && strings.HasPrefix(c.ID, name)) {
			claimed = append(claimed, s.match(c))
		}
	}
	for _, fits := range []func(*Container) bool{
		func(c *Container) bool { return c.String() == name || c.ID == name },
		func(c *Container) bool { return c.own() == name || c.label() == name },
		func(c *Container) bool { return c.Name == name && !c.Sandbox },
		func(c *Container) bool { return isHexID(c.ID) && strings.HasPrefix(c.ID, name) },
	} {
		var found []Match
		for _, c := range s.Containers {
			if c.Confirmed && candidate(c) && fits(c) {
				found = append(found, s.match(c))
			}
		}
		// A pod of that name counts as much as a container.
		if engine == "" {
			for _, m := range s.pods(s.callable) {
				if m.Pod.Name == name || m.Pod.Namespace+"/"+m.Pod.Name == name {
					found = append(found, m)
				}
			}
		}
		if found = distinct(found); len(found) > 0 {
			return distinct(append(found, claimed...))
		}
	}
	return nil
}

// minPrefix is the shortest prefix of the ID of an unconfirmed container that counts as its name.
const minPrefix = 4

// callable reports whether a container may be named without its user: it is not of a user other
// than root or the caller.
func (s *Set) callable(c *Container) bool {
	return c.Outer == nil && (c.User <= Root || c.User == s.host.caller)
}

// chain returns the containers in others that have a name. The outermost must be confirmed.
func (s *Set) chain(name string, engine Engine) (found []Match) {
	if engine != "" {
		name = string(engine) + ":" + name
	}
	for _, c := range s.Containers {
		if c.Outer != nil && c.outermost().Confirmed && c.String() == name {
			found = append(found, Match{Containers: []*Container{c}})
		}
	}
	return found
}

func (c *Container) outermost() *Container {
	for c.Outer != nil {
		c = c.Outer
	}
	return c
}

// Unconfirmed returns a container that a name would stand for if it were confirmed, or nil.
func (s *Set) Unconfirmed(engine Engine, name string) *Container {
	for _, c := range s.Containers {
		if c.Confirmed || c.Outer != nil || engine != "" && c.Engine != engine && string(engine) != c.user() {
			continue
		}
		if name = strings.TrimSuffix(name, "?"); c.ID == name || len(name) >= minPrefix && isHexID(c.ID) && strings.HasPrefix(c.ID, name) {
			return c
		}
	}
	return nil
}

// OfUser returns a container of that name that another user's engine runs, or nil.
func (s *Set) OfUser(engine Engine, name string) *Container {
	for _, c := range s.Containers {
		if c.Outer == nil && c.Confirmed && !s.callable(c) && c.Name == name && (engine == "" || c.Engine == engine) {
			return c
		}
	}
	return nil
}

// Named returns the names of the callable containers.
func (s *Set) Named() (names []string) {
	for _, c := range s.Containers {
		if c.Confirmed && s.callable(c) {
			names = append(names, c.String())
		}
	}
	return names
}

// Pods returns the pod with that name, or the container in it.
func (s *Set) Pods(namespace, pod, name string) (found []Match) {
	for _, m := range s.pods(s.callable) {
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

// match makes a match of a container. For a sandbox it is the pod.
func (s *Set) match(c *Container) Match {
	if c.Sandbox && c.Pod != nil {
		for _, m := range s.pods(func(*Container) bool { return true }) {
			if m.Pod == c.Pod {
				return m
			}
		}
	}
	return Match{Containers: []*Container{c}}
}

// pods returns all pods, by name, of the confirmed containers that are wanted.
func (s *Set) pods(wanted func(*Container) bool) []Match {
	var all []Match
	index := make(map[*Pod]int)
	for _, c := range s.Containers {
		if c.Pod == nil || c.Pod.Name == "" || !c.Confirmed || !wanted(c) {
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

// distinct removes duplicates, and containers whose whole pod is there.
func distinct(found []Match) (cached []Match) {
	for i, m := range found {
		if !slices.ContainsFunc(found[:i], func(n Match) bool { return n.Pod == m.Pod && n.Main() == m.Main() }) {
			cached = append(cached, m)
		}
	}
	return cached
}

// Nearest returns the name that is most like the given one, if one is.
func Nearest(name string, names []string) (string, bool) {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, n := range names {
		d := distance(name, n)
		// "shop/cart" is near "cart", "docker:web" is near "web".
		for _, part := range strings.FieldsFunc(n, func(r rune) bool { return r == ':' || r == '/' }) {
			d = min(d, distance(name, part))
		}
		if d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best, best != ""
}

// distance returns the number of bytes to add, remove or change to get from a to b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // no typing mistake
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

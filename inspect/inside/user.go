package inside

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
)

// User is what is inside a user namespace: see user_namespaces(7).
type User struct {
	UIDMap, GIDMap task.IDMap
	// Outside is the user namespace of the IDs outside, if it is not the caller's: the parent.
	Outside inspect.Relation
	// Setgroups is "allow" or "deny", or "" if not known.
	Setgroups string
	// Limits are the most namespaces of each type that one user may make in the namespace and
	// below it: /proc/sys/user/max_net_namespaces and so on, see namespaces(7). It is nil if it
	// could not be read.
	Limits map[inspect.Type]int
	// Used is the number of namespaces of each type that the namespace, or one below it, owns,
	// as far as the scan found them. They count against Limits, each for its creator.
	Used map[inspect.Type]int
}

func (r *reader) user() *User {
	u := &User{Used: r.used()}
	paths := make([]string, 0, inspect.AllTypes.Len()+3)
	for t := range inspect.AllTypes.All() {
		paths = append(paths, "sys/user/max_"+t.String()+"_namespaces")
	}
	maps := []string{"uid_map", "gid_map", "setgroups"}
	texts, err := r.readMember(nil, maps...)
	fromInside := err != nil
	for _, name := range maps {
		paths = append(paths, "self/"+name)
	}
	inside, e := r.joined(paths...)
	if e == nil {
		if fromInside {
			texts, err = inside[inspect.AllTypes.Len():], nil
		}
		u.Limits = make(map[inspect.Type]int)
		i := 0
		for t := range inspect.AllTypes.All() {
			if n, err := strconv.Atoi(strings.TrimSpace(string(inside[i]))); err == nil {
				u.Limits[t] = n
			}
			i++
		}
	} else {
		r.gap("limits", e)
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && e != nil {
			err = e // no member: only a join can show it
		}
		r.gap("maps", err)
		return u
	}
	for i, to := range []*task.IDMap{&u.UIDMap, &u.GIDMap} {
		m, err := task.ParseIDMap(string(texts[i]))
		if err != nil {
			r.gap(maps[i], fmt.Errorf("%s: %w", maps[i], err))
			continue
		}
		*to = m
	}
	if fromInside || r.own(r.ns) { // a reader inside gets the parent's numbers
		u.Outside = r.ns.Parent
		if parent, ok := r.snap.Namespace(u.Outside.ID); ok && r.own(parent) {
			u.Outside = inspect.Relation{}
		}
	}
	u.Setgroups = strings.TrimSpace(string(texts[2]))
	return u
}

// used counts the namespaces that the namespace, and those below it, own.
func (r *reader) used() map[inspect.Type]int {
	used := make(map[inspect.Type]int)
	seen := map[inspect.ID]bool{r.ns.ID: true}
	for todo := []inspect.ID{r.ns.ID}; len(todo) > 0; todo = todo[1:] {
		for ns := range r.snap.Owned(todo[0]) {
			if seen[ns.ID] {
				continue
			}
			seen[ns.ID] = true
			used[ns.Type]++
			if ns.Type == inspect.User {
				todo = append(todo, ns.ID)
			}
		}
	}
	return used
}

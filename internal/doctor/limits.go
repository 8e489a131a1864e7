package doctor

import (
	"cmp"
	"fmt"
	"sort"

	"github.com/nstool/nstool/inspect"
)

// limits compares how many namespaces each user has with what he may have.
//
// The kernel counts a namespace for the user who made it, in the user namespace
// that owns it, and then for the maker of that user namespace in the one around,
// and so on outwards; see namespaces(7), "The /proc/sys/user directory", and
// kernel/ucount.c. Only of user namespaces does it tell who made them. Others
// that the caller's user namespace owns itself are taken to be root's, who alone
// can make them there.
//
// A user namespace has limits of its own, which are none until somebody in it sets
// them. Who in it made what the kernel does not tell, so all that counts in it is
// compared with what any one user may have.
func limits(h *Host) (found []Finding) {
	top, ok := h.top()
	if !ok {
		return nil
	}
	for t := range inspect.AllTypes.All() {
		limit := h.Limits[t]
		if limit == 0 {
			continue // unknown, or switched off
		}
		count := make(map[int64]uint64)
		for ns := range h.Snapshot.Namespaces(t) {
			if uid, ok := h.payer(ns, top); ok {
				count[uid]++
			}
		}
		for uid, n := range count {
			if !near(n, limit) {
				continue
			}
			f := Finding{
				Severity: Warning,
				Subject:  fmt.Sprintf("uid %d %s", uid, t),
				What:     fmt.Sprintf("uid %d has %d of %d %s namespaces", uid, n, limit, t),
				Evidence: []string{fmt.Sprintf("/proc/sys/user/max_%s_namespaces is %d", t, limit)},
			}
			f.By(raise(t, limit))
			if n >= limit {
				f.Severity = Problem
				f.What += ": another one cannot be made (no space left on device)"
			}
			found = append(found, f)
		}
	}
	for _, c := range h.crowded() {
		user := c.user
		for t := range inspect.AllTypes.All() {
			n, limit := c.counts[t], h.Inner[user.ID][t]
			if limit < leastLimit || !near(n, limit) {
				continue
			}
			f := Finding{
				Severity: Warning,
				Subject:  fmt.Sprintf("%s %s", user, t),
				What:     fmt.Sprintf("in %s there are %d %s namespaces, of %d that any one user may make there", user, n, t, limit),
				Evidence: []string{fmt.Sprintf("/proc/sys/user/max_%s_namespaces is %d for who is in it", t, limit)},
			}
			if c := h.Containers.With(user); c != nil {
				f.Evidence = append(f.Evidence, "it came with "+c.String())
			}
			f.By(raiseInside(user, t, limit))
			found = append(found, f)
		}
	}
	return found
}

// leastLimit is what a limit that is meant to be reached may be below: sandboxes
// allow none, or one that they make themselves.
const leastLimit = 16

// top returns the caller's user namespace.
func (h *Host) top() (inspect.ID, bool) {
	self, ok := h.Snapshot.Process(h.Snapshot.Self())
	if !ok {
		return inspect.ID{}, false
	}
	return self.Namespace(inspect.User)
}

// A charged is a user namespace and how many namespaces of each type count in it:
// those that it owns, and those that the ones below it own.
type charged struct {
	user   *inspect.Namespace
	counts map[inspect.Type]int
	most   int // of one type
}

// crowded returns the user namespaces below the caller's in which so many count
// that a limit may be near, those with most first.
func (h *Host) crowded() (list []charged) {
	top, ok := h.top()
	if !ok {
		return nil
	}
	counts := make(map[inspect.ID]map[inspect.Type]int)
	for ns := range h.Snapshot.Namespaces() {
		at := ns
		for range 40 { // as in payer
			id := at.Owner.ID
			if !at.Owner.Known() || id == top {
				break
			}
			if counts[id] == nil {
				counts[id] = make(map[inspect.Type]int)
			}
			counts[id][ns.Type]++
			up, ok := h.Snapshot.Namespace(id)
			if !ok {
				break
			}
			at = up
		}
	}
	for id, count := range counts {
		if user, ok := h.Snapshot.Namespace(id); ok {
			most := 0
			for _, n := range count {
				most = max(most, n)
			}
			if near(most, leastLimit) {
				list = append(list, charged{user, count, most})
			}
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return cmp.Or(cmp.Compare(b.most, a.most), cmp.Compare(a.user.ID.Ino, b.user.ID.Ino)) < 0
	})
	return list
}

// near reports whether n is 80 % of a limit or more.
func near[T int | uint64](n, limit T) bool { return n*10 >= limit*8 }

// payer returns for whom a namespace is counted in the user namespace top.
func (h *Host) payer(ns *inspect.Namespace, top inspect.ID) (uid int64, ok bool) {
	if ns.Initial() {
		return 0, false // they are not counted
	}
	uid = 0
	for range 40 { // user namespaces nest 32 deep at most
		if ns.Type == inspect.User {
			uid = ns.Creator
		}
		if !ns.Owner.Known() {
			return 0, false
		}
		if ns.Owner.ID == top {
			return uid, uid >= 0
		}
		if ns, ok = h.Snapshot.Namespace(ns.Owner.ID); !ok {
			return 0, false
		}
	}
	return 0, false
}

package doctor

import (
	"cmp"
	"fmt"
	"sort"

	"github.com/nstool/nstool/inspect"
)

// limits compares the number of namespaces of each user with the limit.
//
// The kernel counts a namespace for the user that made it, in the user namespace that owns
// it, then for the maker of that user namespace in the one around it, and so on outwards.
// See namespaces(7), "The /proc/sys/user directory", and kernel/ucount.c. It shows the maker
// of user namespaces only. Other namespaces that the user namespace of the caller owns
// itself count for root, which alone can make them there.
//
// A user namespace has its own limits if somebody in it has set them. The kernel does not
// show who in it made which namespace, so all of them are compared with the limit of one user.
func limits(h *Host) (found []Finding) {
	top, ok := h.top()
	if !ok {
		return nil
	}
	for t := range inspect.AllTypes.All() {
		limit := h.Limits[t]
		if limit == 0 {
			continue // unknown, or none is allowed
		}
		count := make(map[int64]uint64)
		for ns := range h.Snapshot.Namespaces(t) {
			if uid, ok := h.chargedUID(ns, top); ok {
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
			f.Propose(raise(t, limit))
			if n >= limit {
				f.Severity = Problem
				f.What += ": another one cannot be made (no space left on device)"
			}
			found = append(found, f)
		}
	}
	for _, c := range h.nearLimits() {
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
				Evidence: []string{fmt.Sprintf("/proc/sys/user/max_%s_namespaces is %d inside", t, limit)},
			}
			if c := h.Containers.With(user); c != nil {
				f.Evidence = append(f.Evidence, "it came with "+c.String())
			}
			f.Propose(raiseInside(user, t, limit))
			found = append(found, f)
		}
	}
	return found
}

// leastLimit is the smallest limit that is checked. Sandboxes set smaller ones on purpose:
// none, or one that they make themselves.
const leastLimit = 16

// top returns the caller's user namespace.
func (h *Host) top() (inspect.ID, bool) {
	self, ok := h.Snapshot.Process(h.Snapshot.Self())
	if !ok {
		return inspect.ID{}, false
	}
	return self.Namespace(inspect.User)
}

// A userCounts is a user namespace and the numbers of namespaces that it and those below it
// own, by type.
type userCounts struct {
	user   *inspect.Namespace
	counts map[inspect.Type]int
	most   int // of one type
}

// nearLimits returns the user namespaces below that of the caller that may be near a limit,
// those with most namespaces first.
func (h *Host) nearLimits() (list []userCounts) {
	top, ok := h.top()
	if !ok {
		return nil
	}
	counts := make(map[inspect.ID]map[inspect.Type]int)
	for ns := range h.Snapshot.Namespaces() {
		at := ns
		for range 40 { // as in chargedUID
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
				list = append(list, userCounts{user, count, most})
			}
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return cmp.Or(cmp.Compare(b.most, a.most), cmp.Compare(a.user.ID.Ino, b.user.ID.Ino)) < 0
	})
	return list
}

// near reports whether n is at least 80 % of a limit.
func near[T int | uint64](n, limit T) bool { return n*10 >= limit*8 }

// chargedUID returns the user that a namespace counts for in the user namespace top.
func (h *Host) chargedUID(ns *inspect.Namespace, top inspect.ID) (uid int64, ok bool) {
	if ns.Initial() {
		return 0, false // it is not counted
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

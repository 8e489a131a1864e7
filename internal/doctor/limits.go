package doctor

import (
	"fmt"
	"strconv"

	"github.com/nstool/nstool/inspect"
)

// limits compares how many namespaces each user has with what he may have.
//
// The kernel counts a namespace for the user who made it, in the user namespace
// that owns it, and then for the maker of that user namespace in the one around,
// and so on outwards; see namespaces(7), "The /proc/sys/user directory", and
// kernel/ucount.c. Only of user namespaces does it tell who made them. Others
// that the caller's user namespace owns itself are taken to be root's, who alone
// can make them there. A user namespace has limits of its own; those of the
// caller's, which nothing inside escapes, are compared.
func limits(h *Host) (found []Finding) {
	self, ok := h.Snapshot.Process(h.Snapshot.Self())
	if !ok {
		return nil
	}
	top, ok := self.Namespace(inspect.User)
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
			if n*10 < limit*8 {
				continue
			}
			f := Finding{
				Severity: Warning,
				Subject:  fmt.Sprintf("uid %d %s", uid, t),
				What:     fmt.Sprintf("uid %d has %d of %d %s namespaces", uid, n, limit, t),
				Evidence: []string{fmt.Sprintf("/proc/sys/user/max_%s_namespaces is %d", t, limit)},
				Fix:      command("sysctl", "-w", fmt.Sprintf("user.max_%s_namespaces=%s", t, strconv.FormatUint(2*limit, 10))),
			}
			if n >= limit {
				f.Severity = Problem
				f.What += ": another one cannot be made (no space left on device)"
			}
			found = append(found, f)
		}
	}
	return found
}

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

package doctor

import (
	"fmt"

	"github.com/nstool/nstool/inspect"
)

// held finds descriptors of network namespaces in programs that have no use for them. They
// were inherited, and keep the network when its container has exited. A program that keeps
// namespaces for others does have a use.
func held(h *Host) (found []Finding) {
	for ns := range h.Snapshot.Namespaces(inspect.Net) {
		for _, holder := range h.foreign(ns) {
			who, ok := h.Holders[holder.PID]
			proxy := who.Comm == "docker-proxy"
			switch {
			case !ok || who.Container != nil || who.UID != 0:
				continue
			case proxy:
			case holder.Kind != inspect.ByFD || who.Unit == "" || who.isDaemon():
				continue
			}
			f := Finding{Severity: Note, Subject: fmt.Sprintf("process %d %s", holder.PID, ns), transient: true}
			of := ""
			if c := h.Containers.With(ns); c != nil {
				of = " of " + c.String()
			}
			f.What = fmt.Sprintf("%s of %s has %s%s open, and keeps it as long as it runs", h.Process(holder.PID), who.Unit, ns, of)
			if proxy {
				f.Severity = Warning
				f.What = fmt.Sprintf("%s carries a port, and has inherited %s%s, which remains when the processes in it have exited", h.Process(holder.PID), ns, of)
			} else {
				f.group = group{"process", "networks of others are open in programs of units, and exist as long as these run"}
			}
			f.Evidence = []string{h.byDescriptor(&f, holder)}
			found = append(found, f)
		}
	}
	return found
}

// foreign returns the descriptors of a network namespace, and the sockets in it, that
// processes outside it have. It returns none if no process is in it.
func (h *Host) foreign(ns *inspect.Namespace) (holders []inspect.Holder) {
	if ns.Type != inspect.Net || len(ns.Members) == 0 {
		return nil
	}
	for _, holder := range ns.Others() {
		if holder.Kind != inspect.ByFD && holder.Kind != inspect.BySocket || holder.PID == h.Snapshot.Self() {
			continue
		}
		if p, ok := h.Snapshot.Process(holder.PID); ok {
			if own, ok := p.Namespace(inspect.Net); ok && own == ns.ID {
				continue
			}
		}
		holders = append(holders, holder)
	}
	return holders
}

package doctor

import (
	"fmt"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
)

// left finds containers that were put into a namespace of another container that is no
// longer in it. That one was restarted and has a new namespace, which its engine connects.
func left(h *Host) (found []Finding) {
	set := h.Containers
	of := make(map[*container.Container]*Finding)
	types := make(map[*container.Container][]string)
	for _, l := range set.Left() {
		typ := l.Type
		f := of[l.Container]
		if f == nil {
			f = &Finding{Subject: l.Container.String(), transient: true, Evidence: []string{fmt.Sprintf("its first process is %d", l.Container.Init)}}
			of[l.Container] = f
			partner := partnerOf(set, l)
			switch {
			case partner == nil:
				// Whether the partner is gone cannot be known, so nothing is proposed.
				f.Severity, f.What = Note, "the container that they came with was not seen in them"
			default:
				f.Severity, f.What = Warning, fmt.Sprintf("%s has others since it was started anew", partner)
				f.Propose(h.restart(l.Container))
			}
		}
		types[l.Container] = append(types[l.Container], typ.String())
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s came with another container, which is not in it", inspect.FormatLink(typ, l.Ino)))
	}
	for _, c := range set.Containers {
		if f := of[c]; f != nil {
			f.What = fmt.Sprintf("%s was left behind in the %s of another container: %s", c, namespacesOf(types[c]), f.What)
			if len(types[c]) == 1 {
				f.What = strings.NewReplacer("has others", "has another", "they came", "it came", "in them", "in it").Replace(f.What)
			}
			found = append(found, *f)
		}
	}
	return found
}

// partnerOf returns the container that the namespace came with, or nil if it is not known
// or does not run.
func partnerOf(set *container.Set, l container.Left) *container.Container {
	for _, c := range set.Containers {
		if l.Partner != "" && c.ID == l.Partner && c.Outer == l.Container.Outer {
			return c
		}
	}
	return nil
}

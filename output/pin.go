package output

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/nstool/nstool/inspect"
)

// PinSchema names the form of what [PinsJSON] writes. See [Schema].
const PinSchema = "nstool/pins/2"

// A Pin is a name that keeps a namespace alive, or did.
type Pin struct {
	Name string
	Type inspect.Type
	// Ino is the inode number of the namespace, or 0 if it is not there.
	Ino uint64
	// Why says why the pin is dead; "" if it lives.
	Why string
	// Unsure says that it may be dead, as far as could be seen.
	Unsure bool
	By     string // who made it, or "" if that cannot be told
	Path   string
	UID    uint32    // owner of the file
	Made   time.Time // zero if it is not known
	// Namespace is what a scan found of it, or nil.
	Namespace *inspect.Namespace
}

// Pins is the table of columns that say something of a pin.
var Pins = []Column[*Pin]{
	{"NAME", "name of the set, or of the file", Text, 0, func(_ *View, p *Pin) Value { return textValue(p.Name) }},
	{"TYPE", "type of the namespace", Text, 0, func(_ *View, p *Pin) Value { return textValue(p.Type.String()) }},
	{"NS", "inode number of the namespace", Number, 0, func(_ *View, p *Pin) Value { return numberFrom(p.Ino, 1) }},
	{"NSID", "64-bit identifier of the namespace, never used twice (Linux 6.18)", Number, 0, func(_ *View, p *Pin) Value {
		if p.Namespace == nil {
			return p.unfound()
		}
		return ifAsked(p.Namespace, numberFrom(p.Namespace.NSID, 1))
	}},
	{"STATE", "alive, or dead: the namespace cannot be entered any more", Text, 0, func(_ *View, p *Pin) Value {
		switch {
		case p.Why != "":
			return textValue("dead")
		case p.Unsure:
			return Value{state: hidden}
		}
		return textValue("alive")
	}},
	{"NPROCS", "number of member processes", Number, 0, func(v *View, p *Pin) Value {
		if p.Namespace == nil {
			return p.unfound()
		}
		return v.membersOf(p.Namespace)
	}},
	{"AGE", "how long ago it was made", Text, 0, func(v *View, p *Pin) Value {
		if p.Made.IsZero() {
			return Value{}
		}
		return textValue(age(v.Now.Sub(p.Made)))
	}},
	{"MADE", "when it was made", When, 0, func(_ *View, p *Pin) Value { return whenValue(p.Made) }},
	{"OWNER", "owning user namespace", Relation, 0, func(_ *View, p *Pin) Value {
		if p.Namespace == nil {
			return p.unfound()
		}
		return relationValue(inspect.User, p.Namespace.Owner)
	}},
	{"UID", "owner of the file", Number, 0, func(_ *View, p *Pin) Value { return numberValue(p.UID) }},
	{"BY", "who made it: nstool, ip-netns, docker, cni, crio or snapd", Text, 0, func(_ *View, p *Pin) Value { return textValue(p.By) }},
	{"PATH", "file that the namespace is mounted on", Text, 0, func(_ *View, p *Pin) Value { return textValue(p.Path) }},
	{"WHY", "why it is dead", Text, 0, func(_ *View, p *Pin) Value {
		if p.Unsure && p.Why == "" {
			return Value{state: hidden}
		}
		return textValue(p.Why)
	}},
	{"HOLDERS", "what keeps the namespace alive besides this pin", Holders, HolderDetail, func(v *View, p *Pin) Value {
		if p.Namespace == nil {
			return p.unfound()
		}
		// Its copies in other mount namespaces go with it.
		return v.holdersBut(p.Namespace, func(h inspect.Holder) bool { return h.Kind == inspect.ByMount && h.Path == p.Path })
	}},
}

// unfound is the value of what only the namespace tells, of one that is not there,
// or that the scan did not come by.
func (p *Pin) unfound() Value {
	if p.Why != "" {
		return Value{}
	}
	return Value{state: hidden}
}

// PinDefaults returns the columns that are shown when none are asked for; dead
// says that there are dead ones.
func PinDefaults(dead bool) []Column[*Pin] {
	names := []string{"NAME", "TYPE", "NS", "STATE", "NPROCS", "AGE", "BY", "PATH"}
	if dead {
		names = append(names, "WHY")
	}
	return Pick(Pins, append(names, "HOLDERS")...)
}

// PinsJSON writes one object:
//
//	{"schema": "nstool/pins/2", "complete": true, "reasons": [], "pins": [{...}, ...], "gaps": [{...}, ...]}
//
// The keys are the names of the columns in lower case; see [JSON].
func PinsJSON(w io.Writer, v *View, pins []*Pin, missed Missed) error {
	cols := slices.DeleteFunc(slices.Clone(Pins), func(c Column[*Pin]) bool { return c.Name == "AGE" })
	return rowsJSON(w, PinSchema, "pins", v, pins, cols, missed)
}

// age says a duration in one unit.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

package output

import (
	"time"

	"github.com/nstool/nstool/inspect"
)

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
	{"AGE", "how long ago it was made", Age, 0, func(v *View, p *Pin) Value {
		if p.Made.IsZero() {
			return Value{}
		}
		return numberValue(max(0, int64(v.Now.Sub(p.Made)/time.Second)))
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

// PinList is the list of pins. Those of others are faint.
var PinList = ListOf[*Pin]{Schema: "nstool/pins/2", Key: "pins", Columns: Pins, Spare: []string{"PATH", "NS", "AGE", "NPROCS", "HOLDERS"}, Faint: func(p *Pin) bool { return p.By != "nstool" }}

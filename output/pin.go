package output

import (
	"time"

	"github.com/nstool/nstool/inspect"
)

// A Pin is a name that keeps, or kept, a namespace alive.
type Pin struct {
	Name string
	Type inspect.Type
	// Ino is the inode number of the namespace, or 0 if there is none.
	Ino uint64
	// Why is the reason why the pin is dead; "" if it is alive.
	Why string
	// Unsure: it may be dead.
	Unsure bool
	By     string // the program that made it, or "" if not known
	Path   string
	UID    uint32    // owner of the file
	Made   time.Time // zero if not known
	// Namespace is its namespace in the snapshot, or nil.
	Namespace *inspect.Namespace
}

// pinColumns returns the columns of pins.
func pinColumns() []Column[*Pin] {
	return []Column[*Pin]{
		{"NAME", "name of the set, or of the file", kindText, 0, func(_ *View, p *Pin) cellValue { return textValue(p.Name) }},
		{"TYPE", "type of the namespace", kindText, 0, func(_ *View, p *Pin) cellValue { return textValue(p.Type.String()) }},
		{"NS", "inode number of the namespace", kindNumber, 0, func(_ *View, p *Pin) cellValue { return numberFrom(p.Ino, 1) }},
		{"NSID", "64-bit identifier of the namespace, never used twice (Linux 6.18)", kindNumber, 0, func(_ *View, p *Pin) cellValue {
			if p.Namespace == nil {
				return p.unfound()
			}
			return ifAsked(p.Namespace, numberFrom(p.Namespace.NSID, 1))
		}},
		{"STATE", "alive, or dead: the namespace cannot be entered any more", kindText, 0, func(_ *View, p *Pin) cellValue {
			switch {
			case p.Why != "":
				return textValue("dead")
			case p.Unsure:
				return cellValue{state: hidden}
			}
			return textValue("alive")
		}},
		{"NPROCS", "number of member processes", kindNumber, 0, func(v *View, p *Pin) cellValue {
			if p.Namespace == nil {
				return p.unfound()
			}
			return v.membersOf(p.Namespace)
		}},
		{"AGE", "how long ago it was made", kindAge, 0, func(v *View, p *Pin) cellValue {
			if p.Made.IsZero() {
				return cellValue{}
			}
			return numberValue(max(0, int64(v.Now.Sub(p.Made)/time.Second)))
		}},
		{"MADE", "when it was made", kindTime, 0, func(_ *View, p *Pin) cellValue { return whenValue(p.Made) }},
		{"OWNER", "owning user namespace", kindRelation, 0, func(_ *View, p *Pin) cellValue {
			if p.Namespace == nil {
				return p.unfound()
			}
			return relationValue(inspect.User, p.Namespace.Owner)
		}},
		{"UID", "owner of the file", kindNumber, 0, func(_ *View, p *Pin) cellValue { return numberValue(p.UID) }},
		{"BY", "who made it: nstool, ip-netns, docker, cni, crio or snapd", kindText, 0, func(_ *View, p *Pin) cellValue { return textValue(p.By) }},
		{"PATH", "file that the namespace is mounted on", kindText, 0, func(_ *View, p *Pin) cellValue { return textValue(p.Path) }},
		{"WHY", "why it is dead", kindText, 0, func(_ *View, p *Pin) cellValue {
			if p.Unsure && p.Why == "" {
				return cellValue{state: hidden}
			}
			return textValue(p.Why)
		}},
		{"HOLDERS", "what keeps the namespace alive besides this pin", kindHolders, NeedHolders, func(v *View, p *Pin) cellValue {
			if p.Namespace == nil {
				return p.unfound()
			}
			// Its copies in other mount namespaces are removed with it.
			return v.holdersBut(p.Namespace, func(h inspect.Holder) bool { return h.Kind == inspect.ByMount && h.Path == p.Path })
		}},
	}
}

// unfound is the value of a column about the namespace if that was not found.
func (p *Pin) unfound() cellValue {
	if p.Why != "" {
		return cellValue{}
	}
	return cellValue{state: hidden}
}

// PinList is the list of pins. Pins of other programs are faint.
func PinList() ListOf[*Pin] {
	return ListOf[*Pin]{
		Schema: "nstool/pins/2", Key: "pins", Columns: pinColumns(),
		Default: []string{"NAME", "TYPE", "NS", "STATE", "NPROCS", "AGE", "BY", "PATH", "WHY?", "HOLDERS"},
		Dropped: []string{"PATH", "NS", "AGE", "NPROCS", "HOLDERS"},
		Subjects: func(_ *View, p *Pin) ([]*inspect.Process, []*inspect.Namespace) {
			if p.Namespace == nil {
				return nil, nil
			}
			return nil, []*inspect.Namespace{p.Namespace}
		},
		Faint: func(p *Pin) bool { return p.By != "nstool" },
	}
}

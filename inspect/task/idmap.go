package task

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// An IDMap is the uid_map or gid_map of a user namespace, as the caller sees it; see
// user_namespaces(7).
type IDMap []IDRange

// An IDRange maps Count IDs that begin at Inside to those that begin at Outside, in the user
// namespace of the caller. For the user namespace of the caller itself, Outside is in its
// parent. An Outside of [NoID] means that the IDs have none outside.
type IDRange struct{ Inside, Outside, Count uint32 }

// NoID stands for an ID that does not exist in the user namespace of the caller.
const NoID = math.MaxUint32

// identity maps every ID to itself.
var identity = IDMap{{0, 0, NoID}}

// ParseIDMap reads the text of /proc/pid/uid_map or gid_map.
func ParseIDMap(text string) (IDMap, error) {
	m := IDMap{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("a line of three numbers was expected, not %q", line)
		}
		var n [3]uint32
		for i, f := range fields {
			x, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, err
			}
			n[i] = uint32(x)
		}
		m = append(m, IDRange{n[0], n[1], n[2]})
	}
	return m, nil
}

// Inside returns the ID in the user namespace for an ID of the caller.
func (m IDMap) Inside(outside uint32) (uint32, bool) {
	for _, r := range m {
		if r.Outside != NoID && outside >= r.Outside && outside-r.Outside < r.Count {
			return r.Inside + (outside - r.Outside), true
		}
	}
	return 0, false
}

// Outside returns the ID of the caller for an ID in the user namespace.
func (m IDMap) Outside(inside uint32) (uint32, bool) {
	for _, r := range m {
		if inside >= r.Inside && inside-r.Inside < r.Count {
			return r.Outside + (inside - r.Inside), true
		}
	}
	return 0, false
}

// Has reports whether id exists inside.
func (m IDMap) Has(id uint32) bool {
	_, ok := m.Outside(id)
	return ok
}

// Root returns 0, or the smallest ID inside if 0 is not mapped. It returns false for an empty
// map.
func (m IDMap) Root() (uint32, bool) {
	if m.Has(0) {
		return 0, true
	}
	var least uint32
	found := false
	for _, r := range m {
		if r.Count > 0 && (!found || r.Inside < least) {
			least, found = r.Inside, true
		}
	}
	return least, found
}

// Identity reports whether every ID is the same inside and outside.
func (m IDMap) Identity() bool {
	return len(m) == 1 && m[0] == IDRange{0, 0, NoID}
}

// String describes the map in words:
//
//	0-65535 are 100000-165535 outside, 70000 is 1000 outside
func (m IDMap) String() string {
	switch {
	case len(m) == 0:
		return "no IDs are mapped"
	case m.Identity():
		return "all are the same outside"
	}
	words := make([]string, len(m))
	for i, r := range m {
		is := " are "
		if r.Count == 1 {
			is = " is "
		}
		outside := span(r.Outside, r.Count) + " outside"
		switch {
		case r.Outside == NoID:
			outside = "outside of what can be seen"
		case r.Outside == r.Inside:
			outside = "the same outside"
		}
		words[i] = span(r.Inside, r.Count) + is + outside
	}
	return strings.Join(words, ", ")
}

func span(from, count uint32) string {
	if count <= 1 {
		return strconv.FormatUint(uint64(from), 10)
	}
	return fmt.Sprintf("%d-%d", from, uint64(from)+uint64(count)-1)
}

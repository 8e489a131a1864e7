package task

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// An IDMap is the uid_map or gid_map of a user namespace, as the caller sees it:
// see user_namespaces(7).
type IDMap []IDRange

// An IDRange says that Count IDs from Inside on are those from Outside on in the
// caller's user namespace; in the caller's own, in its parent. NoID stands for
// IDs that have none outside.
type IDRange struct{ Inside, Outside, Count uint32 }

// NoID is the number of the user, or group, that an ID is shown as which the
// caller's user namespace does not have, where no number would be a lie.
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

// Inside returns what an ID of the caller is in the user namespace.
func (m IDMap) Inside(outside uint32) (uint32, bool) {
	for _, r := range m {
		if r.Outside != NoID && outside >= r.Outside && outside-r.Outside < r.Count {
			return r.Inside + (outside - r.Outside), true
		}
	}
	return 0, false
}

// Outside returns what an ID inside is to the caller.
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

// Root returns 0, or the smallest ID there is inside if that is not mapped. It is
// false for a map with nothing in it.
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

// String says in words what the map does:
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

package enter

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// An idMap is a uid_map or gid_map of user_namespaces(7), as the caller sees
// it: outside are the caller's own numbers.
type idMap []idRange

type idRange struct{ inside, outside, count uint32 }

// parseMap reads the text of a uid_map.
func parseMap(text string) (idMap, error) {
	m := idMap{}
	for line := range strings.Lines(text) {
		var n [3]uint32
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("a line of three numbers was expected, not %q", line)
		}
		for i, f := range fields {
			x, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, err
			}
			n[i] = uint32(x)
		}
		m = append(m, idRange{n[0], n[1], n[2]})
	}
	return m, nil
}

func readMap(p *sys.Process, name string) (idMap, error) {
	b, err := p.ReadFile(name, 64<<10)
	if err != nil {
		return nil, err
	}
	m, err := parseMap(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path(name), err)
	}
	return m, nil
}

// has reports whether id exists inside.
func (m idMap) has(id uint32) bool {
	for _, r := range m {
		if id >= r.inside && id-r.inside < r.count {
			return true
		}
	}
	return false
}

// inside returns what an id of the caller is inside.
func (m idMap) inside(outside uint32) (uint32, bool) {
	for _, r := range m {
		if outside >= r.outside && outside-r.outside < r.count {
			return r.inside + (outside - r.outside), true
		}
	}
	return 0, false
}

// outside returns what an id inside is to the caller.
func (m idMap) outside(inside uint32) (uint32, bool) {
	for _, r := range m {
		if inside >= r.inside && inside-r.inside < r.count {
			return r.outside + (inside - r.inside), true
		}
	}
	return 0, false
}

// root returns 0, or the smallest id there is inside if that is not mapped. It
// is false for a map with nothing in it.
func (m idMap) root() (uint32, bool) {
	if m.has(0) {
		return 0, true
	}
	var least uint32
	found := false
	for _, r := range m {
		if r.count > 0 && (!found || r.inside < least) {
			least, found = r.inside, true
		}
	}
	return least, found
}

package procfile

import (
	"errors"
	"iter"
	"strconv"
	"strings"
)

// A Mount is a line of a mount table; see proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent   int
	Major, Minor uint32
	Root, Point  string
	Options      string // of the mount
	Shared       string // the optional fields: "shared:2 master:1"
	Type, Source string // of the file system
	Super        string // its options
}

// Mounts yields the mounts in the text of a mount table. It skips lines that are none.
func Mounts(text []byte) iter.Seq[Mount] {
	return func(yield func(Mount) bool) {
		for line := range strings.Lines(string(text)) {
			if m, ok := ParseMount(strings.TrimSuffix(line, "\n")); ok && !yield(m) {
				return
			}
		}
	}
}

// ParseMount reads a line of a mount table, such as
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func ParseMount(line string) (m Mount, ok bool) {
	front, back, _ := strings.Cut(line, " - ")
	var id, parent, dev string
	for _, field := range []*string{&id, &parent, &dev, &m.Root, &m.Point, &m.Options} {
		*field, front, _ = strings.Cut(front, " ")
	}
	m.Shared = front
	m.Type, back, ok = strings.Cut(back, " ")
	m.Source, m.Super, _ = strings.Cut(back, " ")
	major, minor, _ := strings.Cut(dev, ":")
	var errs [4]error
	var number [2]uint64
	m.ID, errs[0] = strconv.Atoi(id)
	m.Parent, errs[1] = strconv.Atoi(parent)
	number[0], errs[2] = strconv.ParseUint(major, 10, 32)
	number[1], errs[3] = strconv.ParseUint(minor, 10, 32)
	if !ok || m.Options == "" || errors.Join(errs[:]...) != nil {
		return Mount{}, false
	}
	m.Major, m.Minor = uint32(number[0]), uint32(number[1])
	for _, field := range []*string{&m.Root, &m.Point, &m.Type, &m.Source, &m.Super} {
		*field = Unescape(*field)
	}
	return m, true
}

// Unescape undoes the octal escapes of the kernel: \040 for a blank, \011 for a tab, \012 for a
// newline, \134 for a backslash, \043 for a hash.
func Unescape(field string) string {
	if !strings.Contains(field, `\`) {
		return field
	}
	out := make([]byte, 0, len(field))
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(field[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, field[i])
	}
	return string(out)
}

package inspect

import (
	"strconv"
	"strings"
)

// ParseLink reads the text of a namespace link, such as "net:[4026531840]". It is used under
// /proc/pid/ns, and in the root field of mountinfo for a pin.
//
// The links pid_for_children and time_for_children have the text of the namespace that they lead
// to: "pid:[4026531836]".
func ParseLink(text string) (t Type, ino uint64, ok bool) {
	name, rest, found := strings.Cut(text, ":[")
	if !found || len(rest) < 2 || rest[len(rest)-1] != ']' {
		return 0, 0, false
	}
	digits := rest[:len(rest)-1]
	if digits[0] < '1' || digits[0] > '9' {
		return 0, 0, false
	}
	ino, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	for t := Cgroup; t <= UTS; t++ {
		if types[t].name == name {
			return t, ino, true
		}
	}
	return 0, 0, false
}

// FormatLink is the inverse of [ParseLink].
func FormatLink(t Type, ino uint64) string {
	return t.String() + ":[" + strconv.FormatUint(ino, 10) + "]"
}

package inspect

import (
	"fmt"
	"iter"
	"math/bits"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// A Type is a kind of namespace. Its String is the name of the link under
// /proc/pid/ns, such as "mnt" or "net".
type Type uint8

// The types of namespace, in the order of [namespaces(7)].
//
// [namespaces(7)]: https://man7.org/linux/man-pages/man7/namespaces.7.html
const (
	Cgroup Type = iota + 1
	IPC
	Net
	Mnt
	PID
	Time
	User
	UTS
)

// typeInfo is an entry of the table of types.
type typeInfo struct {
	name string
	flag int
	// children is the link to the namespace of new children, or "".
	children string
	// initial is the fixed inode number of the initial namespace on every kernel (PROC_*_INIT_INO
	// in include/linux/proc_ns.h), or 0. Mount and network namespaces have one only since Linux
	// 6.18.
	initial uint64
}

var types = [...]typeInfo{
	Cgroup: {name: "cgroup", flag: sys.CLONE_NEWCGROUP, initial: 0xEFFFFFFB},
	IPC:    {name: "ipc", flag: sys.CLONE_NEWIPC, initial: 0xEFFFFFFF},
	Net:    {name: "net", flag: sys.CLONE_NEWNET},
	Mnt:    {name: "mnt", flag: sys.CLONE_NEWNS},
	PID:    {name: "pid", flag: sys.CLONE_NEWPID, children: "pid_for_children", initial: 0xEFFFFFFC},
	Time:   {name: "time", flag: sys.CLONE_NEWTIME, children: "time_for_children", initial: 0xEFFFFFFA},
	User:   {name: "user", flag: sys.CLONE_NEWUSER, initial: 0xEFFFFFFD},
	UTS:    {name: "uts", flag: sys.CLONE_NEWUTS, initial: 0xEFFFFFFE},
}

// AllTypes is the set of all types of namespace.
const AllTypes = Types(1<<(UTS+1) - 1<<Cgroup)

// ParseType is the inverse of [Type.String]. It also accepts "mount", the word
// of unshare(1) and nsenter(1).
func ParseType(s string) (Type, error) {
	if s == "mount" {
		return Mnt, nil
	}
	for t := range AllTypes.All() {
		if types[t].name == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("no namespace type %q; there are: %s", s, AllTypes)
}

// TypeOfFlag returns the type of a CLONE_NEW* flag of [clone(2)]. The NS_GET_NSTYPE ioctl returns
// such a flag.
//
// [clone(2)]: https://man7.org/linux/man-pages/man2/clone.2.html
func TypeOfFlag(flag int) (Type, bool) {
	for t := range AllTypes.All() {
		if types[t].flag == flag {
			return t, true
		}
	}
	return 0, false
}

func (t Type) info() typeInfo {
	if int(t) >= len(types) {
		return typeInfo{}
	}
	return types[t]
}

// String returns the name of the link under /proc/pid/ns, or "type(N)" for a
// value that is no type.
func (t Type) String() string {
	if n := t.info().name; n != "" {
		return n
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Flag returns the CLONE_NEW* flag of t for setns(2), unshare(2) and clone(2), or 0 for a value
// that is no type.
func (t Type) Flag() int { return t.info().flag }

// ForChildren returns the name of the link under /proc/pid/ns to the namespace of type t for new
// children: "pid_for_children" (Linux 4.12) or "time_for_children" (5.6), or "" for other types.
func (t Type) ForChildren() string { return t.info().children }

// Hierarchical reports whether namespaces of this type have parents, as PID and user namespaces
// do.
func (t Type) Hierarchical() bool { return t == PID || t == User }

// InitialIno returns the inode number that the initial namespace of type t has on every kernel,
// if there is such a number. See PROC_*_INIT_INO in the kernel's include/linux/proc_ns.h.
func (t Type) InitialIno() (uint64, bool) {
	i := t.info().initial
	return i, i != 0
}

// MarshalText implements [encoding.TextMarshaler].
func (t Type) MarshalText() ([]byte, error) {
	if t.info().name == "" {
		return nil, fmt.Errorf("inspect: no namespace type %d", uint8(t))
	}
	return []byte(t.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] by [ParseType].
func (t *Type) UnmarshalText(text []byte) error {
	parsed, err := ParseType(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Types is a set of types. The zero value is the empty set.
type Types uint16

// TypesOf returns the set of the given types.
func TypesOf(types ...Type) Types {
	var s Types
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

// Has reports whether t is in the set.
func (s Types) Has(t Type) bool { return s&(1<<t) != 0 }

// With returns the set with t in it.
func (s Types) With(t Type) Types { return s | 1<<t }

// Without returns the set without t.
func (s Types) Without(t Type) Types { return s &^ (1 << t) }

// Len returns the number of types in the set.
func (s Types) Len() int { return bits.OnesCount16(uint16(s)) }

// All yields the types in the set, in the order of the constants.
func (s Types) All() iter.Seq[Type] {
	return func(yield func(Type) bool) {
		for t := Cgroup; t <= UTS; t++ {
			if s.Has(t) && !yield(t) {
				return
			}
		}
	}
}

// Flags returns the CLONE_NEW* flags of the types in the set, as setns(2)
// takes them with a pidfd.
func (s Types) Flags() int {
	f := 0
	for t := range s.All() {
		f |= t.Flag()
	}
	return f
}

// String returns the names of the types, separated by ", ".
func (s Types) String() string {
	var names []string
	for t := range s.All() {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// An ID is the device and inode number of the nsfs file of a namespace. IDs are comparable. When
// the namespace is gone the kernel may use its ID for a new one at once. A [Namespace.NSID] (Linux
// 6.18) is never used again.
type ID struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// IsZero reports whether id identifies no namespace.
func (id ID) IsZero() bool { return id == ID{} }

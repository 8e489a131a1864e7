package sys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A btf is the kernel's description of its own types, in the BPF Type Format: the offsets of
// fields in the running kernel. Structures differ between versions and configurations, so only
// names are known in advance.
//
// The format: Documentation/bpf/btf.rst in the kernel's source.
type btf struct {
	types   []byte
	strings []byte
	starts  []uint32 // offset in types of each type, by ID; 0 is void
	found   []uint32 // the IDs of the roots
}

// The kinds of type, from include/uapi/linux/btf.h.
const (
	btfInt      = 1
	btfPtr      = 2
	btfArray    = 3
	btfStruct   = 4
	btfUnion    = 5
	btfEnum     = 6
	btfTypedef  = 8
	btfVolatile = 9
	btfConst    = 10
	btfRestrict = 11
	btfFunc     = 12
	btfProto    = 13
	btfTypeTag  = 18
	btfEnum64   = 19
)

// btfExtra is the number of bytes after the head of a type, by kind: fixed, and for each
// member. A kind that is not here has none.
var btfExtra = [32]struct{ fixed, each uint32 }{
	btfInt:    {4, 0},
	btfArray:  {12, 0},
	btfStruct: {0, 12},
	btfUnion:  {0, 12},
	btfEnum:   {0, 8},
	btfProto:  {0, 8},
	14:        {4, 0},  // variable
	15:        {0, 12}, // section
	17:        {4, 0},  // declaration tag
	btfEnum64: {0, 12},
}

const (
	btfHead     = 12 // name, kind and number of members, size or type
	btfLastKind = btfEnum64
)

var errBTF = errors.New("damaged or unknown BTF")

// A btfRoot is a type to start from: all other types are reached from the roots.
type btfRoot struct {
	kind uint32
	name string
}

// kernelBTF reads the types of the kernel and calls f with them. They are valid only during f.
// It takes about two milliseconds and no privileges; Linux 5.4 with CONFIG_DEBUG_INFO_BTF.
func kernelBTF(roots []btfRoot, f func(*btf) error) error {
	const path = "/sys/kernel/btf/vmlinux"
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return fmt.Errorf("%s: %w", path, callError("fstat", err))
	}
	const most = 256 << 20
	if st.Size <= 0 || st.Size > most {
		return fmt.Errorf("%s: %w: %d bytes", path, errBTF, st.Size)
	}
	// Since Linux 6.16 the file can be mapped, which saves a copy.
	data, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err == nil {
		defer unix.Munmap(data)
	} else {
		data = make([]byte, st.Size)
		for n := 0; n < len(data); {
			got, err := File(fd).Read(data[n:])
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			n += got
		}
	}
	b, err := parseBTF(data, roots)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return f(b)
}

// parseBTF finds where each type starts, and the roots.
func parseBTF(data []byte, roots []btfRoot) (*btf, error) {
	const magic, header = 0xeB9F, 24
	if len(data) < header || binary.NativeEndian.Uint16(data) != magic || data[2] != 1 {
		return nil, errBTF
	}
	word := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(data[at:])) }
	section := func(at int) []byte {
		start := word(4) + word(at)
		end := start + word(at+4)
		if start < header || end > uint64(len(data)) {
			return nil
		}
		return data[start:end]
	}
	b := &btf{types: section(8), strings: section(16), found: make([]uint32, len(roots))}
	if b.types == nil || len(b.strings) == 0 || b.strings[len(b.strings)-1] != 0 {
		return nil, errBTF
	}
	names := make([]uint32, len(roots))
	for i, r := range roots {
		at := bytes.Index(b.strings, []byte("\x00"+r.name+"\x00"))
		if at < 0 {
			return nil, fmt.Errorf("no type %s", r.name)
		}
		names[i] = uint32(at) + 1
	}
	b.starts = make([]uint32, 1, 1+len(b.types)/20)
	for at := 0; at < len(b.types); {
		if at+btfHead > len(b.types) {
			return nil, errBTF
		}
		name := binary.NativeEndian.Uint32(b.types[at:])
		info := binary.NativeEndian.Uint32(b.types[at+4:])
		kind := info >> 24 & 31
		if kind == 0 || kind > btfLastKind {
			return nil, fmt.Errorf("%w: kind %d", errBTF, kind)
		}
		for i, n := range names {
			if n == name && roots[i].kind == kind && b.found[i] == 0 {
				b.found[i] = uint32(len(b.starts))
			}
		}
		b.starts = append(b.starts, uint32(at))
		at += btfHead + int(btfExtra[kind].fixed+info&0xffff*btfExtra[kind].each)
		if at > len(b.types) {
			return nil, errBTF // so all members are complete
		}
	}
	for i, id := range b.found {
		if id == 0 {
			return nil, fmt.Errorf("no type %s", roots[i].name)
		}
	}
	return b, nil
}

// head returns the kind of type id, the number of its members, its size or the type that it
// refers to, whether its members can be bit fields, and the bytes after the head. Type 0 and a
// missing type have kind 0.
func (b *btf) head(id uint32) (kind, n, ref uint32, bitfields bool, rest []byte) {
	if id == 0 || int(id) >= len(b.starts) {
		return 0, 0, 0, false, nil
	}
	t := b.types[b.starts[id]:]
	info := binary.NativeEndian.Uint32(t[4:])
	return info >> 24 & 31, info & 0xffff, binary.NativeEndian.Uint32(t[8:]), info>>31 != 0, t[btfHead:]
}

// btfDeep is the most names, qualifiers and unnamed members to follow: damaged types may refer
// to themselves.
const btfDeep = 16

// bare returns the type id without typedefs and qualifiers.
func (b *btf) bare(id uint32) uint32 {
	for range btfDeep {
		switch kind, _, ref, _, _ := b.head(id); kind {
		case btfTypedef, btfVolatile, btfConst, btfRestrict, btfTypeTag:
			id = ref
		default:
			return id
		}
	}
	return 0
}

// size returns the size of a type in bytes, or 0 if it cannot be loaded or is incomplete.
func (b *btf) size(id uint32) uint32 {
	switch kind, _, ref, _, _ := b.head(b.bare(id)); kind {
	case btfPtr:
		return 8
	case btfInt, btfEnum, btfEnum64, btfStruct, btfUnion:
		return ref
	}
	return 0
}

// target returns the type that a pointer points to, or the element type of an array.
func (b *btf) target(id uint32) (uint32, error) {
	switch kind, _, ref, _, rest := b.head(b.bare(id)); kind {
	case btfPtr:
		return b.bare(ref), nil
	case btfArray:
		return b.bare(binary.NativeEndian.Uint32(rest)), nil
	}
	return 0, fmt.Errorf("%w: no pointer", errBTF)
}

// parameter returns the type of the n-th parameter of a function.
func (b *btf) parameter(fn uint32, n int) (uint32, error) {
	if kind, _, proto, _, _ := b.head(fn); kind == btfFunc {
		if kind, params, _, _, rest := b.head(proto); kind == btfProto && n < int(params) {
			return binary.NativeEndian.Uint32(rest[8*n+4:]), nil
		}
	}
	return 0, fmt.Errorf("%w: no parameter %d", errBTF, n)
}

// member returns the offset in bytes and the type of a member of a struct or union. The path
// may name members of members: "ns.inum". Members of unnamed members count as members of the
// whole.
func (b *btf) member(id uint32, path string) (off, typ uint32, err error) {
	for name := range strings.SplitSeq(path, ".") {
		budget := 4096
		at, t, ok := b.find(b.bare(id), name, btfDeep, &budget)
		if !ok || at%8 != 0 {
			return 0, 0, fmt.Errorf("no field %s", path)
		}
		off += at / 8
		id = t
	}
	return off, id, nil
}

// find returns the offset in bits and the type of one member. It enters unnamed members up to
// the depth deep, and reads at most budget members.
func (b *btf) find(id uint32, name string, deep int, budget *int) (off, typ uint32, ok bool) {
	kind, n, _, bitfields, rest := b.head(id)
	if kind != btfStruct && kind != btfUnion || deep == 0 {
		return 0, 0, false
	}
	for ; n > 0 && *budget > 0; n-- {
		*budget--
		called, t, at := binary.NativeEndian.Uint32(rest), binary.NativeEndian.Uint32(rest[4:]), binary.NativeEndian.Uint32(rest[8:])
		rest = rest[12:]
		if bitfields {
			if at>>24 != 0 {
				continue // a bit field
			}
			at &= 1<<24 - 1
		}
		if called == 0 {
			if in, t, ok := b.find(b.bare(t), name, deep-1, budget); ok {
				return at + in, t, true
			}
			continue
		}
		if b.named(called, name) {
			return at, t, true
		}
	}
	return 0, 0, false
}

// named reports whether the string at the given offset is name.
func (b *btf) named(at uint32, name string) bool {
	if uint64(at)+uint64(len(name)) >= uint64(len(b.strings)) {
		return false
	}
	s := b.strings[at:]
	return s[len(name)] == 0 && string(s[:len(name)]) == name
}

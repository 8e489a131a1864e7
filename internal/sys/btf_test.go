package sys

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// madeBTF is BTF in the making.
type madeBTF struct {
	types, strings []byte
	ids            uint32
}

func (m *madeBTF) name(s string) uint32 {
	if len(m.strings) == 0 {
		m.strings = []byte{0}
	}
	if s == "" {
		return 0
	}
	at := len(m.strings)
	m.strings = append(append(m.strings, s...), 0)
	return uint32(at)
}

// add adds a type and returns its id. What follows its head is words.
func (m *madeBTF) add(kind int, name string, members int, bitfields bool, ref uint32, words ...uint32) uint32 {
	info := uint32(kind)<<24 | uint32(members)
	if bitfields {
		info |= 1 << 31
	}
	for _, w := range append([]uint32{m.name(name), info, ref}, words...) {
		m.types = binary.NativeEndian.AppendUint32(m.types, w)
	}
	m.ids++
	return m.ids
}

func (m *madeBTF) bytes() []byte {
	b := binary.NativeEndian.AppendUint16(nil, 0xeB9F)
	b = append(b, 1, 0)
	for _, w := range []int{24, 0, len(m.types), len(m.types), len(m.strings)} {
		b = binary.NativeEndian.AppendUint32(b, uint32(w))
	}
	return append(append(b, m.types...), m.strings...)
}

// made is a kernel of few types:
//
//	typedef unsigned int u32;
//	struct ns_common { long stashed; union { struct { u32 inum; }; long other; }; };
//	struct net { char pad[4]; u32 bits:4; const struct ns_common ns; };
//	struct task { int pid; struct net *net; struct task *next[2]; };
//	int iter(void *meta, struct task *task);
func made() []byte {
	var m madeBTF
	u := m.add(btfInt, "unsigned int", 0, false, 4, 32)
	u32 := m.add(btfTypedef, "u32", 0, false, u)
	long := m.add(btfInt, "long", 0, false, 8, 64)
	m.add(btfEnum, "colour", 2, false, 4, m.name("red"), 0, m.name("blue"), 1)
	inner := m.add(btfStruct, "", 1, false, 4, m.name("inum"), u32, 0)
	union := m.add(btfUnion, "", 2, false, 8, 0, inner, 0, m.name("other"), long, 0)
	common := m.add(btfStruct, "ns_common", 2, false, 16, m.name("stashed"), long, 0, 0, union, 64)
	qualified := m.add(btfConst, "", 0, false, common)
	char := m.add(btfInt, "char", 0, false, 1, 8)
	pad := m.add(btfArray, "", 0, false, 0, char, u, 4)
	netns := m.add(btfStruct, "net", 3, true, 24, m.name("pad"), pad, 0, m.name("bits"), u32, 4<<24|32, m.name("ns"), qualified, 64)
	netPtr := m.add(btfPtr, "", 0, false, netns)
	next := m.add(btfArray, "", 0, false, 0, m.ids+2, u, 2)
	m.add(btfPtr, "", 0, false, m.ids+2)
	task := m.add(btfStruct, "task", 3, false, 32, m.name("pid"), u, 0, m.name("net"), netPtr, 64, m.name("next"), next, 128)
	void := m.add(btfPtr, "", 0, false, 0)
	proto := m.add(btfProto, "", 2, false, u, m.name("meta"), void, m.name("task"), task-1)
	m.add(btfFunc, "iter", 1, false, proto)
	m.add(btfStruct, "iter", 0, false, 0) // of the same name, of another kind
	return m.bytes()
}

func TestBTF(t *testing.T) {
	b, err := parseBTF(made(), []btfRoot{{btfFunc, "iter"}, {btfStruct, "net"}})
	if err != nil {
		t.Fatal(err)
	}
	ptr, err := b.parameter(b.found[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	task, err := b.target(ptr)
	if err != nil {
		t.Fatal(err)
	}
	at := func(typ uint32, path string, want uint32) uint32 {
		t.Helper()
		off, of, err := b.member(typ, path)
		if err != nil || off != want {
			t.Errorf("%s is at %d, %v; want %d", path, off, err, want)
		}
		return of
	}
	at(task, "pid", 0)
	netns, err := b.target(at(task, "net", 8))
	if err != nil || netns != b.found[1] {
		t.Errorf("task->net is of type %d, %v; want %d", netns, err, b.found[1])
	}
	next, err := b.target(at(task, "next", 16))
	if to, _ := b.target(next); err != nil || to != task {
		t.Errorf("an element of task->next points to type %d, %v; want %d", to, err, task)
	}
	if size := b.size(at(netns, "ns.inum", 16)); size != 4 { // in two that have no name
		t.Errorf("inum has %d bytes", size)
	}
	if size := b.size(at(netns, "ns.other", 16)); size != 8 {
		t.Errorf("other has %d bytes", size)
	}
	for _, path := range []string{"bits", "none", "ns.none", "pad.x", "", "ns.", "in", "inumm"} {
		if off, _, err := b.member(netns, path); err == nil {
			t.Errorf("there is a field %q, at %d", path, off)
		}
	}
	if _, err := b.parameter(b.found[0], 2); err == nil {
		t.Error("a third parameter")
	}
	if _, err := b.parameter(b.found[1], 0); err == nil {
		t.Error("a parameter of a struct")
	}
}

func TestBTFDamaged(t *testing.T) {
	good := made()
	for name, b := range map[string][]byte{
		"empty":        {},
		"short":        good[:20],
		"cut":          good[:len(good)-40],
		"no string":    append(bytes.Clone(good[:len(good)-1]), 'x'),
		"other order":  append([]byte{good[1], good[0]}, good[2:]...),
		"new version":  append([]byte{good[0], good[1], 9}, good[3:]...),
		"unknown kind": append(bytes.Clone(good[:24+7]), append([]byte{30}, good[24+8:]...)...),
	} {
		if _, err := parseBTF(b, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := parseBTF(good, []btfRoot{{btfStruct, "gone"}}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a root that is not there: %v", err)
	}
	if _, err := parseBTF(good, []btfRoot{{btfFunc, "net"}}); err == nil {
		t.Error("a root of another kind")
	}
}

// Types that lead in circles end.
func TestBTFCircles(t *testing.T) {
	var m madeBTF
	m.add(btfTypedef, "a", 0, false, 2)
	m.add(btfConst, "", 0, false, 1)
	m.add(btfStruct, "s", 2, false, 8, 0, 3, 0, 0, 3, 0)
	m.add(btfPtr, "", 0, false, 4)
	b, err := parseBTF(m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if id := b.bare(1); id != 0 {
		t.Errorf("a name of itself is %d", id)
	}
	if _, _, err := b.member(3, "x"); err == nil {
		t.Error("a struct in itself has any field")
	}
	if to, err := b.target(4); err != nil || to != 4 {
		t.Errorf("a pointer to itself leads to %d, %v", to, err)
	}
}

// FuzzBTF holds that no BTF makes the reader panic or stay.
func FuzzBTF(f *testing.F) {
	good := made()
	f.Add(good)
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBTF(data, nil)
		if err != nil {
			return
		}
		for id := range uint32(len(b.starts) + 2) {
			b.size(id)
			b.target(id)
			b.parameter(id, 1)
			b.member(id, "ns.inum")
			b.member(b.bare(id), "nested")
		}
	})
}

// FuzzPrograms holds the same of what is built on it.
func FuzzPrograms(f *testing.F) {
	f.Add(made(), uint32(1), uint32(2))
	f.Fuzz(func(t *testing.T, data []byte, fn, socket uint32) {
		if b, err := parseBTF(data, nil); err == nil {
			taskProgram(b, fn)
			fileProgram(b, fileTypes{fn, socket, socket, socket, socket}, 1, 2, true)
		}
	})
}

// Without a field there is no program.
func TestProgramsNeedTheirFields(t *testing.T) {
	b, err := parseBTF(made(), []btfRoot{{btfFunc, "iter"}, {btfStruct, "net"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := taskProgram(b, b.found[0]); err == nil || !strings.Contains(err.Error(), "no field") {
		t.Errorf("tasks: %v", err)
	}
	if _, err := fileProgram(b, fileTypes{b.found[0], b.found[1], b.found[1], b.found[1], b.found[1]}, 1, 2, true); err == nil {
		t.Error("files: no error")
	}
}

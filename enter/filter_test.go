package enter

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/nstool/nstool/internal/sys"
)

// assemble returns a filter as the kernel shows it.
func assemble(t *testing.T, code ...bpf.Instruction) (text []byte) {
	t.Helper()
	raw, err := bpf.Assemble(code)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range raw {
		text = binary.NativeEndian.AppendUint16(text, in.Op)
		text = append(text, in.Jt, in.Jf)
		text = binary.NativeEndian.AppendUint32(text, in.K)
	}
	return text
}

// answering returns a filter that answers one system call of this architecture
// with v, and allows the rest.
func answering(t *testing.T, number int, v verdict) []byte {
	t.Helper()
	return assemble(t,
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: sys.AuditArch, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(v)},
		bpf.RetConstant{Val: uint32(allowCall)},
	)
}

func TestFilterAnswer(t *testing.T) {
	const call, other = 7, 8
	for _, c := range []struct {
		name    string
		filters [][]byte
		want    verdict
		passes  bool
	}{
		{"kill", [][]byte{answering(t, call, killProcess)}, killProcess, false},
		{"thread", [][]byte{answering(t, call, killThread)}, killThread, false},
		{"errno", [][]byte{answering(t, call, failCall|1)}, failCall | 1, false},
		{"log", [][]byte{answering(t, call, logCall)}, logCall, true},
		{"notify", [][]byte{answering(t, call, notifyUser)}, notifyUser, false},
		{"other call", [][]byte{answering(t, other, killProcess)}, allowCall, true},
		{"the strictest holds", [][]byte{answering(t, call, traceCall), answering(t, call, failCall|13), answering(t, call, notifyUser)}, failCall | 13, false},
		{"the newest is no more than the oldest", [][]byte{answering(t, call, killProcess), answering(t, call, allowCall)}, killProcess, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, ok := newFilterStack(c.filters).answer(call)
			if !ok || v != c.want || v.passes() != c.passes {
				t.Errorf("%v %#x, known %v, want %v %#x", v, uint32(v), ok, c.want, uint32(c.want))
			}
		})
	}
	if _, ok := newFilterStack(nil).answer(call); ok {
		t.Error("no filter answers")
	}
	if _, ok := newFilterStack([][]byte{{0xff, 0xff, 0, 0, 0, 0, 0, 0}}).answer(call); ok {
		t.Error("an instruction that there is not answers")
	}
}

func TestFilterNotified(t *testing.T) {
	for _, c := range []struct {
		filters [][]byte
		want    []int
	}{
		{[][]byte{answering(t, 7, notifyUser)}, []int{7}},
		{[][]byte{answering(t, 7, notifyUser), answering(t, 9, notifyUser)}, []int{7, 9}},
		{[][]byte{answering(t, 7, notifyUser), answering(t, 7, killProcess)}, nil}, // it never comes to that
		{[][]byte{answering(t, 7, failCall)}, nil},
	} {
		if got := newFilterStack(c.filters).notified(); !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte{0x20, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0xff, 0x7f})
	f.Add([]byte{0x05, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 6, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, text []byte) {
		stack := newFilterStack([][]byte{text})
		stack.answer(sys.ExecveCall)
		stack.notified()
	})
}

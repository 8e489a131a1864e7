package enter

import (
	"encoding/binary"

	"golang.org/x/net/bpf"

	"github.com/nstool/nstool/internal/sys"
)

// A verdict is what seccomp filters answer to a system call: an action of
// seccomp(2) with its data, such as an errno.
type verdict uint32

// Actions of seccomp(2), by <linux/seccomp.h>. Of several filters the verdict
// with the lowest action, as a signed number, holds.
const (
	killProcess verdict = 0x80000000
	killThread  verdict = 0
	trapCall    verdict = 0x00030000
	failCall    verdict = 0x00050000
	notifyUser  verdict = 0x7fc00000
	traceCall   verdict = 0x7ff00000
	logCall     verdict = 0x7ffc0000
	allowCall   verdict = 0x7fff0000

	actionMask verdict = 0xffff0000
)

// String returns the name that seccomp(2) has for the action.
func (v verdict) String() string {
	switch v & actionMask {
	case killProcess:
		return "KILL_PROCESS"
	case killThread:
		return "KILL_THREAD"
	case trapCall:
		return "TRAP"
	case failCall:
		return "ERRNO"
	case notifyUser:
		return "USER_NOTIF"
	case traceCall:
		return "TRACE"
	case logCall:
		return "LOG"
	case allowCall:
		return "ALLOW"
	}
	return "an unknown action"
}

// passes reports whether the call is carried out.
func (v verdict) passes() bool { return v&actionMask == allowCall || v&actionMask == logCall }

// A filterStack is the seccomp filters of a process, oldest first, as a machine
// that can be asked what they answer.
type filterStack []filterProgram

type filterProgram struct {
	vm       *bpf.VM
	notifies bool // it has an instruction that returns SECCOMP_RET_USER_NOTIF
}

// newFilterStack reads filters as [sys.SeccompFilters] returns them. The result
// is nil if one of them has an instruction that the machine does not know:
// nothing is concluded from such filters.
func newFilterStack(filters [][]byte) filterStack {
	var stack filterStack
	for _, text := range filters {
		var program filterProgram
		var code []bpf.Instruction
		for ; len(text) >= 8; text = text[8:] {
			in := bpf.RawInstruction{
				Op: binary.NativeEndian.Uint16(text), Jt: text[2], Jf: text[3], K: binary.NativeEndian.Uint32(text[4:]),
			}.Disassemble()
			if ret, ok := in.(bpf.RetConstant); ok && verdict(ret.Val)&actionMask == notifyUser {
				program.notifies = true
			}
			code = append(code, in)
		}
		var err error
		if program.vm, err = bpf.NewVM(code); err != nil {
			return nil
		}
		stack = append(stack, program)
	}
	return stack
}

// answer returns what the filters say of a system call of this architecture by
// its number, with arguments that are all 0. ok is false if that is not known.
func (f filterStack) answer(number int) (v verdict, ok bool) {
	// struct seccomp_data: the number, the architecture, the instruction
	// pointer, six arguments. The machine reads words with the first byte
	// first, the kernel in the order of the processor: each word is put as the
	// machine reads it.
	const size = 64
	data := make([]byte, size)
	binary.BigEndian.PutUint32(data, uint32(number))
	binary.BigEndian.PutUint32(data[4:], sys.AuditArch)
	v = allowCall
	for _, program := range f {
		n, err := program.vm.Run(data)
		if err != nil {
			return 0, false
		}
		if got := verdict(uint32(n)); int32(got&actionMask) < int32(v&actionMask) {
			v = got
		}
	}
	return v, len(f) > 0
}

// lastCall is above the numbers of all system calls that there are.
const lastCall = 1024

// notified returns the numbers of the system calls that the filters leave to a
// supervisor, see seccomp_unotify(2).
func (f filterStack) notified() (numbers []int) {
	some := false
	for _, program := range f {
		some = some || program.notifies
	}
	if !some {
		return nil
	}
	for number := range lastCall {
		if v, ok := f.answer(number); ok && v&actionMask == notifyUser {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

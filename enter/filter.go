package enter

import (
	"encoding/binary"

	"golang.org/x/net/bpf"

	"github.com/nstool/nstool/internal/sys"
)

// A verdict is the result of seccomp filters for a system call: an action of seccomp(2) with
// its data, such as an errno.
type verdict uint32

// Actions of seccomp(2), by <linux/seccomp.h>. Of several verdicts the one with the lowest
// action, as a signed number, applies.
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

// passes reports whether the kernel makes the call.
func (v verdict) passes() bool { return v&actionMask == allowCall || v&actionMask == logCall }

// A filterStack is the seccomp filters of a process, oldest first, in a form that can be run.
type filterStack []filterProgram

type filterProgram struct {
	vm       *bpf.VM
	notifies bool // it has an instruction that returns SECCOMP_RET_USER_NOTIF
}

// newFilterStack parses filters as [sys.SeccompFilters] returns them. The result is nil if one
// of them has an unknown instruction: nothing is concluded from such filters.
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

// answer returns the verdict on a system call of this architecture, by its number and with
// arguments of 0. ok is false if it is not known.
func (f filterStack) answer(number int) (v verdict, ok bool) {
	// struct seccomp_data: the number, the architecture, the instruction pointer, six
	// arguments. Package bpf reads words in big-endian order, the kernel in that of the
	// processor.
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

// lastCall is above the numbers of all system calls.
const lastCall = 1024

// notified returns the numbers of the system calls that the filters pass to a supervisor, see
// seccomp_unotify(2).
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

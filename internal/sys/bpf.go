package sys

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An instruction of BPF; see Documentation/bpf/standardization/instruction-set.rst
// in the kernel's source.
type bpfInsn struct {
	op   uint8
	regs uint8 // the source in the upper half
	off  int16
	imm  int32
}

// A bpfReg is a register. Calls take r1 to r5, return in r0 and overwrite all of these; r6 to
// r9 stay; fp is the end of the stack.
type bpfReg uint8

const (
	r0 bpfReg = iota
	r1
	r2
	r3
	r4
	r5
	r6
	r7
	r8
	r9
	fp
)

// Helpers, from include/uapi/linux/bpf.h.
const (
	bpfProbeReadKernel = 113 // Linux 5.5
	bpfSeqWrite        = 127 // Linux 5.8
)

// An assembler writes the program of an iterator. It knows the kernel's types, so that fields
// are loaded by name; the first missing one is its error.
//
// There are two ways to follow pointers. If the verifier knows the type too, starting from the
// parameters of the iterator, a plain load is enough: the kernel makes it safe. Memory at any
// other address is read by bpf_probe_read_kernel, which costs a call.
//
// The first way is not always cheaper. For each load of a pointer from a struct that the
// verifier trusts, such as a parameter of the iterator, Linux 6.2 to 6.18 search all types by
// name, up to four times: as long as ten thousand probes. The results of such loads are not
// trusted, and loads from them cost nothing.
type assembler struct {
	btf  *btf
	code []bpfInsn
	ends []int // jumps to the end
	err  error
}

//go:noinline
func (a *assembler) emit(op uint8, dst, src bpfReg, off int, imm int32) {
	a.code = append(a.code, bpfInsn{op, uint8(src<<4 | dst), int16(off), imm})
}

func (a *assembler) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// field returns the offset and type of a field.
func (a *assembler) field(typ uint32, path string) (int, uint32) {
	off, t, err := a.btf.member(typ, path)
	if err == nil && off > math.MaxInt16 {
		err = fmt.Errorf("field %s is too far", path)
	}
	if err != nil {
		a.fail(err)
		return 0, 0
	}
	return int(off), t
}

// typeOf returns the type of a field.
func (a *assembler) typeOf(typ uint32, path string) uint32 {
	_, t := a.field(typ, path)
	return t
}

func (a *assembler) target(typ uint32) uint32 {
	t, err := a.btf.target(typ)
	if err != nil {
		a.fail(err)
	}
	return t
}

// arg loads the n-th parameter of the iterator, a pointer, from the context ctx, and returns
// the type that it points to. NULL ends the program.
func (a *assembler) arg(dst, ctx bpfReg, fn uint32, n int) uint32 {
	t, err := a.btf.parameter(fn, n)
	if err != nil {
		a.fail(err)
		return 0
	}
	a.emit(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_DW, dst, ctx, 8*n, 0)
	a.endIf(dst, 0)
	return a.target(t)
}

// copyArg stores the n-th parameter of the iterator, of 4 bytes, on the stack.
func (a *assembler) copyArg(at int, ctx bpfReg, n int) {
	a.emit(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_W, r0, ctx, 8*n, 0)
	a.emit(unix.BPF_STX|unix.BPF_MEM|unix.BPF_W, fp, r0, at, 0)
}

// load loads a field of the struct that src points to, and returns its type.
func (a *assembler) load(dst, src bpfReg, typ uint32, path string) uint32 {
	off, t := a.field(typ, path)
	a.emit(unix.BPF_LDX|unix.BPF_MEM|a.width(t), dst, src, off, 0)
	return t
}

func (a *assembler) width(typ uint32) uint8 {
	switch a.btf.size(typ) {
	case 8:
		return unix.BPF_DW
	case 4:
		return unix.BPF_W
	case 2:
		return unix.BPF_H
	case 1:
		return unix.BPF_B
	}
	a.fail(fmt.Errorf("%w: a field that cannot be loaded", errBTF))
	return 0
}

// copy copies a field of the struct that src points to to the stack, through r0.
func (a *assembler) copy(at int, src bpfReg, typ uint32, path string) {
	t := a.load(r0, src, typ, path)
	a.emit(unix.BPF_STX|unix.BPF_MEM|a.width(t), fp, r0, at, 0)
}

// store4 stores the lower 4 bytes of a register on the stack.
func (a *assembler) store4(at int, src bpfReg) {
	a.emit(unix.BPF_STX|unix.BPF_MEM|unix.BPF_W, fp, src, at, 0)
}

// clear stores zeroes from at up to the end of the stack.
func (a *assembler) clear(at int) {
	for ; at < 0; at += 8 {
		a.clear8(at)
	}
}

// clear8 stores 8 zeroes on the stack.
func (a *assembler) clear8(at int) { a.emit(unix.BPF_ST|unix.BPF_MEM|unix.BPF_DW, fp, 0, at, 0) }

// put stores a number of 4 bytes on the stack.
func (a *assembler) put(at, n int) {
	a.emit(unix.BPF_ST|unix.BPF_MEM|unix.BPF_W, fp, 0, at, int32(n))
}

func (a *assembler) mov(dst, src bpfReg) {
	a.emit(unix.BPF_ALU64|unix.BPF_MOV|unix.BPF_X, dst, src, 0, 0)
}

func (a *assembler) set(dst bpfReg, n int) {
	a.emit(unix.BPF_ALU64|unix.BPF_MOV|unix.BPF_K, dst, 0, 0, int32(n))
}

func (a *assembler) add(dst bpfReg, n int) {
	a.emit(unix.BPF_ALU64|unix.BPF_ADD|unix.BPF_K, dst, 0, 0, int32(n))
}

func (a *assembler) mul(dst bpfReg, n int) {
	a.emit(unix.BPF_ALU64|unix.BPF_MUL|unix.BPF_K, dst, 0, 0, int32(n))
}

func (a *assembler) shiftRight(dst bpfReg, n int) {
	a.emit(unix.BPF_ALU64|unix.BPF_RSH|unix.BPF_K, dst, 0, 0, int32(n))
}

func (a *assembler) addReg(dst, src bpfReg) {
	a.emit(unix.BPF_ALU64|unix.BPF_ADD|unix.BPF_X, dst, src, 0, 0)
}

func (a *assembler) jump(op uint8, r, s bpfReg, n int32) {
	a.ends = append(a.ends, len(a.code))
	a.emit(unix.BPF_JMP|op, r, s, 0, n)
}

// The jumps to the end: if a register is n, if it is not, if it is the same as
// another, and always.
func (a *assembler) endIf(r bpfReg, n int32)     { a.jump(unix.BPF_JEQ|unix.BPF_K, r, 0, n) }
func (a *assembler) endUnless(r bpfReg, n int32) { a.jump(unix.BPF_JNE|unix.BPF_K, r, 0, n) }
func (a *assembler) endIfSame(r, s bpfReg)       { a.jump(unix.BPF_JEQ|unix.BPF_X, r, s, 0) }
func (a *assembler) jumpToEnd()                  { a.jump(unix.BPF_JA, 0, 0, 0) }

// ifEqual skips the code of f unless a register is n, skipIf if it is n, and skipIfSame if it
// equals another register.
func (a *assembler) ifEqual(r bpfReg, n int32, f func()) {
	a.skip(f, unix.BPF_JMP|unix.BPF_JNE|unix.BPF_K, r, 0, n)
}

func (a *assembler) skipIf(r bpfReg, n int32, f func()) {
	a.skip(f, unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, r, 0, n)
}

func (a *assembler) skipIfSame(r, s bpfReg, f func()) {
	a.skip(f, unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_X, r, s, 0)
}

// ifSame skips the code of f unless a register equals another.
func (a *assembler) ifSame(r, s bpfReg, f func()) {
	a.skip(f, unix.BPF_JMP|unix.BPF_JNE|unix.BPF_X, r, s, 0)
}

// repeat runs the code of f n times, counted in a register.
func (a *assembler) repeat(r bpfReg, n int, f func()) {
	a.set(r, 0)
	top := len(a.code)
	f()
	a.add(r, 1)
	a.emit(unix.BPF_JMP|unix.BPF_JLT|unix.BPF_K, r, 0, top-len(a.code)-1, int32(n))
}

func (a *assembler) skip(f func(), op uint8, r, s bpfReg, n int32) {
	from := len(a.code)
	a.emit(op, r, s, 0, n)
	f()
	a.code[from].off = int16(len(a.code) - from - 1)
}

// probe reads size bytes at the address src plus off to the stack, and zeroes if there is no
// such memory.
func (a *assembler) probe(at, size int, src bpfReg, off int) {
	a.mov(r3, src)
	a.add(r3, off)
	a.mov(r1, fp)
	a.add(r1, at)
	a.set(r2, size)
	a.emit(unix.BPF_JMP|unix.BPF_CALL, 0, 0, 0, bpfProbeReadKernel)
}

// peek loads 8 bytes from the stack, peek4 half of that.
func (a *assembler) peek(dst bpfReg, at int) {
	a.emit(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_DW, dst, fp, at, 0)
}

func (a *assembler) peek4(dst bpfReg, at int) {
	a.emit(unix.BPF_LDX|unix.BPF_MEM|unix.BPF_W, dst, fp, at, 0)
}

// read reads a pointer, the field path of the struct at the address in r, into r, through 8
// bytes of the stack, and returns its type.
func (a *assembler) read(r bpfReg, typ uint32, path string, tmp int) uint32 {
	off, t := a.field(typ, path)
	if a.err == nil && a.btf.size(t) != 8 {
		a.fail(fmt.Errorf("%w: field %s", errBTF, path))
	}
	a.probe(tmp, 8, r, off)
	a.peek(r, tmp)
	return t
}

// follow is read for a pointer to a known type, and returns that type.
func (a *assembler) follow(r bpfReg, typ uint32, path string, tmp int) uint32 {
	return a.target(a.read(r, typ, path, tmp))
}

// probeField reads a field of 4 bytes of the struct at the address in r to
// the stack.
func (a *assembler) probeField(at int, r bpfReg, typ uint32, path string) {
	off, t := a.field(typ, path)
	if a.err == nil && a.btf.size(t) != 4 {
		a.fail(fmt.Errorf("%w: field %s", errBTF, path))
	}
	a.probe(at, 4, r, off)
}

// seq loads the file that records are written to.
func (a *assembler) seq(dst, ctx bpfReg, fn uint32) {
	meta := a.arg(dst, ctx, fn, 0)
	a.load(dst, dst, meta, "seq")
}

// write writes size bytes of the stack as a record.
func (a *assembler) write(at, size int, seq bpfReg) {
	a.mov(r1, seq)
	a.mov(r2, fp)
	a.add(r2, at)
	a.set(r3, size)
	a.emit(unix.BPF_JMP|unix.BPF_CALL, 0, 0, 0, bpfSeqWrite)
}

// end ends the program: the iterator continues with the next object.
func (a *assembler) end() ([]bpfInsn, error) {
	for _, j := range a.ends {
		a.code[j].off = int16(len(a.code) - j - 1)
	}
	a.set(r0, 0)
	a.emit(unix.BPF_JMP|unix.BPF_EXIT, 0, 0, 0, 0)
	return a.code, a.err
}

// bpf calls bpf(2), which returns a descriptor.
func bpf(what string, cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	for tries := 0; ; tries++ {
		fd, _, e := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
		switch {
		case e == 0:
			return int(fd), nil
		case (e == unix.EINTR || e == unix.EAGAIN) && tries < 8:
			continue // interrupted by a signal, such as those of the Go runtime
		}
		return -1, callError("bpf "+what, e)
	}
}

// bpfLicense is the declared license of the programs: the helpers that they call are for GPL
// programs only, and this is a compatible one.
const bpfLicense = "Dual BSD/GPL\x00"

// loadIter loads a program for the iterator of the function with the given BTF ID.
func loadIter(code []bpfInsn, fn uint32) (int, error) {
	license := []byte(bpfLicense)
	attr := struct {
		progType, insnCount uint32
		insns, license      unsafe.Pointer
		logLevel, logSize   uint32
		log                 unsafe.Pointer
		version, flags      uint32
		name                [16]byte
		ifindex, attachType uint32
		btfFD, funcSize     uint32
		funcs               unsafe.Pointer
		funcCount, lineSize uint32
		lines               unsafe.Pointer
		lineCount, attachID uint32
		attachFD, _         uint32
	}{
		progType: unix.BPF_PROG_TYPE_TRACING, attachType: unix.BPF_TRACE_ITER, attachID: fn,
		insnCount: uint32(len(code)), insns: unsafe.Pointer(&code[0]), license: unsafe.Pointer(&license[0]),
	}
	copy(attr.name[:], "nstool")
	if bpfLog != nil {
		attr.logLevel, attr.logSize, attr.log = 1, uint32(len(bpfLog)), unsafe.Pointer(&bpfLog[0])
	}
	return bpf("BPF_PROG_LOAD", unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// bpfLog receives the log of the verifier, for tests.
var bpfLog []byte

// canIter reports whether the caller may load such programs. The kernel checks that before
// anything else.
func canIter() error {
	var a assembler
	code, _ := a.end()
	fd, err := loadIter(code, 0) // 0 is no function
	if err == nil {
		unix.Close(fd)
	}
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// readIter runs a program for each object of its iterator, and calls f with what it wrote, some
// records of the given size at a time. The program is unloaded at the end. See
// Documentation/bpf/bpf_iterators.rst in the kernel's source; Linux 5.8.
func readIter(code []bpfInsn, fn uint32, record int, f func(records []byte)) error {
	prog, err := loadIter(code, fn)
	if err != nil {
		return err
	}
	defer unix.Close(prog)
	attach := struct {
		prog, target, attachType, flags uint32
		info                            uint64
		infoLen, _                      uint32
	}{prog: uint32(prog), attachType: unix.BPF_TRACE_ITER}
	link, err := bpf("BPF_LINK_CREATE", unix.BPF_LINK_CREATE, unsafe.Pointer(&attach), unsafe.Sizeof(attach))
	if err != nil {
		return err
	}
	defer unix.Close(link)
	create := struct{ link, flags uint32 }{link: uint32(link)}
	iter, err := bpf("BPF_ITER_CREATE", unix.BPF_ITER_CREATE, unsafe.Pointer(&create), unsafe.Sizeof(create))
	if err != nil {
		return err
	}
	defer unix.Close(iter)
	defer runtime.KeepAlive(code)

	buf := make([]byte, 64<<10) // more than the kernel returns at once
	for have := 0; ; {
		n, err := File(iter).Read(buf[have:])
		switch {
		case errors.Is(err, io.EOF) && have == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("read of an iterator: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, unix.EAGAIN):
			continue // many objects had no record
		case err != nil:
			return callError("read of an iterator", err)
		}
		have += n
		whole := have - have%record
		f(buf[:whole])
		have = copy(buf, buf[whole:have])
	}
}

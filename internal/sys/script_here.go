package sys

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RunHere runs the script on the calling thread, which must be locked (runtime.LockOSThread)
// and must not be used after an error, since it may have joined some namespaces.
//
// Descriptors are our own: File is not used, or used with the same numbers. There is no fork. A
// failure is returned as index and errno; the failure handler does not run. A row of
// [Script.Exec] replaces the program, or ends this function with index and error.
func (s *Script) RunHere() (failed Index, err error) {
	// Addresses of the script become addresses in this memory, which is on the heap, does not
	// move, and is kept alive.
	data := bytes.Clone(s.data)
	base := uint64(uintptr(unsafe.Pointer(&data[0])))
	calls, err := s.assemble()
	if err != nil {
		return -1, err
	}
	here := func(w uint64) uint64 {
		if w >= dataBase && w < callBase {
			return w - dataBase + base
		}
		return w
	}
	for _, at := range s.ptrs {
		binary.NativeEndian.PutUint64(data[at:], here(binary.NativeEndian.Uint64(data[at:])))
	}
	for i := range calls {
		for j := range 6 {
			calls[i][wordArgs/8+j] = here(calls[i][wordArgs/8+j])
		}
	}
	set := func(addr, value uint64) {
		switch {
		case addr == 0:
		case addr < callBase:
			binary.NativeEndian.PutUint64(data[addr-dataBase:], value)
		default:
			n := (addr - callBase - headerSize) / 8
			calls[n/(callSize/8)][n%(callSize/8)] = value
		}
	}
	defer runtime.KeepAlive(data)

	for i := 0; i < len(calls); {
		c := &calls[i]
		r, errno := c.do(data, base)
		jump := c[wordGoto/8]
		switch {
		case errno == 0:
			set(c[wordStore/8], r)
			if r == 0 && c[wordOnZero/8] != 0 {
				jump = c[wordOnZero/8]
			}
		case errno >= 128 || c[wordIgnore/8+int(errno)/64]>>(errno%64)&1 == 0:
			return Index(i), errno
		default:
			if c[wordKeep/8+int(errno)/64]>>(errno%64)&1 != 0 {
				set(c[wordErrno/8], uint64(errno))
			}
			jump = c[wordOnError/8]
		}
		i++
		if jump != 0 {
			i = int((jump - callBase - headerSize) / callSize)
		}
	}
	return -1, nil
}

// do makes one call.
func (c *call) do(data []byte, base uint64) (uint64, unix.Errno) {
	a := c[wordArgs/8:]
	at := func(addr uint64) []byte { return data[addr-base:] }
	switch op := c[wordOp/8]; op {
	case own | ownValue:
		return a[0], 0
	case own | ownFail:
		return 0, unix.Errno(a[0])
	case own | ownCompare:
		if bytes.Equal(at(a[0])[:a[2]], at(a[1])[:a[2]]) {
			return 0, 0
		}
		return 0, ErrMismatch
	case own | ownLoad:
		return uint64(binary.NativeEndian.Uint32(at(a[0]))) + a[1], 0
	case own | ownNegate:
		return uint64(-binary.NativeEndian.Uint32(at(a[0]))), 0
	case own | ownEqual:
		if bytes.Equal(at(a[0])[:4], at(a[1])[:4]) {
			return 0, 0
		}
		return 1, 0
	case unix.SYS_EXECVE:
		// syscall.Exec keeps the runtime from starting threads meanwhile.
		err := syscall.Exec(cString(at(a[0])), cStrings(data, base, a[1]), cStrings(data, base, a[2]))
		errno, ok := err.(syscall.Errno)
		if !ok {
			errno = unix.EINVAL
		}
		return 0, errno
	default:
		r, _, errno := unix.RawSyscall6(uintptr(op), uintptr(a[0]), uintptr(a[1]), uintptr(a[2]), uintptr(a[3]), uintptr(a[4]), uintptr(a[5]))
		return uint64(r), errno
	}
}

func cString(b []byte) string { return string(b[:bytes.IndexByte(b, 0)]) }

func cStrings(data []byte, base, addr uint64) []string {
	var list []string
	for at := addr - base; ; at += 8 {
		p := binary.NativeEndian.Uint64(data[at:])
		if p == 0 {
			return list
		}
		list = append(list, cString(data[p-base:]))
	}
}

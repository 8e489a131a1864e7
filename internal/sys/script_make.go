package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Wait writes to the pipe report that the process is ready, and waits for a byte from the pipe
// gate. At the end of gate the process exits.
func (s *Script) Wait(report, gate int) {
	s.Ready(report)
	s.Await(gate)
}

// Ready writes to the pipe report that the process is ready.
func (s *Script) Ready(report int) { s.WriteAt(report, s.Pointers(readyIndex, 0), recordSize) }

// SetName sets the name of the thread, see /proc/pid/comm.
func (s *Script) SetName(name string) Index {
	return s.Prctl(unix.PR_SET_NAME, uint64(s.String(name)))
}

// Await waits for a byte from the pipe gate. At the end of gate the process exits.
func (s *Script) Await(gate int) {
	i := s.Call("read", unix.SYS_READ, uint64(gate), uint64(s.Space(8)), 1)
	came, gone := s.label("byte"), s.label("end of file")
	s.onZero(i, gone)
	s.onOther(i, came)
	s.place(gone)
	s.Exit(125)
	s.place(came)
}

// Dumpable undoes [Script.Undumpable], so that processes of the same user can write its files
// in procfs, such as uid_map.
func (s *Script) Dumpable() Index {
	s.sealed = false
	return s.Prctl(unix.PR_SET_DUMPABLE, 1)
}

// Sethostname appends sethostname(2).
func (s *Script) Sethostname(name string) Index {
	return s.Call("sethostname", unix.SYS_SETHOSTNAME, uint64(s.String(name)), uint64(len(name)))
}

// Setdomainname appends setdomainname(2).
func (s *Script) Setdomainname(name string) Index {
	return s.Call("setdomainname", unix.SYS_SETDOMAINNAME, uint64(s.String(name)), uint64(len(name)))
}

// SetPropagation sets the propagation of the mounts below path.
func (s *Script) SetPropagation(path string, p Propagation) Index {
	return s.Mount("", path, "", uintptr(p|Recursive), "")
}

// LinkUp brings a network interface up, by SIOCSIFFLAGS of netdevice(7). The socket stays open,
// close-on-exec.
func (s *Script) LinkUp(name string) {
	var req [40]byte // struct ifreq: a name of 16 bytes, and the flags
	copy(req[:15], name)
	*(*uint16)(unsafe.Pointer(&req[16])) = unix.IFF_UP
	open := s.Call("socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	up := s.Ioctl(0, unix.SIOCSIFFLAGS, uint64(s.Bytes(req[:])))
	s.Store(open, s.Arg(up, 0))
}

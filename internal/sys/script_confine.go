package sys

import "golang.org/x/sys/unix"

// Len returns the number of calls: the [Index] of the next.
func (s *Script) Len() int { return len(s.calls) }

// WriteFile writes text to a file below dirfd, in one write(2). The descriptor stays open,
// close-on-exec.
func (s *Script) WriteFile(dirfd int, path string, text []byte) (write Index) {
	open := s.Call("openat", unix.SYS_OPENAT, uint64(dirfd), uint64(s.String(path)), unix.O_WRONLY|unix.O_CLOEXEC)
	write = s.Write(-1, text) // fails if the file could not be opened and that was ignored
	s.Store(open, s.Arg(write, 0))
	return write
}

// DropBounding appends PR_CAPBSET_DROP. A capability that the kernel does not have is no error.
func (s *Script) DropBounding(capability int) Index {
	i := s.Prctl(unix.PR_CAPBSET_DROP, uint64(capability))
	s.Ignore(i, unix.EINVAL)
	return i
}

// RaiseOne appends PR_CAP_AMBIENT_RAISE; Linux 4.3.
func (s *Script) RaiseOne(capability int) Index {
	return s.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uint64(capability))
}

// NoNewPrivs appends PR_SET_NO_NEW_PRIVS.
func (s *Script) NoNewPrivs() Index { return s.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1) }

// NewKeyring appends KEYCTL_JOIN_SESSION_KEYRING of a new keyring. Errors are ignored: a kernel
// without keys has none to leak, and a filter of the caller that denies the call also keeps the
// program from using keys.
func (s *Script) NewKeyring() Index {
	i := s.Call("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	s.Ignore(i, unix.ENOSYS, unix.EPERM)
	return i
}

// ControllingTerminal appends TIOCSCTTY: fd becomes the controlling terminal
// of the session that the process leads.
func (s *Script) ControllingTerminal(fd int) Index { return s.Ioctl(fd, unix.TIOCSCTTY, 0) }

// Package sys is the kernel, with Go types and named errors.
//
// It is the only package that imports golang.org/x/sys/unix: what can fail
// because of the kernel is here. A kernel feature is found by trying it, never
// by the version, and the answer is kept only if it was conclusive.
//
// An error names the call and the thing, and answers [errors.Is] with the
// words of io/fs and errors: a missing feature is an [errors.ErrUnsupported].
package sys

import "golang.org/x/sys/unix"

// The flags of clone(2), unshare(2) and setns(2) for each type of namespace.
const (
	CLONE_NEWCGROUP = unix.CLONE_NEWCGROUP
	CLONE_NEWIPC    = unix.CLONE_NEWIPC
	CLONE_NEWNET    = unix.CLONE_NEWNET
	CLONE_NEWNS     = unix.CLONE_NEWNS
	CLONE_NEWPID    = unix.CLONE_NEWPID
	CLONE_NEWTIME   = unix.CLONE_NEWTIME
	CLONE_NEWUSER   = unix.CLONE_NEWUSER
	CLONE_NEWUTS    = unix.CLONE_NEWUTS
)

// retry calls f again for as long as a signal interrupts it. Go's runtime
// preempts threads by signals, so any slow call can be interrupted.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

package sys

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Gone reports whether err is that a process, or a file in its directory of procfs, no longer
// exists: ENOENT before the directory is opened, ESRCH after.
func Gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist)
}

// callError is [os.NewSyscallError], which would be inlined in more than a hundred places: 29 kB
// of the program.
//
//go:noinline
func callError(call string, err error) error { return os.NewSyscallError(call, err) }

// ErrorOf returns an error that wraps kind, such as [fs.ErrPermission]. It is for package
// variables: the first use of package fmt takes time, at every start of the program.
func ErrorOf(kind error, text string) error { return &errorOf{kind, text} }

type errorOf struct {
	kind error
	text string
}

func (e *errorOf) Error() string { return e.text + ": " + e.kind.Error() }
func (e *errorOf) Unwrap() error { return e.kind }

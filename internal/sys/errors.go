package sys

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Gone reports whether err says that a process, or what stood in its directory
// of procfs, is there no more. The kernel says ENOENT before a directory is
// opened and ESRCH after.
func Gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist)
}

// ErrorOf returns an error that is also a kind, such as [fs.ErrPermission]. It
// is for variables: package fmt takes its time when it is first used, which
// would be when every program starts.
func ErrorOf(kind error, text string) error { return &errorOf{kind, text} }

type errorOf struct {
	kind error
	text string
}

func (e *errorOf) Error() string { return e.text + ": " + e.kind.Error() }
func (e *errorOf) Unwrap() error { return e.kind }

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

// Package passwd knows the names of users as /etc/passwd has them. The services
// of nsswitch.conf(5) are not asked: they may hang, and want a C library.
package passwd

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/nstool/nstool/internal/sys"
)

// Names returns a function that knows the name of a user from a file such as
// /etc/passwd, and says "" if there is none. It reads the file when it is first called.
func Names(file string) func(uid uint32) string {
	read := sync.OnceValue(func() map[uint32]string {
		text, err := sys.ReadRegular(file, 16<<20)
		if err != nil {
			if errors.Is(err, sys.ErrNoAnswer) {
				unread.Store(&err)
			}
			return nil // then all users are numbers
		}
		return parse(text)
	})
	return func(uid uint32) string { return read()[uid] }
}

var unread atomic.Pointer[error]

// Unread returns an error if users have no names since the file did not answer.
func Unread() error {
	if err := unread.Load(); err != nil {
		return *err
	}
	return nil
}

// parse reads passwd(5). Of two names for a number the first holds.
func parse(text []byte) map[uint32]string {
	names := make(map[uint32]string)
	for line := range bytes.Lines(text) {
		fields := bytes.SplitN(line, []byte(":"), 4)
		if len(fields) < 4 {
			continue
		}
		uid, err := strconv.ParseUint(string(fields[2]), 10, 32)
		if _, ok := names[uint32(uid)]; err == nil && !ok {
			names[uint32(uid)] = string(fields[0])
		}
	}
	return names
}

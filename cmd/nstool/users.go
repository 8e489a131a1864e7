package main

import (
	"bytes"
	"strconv"
	"sync"

	"github.com/nstool/nstool/internal/sys"
)

// userNames returns a function that knows the names of users, as /etc/passwd
// has them. The services of nsswitch.conf(5) are not asked: they may hang, and
// want a C library.
func userNames() func(uid uint32) string {
	read := sync.OnceValue(func() map[uint32]string {
		text, err := sys.ReadRegular("/etc/passwd", 16<<20)
		if err != nil {
			return nil // then all users are numbers
		}
		return parsePasswd(text)
	})
	return func(uid uint32) string { return read()[uid] }
}

// parsePasswd reads passwd(5). Of two names for a number the first holds.
func parsePasswd(text []byte) map[uint32]string {
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

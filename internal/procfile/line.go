package procfile

import (
	"errors"
	"strconv"
	"strings"
)

// Field returns a value in a text with lines such as "Tgid:\t7", as /proc/pid/status is. It is
// "" if there is no such line.
func Field(text []byte, key string) string {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ParseCgroup reads a line of /proc/pid/cgroup, such as "4:cpu,cpuacct:/a" or, of version 2,
// "0::/a".
func ParseCgroup(line string) (controllers, path string, ok bool) {
	_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
	controllers, path, _ = strings.Cut(rest, ":")
	return controllers, path, strings.HasPrefix(path, "/")
}

// A UnixSocket is a line of /proc/net/unix; see proc_net(5).
type UnixSocket struct {
	Flags, Type, State uint64
	Inode              uint64
	Path               string // with "@" before an abstract name; "" if it has none
}

// ParseUnixSocket reads a line of /proc/net/unix:
//
//	Num RefCount Protocol Flags Type St Inode Path
func ParseUnixSocket(line string) (s UnixSocket, ok bool) {
	var fields [7]string
	rest := strings.TrimSuffix(line, "\n")
	for i := range fields {
		fields[i], rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
	}
	var errs [4]error
	s.Flags, errs[0] = strconv.ParseUint(fields[3], 16, 32)
	s.Type, errs[1] = strconv.ParseUint(fields[4], 16, 8)
	s.State, errs[2] = strconv.ParseUint(fields[5], 16, 8)
	s.Inode, errs[3] = strconv.ParseUint(fields[6], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return UnixSocket{}, false
	}
	s.Path = rest
	return s, true
}

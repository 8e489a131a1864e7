package copy

import (
	"errors"
	"path"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// Files of procfs whose content is about the reader, and not about the target.
var aboutReaders = map[string]bool{
	"self": true, "thread-self": true, "net": true, "mounts": true, "sys": true, "sysvipc": true, "keys": true, "key-users": true,
}

var (
	errReader = errors.New("what it says depends on who reads it; /proc/1 and its like are of one process")
	errMagic  = errors.New("it is a link of the kernel's, which is not followed")
)

// aboutReader follows a path step by step, and reports whether it leads through procfs to a
// file that depends on the reader, or to a magic link.
func aboutReader(root int, p string, follow bool) error {
	rest := strings.Split(p, "/")
	at := "/"
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		dir, err := sys.OpenInRoot(root, at, true)
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is not opened either
		}
		st, statErr := sys.StatAt(dir, name)
		inProc, top := sys.IsProcfs(dir), sys.IsProcfsRoot(dir)
		text, linkErr := sys.ReadlinkAt(dir, name)
		fd, err := sys.OpenAt(dir, name, true)
		leads := err == nil && sys.IsProcfs(fd) && !sys.IsProcfsRoot(fd)
		sys.CloseAll(dir, fd)
		switch {
		case top && aboutReaders[name]:
			return errReader
		case leads && !inProc: // a part of procfs that is mounted elsewhere
			return errReader
		case statErr != nil:
			return nil //nolint:nilerr // as above
		case st.IsLink() && (len(rest) > 0 || follow):
			if inProc && !top {
				return errMagic
			}
			if links++; linkErr != nil || links > 40 {
				return nil //nolint:nilerr // as above
			}
			rest = append(strings.Split(text, "/"), rest...)
			if strings.HasPrefix(text, "/") {
				at = "/"
			}
			continue
		}
		at = path.Join(at, name)
	}
	return nil
}

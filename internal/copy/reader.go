package copy

import (
	"errors"
	"path"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// Files of procfs that tell each reader of himself, and not of the target.
var aboutReaders = map[string]bool{
	"self": true, "thread-self": true, "net": true, "mounts": true, "sys": true, "sysvipc": true, "keys": true, "key-users": true,
}

var (
	errReader = errors.New("what it says depends on who reads it; /proc/1 and its like are of one process")
	errMagic  = errors.New("it is a link of the kernel's, which is not followed")
)

// aboutReader goes a way once more, step by step, and says if it leads through
// procfs to what depends on the reader, or to a link of the kernel's.
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
			return nil //nolint:nilerr // what cannot be looked at is not opened either
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
		case leads && !inProc: // a part of it that is mounted elsewhere
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

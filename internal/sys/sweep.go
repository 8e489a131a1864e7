package sys

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// KillIn kills every process but one that is in a namespace, of which link is
// the text in /proc/pid/ns/kind. It looks until there are none, and gives up on
// those who are made faster than they can be killed.
func KillIn(proc int, kind, link string, except int) {
	for range 100 {
		found := false
		list, err := List(proc, 1<<23)
		if err != nil {
			return
		}
		for _, e := range list {
			pid, err := strconv.Atoi(e.Name)
			if err != nil || pid == except || !inNamespace(proc, e.Name, kind, link) {
				continue
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			// It is still the same one if its number leads there still.
			if inNamespace(proc, e.Name, kind, link) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
				found = true
			}
			unix.Close(fd)
		}
		if !found {
			return
		}
	}
}

func inNamespace(proc int, pid, kind, link string) bool {
	var buf [64]byte
	n, err := unix.Readlinkat(proc, pid+"/ns/"+kind, buf[:])
	return err == nil && string(buf[:n]) == link
}

package sys

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// KillIn kills every process that is in a namespace, of which link is the text
// in /proc/pid/ns/kind, but for keepers: they end when nobody is left. It looks
// until there are none, and gives up on those who are made faster than they can
// be killed. proc is the root of procfs.
func KillIn(proc int, kind, link string) {
	for range 100 {
		found := false
		list, err := List(proc, 1<<23)
		if err != nil {
			return
		}
		for _, e := range list {
			pid, err := strconv.Atoi(e.Name)
			if err != nil || !inNamespace(proc, e.Name, kind, link) || isKeeper(proc, e.Name) {
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

func isKeeper(proc int, pid string) bool {
	b, err := ReadAt(proc, pid+"/comm", 32)
	return err == nil && string(b) == keeperName+"\n"
}

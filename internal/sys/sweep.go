package sys

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// KillIn kills every process that is in a namespace, of which link is the text
// in /proc/pid/ns/kind, but for one PID or 0. It looks until there are none, and
// gives up on those who are made faster than they can be killed. proc is the root
// of procfs.
func KillIn(proc int, kind, link string, but int) {
	killIn(proc, kind, link, func(pid string) bool { return pid == strconv.Itoa(but) })
}

// SweepIn is KillIn for who does not know the keeper of those processes. It is
// left a second to end by itself, when nobody else is left, and its children are
// ended wherever they are.
func SweepIn(proc int, kind, link string) {
	keeper := func(pid string) bool {
		n, err := strconv.Atoi(pid)
		is := err == nil && isKeeper(proc, pid)
		if is {
			KillChildren(proc, n)
		}
		return is
	}
	for range 200 {
		if !killIn(proc, kind, link, keeper) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	KillIn(proc, kind, link, 0)
}

// killIn kills whoever is in a namespace and not to be spared. It reports whether
// somebody was.
func killIn(proc int, kind, link string, spare func(pid string) bool) (spared bool) {
	for range 100 {
		found := false
		spared = false
		list, err := List(proc, 1<<23)
		if err != nil {
			return spared
		}
		for _, e := range list {
			pid, err := strconv.Atoi(e.Name)
			if err != nil || !inNamespace(proc, e.Name, kind, link) {
				continue
			}
			if spare(e.Name) {
				spared = true
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
			return spared
		}
	}
	return spared
}

// KillChildren kills the children of a process, and whoever becomes its child by
// that, until there are none. proc is the root of procfs.
func KillChildren(proc, pid int) {
	parent := strconv.Itoa(pid)
	for range 100 {
		list, err := ReadAt(proc, parent+"/task/"+parent+"/children", 1<<20)
		if err != nil || len(list) == 0 {
			return
		}
		for _, child := range strings.Fields(string(list)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				return
			}
			fd, err := unix.PidfdOpen(n, 0)
			if err != nil {
				continue
			}
			if status, err := ReadAt(proc, child+"/status", 4096); err == nil && strings.Contains(string(status), "\nPPid:\t"+parent+"\n") {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
		time.Sleep(time.Millisecond) // to be reaped
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

// Watch starts a process that waits for the end of a pipe. If it comes without a
// byte before it, whoever had the other end was killed, and the process becomes
// program, which is run with words and nothing else. Its PID is to be reaped.
func Watch(pipe int, program string, words []string) (pid int, err error) {
	exe, err := OpenWay(program, true)
	if err != nil {
		return 0, err
	}
	defer unix.Close(exe)
	null, err := OpenNull()
	if err != nil {
		return 0, err
	}
	defer unix.Close(null)
	s := NewScript()
	s.Stdio(null, null, null)
	in, run := s.File(pipe), s.File(exe)
	s.CloseOnExec(in)
	s.CloseOnExec(run)
	s.Setsid()
	wait := s.Call("read", unix.SYS_READ, uint64(in), uint64(s.Space(8)), 1)
	killed := s.label("killed")
	s.onZero(wait, killed)
	s.Exit(0)
	s.place(killed)
	s.Exec([]Program{{Path: FDPath(run), Argv: words}}, nil)
	s.OnFailure(func(Addr) { s.Exit(1) })
	return s.Start()
}

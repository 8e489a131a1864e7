package sys

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// KillIn kills every member of the namespace ns, but for one PID or 0. While ns is open no
// other namespace has its inode number. It repeats until there are none, up to a limit for
// processes that fork faster than they can be killed. proc is the root of procfs, and kind the
// name under /proc/pid/ns.
func KillIn(proc, ns int, kind string, but int) {
	if id, err := Fstat(ns); err == nil {
		killIn(proc, id, kind, func(pid string) bool { return pid == strconv.Itoa(but) })
	}
}

// SweepIn is KillIn for a caller that does not know the keeper of the processes. The keeper
// gets a second to exit by itself after the others, and its children are killed wherever they
// are.
func SweepIn(proc, ns int, kind string) {
	id, err := Fstat(ns)
	if err != nil {
		return
	}
	keeper := func(pid string) bool {
		n, err := strconv.Atoi(pid)
		is := err == nil && isKeeper(proc, pid)
		if is {
			killChildren(proc, n, func() bool { return inNamespace(proc, id, kind, pid) && isKeeper(proc, pid) })
		}
		return is
	}
	for range 200 {
		if !killIn(proc, id, kind, keeper) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	KillIn(proc, ns, kind, 0)
}

// killIn kills the members of a namespace but those that spare selects, and reports whether it
// selected any.
func killIn(proc int, ns FileID, kind string, spare func(pid string) bool) (spared bool) {
	for range 100 {
		found := false
		spared = false
		list, err := List(proc, 1<<23)
		if err != nil {
			return spared
		}
		for _, e := range list {
			pid, err := strconv.Atoi(e.Name)
			if err != nil || !inNamespace(proc, ns, kind, e.Name) {
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
			// If the PID still leads to the namespace, it is the same process, or has ended.
			if inNamespace(proc, ns, kind, e.Name) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
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

// KillChildren kills the children of a child of the caller, and the orphans that it inherits
// from them, until there are none. proc is the root of procfs.
func KillChildren(proc, pid int) { killChildren(proc, pid, func() bool { return true }) }

// killChildren does the same for a process as long as is reports that the PID is still its own.
func killChildren(proc, pid int, is func() bool) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(process)
	if !is() {
		return
	}
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
			status, err := ReadAt(proc, child+"/status", 4096)
			if err == nil && strings.Contains(string(status), "\nPPid:\t"+parent+"\n") && unix.PidfdSendSignal(process, 0, nil, 0) == nil {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
		time.Sleep(time.Millisecond) // give the parent time to reap
	}
}

func inNamespace(proc int, ns FileID, kind, pid string) bool {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(proc, pid+"/ns/"+kind, &st, 0) })
	return err == nil && FileID{Dev: st.Dev, Ino: st.Ino} == ns
}

func isKeeper(proc int, pid string) bool {
	b, err := ReadAt(proc, pid+"/comm", 32)
	return err == nil && string(b) == keeperName+"\n"
}

// Watch starts a process that waits for the end of a pipe. If there is no byte before the end,
// the process at the other end was killed, and the new one becomes program, with words as
// arguments, the descriptor in as standard input, and nothing else. The caller reaps its PID.
func Watch(pipe, in int, program string, words []string) (pid int, err error) {
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
	s.Stdio(in, null, null)
	end, run := s.File(pipe), s.File(exe)
	s.CloseOnExec(end)
	s.CloseOnExec(run)
	s.Setsid()
	wait := s.Call("read", unix.SYS_READ, uint64(end), uint64(s.Space(8)), 1)
	killed := s.label("killed")
	s.onZero(wait, killed)
	s.Exit(0)
	s.place(killed)
	s.Exec([]Program{{Path: FDPath(run), Argv: words}}, nil)
	s.OnFailure(func(Addr) { s.Exit(1) })
	return s.Start()
}

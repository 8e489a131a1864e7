package sys

import (
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// UserMaps returns the texts of uid_map, gid_map and setgroups of the user namespace fd, in the
// caller's numbers. The kernel shows them only for a member, so a [Script] joins the namespace
// and does nothing else. The owner of the namespace cannot trace it (PR_SET_DUMPABLE), and it
// has ended when this returns. It takes the privileges of a join. proc is the root of procfs.
func UserMaps(proc, fd int) (maps [3][]byte, err error) {
	report, w, err := Pipe()
	if err != nil {
		return maps, err
	}
	defer unix.Close(report)
	null, err := OpenNull()
	if err != nil {
		unix.Close(w)
		return maps, err
	}
	defer unix.Close(null)
	gate, open, err := Pipe()
	if err != nil {
		unix.Close(w)
		return maps, err
	}
	defer unix.Close(open)

	s := NewScript()
	s.Stdio(null, null, null)
	tell, wait := s.File(w), s.File(gate)
	s.DieWithParent(unix.SIGKILL, tell)
	s.Undumpable()
	s.Setns(s.File(fd), unix.CLONE_NEWUSER)
	s.DieWithParent(unix.SIGKILL, tell)
	s.Wait(tell, wait)
	s.Exit(0)
	s.Report(tell, 1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := s.Start()
	unix.Close(w)
	unix.Close(gate)
	if err != nil {
		return maps, err
	}
	r, ok := ReadReport(report)
	switch {
	case ok && r.Err != nil:
		_, call := s.Failed(r.Failed)
		err = callError(call, r.Err)
	case !ok || !r.Ready:
		err = callError("setns", unix.EINTR) // the process was killed
	}
	for i, name := range []string{"uid_map", "gid_map", "setgroups"} {
		if err == nil {
			maps[i], err = ReadAt(proc, strconv.Itoa(pid)+"/"+name, 64<<10)
		}
	}
	_ = unix.Kill(pid, unix.SIGKILL) // it may have been stopped
	if e := Reap(pid); err == nil {
		err = e
	}
	return maps, err
}

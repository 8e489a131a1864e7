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
	s.calls[wait][wordOnZero/8] = callAddr(int(wait) + 2)
	s.Exit(0)
	s.Exec([]Program{{Path: FDPath(run), Argv: words}}, nil)
	s.OnFailure(func(Addr) { s.Exit(1) })
	return s.Start()
}

// WaitEnd waits until nobody can write to the pipe any more.
func WaitEnd(pipe int) {
	b := make([]byte, 1)
	for {
		n, err := unix.Read(pipe, b)
		if err != unix.EINTR && n <= 0 {
			return
		}
	}
}

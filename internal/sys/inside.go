package sys

import (
	"bytes"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Join is a namespace to join, by its descriptor and its CLONE_NEW* flag.
type Join struct{ FD, Flag int }

// ReadJoined reads files of the proc file system proc, by their paths from its root, after
// joining some namespaces in this order. Up to most bytes of each are read. A file that could
// not be opened or read is nil.
//
// A thread that ends afterwards joins the namespaces ([OnThread]). User, PID and time
// namespaces, which a process with several threads cannot join, are joined by a child with one
// thread in which only the stub of [Script] runs, so that processes there see nothing of the
// caller.
func ReadJoined(proc ProcDir, joins []Join, paths []string, most int) ([][]byte, error) {
	for _, j := range joins {
		if j.Flag&(unix.CLONE_NEWUSER|unix.CLONE_NEWPID|unix.CLONE_NEWTIME) != 0 {
			return readInChild(int(proc), joins, paths, most)
		}
	}
	texts := make([][]byte, len(paths))
	read := func() error {
		if err := joinAll(joins); err != nil {
			return err
		}
		for i, path := range paths {
			texts[i], _ = ReadAt(int(proc), path, most)
		}
		return nil
	}
	if len(joins) == 0 {
		return texts, read()
	}
	err := OnThread(read)
	return texts, err
}

// joinAll makes the calling thread join namespaces.
func joinAll(joins []Join) error {
	for _, j := range joins {
		if j.Flag == unix.CLONE_NEWNS {
			// setns(2) refuses mount namespaces to a thread that shares root and working
			// directory with others.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return callError("unshare", err)
			}
		}
		if err := unix.Setns(j.FD, j.Flag); err != nil {
			return callError("setns", err)
		}
	}
	return nil
}

// readInChild is ReadJoined in a process of its own. It copies the files into a memfd, each
// followed by a zero byte: they are text and contain none.
func readInChild(proc int, joins []Join, paths []string, most int) ([][]byte, error) {
	out, err := unix.MemfdCreate("nstool", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, callError("memfd_create", err)
	}
	defer unix.Close(out)
	report, w, err := Pipe()
	if err != nil {
		return nil, err
	}
	defer unix.Close(report)
	told := FD(w)
	defer told.Close()
	null, err := OpenNull()
	if err != nil {
		return nil, err
	}
	defer unix.Close(null)

	s := NewScript()
	s.Stdio(null, null, null)
	s.Undumpable() // processes in a joined namespace could trace this one
	from, to, tell := s.File(proc), s.File(out), s.File(int(told))
	for _, j := range joins {
		s.Setns(s.File(j.FD), j.Flag)
	}
	const size = 16 << 10
	buf := uint64(s.Space(size))
	for _, path := range paths {
		s.copyFile(from, path, to, buf, size)
	}
	s.Exit(0)
	s.Report(tell, 1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := s.Start()
	told.Close()
	if err != nil {
		return nil, err
	}
	r, failed := ReadReport(report)
	if err := Reap(pid); err != nil {
		return nil, callError("wait4", err)
	}
	if failed && r.Err != nil {
		_, call := s.Failed(r.Failed)
		return nil, callError(call, r.Err)
	}
	if _, err := unix.Seek(out, 0, io.SeekStart); err != nil {
		return nil, callError("lseek", err)
	}
	const maxOfAll = 64 << 20
	text, err := readUpTo(out, maxOfAll)
	if err != nil {
		return nil, fmt.Errorf("read what was copied: %w", err)
	}
	texts := bytes.Split(text, []byte{0})
	if len(texts) < len(paths) {
		return nil, fmt.Errorf("read what was copied: %d of %d files", len(texts), len(paths))
	}
	for i := range texts {
		if texts[i] = texts[i][:min(len(texts[i]), most)]; len(texts[i]) == 0 {
			texts[i] = nil
		}
	}
	return texts[:len(paths)], nil
}

// copyFile appends the calls that copy a file to the descriptor to, and in any case a zero
// byte. buf has size bytes.
func (s *Script) copyFile(dir int, path string, to int, buf, size uint64) {
	end := s.label("end of file")
	open := s.Call("openat", unix.SYS_OPENAT, uint64(dir), uint64(s.String(path)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	loop := s.mark("next piece")
	read := s.Call("read", unix.SYS_READ, 0, buf, size)
	write := s.Call("write", unix.SYS_WRITE, uint64(to), buf, 0)
	s.Store(open, s.Arg(read, 0))
	s.Store(read, s.Arg(write, 2))
	s.IgnoreAll(open)
	s.IgnoreAll(read)
	s.onOther(write, loop)
	s.onError(open, end)
	s.onError(read, end)
	s.onZero(read, end)
	s.place(end)
	s.Write(to, []byte{0})
}

package sys

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// run starts the script with a pipe to report by, and returns what was
// reported, what the child wrote to its standard output, and how it ended.
func run(t *testing.T, build func(s *Script, report int)) (index Index, errno unix.Errno, out string, ws syscall.WaitStatus) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rr, rw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	or, ow, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := NewScript()
	s.Stdio(0, int(ow.Fd()), 2) // an emulator gets the program by a number that must not be 0
	report := s.File(int(rw.Fd()))
	build(s, report)
	s.Report(report, 125)
	pid, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	rw.Close()
	ow.Close()
	b, err := io.ReadAll(rr)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(or)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	index = -1
	if len(b) >= 16 {
		index = Index(binary.NativeEndian.Uint64(b))
		errno = unix.Errno(binary.NativeEndian.Uint64(b[8:]))
	}
	return index, errno, string(text), ws
}

func TestScriptExec(t *testing.T) {
	_, errno, out, ws := run(t, func(s *Script, report int) {
		argv := []string{"echo", "a", "b"}
		s.Exec([]Program{{Path: "/nonexistent/echo", Argv: argv}, {Path: "/bin/sh/echo", Argv: argv}, {Path: "/bin/echo", Argv: argv}}, nil)
	})
	if out != "a b\n" || ws.ExitStatus() != 0 || errno != 0 {
		t.Errorf("got %q, status %d, errno %v", out, ws.ExitStatus(), errno)
	}
}

// A script that does not say of what is read by the shell, wherever it is in a row.
func TestScriptExecScripts(t *testing.T) {
	dir := t.TempDir()
	script, binary := filepath.Join(dir, "script"), filepath.Join(dir, "binary")
	for name, text := range map[string]string{script: "echo \"$0\" \"$@\"; exit 3\n", binary: "\x7fELF\x00\x00\n"} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{"script", "a b", "c"}
	for name, programs := range map[string][]Program{
		"alone":  {{script, argv, true}},
		"second": {{"/nonexistent/script", argv, true}, {script, argv, true}, {"/bin/false", argv, true}},
		"denied": {{"/etc/passwd", argv, true}, {script, argv, true}},
	} {
		_, errno, out, ws := run(t, func(s *Script, _ int) { s.Exec(programs, nil) })
		if want := script + " a b c\n"; out != want || ws.ExitStatus() != 3 || errno != 0 {
			t.Errorf("%s: got %q, status %d, %v; want %q, 3", name, out, ws.ExitStatus(), errno, want)
		}
	}
	// The control: the kernel alone does not execute it, and is not asked to have it
	// read unless that was said.
	for name, programs := range map[string][]Program{"not said": {{script, argv, false}}, "not said, second": {{"/nonexistent/x", argv, false}, {script, argv, false}}} {
		if _, errno, _, ws := run(t, func(s *Script, _ int) { s.Exec(programs, nil) }); errno != unix.ENOEXEC || ws.ExitStatus() != 125 {
			t.Errorf("%s: %v, status %d", name, errno, ws.ExitStatus())
		}
	}
	// What is no text either the shell says of.
	if _, errno, out, ws := run(t, func(s *Script, _ int) { s.Exec([]Program{{binary, argv, true}}, nil) }); ws.ExitStatus() == 0 {
		t.Errorf("no program: %q, %v, status %d", out, errno, ws.ExitStatus())
	}
}

func TestScriptExecNothing(t *testing.T) {
	for _, tc := range []struct {
		name  string
		paths []Program
		want  unix.Errno
	}{
		{"absent", []Program{{Path: "/nonexistent/a"}, {Path: "/bin/sh/a"}}, unix.ENOENT},
		{"not executable", []Program{{Path: "/etc/passwd"}, {Path: "/nonexistent/a"}}, unix.EACCES},
		{"none", nil, unix.ENOENT},
	} {
		_, errno, _, ws := run(t, func(s *Script, _ int) { s.Exec(tc.paths, nil) })
		if errno != tc.want || ws.ExitStatus() != 125 {
			t.Errorf("%s: got %v, status %d; want %v, 125", tc.name, errno, ws.ExitStatus(), tc.want)
		}
	}
}

func TestScriptFailure(t *testing.T) {
	var want Index
	index, errno, out, _ := run(t, func(s *Script, _ int) {
		s.Write(1, []byte("before"))
		want = s.Close(999)
		s.Write(1, []byte("after"))
	})
	if index != want || errno != unix.EBADF || out != "before" {
		t.Errorf("got call %d, %v, %q; want call %d, EBADF", index, errno, out, want)
	}
}

func TestScriptElse(t *testing.T) {
	for _, tc := range []struct {
		fd   int
		want string
	}{{999, "else end"}, {2, "end"}} {
		_, _, out, _ := run(t, func(s *Script, _ int) {
			i := s.Close(tc.fd)
			s.Ignore(i, unix.EBADF)
			s.Else(i, func() { s.Write(1, []byte("else ")) })
			s.Write(1, []byte("end"))
			s.Exit(0)
		})
		if out != tc.want {
			t.Errorf("closing %d: got %q, want %q", tc.fd, out, tc.want)
		}
	}
}

func TestScriptFork(t *testing.T) {
	index, errno, out, ws := run(t, func(s *Script, report int) {
		s.Spawn(0, func() {
			s.Write(1, []byte("first "))
			s.Exit(0)
		})
		s.Fork(unix.CLONE_VFORK, func(pid Addr) {
			s.Started(report, pid)
			s.Exit(7)
		})
		s.Write(1, []byte("child"))
		s.Exit(0)
	})
	if out != "first child" || ws.ExitStatus() != 7 || index != startedIndex || errno <= 1 {
		t.Errorf("got %q, status %d, pid %d", out, ws.ExitStatus(), errno)
	}
}

func TestScriptVerify(t *testing.T) {
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	want, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		want  string
		errno unix.Errno
	}{{want, 0}, {want[:len(want)-1], ErrMismatch}, {want + "0", ErrMismatch}, {"uts:[1]", ErrMismatch}} {
		_, errno, _, _ := run(t, func(s *Script, _ int) {
			s.Verify(s.File(int(proc.Fd())), "thread-self/ns/uts", tc.want)
			s.Exit(0)
		})
		if errno != tc.errno {
			t.Errorf("%s: got %v, want %v", tc.want, errno, tc.errno)
		}
	}
}

func TestScriptDieWithParent(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close() // nobody reads: the parent is gone
	_, _, out, ws := run(t, func(s *Script, report int) {
		s.DieWithParent(unix.SIGKILL, report)
		s.Write(1, []byte("alive "))
		s.DieWithParent(unix.SIGKILL, s.File(int(w.Fd())))
		s.Write(1, []byte("orphan"))
		s.Exit(0)
	})
	w.Close()
	if out != "alive " || ws.ExitStatus() != 128+9 {
		t.Errorf("got %q, status %d", out, ws.ExitStatus())
	}
}

func TestScriptRunHere(t *testing.T) {
	s := NewScript()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	i := s.Close(999)
	s.Ignore(i, unix.EBADF)
	s.Else(i, func() { s.Write(int(w.Fd()), []byte("else ")) })
	s.Write(int(w.Fd()), []byte("end"))
	want := s.Close(998)
	failed, err := s.RunHere()
	w.Close()
	out, _ := io.ReadAll(r)
	if failed != want || err != unix.EBADF || string(out) != "else end" {
		t.Errorf("got %d, %v, %q; want %d", failed, err, out, want)
	}
}

func TestStubSealed(t *testing.T) {
	s := NewScript()
	s.Exit(0)
	s.OnFailure(func(Addr) { s.Exit(1) })
	fd, err := s.program()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Pwrite(fd, []byte("x"), 0); err != unix.EPERM {
		t.Errorf("write: %d, %v; want EPERM", n, err)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s := NewScript()
		s.Exit(0)
		s.OnFailure(func(Addr) { s.Exit(1) })
		pid, err := s.Start()
		if err != nil {
			b.Fatal(err)
		}
		syscall.Wait4(pid, nil, 0, nil)
	}
}

// Whatever close_range(2) answers, all is closed, or the script ends.
func TestCloseFromOneByOne(t *testing.T) {
	for _, tc := range []struct {
		name string
		call func(s *Script) // in the place of close_range(2)
	}{
		{"missing", func(s *Script) { s.own("close_range", ownFail, uint64(unix.ENOSYS)) }},
		{"denied", func(s *Script) { s.own("close_range", ownFail, uint64(unix.EPERM)) }},
		{"as if done", func(s *Script) { s.own("close_range", ownValue, 0) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, w, err := Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(r)
			s := NewScript()
			report := s.File(w)
			s.Step(0)
			for range 3 {
				s.WriteFile(unix.AT_FDCWD, "/dev/null", nil)
			}
			dir := s.File(r)
			first := s.Len()
			s.CloseFrom(report + 1)
			// The first call is close_range(2).
			other := &Script{}
			tc.call(other)
			other.calls[0][wordIndex/8] = uint64(first)
			s.calls[first] = other.calls[0]
			s.IgnoreAll(Index(first))
			for n := dir; n < dir+4; n++ {
				i := s.Call("fcntl", unix.SYS_FCNTL, uint64(n), unix.F_GETFD)
				s.Ignore(i, unix.EBADF)
				closed := s.label("it is closed")
				s.onError(i, closed)
				s.own("fcntl", ownFail, uint64(unix.EEXIST))
				s.place(closed)
			}
			s.Exit(7)
			s.Report(report, 1)
			pid, err := s.Start()
			unix.Close(w)
			if err != nil {
				t.Fatal(err)
			}
			change, err := WaitChange(pid)
			told, failed := ReadReport(r)
			if err != nil || change.Status != 7 || failed {
				t.Errorf("%+v, %+v, %v", change, told, err)
			}
			if err := Reap(pid); err != nil {
				t.Error(err)
			}
		})
	}
}

// A process that is forked held does nothing until it is released, and then has
// the signal mask from before; one that is killed meanwhile is told.
func TestHeld(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, kill := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s := NewScript()
		report := s.File(int(w.Fd()))
		s.Held()
		s.Fork(CloneParent, func(pid Addr) {
			s.Started(report, pid)
			s.Exit(0)
		})
		// Nobody has told it to wait: it would be ready at once.
		s.WriteAt(report, s.Pointers(readyIndex, 0), recordSize)
		s.Exec([]Program{{Path: "/bin/grep", Argv: []string{"grep", "-q", "SigBlk:\t0*$", "/proc/self/status"}}}, nil)
		s.Report(report, 125)
		first, err := s.Start()
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		told, ok := ReadReport(int(r.Fd()))
		if !ok || told.Started == 0 {
			t.Fatalf("it told %+v", told)
		}
		if err := Reap(first); err != nil {
			t.Fatal(err)
		}
		if held, err := WaitHeld(told.Started); err != nil || !held {
			t.Fatalf("held: %v, %v", held, err)
		}
		if err := unix.Kill(told.Started, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if Ready(int(r.Fd())) {
			t.Error("it ran while it was held")
		}
		if err := unix.PtraceAttach(told.Started); err != unix.EPERM {
			t.Errorf("another could trace it: %v", err)
		}
		want := Change{}
		if kill {
			want.Signal = unix.SIGKILL
			err = Kill(told.Started, unix.SIGKILL)
		} else {
			err = Release(told.Started)
		}
		if err != nil {
			t.Fatal(err)
		}
		change, err := WaitChange(told.Started)
		if err != nil || change != want {
			t.Errorf("it ended by %+v, %v", change, err)
		}
		if _, ran := ReadReport(int(r.Fd())); ran == kill {
			t.Errorf("ran: %v", ran)
		}
		if err := Reap(told.Started); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}

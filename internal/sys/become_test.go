package sys

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// init plays the program that a script becomes.
func init() {
	if os.Args[0] != "become" {
		return
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
	}
	exe, _ := os.Readlink("/proc/self/exe") //nolint:errcheck // what is wrong with it shows
	fmt.Println(os.Args[1:], os.Environ(), exe)
	fmt.Print(string(text))
	os.Exit(3)
}

// A script goes on as this program, with what it was given.
func TestBecome(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := NewScript()
	s.Stdio(-1, int(w.Fd()), int(w.Fd()))
	s.Become("become", "a", "b c")
	report := s.File(int(w.Fd()))
	s.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1)
	s.Umask(0o27)
	s.Undumpable()
	if err := s.Return(); err != nil {
		t.Fatal(err)
	}
	s.Report(report, 9)
	pid, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil || ws.ExitStatus() != 3 {
		t.Errorf("%v: %v", ws, err)
	}
	for _, want := range []string{"[a b c] [] /memfd:nstool (deleted)\n", "\nUmask:\t0027\n", "\nNoNewPrivs:\t1\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("it does not say %q: %s", want, b)
		}
	}
}

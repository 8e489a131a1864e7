package sys

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startInit starts a script whose first process is a [Script.Init], in a PID
// namespace if own is set, and returns its status when it has ended. child
// appends what the child of the init does.
func startInit(t *testing.T, child func(x *Script), meanwhile func(pid int)) syscall.WaitStatus {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	x := NewScript()
	x.Init(-1)
	child(x)
	x.OnFailure(func(Addr) { x.Exit(99) })
	pid, err := x.Start()
	if err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile(pid)
	}
	var ws syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != syscall.EINTR {
			break
		}
	}
	return ws
}

func sh(command string) func(x *Script) {
	return func(x *Script) {
		x.Exec([]Program{{Path: "/bin/sh", Argv: []string{"sh", "-c", command}}}, []string{"PATH=/bin:/usr/bin"})
	}
}

func TestInit(t *testing.T) {
	for name, c := range map[string]struct {
		child func(x *Script)
		want  int
	}{
		"done":         {sh("exit 0"), 0},
		"status":       {sh("exit 7"), 7},
		"high status":  {sh("exit 255"), 255},
		"signal":       {sh("kill -9 $$"), 137},
		"other orphan": {sh("(sleep 0.05; exit 3) & exit 5"), 5},
		"not found":    {func(x *Script) { x.Exec([]Program{{Path: "/nosuch", Argv: []string{"x"}}}, nil) }, 99},
	} {
		if ws := startInit(t, c.child, nil); !ws.Exited() || ws.ExitStatus() != c.want {
			t.Errorf("%s: %d (%v)", name, ws.ExitStatus(), ws.Signal())
		}
	}
}

// TestInitSignals sends signals to the init: the child gets them.
func TestInitSignals(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ws := startInit(t, func(x *Script) {
		fd := x.File(int(w.Fd()))
		x.Call("dup3", unix.SYS_DUP3, uint64(fd), 1, 0)
		sh(`trap 'echo usr1' USR1; trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done`)(x)
	}, func(pid int) {
		w.Close()
		b := make([]byte, 64)
		if n, _ := r.Read(b); string(b[:n]) != "up\n" {
			t.Errorf("it says %q", b[:n])
		}
		if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
			t.Error(err)
		}
		if n, _ := r.Read(b); string(b[:n]) != "usr1\n" {
			t.Errorf("it says %q", b[:n])
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	if ws.ExitStatus() != 6 {
		t.Errorf("status %d", ws.ExitStatus())
	}
}

// TestWait lets a process go on, and does not.
func TestWait(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	for _, letGo := range []bool{true, false} {
		r, report, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		gate, open, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		x := NewScript()
		in, out := x.File(gate), x.File(report)
		x.CloseOnExec(in)
		x.Wait(out, in)
		x.Exit(3)
		x.OnFailure(func(Addr) { x.Exit(99) })
		pid, err := x.Start()
		if err != nil {
			t.Fatal(err)
		}
		CloseAll(gate, report)
		if got, ok := ReadReport(r); !ok || !got.Ready || got.Err != nil || got.Started != 0 {
			t.Errorf("it reports %+v, %t", got, ok)
		}
		time.Sleep(10 * time.Millisecond)
		if letGo {
			if err := WriteByte(open); err != nil {
				t.Error(err)
			}
		}
		CloseAll(open)
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
			t.Error(err)
		}
		if want := map[bool]int{true: 3, false: 125}[letGo]; ws.ExitStatus() != want {
			t.Errorf("let go: %t, status %d", letGo, ws.ExitStatus())
		}
		CloseAll(r)
	}
}

// TestHereWords has the operations of our own done on the calling thread.
func TestHereWords(t *testing.T) {
	x := NewScript()
	x.Here()
	a, b := x.Bytes([]byte{5, 0, 0, 0}), x.Bytes([]byte{6, 0, 0, 0})
	out := x.Space(8)
	load := x.own("load", ownLoad, uint64(a), 1)
	x.Store(load, out)
	i := x.own("equal", ownEqual, uint64(out), uint64(b))
	equal, differ := x.label("equal"), x.label("differ")
	x.onZero(i, equal)
	x.own("fail", ownFail, uint64(unix.EDOM)) // passed over, if they are equal
	x.place(equal)
	j := x.own("equal", ownEqual, uint64(a), uint64(b))
	x.onOther(j, differ)
	x.own("fail", ownFail, uint64(unix.ERANGE))
	x.place(differ)
	if n, err := x.RunHere(); err != nil {
		t.Errorf("call %d: %v", n, err)
	}
}

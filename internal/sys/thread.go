package sys

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OnThread calls f on a thread of its own, which ends afterwards: no other goroutine runs on a
// thread that has joined namespaces. Goroutines that f starts run elsewhere. A panic of f is a
// panic of OnThread.
//
// It is never the main thread: the kernel shows that one as the process, and the runtime cannot
// end it.
func OnThread(f func() error) error { return (<-StartThread(f)).Result() }

// StartThread is [OnThread] without waiting for f.
func StartThread(f func() error) <-chan Ending {
	ending := make(chan Ending, 1)
	go onThread(f, ending)
	return ending
}

// An Ending is how a call on a thread of its own ended.
type Ending struct {
	err      error
	panicked bool
	value    any
}

// Result returns what the function returned, or panics as it did.
func (e Ending) Result() error {
	if e.panicked {
		panic(e.value)
	}
	return e.err
}

func onThread(f func() error, ending chan<- Ending) {
	runtime.LockOSThread() // never unlocked: the runtime ends a locked thread with its goroutine
	if OnMainThread() {
		// While this thread is locked, other goroutines run elsewhere.
		ending <- <-StartThread(f)
		runtime.UnlockOSThread()
		return
	}
	e := Ending{panicked: true}
	defer func() {
		if e.panicked {
			if e.value = recover(); e.value == nil {
				e = Ending{err: errors.New("the function ended its goroutine")} // runtime.Goexit
			}
		}
		ending <- e
	}()
	e.err = f()
	e.panicked = false
}

// InMountNamespace calls f on a thread of its own that has joined the mount namespace of fd;
// see [OnThread]. Paths in f are those of that mount namespace, and must not be trusted. It
// needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace, and CAP_SYS_CHROOT
// and CAP_SYS_ADMIN in the caller's.
func InMountNamespace(fd int, f func() error) error {
	return InNamespace(fd, unix.CLONE_NEWNS, f)
}

// InNamespace calls f on a thread of its own that has joined the namespace of fd, of type flag;
// see [OnThread]. It is not for user, PID and time namespaces.
func InNamespace(fd, flag int, f func() error) error {
	return OnThread(func() error {
		if err := joinAll([]Join{{fd, flag}}); err != nil {
			return err
		}
		return f()
	})
}

// ExecIn replaces the program with the one at path, as the caller sees it, after joining
// namespaces. It returns only an error; then only a thread that ends has joined any.
//
// Standard files that were closed when this program started are closed for the next one too: the
// runtime has opened /dev/null in their place.
func ExecIn(joins []Join, path string, argv, env []string) error {
	dir, err := openat(unix.AT_FDCWD, filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	for fd, closed := range WereClosed() {
		if closed {
			unix.CloseOnExec(fd)
		}
	}
	signal := 0                                                                      // of the calling thread alone
	_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0) //nolint:errcheck // then it is 0
	return OnThread(func() error {
		if err := joinAll(joins); err != nil {
			return err
		}
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(signal), 0, 0, 0) //nolint:errcheck // nothing depends on it
		// By its directory, so that it keeps its name.
		return os.NewSyscallError("execve", syscall.Exec(filepath.Join(FDPath(dir), filepath.Base(path)), argv, env))
	})
}

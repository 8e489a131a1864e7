package nstest

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// InFlight makes a namespace that nothing but a message holds: its descriptor
// was sent through a Unix socket, and not received yet. It returns the inode
// number. The namespace goes with the test.
func InFlight(t testing.TB, typ string) uint64 {
	t.Helper()
	Need(t, "root")
	fd, ino, err := newNamespace(typ)
	if err != nil {
		t.Fatalf("nstest: new %s namespace: %v", typ, err)
	}
	defer syscall.Close(fd)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal("nstest: socketpair: ", err)
	}
	t.Cleanup(func() {
		syscall.Close(pair[0])
		syscall.Close(pair[1])
	})
	if err := syscall.Sendmsg(pair[0], []byte{0}, syscall.UnixRights(fd), nil, 0); err != nil {
		t.Fatal("nstest: sendmsg: ", err)
	}
	return ino
}

// newNamespace makes a namespace on a thread that ends, and returns a
// descriptor of it.
func newNamespace(typ string) (fd int, ino uint64, err error) {
	var task string
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if syscall.Gettid() == syscall.Getpid() {
			// That one is the process to everybody. While it is kept, others run elsewhere.
			fd, ino, err = newNamespace(typ)
			runtime.UnlockOSThread()
			return
		}
		if err = syscall.Unshare(int(flags[typ] | syscall.CLONE_FS)); err != nil {
			return
		}
		task = fmt.Sprintf("/proc/self/task/%d", syscall.Gettid())
		link := task + "/ns/" + typ
		if ino, err = inode(link); err == nil {
			fd, err = syscall.Open(link, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		}
	}()
	<-done
	if err != nil {
		return -1, 0, os.NewSyscallError("unshare", err)
	}
	for end := time.Now().Add(5 * time.Second); task != "" && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(task); os.IsNotExist(err) { // until then the thread is in it
			break
		}
	}
	return fd, ino, nil
}

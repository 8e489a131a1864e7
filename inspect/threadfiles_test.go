package inspect

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// A thread may have a table of descriptors of its own: what it has open holds a
// namespace as well.
func TestThreadWithItsOwnFiles(t *testing.T) {
	nstest.Need(t, "root")
	made, stop, gone := make(chan [3]uint64), make(chan struct{}), make(chan struct{})
	var thread func()
	thread = func() {
		runtime.LockOSThread() // and the thread ends with this
		if syscall.Gettid() == os.Getpid() {
			go thread() // on another one, since this one is locked
			<-gone
			runtime.UnlockOSThread()
			return
		}
		defer close(gone)
		err := syscall.Unshare(syscall.CLONE_FILES)
		open := func() (fd int) {
			if err == nil {
				fd, err = syscall.Open("/proc/thread-self/ns/net", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
			}
			return fd
		}
		own := open()
		if err == nil {
			err = syscall.Unshare(syscall.CLONE_NEWNET)
		}
		fd := open()
		if err == nil {
			err = sys.JoinNetns(own)
		}
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Fstat(fd, &st)
		}
		if err != nil {
			t.Error(err)
		}
		made <- [3]uint64{st.Ino, uint64(syscall.Gettid()), uint64(fd)}
		<-stop
	}
	go thread()
	at := <-made
	defer func() { close(stop); <-gone }()
	for name, opts := range map[string][]Option{"proc": {WithoutBPF()}, "bpf or proc": nil} {
		snap := scan(t, opts...)
		ns, ok := snap.Find(at[0])
		if !ok {
			t.Errorf("%s: the namespace is in no list", name)
			continue
		}
		want := Holder{Kind: ByFD, PID: os.Getpid(), TID: int(at[1]), FD: int(at[2])}
		if !slices.ContainsFunc(ns.Others(), func(h Holder) bool { return fmt.Sprint(h) == fmt.Sprint(want) }) {
			t.Errorf("%s: held by %v, not %v", name, ns.Others(), want)
		}
	}
}

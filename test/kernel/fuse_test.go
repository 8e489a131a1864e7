package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A fuse is a file system of one directory with one file in it, "file", that
// answers what it must and never a read. The kernel then keeps the page that
// was read locked. The first to open the file shares the cache of pages, all
// others bypass it: their mmap(2) waits for that page, with the memory map of
// the process locked. See include/uapi/linux/fuse.h.
type fuse struct {
	dev   *os.File // nil before it is mounted
	fd    int
	deaf  atomic.Bool   // answer nothing at all from now on
	done  chan struct{} // is closed when it serves no more
	ended sync.Once

	mu    sync.Mutex
	opens int
	reads int
	left  int // requests without an answer
}

// newFuse makes one that the caller has yet to mount. It ends with the test:
// then all that waits for it goes on.
func newFuse(t testing.TB) *fuse {
	t.Helper()
	nstest.Need(t, "fuse")
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := &fuse{fd: fd}
	t.Cleanup(f.end)
	return f
}

// end lets all go on that waits for an answer: the kernel says "connection
// aborted" from then on.
func (f *fuse) end() {
	f.ended.Do(func() {
		if f.dev == nil {
			syscall.Close(f.fd)
			return
		}
		f.dev.Close()
		<-f.done
	})
}

// mount mounts the file system on dir, for the mount namespace of the thread.
func (f *fuse) mount(dir string) error {
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", f.fd)
	if err := syscall.Mount("nstool-test", dir, "fuse", 0, data); err != nil {
		return fmt.Errorf("mount fuse: %w", err)
	}
	f.dev = os.NewFile(uintptr(f.fd), "/dev/fuse") // not before: until it is mounted nothing can be waited for
	f.done = make(chan struct{})
	go func() {
		defer close(f.done)
		f.serve()
	}()
	return nil
}

func (f *fuse) count(what *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *what
}

// Requests of the kernel.
const (
	fuseLookup   = 1
	fuseForget   = 2
	fuseGetattr  = 3
	fuseOpen     = 14
	fuseRead     = 15
	fuseRelease  = 18
	fuseFlush    = 25
	fuseInit     = 26
	fuseOpendir  = 27
	fuseInterupt = 36
	fuseForgets  = 42
)

func (f *fuse) serve() {
	buf := make([]byte, 1<<20)
	le := binary.NativeEndian
	for {
		n, err := f.dev.Read(buf)
		switch {
		case errors.Is(err, syscall.ENODEV), errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			continue // ENOENT: the request was interrupted
		case n < 40:
			return
		}
		op, unique, node := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:])
		if op == fuseForget || op == fuseForgets || op == fuseInterupt {
			continue
		}
		if f.deaf.Load() {
			f.mu.Lock()
			f.left++
			f.mu.Unlock()
			continue
		}
		answer, errno := f.answer(op, node)
		if answer == nil && errno == 0 {
			continue
		}
		reply := make([]byte, 16, 16+len(answer))
		le.PutUint32(reply, uint32(16+len(answer)))
		le.PutUint32(reply[4:], uint32(-int32(errno)))
		le.PutUint64(reply[8:], unique)
		_, _ = f.dev.Write(append(reply, answer...)) // who asked may be gone
	}
}

// answer returns what to say to a request; nothing and no error is silence.
func (f *fuse) answer(op uint32, node uint64) ([]byte, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ne := binary.NativeEndian
	attr := func(b []byte, node uint64) {
		ne.PutUint64(b, node)
		ne.PutUint64(b[8:], 4096) // size
		mode := uint32(syscall.S_IFREG | 0o644)
		if node == 1 {
			mode = syscall.S_IFDIR | 0o755
		}
		ne.PutUint32(b[60:], mode)
		ne.PutUint32(b[64:], 1) // links
		ne.PutUint32(b[80:], 4096)
	}
	switch op {
	case fuseInit:
		b := make([]byte, 64)
		ne.PutUint32(b, 7)
		ne.PutUint32(b[4:], 31)
		ne.PutUint32(b[20:], 4096) // the longest write
		return b, 0
	case fuseLookup:
		b := make([]byte, 128)
		ne.PutUint64(b, 2)
		attr(b[40:], 2)
		return b, 0
	case fuseGetattr:
		b := make([]byte, 104)
		attr(b[16:], node)
		return b, 0
	case fuseOpen:
		b := make([]byte, 16)
		if f.opens++; f.opens > 1 {
			ne.PutUint32(b[8:], 1|2) // FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE: open(2) is not to wait
		}
		return b, 0
	case fuseOpendir:
		return make([]byte, 16), 0
	case fuseRead:
		f.reads++
		return nil, 0
	case fuseRelease, fuseFlush:
		return []byte{}, 0
	}
	return nil, syscall.ENOSYS
}

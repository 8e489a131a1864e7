package nstest

import (
	"syscall"
	"testing"
)

// InFlight makes a namespace that nothing but a message holds: its descriptor
// was sent through a Unix socket, and not received yet. It returns the inode
// number. The namespace is freed at the end of the test.
func InFlight(t testing.TB, typ string) uint64 {
	t.Helper()
	Need(t, "root")
	ns, err := holdByFile(typ)
	if err != nil {
		t.Fatalf("nstest: new %s namespace: %v", typ, err)
	}
	defer syscall.Close(ns.FD)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal("nstest: socketpair: ", err)
	}
	t.Cleanup(func() {
		syscall.Close(pair[0])
		syscall.Close(pair[1])
	})
	if err := syscall.Sendmsg(pair[0], []byte{0}, syscall.UnixRights(ns.FD), nil, 0); err != nil {
		t.Fatal("nstest: sendmsg: ", err)
	}
	return ns.Ino
}

package sys

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOutpost(t *testing.T) {
	o, err := NewOutpost(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for range 200 {
		fd, err := o.Socket(SocketKind{IPv6: true, Datagrams: true})
		if err != nil {
			t.Fatal(err)
		}
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		typ, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || e != nil || domain != unix.AF_INET6 || typ != unix.SOCK_DGRAM || flags != unix.FD_CLOEXEC {
			t.Errorf("%d %d %d, %v, %v", domain, typ, flags, err, e)
		}
		unix.Close(fd)
		if _, err := o.socket(9999, unix.SOCK_STREAM, 0); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Fatal(err)
		}
	}

	if list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", o.pid)); err == nil && len(list) != 4 {
		t.Errorf("it has %d descriptors", len(list))
	}

	// Somebody ends it.
	if err := Kill(o.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if fd, err := o.Socket(SocketKind{}); !errors.Is(err, errOutpost) {
			t.Errorf("%d, %v", fd, err)
		}
	}

	null, err := OpenNull()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	if _, err := NewOutpost([]Join{{null, CLONE_NEWUSER}}); err == nil || !strings.HasPrefix(err.Error(), "setns: ") {
		t.Error(err)
	}
}

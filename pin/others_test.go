package pin

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is neither a file that a namespace could be mounted on, nor a link that leads
// nowhere, is no dead name: nobody is to remove it.
func TestDeadIn(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := errors.Join(
		os.Mkdir(at("directory"), 0o700), syscall.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("file"), nil, 0o600),
		os.Symlink(at("file"), at("link")), os.Symlink("/proc/self/ns/net", at("namespace")), os.Symlink(at("loop"), at("loop")),
		os.Symlink("/nonexistent", at("dangling")), os.Symlink(at("fifo")+"/x", at("below")),
	); err != nil {
		t.Fatal(err)
	}
	got := map[string]error{}
	for name, dead := range deadIn(dir) {
		got[name] = dead
	}
	if len(got) != 2 || !errors.Is(got["file"], ErrUnmounted) || !errors.Is(got["dangling"], ErrDangling) {
		t.Errorf("dead are %v", got)
	}
}

package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Nstool returns the path of the program, which every user can run: that of [ProgramsVar], or
// one that is built. Test binaries share the build.
func Nstool(t testing.TB) string {
	t.Helper()
	if path, ok := Built("nstool"); ok {
		return path
	}
	Need(t, "go")
	path, err := nstool()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var nstool = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nstool") // in a directory that is removed in the end
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // ordinary users are to enter it
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	shared := filepath.Join(cache, "nstool-test", "nstool")
	if err := os.MkdirAll(filepath.Dir(shared), 0o755); err != nil { //nolint:gosec // a program
		return "", err
	}
	lock, err := os.Create(shared + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	// The go command links nothing if the file is what it would write.
	cmd := exec.Command("go", "build", "-o", shared, "github.com/nstool/nstool/cmd/nstool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	// It is another process that writes: a child that we start meanwhile would have our
	// descriptor, and the file would be busy.
	path := filepath.Join(dir, "nstool")
	if out, err := exec.Command("cp", shared, path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy %s: %w: %s", shared, err, out)
	}
	return path, nil
})

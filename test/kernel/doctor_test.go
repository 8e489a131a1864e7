package kernel_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// The one case in which somebody asks: the server of a file system is gone, and
// whoever touches it hangs. Who uses it is found all the same, by name too, and
// soon.
func TestDoctorBusyDead(t *testing.T) {
	nstest.Need(t, "root", "fuse", "stat")
	bin := program(t)
	dir := filepath.Join(nstest.Dir(t), "dead")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := newFuse(t)
	inPrivate(t, func() error {
		if err := f.mount(dir); err != nil {
			return err
		}
		open, err := os.Open(dir)
		if err != nil {
			return err
		}
		user := exec.Command("cat")
		user.Dir, user.ExtraFiles = dir, []*os.File{open}
		start(t, user)
		open.Close()
		defer f.end()
		f.deaf.Store(true)
		hangs(t, "stat", filepath.Join(dir, "file"))

		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, path := range []string{dir, filepath.Join(dir, "file")} {
			began := time.Now()
			out, err := exec.CommandContext(ctx, bin, "busy", path).CombinedOutput()
			text := string(out)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: %v after %v: %s", path, err, took, text)
			}
			// Nobody uses the file, and whether it is there cannot be known.
			if exit, _ := errors.AsType[*exec.ExitError](err); path == dir && (exit == nil || exit.ExitCode() != 1 ||
				!strings.Contains(text, "working directory "+dir) || !strings.Contains(text, "fd 3 "+dir)) || path != dir && err != nil {
				t.Errorf("%s: %v: %s", path, err, text)
			}
		}
		return nil
	})
}

package kernel_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// A file system that never answers is waited for until the user has enough: then
// nothing is left of the copy.
func TestCpHungMount(t *testing.T) {
	nstest.Need(t, "root", "fuse")
	dir := nstest.Dir(t)
	f := newFuse(t)
	inPrivate(t, func() error {
		if err := f.mount(dir); err != nil {
			return err
		}
		out := nstest.Dir(t)
		for _, to := range []string{out, out + "/new", "self:" + out} {
			cmd := exec.Command(program(t), "cp", "self:"+dir+"/file", to)
			var said strings.Builder
			cmd.Stderr = &said
			reads := f.count(&f.reads)
			if err := cmd.Start(); err != nil {
				return err
			}
			until(t, "a read", func() bool { return f.count(&f.reads) > reads })
			time.Sleep(50 * time.Millisecond)
			start := time.Now()
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				return err
			}
			late := time.AfterFunc(enough, func() { cmd.Process.Kill() })
			_ = cmd.Wait()
			if !late.Stop() || cmd.ProcessState.ExitCode() != 128+int(syscall.SIGINT) || said.String() != "nstool: cp: interrupted\n" {
				t.Errorf("%s: after %v: %v: %s", to, time.Since(start), cmd.ProcessState, said.String())
			}
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("%s: left behind: %v %v", to, left, err)
			}
		}
		return nil
	})
}

// Whoever ends it by a signal finds nothing of what was not whole, and the file
// that was there is as it was.
func TestCpInterrupted(t *testing.T) {
	dir := nstest.Dir(t)
	old := filepath.Join(dir, "file")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		cmd := exec.Command(program(t), "cp", "-", "self:"+old)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(stdin, "new")
		until(t, "a file of another name", func() bool {
			list, err := os.ReadDir(dir)
			return err == nil && len(list) == 2
		})
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(enough, func() { cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		stdin.Close()
		if got := cmd.ProcessState.ExitCode(); got != 128+int(signal) {
			t.Errorf("%v: status %d", signal, got)
		}
		list, err := os.ReadDir(dir)
		text, e := os.ReadFile(old)
		if err != nil || e != nil || len(list) != 1 || string(text) != "old" {
			t.Errorf("%v: %v, %s", signal, list, text)
		}
	}
}

// A full file system: one line, and nothing is left.
func TestCpFull(t *testing.T) {
	inPrivate(t, func() error {
		dir := nstest.Dir(t)
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			return err
		}
		from := nstest.Dir(t)
		if err := os.Mkdir(filepath.Join(from, "d"), 0o755); err != nil {
			return err
		}
		for i := range 10 {
			if err := os.WriteFile(filepath.Join(from, "d", fmt.Sprint(i)), make([]byte, 20_000), 0o600); err != nil {
				return err
			}
		}
		for _, what := range []string{"d", "d/."} {
			r := finish(t, exec.Command(program(t), "cp", filepath.Join(from, what), "self:"+dir))
			if r.status != 1 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "no space left on device") {
				t.Errorf("%s: status %d, %s", what, r.status, r.err)
			}
			list, err := os.ReadDir(dir)
			for _, e := range list {
				if strings.HasPrefix(e.Name(), ".nstool") || what == "d" {
					t.Errorf("%s: left behind: %v", what, e)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

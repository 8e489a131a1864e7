package kernel_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// evil are strings that another process may call itself or its files.
var evil = []string{
	"a\nb) R 1 1 1",
	") Z 0 (",
	"\x1b]0;pwned\a\x1b[2J",
	"\x9b31m\xc2\x9b31m", // CSI in one byte, as Latin-1 and as UTF-8 has it
	"\u202e\u2066live",   // turned around
	"\ufeff\U000e0041",   // BOM, tag
	"\xff\xfe\xc0\xaf",   // no UTF-8
	`\x1b \\ \n`,
	" \t\r\v ",
	"\"',}]{[:",
	"\u2028\u2029\u0085\u00ad\u200b",
	"[1]\tuser",
	"日本語",
	"-",
	"?",
}

// cells are the ways to show a command.
var cells = [][]string{{}, {"--raw"}, {"--tree"}, {"--tree=process"}, {"-u", "-o", "NS,COMMAND,HOLDERS,PATH,NSFS"}, {"--raw", "-o", "NS,COMMAND,HOLDERS,PATH,NSFS"}}

// unclean is the inverse of output.Clean.
func unclean(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		var c byte
		if _, err := fmt.Sscanf(s[i:], `\x%02x`, &c); err != nil {
			t.Errorf("a lone backslash in %q", s)
			return s
		}
		b.WriteByte(c)
		i += 3
	}
	return b.String()
}

// Whatever a process calls itself, one line is one namespace, what reaches the
// terminal is printable, and what was there can be read back.
func TestLsEvilNames(t *testing.T) {
	nstest.Need(t, "userns", "sh")
	program(t)
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := nstest.Dir(t)
	type hostile struct {
		ino  uint64
		args []string
		comm string
	}
	var all []hostile
	for _, name := range evil {
		path := filepath.Join(dir, strings.ReplaceAll(name, "/", "")) // the kernel takes the name from the file
		if err := os.Symlink(sh, path); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "-c", "read x", name, name)
		cmd.Args[0] = name
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWUTS}
		start(t, cmd)
		comm := filepath.Base(path)
		all = append(all, hostile{ino(t, cmd.Process.Pid, "uts"), cmd.Args, comm[:min(15, len(comm))]})
		until(t, "it has its name", func() bool {
			return read(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)) == comm[:min(15, len(comm))]+"\n"
		})
	}
	for _, args := range cells {
		r := ls(t, args...)
		header := strings.Fields(strings.SplitN(r.out, "\n", 2)[0])
		lines := rows(r.out)
		for _, h := range all {
			of := lines[h.ino]
			if len(of) != 1 {
				t.Errorf("%v: %d lines of %d, which calls itself %q", args, len(of), h.ino, h.comm)
				continue
			}
			if !slices.Contains(args, "--raw") {
				continue
			}
			f := strings.Split(of[0], " ")
			if len(f) != len(header) {
				t.Errorf("%q has %d fields, the header %d", of[0], len(f), len(header))
				continue
			}
			if got := unclean(t, f[slices.Index(header, "COMMAND")]); got != strings.Join(h.args, " ") {
				t.Errorf("%v: %q reads back as %q, not %q", args, of[0], got, strings.Join(h.args, " "))
			}
		}
	}
	l := lsJSON(t)
	for _, h := range all {
		if got := l.find(t, h.ino).command(); got != strings.Join(h.args, " ") {
			t.Errorf("JSON: %q, not %q", got, strings.Join(h.args, " "))
		}
		p := lsJSON(t, fmt.Sprintf("uts:[%d]", h.ino)).Processes
		if len(p) != 1 {
			t.Errorf("%d processes in uts:[%d]", len(p), h.ino)
			continue
		}
		comm := p[0].Comm
		if p[0].Comm64 != nil {
			comm = string(p[0].Comm64)
		}
		if comm != h.comm {
			t.Errorf("JSON: comm %q, not %q", comm, h.comm)
		}
	}
}

// The same for the paths of pins, in our mount namespace and in another's.
func TestLsEvilPaths(t *testing.T) {
	nstest.Need(t, "root", "sh")
	program(t)
	dir := nstest.Dir(t)
	var paths []string
	for i, name := range evil {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%d%s", i, strings.ReplaceAll(name, "/", "")), `\012\134`))
	}
	inPrivate(t, func() error {
		want := make(map[uint64]string)
		for _, path := range paths {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			cmd := exec.Command("cat")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
			start(t, cmd)
			n := ino(t, cmd.Process.Pid, "uts")
			if err := syscall.Mount(fmt.Sprintf("/proc/%d/ns/uts", cmd.Process.Pid), path, "", syscall.MS_BIND, ""); err != nil {
				return err
			}
			want[n] = path
			cmd.Process.Kill() // what is left is the pin
			cmd.Process.Wait()
		}
		member := exec.Command("cat")
		start(t, member)
		for _, own := range []bool{true, false} {
			var l listing
			ran := make(chan bool)
			look := func() {
				defer close(ran)
				for _, args := range cells {
					r := ls(t, args...)
					lines := rows(r.out)
					for n := range want {
						if len(lines[n]) != 1 {
							t.Errorf("%v: %d lines of %d", args, len(lines[n]), n)
						}
					}
				}
				l = lsJSON(t)
			}
			if own {
				look() // on this thread, in this mount namespace
			} else {
				go look()
			}
			<-ran
			for n, path := range want {
				ns := l.find(t, n)
				if len(ns.Holders) != 1 || ns.Holders[0].Kind != "mount" {
					t.Errorf("holders of %d: %+v", n, ns.Holders)
					continue
				}
				got := ns.Holders[0].Path
				if ns.Holders[0].Path64 != nil {
					got = string(ns.Holders[0].Path64)
				}
				if got != path {
					t.Errorf("path %q, not %q", got, path)
				}
				if ns.ONS == nil {
					t.Errorf("the owner of %d, pinned at %q, is not known", n, path)
				}
				if own != (len(ns.NSFS) == 1) {
					t.Errorf("own %t, NSFS %q", own, ns.NSFS)
				}
			}
		}
		return nil
	})
}

// What is large is cut, and what is many is listed.
func TestLsLargeArguments(t *testing.T) {
	nstest.Need(t, "userns", "sh")
	args := []string{"-c", "read x"}
	for range 14 {
		args = append(args, strings.Repeat("a", 128<<10-1))
	}
	cmd := exec.Command("sh", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWUTS}
	cmd.Env = []string{}
	start(t, cmd)
	n := ino(t, cmd.Process.Pid, "uts")
	got := lsJSON(t).find(t, n).command()
	if len(got) < 4000 || len(got) > 4096 || !strings.HasPrefix(got, "sh -c read x aaa") {
		t.Errorf("%d bytes: %.60q", len(got), got)
	}
}

package attack

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sloppy is what an operator's shell may hand on: see testdata/attack.c.
func sloppy(t *testing.T) []string { return []string{program(t, "attack"), "sloppy"} }

// A descriptor of the host's "/" is the host, to the program that inherits it.
func TestFDLeak(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		text := facts(t, by, quiet(t), sloppy(t)...)
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); f[0] == "fd" {
				if n, err := strconv.Atoi(f[1]); err != nil || n > 2 {
					return line
				}
			}
			if strings.HasPrefix(line, "host file") {
				return line
			}
		}
		fact(t, text, "fd 0")
		fact(t, text, "fd 2")
		return ""
	}}.run(t)
}

// A working directory outside the new root is the host too. The kernel moves
// that of a process that joins a mount namespace, so the control is a program
// that changes its root only.
func TestCwdLeak(t *testing.T) {
	attack{plain("-r"), func(t *testing.T, by entrant) string {
		c := quiet(t)
		cmd := command(t, by.expand(t, c, "/bin/attack", "facts")...)
		cmd.Dir = t.TempDir()
		if cwd := fact(t, output(t, cmd), "cwd "); !strings.HasPrefix(cwd, "/") {
			return cwd
		}
		return ""
	}}.run(t)
}

func TestEnvLeak(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		cmd := command(t, by.expand(t, quiet(t), "/bin/attack", "facts")...)
		cmd.Env = append(os.Environ(), "AWS_SECRET_ACCESS_KEY=hunter2")
		text := output(t, cmd)
		fact(t, text, "ids ")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "env AWS") || strings.HasPrefix(line, "env NSTEST") || strings.HasPrefix(line, "env GO") {
				return line
			}
		}
		return ""
	}}.run(t)
}

func TestGroupsKept(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		return fact(t, facts(t, by, quiet(t), sloppy(t)...), "groups")
	}}.run(t)
}

func TestKeyring(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		// No filter: Docker's forbids keyctl(2), and it is not to be the
		// filter that holds here.
		c := newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		text := facts(t, by, c, program(t, "attack"), "withkey")
		if strings.Contains(text, "\nkey hunter2") {
			return "the key was read"
		}
		return ""
	}}.run(t)
}

// What is left of the operator's process that is no secret but in the way:
// umask, ignored and blocked signals, resource limits, OOM score, session.
func TestHygiene(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault, "-m", "027", "-l", "512", "-o", "300"}, "/bin/attack", "sleep")
		text := facts(t, by, c, sloppy(t)...)
		var wrong []string
		for key, want := range map[string]string{
			"umask ":   "027",
			"SigIgn:":  "0000000000000000",
			"SigBlk:":  "0000000000000000",
			"nofile ":  "512 512",
			"session ": "own",
		} {
			if got := fact(t, text, key); got != want {
				wrong = append(wrong, key+got)
			}
		}
		if !strings.Contains(text, "\n300\n") {
			wrong = append(wrong, "oom_score_adj")
		}
		slices.Sort(wrong)
		return strings.Join(wrong, ", ")
	}}.run(t)
}

// A file opened for reading can be opened anew for writing, and one opened for
// appending for reading, through /proc/self/fd.
func TestStdioReopen(t *testing.T) {
	attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		path := filepath.Join(t.TempDir(), "file")
		mustWrite(t, path, "hunter2", 0o600)
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := command(t, by.expand(t, c, "/bin/attack", "reopen", "0")...)
		cmd.Stdin = in
		said, err := cmd.CombinedOutput()
		if !strings.Contains(string(said), "tried") {
			t.Fatalf("%v: %s", err, said)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "hunter2" {
			return "the input file was overwritten"
		}

		out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		var text strings.Builder
		cmd = command(t, by.expand(t, c, "/bin/attack", "reopen", "1")...)
		cmd.Stdout, cmd.Stderr = out, &text
		err = cmd.Run()
		if !strings.Contains(text.String(), "tried") {
			t.Fatalf("%v: %s", err, text.String())
		}
		if strings.Contains(text.String(), "hunter2") {
			return "the output file was read"
		}
		return ""
	}}.run(t)
}

// A pipe can be opened anew too, both ends of it: a script that a shell reads
// from there can be added to, and what others write there be read. And what the
// program does not read of the script is the shell's.
func TestPipeReopen(t *testing.T) {
	t.Run("in", attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		script := strings.Join(by.expand(t, c, "/bin/attack", "script"), " ") + "\necho the rest\n"
		cmd := command(t, "/bin/busybox", "sh")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		said := func() string {
			b, err := os.ReadFile(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		cmd.Stdout, cmd.Stderr = file, file
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte(script)); err != nil {
			t.Fatal(err)
		}
		eventually(patience, func() bool { return strings.Contains(said(), "the rest") })
		time.Sleep(200 * time.Millisecond)
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, said())
		}
		if !strings.Contains(said(), "the rest") || !strings.Contains(said(), "written") {
			t.Errorf("%s: the shell said %q", by.name, said())
		}
		if strings.Contains(said(), "PWND") {
			return "the shell outside did what the program wrote"
		}
		return ""
	}}.run)
	t.Run("out", attack{nsenter, func(t *testing.T, by entrant) string {
		c := newCage(t, nil, []string{"-c", capsDefault}, "/bin/attack", "sleep")
		line := `{ echo hunter2; "$@"; } | { sleep 1; cat >/dev/null; }`
		out, err := command(t, append([]string{"/bin/busybox", "sh", "-c", line, "sh"}, by.expand(t, c, "/bin/attack", "reopen", "1")...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "tried") {
			t.Fatalf("%v: %s", err, out)
		}
		if strings.Contains(string(out), "hunter2") {
			return "what others wrote was read"
		}
		return ""
	}}.run)
}

// --wdns is looked up inside: there it may be a link to what the caller holds.
func TestWdSymlink(t *testing.T) {
	for _, link := range []string{"/proc/self/fd/7", "/proc/self/cwd/..", "/proc/thread-self/fd/7"} {
		a := attack{plain("-w", "/wd"), func(t *testing.T, by entrant) string {
			c := newCage(t, func(root string) {
				if err := os.Symlink(link, filepath.Join(root, "wd")); err != nil {
					t.Fatal(err)
				}
			}, []string{"-c", capsDefault}, "/bin/attack", "sleep")
			if by.name == nstool.name {
				by.words = []string{"nstool", "enter", "-p", "PID", "-a", "--wdns=/wd", "--"}
			}
			cmd := command(t, append(sloppy(t), by.expand(t, c, "/bin/attack", "facts")...)...)
			out, err := cmd.Output()
			if by.name == nstool.name && len(out) == 0 && err != nil {
				return "" // refused
			}
			if cwd := fact(t, string(out), "cwd "); !strings.HasPrefix(cwd, "/") {
				return cwd
			}
			return ""
		}}
		if link == "/proc/self/cwd/.." {
			// Nobody falls for this one, since the kernel has moved the
			// working directory by then: there is no control.
			t.Run("cwd", func(t *testing.T) {
				if won := a.try(t, nstool); won != "" {
					t.Error(won)
				}
			})
			continue
		}
		t.Run(filepath.Base(filepath.Dir(link)), a.run)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A protection is what entering a container does beyond joining it, and what
// is to be paid for it: the same entry with one thing more.
type protection struct {
	name    string
	cage    []string // options of the container, see test/attack/testdata/cage.c
	flags   []string // of nstool enter
	cgroups bool     // the container is in control groups of its own
	file    bool     // the output goes to a file
}

var (
	nothing     = []string{"--privileged", "--raw-stdio"}
	protections = []protection{
		{name: "joins alone", flags: nothing},
		{name: "  a pipe for a file", flags: []string{"--privileged"}, file: true},
		{name: "  capability sets", cage: []string{"-c", "a80425fb"}, flags: nothing[1:]},
		{name: "  no_new_privs", cage: []string{"-n"}, flags: nothing[1:]},
		{name: "  seccomp filter", cage: []string{"-n", "-s"}, flags: nothing[1:]},
		{name: "  limits, OOM score", cage: []string{"-l", "512", "-o", "100"}, flags: nothing[1:]},
		{name: "  cgroups", flags: nothing[1:], cgroups: true},
		{name: "all of it", cage: []string{"-c", "a80425fb", "-n", "-s", "-l", "512", "-o", "100"}, cgroups: true, file: true},
	}
)

// protect measures what each protection costs, and what the proxy carries.
func (b *bench) protect() error {
	if !strings.Contains("protections and throughput", b.only) {
		return nil
	}
	root, err := b.cageRoot()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "protections, each beside the joins alone of nstool and of nsenter\n")
	var base float64
	for _, p := range protections {
		if err := b.inCage(root, p, func(pid int) error {
			ours := append(append([]string{filepath.Join(b.dir, "nstool"), "enter", "-p", strconv.Itoa(pid), "-a"}, p.flags...), "--", "/bin/busybox", "true")
			peer := []string{"nsenter", "-t", strconv.Itoa(pid), "-a", "/bin/busybox", "true"}
			t, err := b.inTurn(p.file, ours, peer)
			if err != nil {
				return err
			}
			if base == 0 {
				base = t[0]
			}
			fmt.Fprintf(b.out, "  %-22s %12.2f %12.2f %7.3f   %+.2f ms\n", p.name, t[0], t[1], t[0]/t[1], t[0]-base)
			return nil
		}); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "throughput, MB/s, of nstool and of nsenter\n")
	return b.inCage(root, protection{cage: []string{"-c", "a80425fb"}}, func(pid int) error { return b.carry(pid) })
}

// cageRoot builds the container's program and makes its root file system.
func (b *bench) cageRoot() (string, error) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/nstool/nstool/test/attack").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	if out, err := exec.Command("gcc", "-static", "-O1", "-o", filepath.Join(b.dir, "cage"), filepath.Join(strings.TrimSpace(string(dir)), "testdata/cage.c")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cage: %w: %s", err, out)
	}
	root := filepath.Join(b.dir, "root")
	for _, d := range []string{"bin", "proc", "tmp", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	return root, os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755)
}

// inCage calls f with the process of a container.
func (b *bench) inCage(root string, p protection, f func(pid int) error) error {
	options := p.cage
	if p.cgroups {
		dirs, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
		if err != nil {
			return err
		}
		if len(dirs) == 0 {
			dirs = []string{"/sys/fs/cgroup/cgroup.procs"}
		}
		for _, procs := range dirs {
			dir := filepath.Join(filepath.Dir(procs), "nstool-bench")
			if strings.Contains(procs, "cpuset") || os.Mkdir(dir, 0o755) != nil {
				continue
			}
			defer func() {
				for range 100 {
					if os.Remove(dir) == nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			options = append(options, "-g", filepath.Join(dir, "cgroup.procs"))
		}
	}
	cmd := exec.Command(filepath.Join(b.dir, "cage"), append(append(options, root), "/bin/busybox", "sleep", "1000")...)
	cmd.Stderr = os.Stderr
	line, end, err := stay(cmd)
	if err != nil {
		return err
	}
	defer end()
	pid, err := strconv.Atoi(line)
	if err != nil {
		return fmt.Errorf("cage: %w", err)
	}
	return f(pid)
}

// inTurn returns the best times of two commands, in milliseconds.
func (b *bench) inTurn(file bool, commands ...[]string) (best []float64, err error) {
	best = make([]float64, len(commands))
	for range 3*b.runs + 1 {
		for i, words := range commands {
			cmd := exec.Command(words[0], words[1:]...)
			if file {
				out, err := os.Create(filepath.Join(b.dir, "out"))
				if err != nil {
					return nil, err
				}
				defer out.Close()
				cmd.Stdout = out
			}
			start := time.Now()
			if err := cmd.Run(); err != nil {
				return nil, fmt.Errorf("%v: %w", words, err)
			}
			if t := float64(time.Since(start).Microseconds()) / 1000; best[i] == 0 || t < best[i] {
				best[i] = t
			}
		}
	}
	return best, nil
}

// carry measures how many bytes get through.
func (b *bench) carry(pid int) error {
	const size = 256 << 20
	in := filepath.Join(b.dir, "in")
	if err := os.WriteFile(in, make([]byte, size), 0o600); err != nil {
		return err
	}
	ways := [][]string{
		{filepath.Join(b.dir, "nstool"), "enter", "-p", strconv.Itoa(pid), "-a", "--"},
		{"nsenter", "-t", strconv.Itoa(pid), "-a", "--"},
	}
	for _, row := range []struct {
		name    string
		program []string
		run     func(cmd *exec.Cmd) error
	}{
		{"file in", []string{"/bin/busybox", "sh", "-c", "cat >/dev/null"}, func(cmd *exec.Cmd) error { return redirected(cmd, in, "") }},
		{"pipe in", []string{"/bin/busybox", "sh", "-c", "cat >/dev/null"}, func(cmd *exec.Cmd) error {
			cmd.Stdin = io.LimitReader(zeros{}, size)
			return cmd.Run()
		}},
		{"file out", []string{"/bin/busybox", "dd", "if=/dev/zero", "bs=1M", "count=256"}, func(cmd *exec.Cmd) error { return redirected(cmd, "", filepath.Join(b.dir, "out")) }},
		{"file in and out", []string{"/bin/busybox", "cat"}, func(cmd *exec.Cmd) error { return redirected(cmd, in, filepath.Join(b.dir, "out")) }},
		{"pipe out", []string{"/bin/busybox", "dd", "if=/dev/zero", "bs=1M", "count=256"}, piped},
		{"terminal out", []string{"/bin/busybox", "sh", "-c", "stty -opost; exec dd if=/dev/zero bs=1M count=256 2>/dev/null"}, onTerminal},
	} {
		var rate [2]float64
		for range 3 {
			for i, way := range ways {
				words := append(append([]string{}, way...), row.program...)
				start := time.Now()
				if err := row.run(exec.Command(words[0], words[1:]...)); err != nil {
					return fmt.Errorf("%v: %w", words, err)
				}
				rate[i] = max(rate[i], size/1e6/time.Since(start).Seconds())
			}
		}
		fmt.Fprintf(b.out, "  %-22s %12.0f %12.0f %7.3f\n", row.name, rate[0], rate[1], rate[0]/rate[1])
	}
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func redirected(cmd *exec.Cmd, in, out string) error {
	if in != "" {
		f, err := os.Open(in)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	if out != "" {
		f, err := os.Create(out)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdout = f
	}
	return cmd.Run()
}

func piped(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(onlyWriter{}, out, make([]byte, 1<<20)); err != nil {
		return err
	}
	return cmd.Wait()
}

// onlyWriter keeps io.CopyBuffer from other ways than its buffer.
type onlyWriter struct{}

func (onlyWriter) Write(b []byte) (int, error) { return len(b), nil }

func onTerminal(cmd *exec.Cmd) error {
	master, slave, err := sys.OpenPty()
	if err != nil {
		return err
	}
	if err := sys.SetNonblock(master); err != nil {
		return err
	}
	tty, ptmx := os.NewFile(uintptr(slave), "tty"), os.NewFile(uintptr(master), "ptmx")
	defer ptmx.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	tty.Close()
	if err != nil {
		return err
	}
	go io.CopyBuffer(onlyWriter{}, ptmx, make([]byte, 1<<20)) // ends with the terminal
	return cmd.Wait()
}

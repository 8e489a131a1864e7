// Command picture draws the picture of a session that stands in the README.
//
//	go run ./test/picture
//
// It starts three containers on Docker, as root, types commands on a terminal,
// and writes what was seen to test/picture/session.svg. Nothing in it is made
// up; but for the numbers it is the same on every machine. The containers and
// their image are removed.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nstool/nstool/internal/nstest"
)

const (
	image   = "shop/web:1.4"
	columns = 100
)

// containers are what is started: a name, and what follows `docker run -d`.
var containers = []struct{ name, args string }{
	{"web", "-h web --read-only -u 65532:65532 " + image},
	{"sidecar", "--network container:web " + image + " /httpd -f -p 127.0.0.1:9090"},
	{"agent", "--network host --pid host " + image + " /httpd -f -p 127.0.0.1:9101"},
}

// session is what is typed: commands, and what is typed into each.
var session = []struct {
	command string
	typed   []string
}{
	{command: "nstool containers web sidecar agent"},
	{command: "nstool ls web"},
	{command: "nstool enter -c web"},
	{"nstool enter -c web --tools", []string{"ps ax", "cat /etc/app.yaml", "curl -s 127.0.0.1:8080", "exit"}},
	{command: "nstool cp web:/etc/app.yaml . && ls"},
}

func main() {
	if err := run("test/picture/session.svg"); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(to string) (err error) {
	dir, err := os.MkdirTemp("", "picture")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin/nstool"), "./cmd/nstool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	stop, err := startContainers()
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	screen := &screen{}
	for _, s := range session {
		screen.write("\x1b[1m# " + s.command + "\x1b[0m\r\n")
		out, err := typed(filepath.Join(dir, "bin"), work, s.command, s.typed)
		if err != nil {
			return fmt.Errorf("%s: %w", s.command, err)
		}
		screen.write(out)
		screen.write("\r\n")
	}
	return os.WriteFile(to, screen.svg(), 0o644)
}

// startContainers starts the containers. The function that it returns removes
// them, and their image, in any case.
func startContainers() (stop func() error, err error) {
	stop = func() error { return nil }
	for _, c := range containers {
		if exec.Command("docker", "inspect", c.name).Run() == nil {
			return stop, fmt.Errorf("there is a container %q here already", c.name)
		}
	}
	if exec.Command("docker", "image", "inspect", image).Run() == nil {
		return stop, fmt.Errorf("there is an image %s here already", image)
	}
	archive, err := files()
	if err != nil {
		return stop, err
	}
	load := exec.Command("docker", "import", "-c", `CMD ["/httpd","-f","-p","127.0.0.1:8080","-h","/srv"]`, "-", image)
	load.Stdin = archive
	if out, err := load.CombinedOutput(); err != nil {
		return stop, fmt.Errorf("docker import: %w: %s", err, out)
	}
	started := []string{"rm", "-f"}
	stop = func() error {
		if len(started) > 2 {
			if out, err := exec.Command("docker", started...).CombinedOutput(); err != nil {
				return fmt.Errorf("docker rm: %w: %s", err, out)
			}
		}
		return exec.Command("docker", "rmi", image).Run()
	}
	for _, c := range containers {
		started = append(started, c.name)
		args := append([]string{"run", "-d", "--name", c.name}, strings.Fields(c.args)...)
		if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
			return stop, fmt.Errorf("docker run %s: %w: %s", c.name, err, out)
		}
	}
	return stop, nil
}

// files returns the files of the image: one static program, and no shell.
func files() (*bytes.Buffer, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	httpd, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name, text string
		mode       int64
	}{
		{"httpd", string(httpd), 0o755},
		{"etc/app.yaml", "listen: 127.0.0.1:8080\nroot: /srv\n", 0o644},
		{"srv/index.html", "hello from web\n", 0o644},
		{"tmp/.keep", "", 0o644},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	return &out, w.Close()
}

// typed runs a command on a terminal, types the lines when the prompt asks for
// them, and returns what was seen.
func typed(bin, dir, command string, lines []string) (string, error) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=xterm-256color", "LANG=C.UTF-8"}
	seen := &typist{lines: lines, asked: make(chan struct{}, 1)}
	err := nstest.RunOnTerminal(cmd, columns, 60, seen, seen)
	close(seen.asked)
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return "", err
	}
	// What else runs on the machine, and may not be looked at, is not the matter.
	var kept strings.Builder
	for line := range strings.Lines(seen.out.String()) {
		if !strings.Contains(line, "processes could not be read") {
			kept.WriteString(line)
		}
	}
	return kept.String(), nil
}

// A typist types a line for every prompt that it sees.
type typist struct {
	mu    sync.Mutex
	out   strings.Builder
	lines []string
	asked chan struct{}
	rest  string
}

func (t *typist) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.Write(p)
	if strings.HasSuffix(t.out.String(), "# ") {
		select {
		case t.asked <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

func (t *typist) Read(p []byte) (int, error) {
	if t.rest == "" {
		if _, ok := <-t.asked; !ok || len(t.lines) == 0 {
			return 0, errors.New("there is nothing to type")
		}
		t.rest, t.lines = t.lines[0]+"\n", t.lines[1:]
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

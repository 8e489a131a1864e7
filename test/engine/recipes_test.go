package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// recipes returns the commands of the README's recipes, which the manual page
// has too.
func recipes(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../man/nstool-enter.1")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "\n## Recipes\n\n```\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md has no recipes")
	}
	var list []string
	for line := range strings.Lines(block) {
		command, _, _ := strings.Cut(line, "#")
		command = strings.TrimSpace(command)
		if !strings.Contains(string(page), "\n"+command+"\n") {
			t.Errorf("the manual page has no %q", command)
		}
		list = append(list, command)
	}
	return list
}

// TestRecipes runs the recipes as they are printed, with other names.
func TestRecipes(t *testing.T) {
	nstest.Need(t, "root", "docker", "containerd", "tcpdump", "strace", "curl")
	server := startServer(t, engine.Docker)
	crashing := engine.Start(t, engine.Docker, engine.Options{
		Args:    []string{"--restart", "always"},
		Command: []string{"/bin/sh", "-c", "busybox mkdir -p /var/log; echo last words >/var/log/app.log; sleep 1; exit 1"},
	})
	pod := engine.StartPod(t, false, "app")
	web := exec.Command(nstest.Nstool(t), "enter", "-p", fmt.Sprint(pod.Containers[0].PID), "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
	if err := web.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = web.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		_ = web.Wait()                       //nolint:errcheck // it was interrupted
	}()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String()) //nolint:errcheck // it is one
	free.Close()

	visit := func() {
		_ = exec.Command(nstest.Nstool(t), "enter", "-c", server.Name, "--net", "curl", "-s", "127.0.0.1:8080").Run() //nolint:errcheck // it is seen in the output
	}
	for _, r := range []struct {
		with  string // what the recipe is known by
		name  string // of the container
		stdin string
		want  string // in the output
		poke  func() // again and again until it is there
	}{
		{"--tools", server.Name, "cat /etc/app.yaml; ps ax; exit\n", `(?s)port: 8080.*/server`, nil},
		{"tcpdump", server.Name, "", `127\.0\.0\.1\.8080: Flags \[S\]`, visit},
		{"strace", server.Name, "", `(?s)attached.*(accept4|read|write|epoll_pwait|futex)\(`, visit},
		{"forward", crashing.Name, "", `127.0.0.1:` + port, nil},
		{" cp ", crashing.Name, "", ``, nil},
	} {
		t.Run(r.with, func(t *testing.T) {
			var command string
			for _, c := range recipes(t) {
				if strings.Contains(c, r.with) && (command == "" || len(c) < len(command)) {
					command = c
				}
			}
			command = strings.NewReplacer(" web", " "+r.name, "shop/cart", pod.Namespace+"/"+pod.Name, "8080:", port+":").Replace(command)
			words := strings.Fields(command)
			if len(words) < 2 || words[0] != "nstool" {
				t.Fatalf("no recipe with %s: %q", r.with, command)
			}
			cmd := exec.Command(nstest.Nstool(t), words[1:]...)
			cmd.Dir = t.TempDir()
			cmd.Stdin = strings.NewReader(r.stdin)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = cmd.Stdout
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			guard := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
			defer guard.Stop()
			said := watch(out, regexp.MustCompile(r.want), r.poke)
			switch r.with {
			case "forward":
				conn, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err != nil {
					t.Errorf("%v: %s", err, said)
					break
				}
				fmt.Fprintf(conn, "GET /passwd HTTP/1.0\r\n\r\n")
				if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "root:") {
					t.Errorf("%v: %q", err, b)
				}
				conn.Close()
			case " cp ":
				if err := cmd.Wait(); err != nil {
					t.Errorf("%s: %v: %s", command, err, said)
				}
				if b, err := os.ReadFile(filepath.Join(cmd.Dir, "app.log")); err != nil || string(b) != "last words\n" {
					t.Errorf("%s: %v: %q: %s", command, err, b, said)
				}
				return
			}
			if !regexp.MustCompile(r.want).MatchString(said) {
				t.Errorf("%s: %s", command, said)
			}
			_ = cmd.Process.Signal(os.Interrupt)            //nolint:errcheck // it may have ended
			go func() { _, _ = io.Copy(io.Discard, out) }() //nolint:errcheck // it ends with the program
			_ = cmd.Wait()                                  //nolint:errcheck // it was interrupted
		})
	}
}

// watch reads until what was said is what is wanted, or nothing more comes.
func watch(out io.Reader, want *regexp.Regexp, poke func()) (said string) {
	over := make(chan struct{})
	defer close(over)
	if poke != nil {
		go func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(100 * time.Millisecond):
					poke()
				}
			}
		}()
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		said += line
		if err != nil || want.String() != "" && want.MatchString(said) {
			return said
		}
	}
}

package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// cp runs nstool cp and returns what was written, standard error too.
func cp(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(nstest.Nstool(t), append([]string{"cp"}, args...)...).CombinedOutput()
	return string(out), err
}

// mountsOf returns the mount table of a process.
func mountsOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCp copies out of containers of every engine, and into them.
func TestCp(t *testing.T) {
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{})
			dir := nstest.Dir(t)
			target := string(e) + ":" + c.Name
			before := mountsOf(t, c.PID)
			if out, err := cp(t, target+":/etc/passwd", dir); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/etc/passwd", c.PID))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "passwd")
			if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
				t.Errorf("%v: %s", err, got)
			}
			if out, err := cp(t, file, target+":/tmp/new"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if out, err := enter(t, "-p", target, "cat", "/tmp/new"); err != nil || out != string(want) {
				t.Errorf("%v: %s", err, out)
			}
			if mountsOf(t, c.PID) != before {
				t.Error("it has other mounts now")
			}
		})
	}
	t.Run("pod", func(t *testing.T) {
		t.Parallel()
		p := engine.StartPod(t, false, "web", "side")
		pod := fmt.Sprintf("pod:%s/%s", p.Namespace, p.Name)
		if out, err := cp(t, pod+"/web:/etc/passwd", "-"); err != nil || !strings.HasPrefix(out, "root:x:0:0:") {
			t.Errorf("%v: %s", err, out)
		}
		if out, err := cp(t, pod+":/etc/passwd", "-"); err == nil || !strings.Contains(out, pod+"/side") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestCpReadOnly copies into the tmpfs of a container with a read-only root,
// without a shell, that runs as an ordinary user. What is mounted on a file
// stays mounted there.
func TestCpReadOnly(t *testing.T) {
	c := engine.Start(t, engine.Docker, engine.Options{Bare: true, Args: []string{"--read-only", "--tmpfs", "/scratch", "-u", "65532:65532"}})
	dir := nstest.Dir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	before := mountsOf(t, c.PID)
	if out, err := cp(t, file, c.Name+":/scratch/"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	st, err := exec.Command("stat", "-c", "%u:%g %a", fmt.Sprintf("/proc/%d/root/scratch/file", c.PID)).Output()
	if err != nil || string(st) != "65532:65532 640\n" {
		t.Errorf("%v: %s", err, st)
	}
	if out, err := cp(t, c.Name+":/scratch/file", "-"); err != nil || out != "text" {
		t.Errorf("%v: %s", err, out)
	}
	want := fmt.Sprintf("nstool: cp: %s:/file: read-only file system\nhint: /scratch can be written to there\n", c.Name)
	if out, err := cp(t, file, c.Name+":/"); err == nil || out != want {
		t.Errorf("%v: %s", err, out)
	}
	if mountsOf(t, c.PID) != before {
		t.Error("it has other mounts now")
	}

	c = engine.Start(t, engine.Docker, engine.Options{})
	before = mountsOf(t, c.PID)
	if out, err := cp(t, file, c.Name+":/etc/hosts"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := enter(t, "-c", c.Name, "cat", "/etc/hosts"); err != nil || out != "text" {
		t.Errorf("%v: %s", err, out)
	}
	if mountsOf(t, c.PID) != before {
		t.Error("/etc/hosts is not mounted any more")
	}
}

// TestCpCrashing gets a file out of a container that crashes again and again.
func TestCpCrashing(t *testing.T) {
	c := engine.Start(t, engine.Docker, engine.Options{
		Args:    []string{"--restart", "always"},
		Command: []string{"/bin/sh", "-c", "echo it crashed >>/app.log; sleep 0.1; exit 1"},
	})
	for range 3 {
		if out, err := cp(t, "--wait=1m", c.Name+":/app.log", "-"); err != nil || !strings.HasPrefix(out, "it crashed\n") {
			t.Errorf("%v: %s", err, out)
		}
	}
	c.Stop()
	if out, err := cp(t, c.Name+":/app.log", "-"); err == nil || strings.Count(out, "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestForward reaches what listens on the loopback interface of a container of
// every engine, and of a pod.
func TestForward(t *testing.T) {
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			o := engine.Options{}
			if e == engine.Nspawn {
				o.Args = []string{"--private-network"}
			}
			target := string(e) + ":" + engine.Start(t, e, o).Name
			if e == engine.LXC { // whose loopback interface the busybox in there leaves down
				if out, err := enter(t, "-p", target, "--net", "ip", "link", "set", "lo", "up"); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			forward(t, target, target)
		})
	}
	t.Run("pod", func(t *testing.T) {
		t.Parallel()
		p := engine.StartPod(t, false, "web", "side")
		pod := fmt.Sprintf("pod:%s/%s", p.Namespace, p.Name)
		forward(t, pod, pod+"/web")
	})
}

// forward has a server in one container, and asks it by way of the target.
func forward(t *testing.T, target, container string) {
	t.Helper()
	server := exec.Command(nstest.Nstool(t), "enter", "-p", container, "/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Signal(os.Interrupt)
	cmd := exec.Command(nstest.Nstool(t), "forward", target, ":8080")
	cmd.Stderr = os.Stderr
	says, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(says).ReadString('\n')
	at, rest, _ := strings.Cut(line, " ")
	if err != nil || rest != "-> "+target+" 127.0.0.1:8080\n" {
		t.Errorf("%v: %s", err, line)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var reply *http.Response
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if reply, err = client.Get("http://" + at + "/passwd"); err == nil {
			break // the server listens
		}
	}
	if err != nil {
		t.Error(err)
	} else {
		b, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if text := string(b); err != nil || !strings.HasPrefix(text, "root:x:0:0:") {
			t.Errorf("%v: %s", err, text)
		}
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestForwardEnds with the container.
func TestForwardEnds(t *testing.T) {
	c := engine.Start(t, engine.Docker, engine.Options{})
	cmd := exec.Command(nstest.Nstool(t), "forward", c.Name, ":80")
	var said strings.Builder
	cmd.Stderr = &said
	says, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(says).ReadString('\n'); err != nil {
		t.Error(err)
	}
	c.Stop()
	if err := cmd.Wait(); err == nil || said.String() != "nstool: forward: "+c.Name+" has ended\n" {
		t.Errorf("%v: %s", err, said.String())
	}
}

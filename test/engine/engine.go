// Package engine starts real containers for tests, of every engine that runs
// on a Debian machine, and removes them.
//
//	c := engine.Start(t, engine.Docker, engine.Options{})
//	fmt.Println(c.ID, c.Name, c.PID)
//
// A test that asks for an engine that is not there is skipped; see
// [nstest.Need]. The image is made here, of busybox, so no registry is asked.
// .ci/run installs and starts what is needed.
package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
)

// An Engine is one that can be started here. Its value is the word for it in a
// target, "docker:web".
type Engine string

const (
	Docker     Engine = "docker"
	Podman     Engine = "podman"
	Containerd Engine = "containerd" // by ctr, in containerd's namespace k8s.io; see StartPod for CRI
	LXC        Engine = "lxc"
	Nspawn     Engine = "nspawn"
)

// All are the engines that Start knows.
var All = []Engine{Docker, Podman, Containerd, LXC, Nspawn}

// Options say how a container differs from the plain one, which sleeps in our
// image with all that the engine isolates by default.
type Options struct {
	// Name is the container's; by default one that nothing else has.
	Name string
	// Args are flags for the engine's run command: `docker run ARGS`, of
	// podman, ctr and systemd-nspawn too. LXC has none.
	Args []string
	// Command is run in place of a long sleep. LXC always runs its init.
	Command []string
	// Bare takes an image with one static program, /sleep, and no shell.
	// Docker, podman and containerd have it.
	Bare bool
	// Server takes an image with a server, /server, on port 8080 of the loopback
	// interface, and its settings, /etc/app.yaml. Docker, podman and containerd
	// have it.
	Server bool
}

// A Container is running.
type Container struct {
	Engine Engine
	ID     string // the engine's; of LXC and nspawn the name
	Name   string
	Image  string // a path for LXC and nspawn
	PID    int    // of its init, in the PID namespace of the test

	stop func() error
	once sync.Once
	t    testing.TB
}

// Stop ends and removes the container. It is done at the end of the test too.
func (c *Container) Stop() {
	c.t.Helper()
	c.once.Do(func() {
		if err := c.stop(); err != nil {
			c.t.Errorf("stop %s container %s: %v", c.Engine, c.Name, err)
		}
	})
}

// Start starts a container, which is removed at the end of the test. The test
// is skipped if there is no such engine.
func Start(t testing.TB, engine Engine, o Options) *Container {
	t.Helper()
	long(t)
	nstest.Need(t, "root", string(engine))
	if o.Name == "" {
		o.Name = "nstool-" + strings.ToLower(rand.Text()[:8])
	}
	c := &Container{Engine: engine, Name: o.Name, ID: o.Name, t: t}
	t.Cleanup(c.Stop)
	start := map[Engine]func(testing.TB, *Container, Options) error{
		Docker:     startDocker,
		Podman:     startPodman,
		Containerd: startContainerd,
		LXC:        startLXC,
		Nspawn:     startNspawn,
	}[engine]
	c.stop = func() error { return nil }
	if err := start(t, c, o); err != nil {
		t.Fatalf("start %s container %s: %v", engine, o.Name, err)
	}
	return c
}

// long skips a test that takes a second or more where it is to be short.
func long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real container")
	}
}

// command is what the container is to run.
func (o Options) command() []string {
	switch {
	case len(o.Command) > 0:
		return o.Command
	case o.Bare:
		return []string{"/sleep", "10000"}
	case o.Server:
		return []string{"/server"}
	}
	return []string{"/bin/sleep", "10000"}
}

func (o Options) image(t testing.TB, load ...string) string {
	if o.Bare {
		return image(t, "bare", load...)
	}
	if o.Server {
		return image(t, "server", load...)
	}
	return image(t, "latest", load...)
}

func startDocker(t testing.TB, c *Container, o Options) (err error) {
	c.Image = o.image(t, "docker", "load", "-i")
	c.stop = func() error { return run("docker", "rm", "-f", "-v", c.Name) }
	args := append([]string{"run", "-d", "--name", c.Name}, o.Args...)
	if c.ID, err = output("docker", append(append(args, c.Image), o.command()...)...); err != nil {
		return err
	}
	c.PID, err = number(output("docker", "inspect", "-f", "{{.State.Pid}}", c.Name))
	return err
}

// podman runs podman where cgroups are hybrid, which crun refuses.
func podman(args ...string) []string {
	return append([]string{"--runtime", "runc", "--cgroup-manager", "cgroupfs"}, args...)
}

func startPodman(t testing.TB, c *Container, o Options) (err error) {
	c.Image = o.image(t, "podman", "load", "-i")
	c.stop = func() error { return run("podman", podman("rm", "-f", "-v", "-t", "0", c.Name)...) }
	// More than the caller's own limits takes CAP_SYS_RESOURCE.
	args := podman("run", "-d", "--name", c.Name, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
	args = append(append(append(args, o.Args...), c.Image), o.command()...)
	if c.ID, err = output("podman", args...); err != nil {
		return err
	}
	c.PID, err = number(output("podman", podman("inspect", "-f", "{{.State.Pid}}", c.Name)...))
	return err
}

func startContainerd(t testing.TB, c *Container, o Options) (err error) {
	c.Image = o.image(t, "ctr", "-n", "k8s.io", "images", "import")
	c.stop = func() error {
		if _, err := output("ctr", "-n", "k8s.io", "task", "delete", "-f", c.Name); err != nil && !strings.Contains(err.Error(), "not found") {
			return err
		}
		return run("ctr", "-n", "k8s.io", "container", "delete", c.Name)
	}
	args := append([]string{"-n", "k8s.io", "run", "-d"}, o.Args...)
	if err := run("ctr", append(append(args, c.Image, c.Name), o.command()...)...); err != nil {
		return err
	}
	list, err := output("ctr", "-n", "k8s.io", "task", "ls")
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == c.Name {
			c.PID, err = strconv.Atoi(f[1])
			return err
		}
	}
	return fmt.Errorf("no task in %q", list)
}

func startLXC(_ testing.TB, c *Container, _ Options) (err error) {
	c.Image = filepath.Join("/var/lib/lxc", c.Name, "rootfs")
	if err := run("lxc-create", "-n", c.Name, "-t", "busybox"); err != nil {
		return err
	}
	c.stop = func() error {
		err := run("lxc-stop", "-k", "-n", c.Name)
		if err != nil && strings.Contains(err.Error(), "is not running") {
			err = nil
		}
		return errors.Join(err, run("lxc-destroy", "-n", c.Name))
	}
	config := filepath.Join("/var/lib/lxc", c.Name, "config")
	old, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(old)) {
		if !strings.HasPrefix(line, "lxc.net") {
			lines = append(lines, line)
		}
	}
	lines = append(lines, "lxc.net.0.type = empty\n")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "")), 0o600); err != nil {
		return err
	}
	if err := run("lxc-start", "-n", c.Name); err != nil {
		return err
	}
	c.PID, err = number(output("lxc-info", "-n", c.Name, "-p", "-H"))
	return err
}

func startNspawn(t testing.TB, c *Container, o Options) error {
	c.Image = nstest.Busybox(t)
	args := append([]string{"--register=no", "--keep-unit", "--quiet", "-D", c.Image, "-M", c.Name}, o.Args...)
	cmd := exec.Command("systemd-nspawn", append(args, o.command()...)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	c.stop = func() error {
		if c.PID != 0 {
			syscall.Kill(c.PID, syscall.SIGKILL)
		} else {
			cmd.Process.Kill()
		}
		<-exited // with the status of the container
		return nil
	}
	// It says nothing when it is ready, without systemd: look for the init.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("systemd-nspawn: %w: %s", err, said.String())
		default:
		}
		if c.PID = initOf(cmd.Process.Pid, o.command()[0]); c.PID != 0 {
			return nil
		}
	}
	return errors.New("systemd-nspawn: no init after 20 s")
}

// initOf returns the process below pid that is the first of its PID namespace
// and runs the program, or 0.
func initOf(pid int, program string) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, word := range strings.Fields(string(children)) {
		child, _ := strconv.Atoi(word)
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		if strings.Contains(string(status), fmt.Sprintf("\nNSpid:\t%d\t1\n", child)) && bytes.HasPrefix(cmdline, []byte(program+"\x00")) {
			return child
		}
		if found := initOf(child, program); found != 0 {
			return found
		}
	}
	return 0
}

// A Pod is a running pod of CRI, on containerd.
type Pod struct {
	ID         string
	Name       string
	Namespace  string
	UID        string
	Image      string // of its containers
	PID        int    // of the sandbox
	Containers []PodContainer

	stop func()
}

// A PodContainer is a container in a pod.
type PodContainer struct {
	Name, ID string
	PID      int
}

// Stop ends and removes the pod. It is done at the end of the test too.
func (p *Pod) Stop() { p.stop() }

var lent sync.Mutex

// lendImage gives our image the name of the one that holds pods, which containerd would
// otherwise pull from a registry, until the function that it returns is called.
func lendImage(t testing.TB, client, img string) (giveBack func()) {
	t.Helper()
	lent.Lock()
	name, err := output(client, "missing")
	if err == nil && name != "" {
		err = run("ctr", "-n", "k8s.io", "images", "tag", img, name)
	}
	if err != nil {
		lent.Unlock()
		t.Fatal(err)
	}
	return func() {
		defer lent.Unlock()
		if name == "" {
			return
		}
		if err := run("ctr", "-n", "k8s.io", "images", "rm", "--sync", name); err != nil {
			t.Error(err)
		}
	}
}

// StartPod starts a pod with these containers, which sleep. With hostNetwork it
// shares the network of the host; otherwise it has one of its own, from CNI.
// The pod is removed at the end of the test.
func StartPod(t testing.TB, hostNetwork bool, containers ...string) *Pod {
	t.Helper()
	long(t)
	nstest.Need(t, "root", "containerd", "go")
	img := image(t, "latest", "ctr", "-n", "k8s.io", "images", "import")
	uid := fmt.Sprintf("%x", rand.Text()[:16])
	uid = strings.Join([]string{uid[:8], uid[8:12], uid[12:16], uid[16:20], uid[20:]}, "-")
	p := &Pod{Namespace: "nstool-test", Name: "pod-" + uid[:8], UID: uid, Image: img}
	network := "pod"
	if hostNetwork {
		network = "node"
	}
	client := cri(t)
	defer lendImage(t, client, img)()
	out, err := output(client, append([]string{"start", p.Namespace, p.Name, uid, network, img}, containers...)...)
	if err != nil {
		t.Fatalf("start pod %s: %v", p.Name, err)
	}
	var once sync.Once
	p.stop = func() {
		t.Helper()
		once.Do(func() {
			if err := run(client, "stop", p.ID); err != nil {
				t.Errorf("stop pod %s: %v", p.Name, err)
			}
			dropCgroups(t, "kubepods/besteffort/pod"+uid)
		})
	}
	if err := json.Unmarshal([]byte(out), p); err != nil {
		t.Fatalf("start pod %s: %v: %s", p.Name, err, out)
	}
	t.Cleanup(p.stop)
	return p
}

// dropCgroups removes a control group that a pod was in, in every hierarchy, and
// those above it that nobody else is in: it is the kubelet who does that.
func dropCgroups(t testing.TB, group string) {
	t.Helper()
	for _, top := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		dirs, err := filepath.Glob(top + group)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil {
				t.Errorf("a control group is left: %v", err)
			}
			for range strings.Count(group, "/") {
				dir = filepath.Dir(dir)
				os.Remove(dir) //nolint:errcheck // another test may have a pod there
			}
		}
	}
}

var built sync.Map // of program to func() (string, error)

// build builds a program once in a test binary's life, and returns its path.
func build(t testing.TB, name, dir string, args ...string) string {
	t.Helper()
	f, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		to, err := os.MkdirTemp("", name) // which goes with the test binary
		if err != nil {
			return "", err
		}
		to = filepath.Join(to, name)
		cmd := exec.Command("go", append(append([]string{"build", "-o", to}, args...), ".")...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w: %s", name, err, out)
		}
		return to, nil
	}))
	path, err := f.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func cri(t testing.TB) string { return build(t, "cri", "../engine/cri") }

// run runs a program, and its error has what it said.
func run(program string, args ...string) error {
	_, err := output(program, args...)
	return err
}

// output runs a program and returns what it wrote, trimmed.
func output(program string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A daemon that the program leaves behind may keep the pipe open.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func number(s string, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err == nil && n == 0 {
		err = errors.New("it has no process")
	}
	return n, err
}

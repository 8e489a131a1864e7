package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// poser is who poses: a user who has no right to anything.
const poser = 54321

// A pose is a process that calls itself, or its control group, what it is not.
type pose struct {
	pid   int // of the child in namespaces of its own
	group string
}

// strike starts a pose, as the poser and with what is to be called so, and ends
// it with the test. The control is that everything about it says that it is the
// container: the words are what the engine's own would be.
func strike(t *testing.T, group string, argv ...string) pose {
	t.Helper()
	cmd := exec.Command(program(t, "pose"), append([]string{strconv.Itoa(poser), group}, argv...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	t.Cleanup(func() {
		// His child ends with him, a little later: until then it is in the list. It
		// is ours to reap then.
		_ = cmd.Process.Kill()
		for range 2000 {
			reapOrphans(cmd.Process.Pid)
			if _, err := os.Stat(fmt.Sprint("/proc/", pid)); err != nil {
				return
			}
			pause()
		}
	})
	if err != nil || pid == 0 {
		t.Fatalf("pose: %v: %s", err, said.String())
	}
	return pose{pid: pid, group: group}
}

// delegated makes a control group for the poser in each of the hierarchies that he
// is given, as systemd does for a user, and returns one.
func delegated(t *testing.T, hierarchy string) string {
	t.Helper()
	dir, err := os.MkdirTemp(hierarchy, "attack-")
	if err != nil {
		t.Skipf("no control groups of this kind: %v", err)
	}
	t.Cleanup(func() {
		// The poser was ended before, but his child may be on the way.
		for range 2000 {
			dirs, _ := filepath.Glob(dir + "/*")
			for _, d := range dirs {
				os.Remove(d) //nolint:errcheck // a file, or not empty yet
			}
			if err = os.Remove(dir); err == nil {
				return
			}
			pause()
		}
		t.Errorf("a control group is left: %v", err)
	})
	for _, name := range []string{"", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(dir, name), poser, poser); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as systemd has it
		t.Fatal(err)
	}
	return dir
}

// hierarchies are where version 2 and the one of systemd may be.
var hierarchies = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// says reports what nstool writes for some words, and with which success.
func says(t *testing.T, words ...string) (string, error) {
	t.Helper()
	cmd := command(t, append([]string{program(t, "nstool")}, words...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// isTakenFor fails the test if a pose is taken for what it calls itself: by any
// word that stands for a container, where victim is the process that it really
// stands for, or 0.
func (p pose) isTakenFor(t *testing.T, victim int, words ...string) {
	t.Helper()
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := says(t, "containers", "-n", "-o", "INIT"); !slices.Contains(strings.Fields(out), strconv.Itoa(p.pid)) {
		t.Errorf("process %d is in no list: %v: %s", p.pid, err, out)
	}
	for i, word := range words {
		out, err := says(t, "ls", "-n", "-t", "net", "-o", "NS,PID", word)
		switch inode := strings.Trim(own, "net:[]"); {
		case strings.Contains(out, inode):
			t.Errorf("ls %s: it is the poser's: %s", word, out)
		case victim == 0 && err == nil:
			t.Errorf("ls %s: %s", word, out)
		case victim != 0 && err != nil:
			t.Errorf("ls %s: %v: %s", word, err, out)
		}
		out, err = says(t, "enter", "-c", word, "--net", "readlink", "/proc/self/ns/net")
		want := ""
		if victim != 0 {
			want, _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/net", victim))
		}
		if strings.Contains(out, own) || victim == 0 && err == nil || victim != 0 && strings.TrimSpace(out) != want {
			t.Errorf("enter -c %s: %v: %s", word, err, out)
		}
		for _, more := range [][]string{
			{"cp", word + ":/etc/hostname", "-"},
			{"enter", "-p", "self", "--tools=" + word, "true"},
			{"forward", word, "--check", "127.0.0.1:0:1"},
			{"pin", "add", "attack-names", "-c", word},
		} {
			if victim != 0 || i > 0 {
				break // they mean that one, or find it in the same way
			}
			if out, err := says(t, more...); err == nil {
				t.Errorf("%s: %s", strings.Join(more, " "), out)
			}
		}
		if out, _ := says(t, "__complete", "enter", "-c", word); victim == 0 && strings.HasPrefix(out, word+"\t") {
			t.Errorf("completion offers %s", out)
		}
	}
}

// Whoever calls a process as an engine calls the one that watches over a container
// is not believed: not by an ordinary user's word.
func TestPoseAsMonitor(t *testing.T) {
	nstest.Need(t, "root", "gcc", "userns", "docker")
	real := engine.Start(t, engine.Docker, engine.Options{})
	id := nstest.ContainerID("attack")
	for name, c := range map[string]struct {
		argv   []string
		is     container.Engine
		victim int
		words  []string
	}{
		"nspawn":                     {[]string{"systemd-nspawn", "-M", "attack-web"}, container.Nspawn, 0, []string{"attack-web", "nspawn:attack-web"}},
		"lxc":                        {[]string{"[lxc monitor] /var/lib/lxc attack-web"}, container.LXC, 0, []string{"attack-web", "lxc:attack-web"}},
		"podman":                     {[]string{"/usr/bin/conmon", "--cid", id, "--name", "attack-web", "--bundle", "/tmp/x/userdata"}, container.Podman, 0, []string{"attack-web", "podman:attack-web", id, "podman:" + id}},
		"cri-o":                      {[]string{"/usr/bin/conmon", "-c", id, "--exit-dir", "/var/run/crio/exits", "-n", "k8s_web_attack_shop_u_0"}, container.CRIO, 0, []string{"attack", "pod:shop/attack", "pod:shop/attack/web", "shop/attack/web", id}},
		"shim":                       {[]string{"/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "attack-web"}, container.Containerd, 0, []string{"attack-web", "containerd:attack-web"}},
		"shim of Docker":             {[]string{"/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", real.ID, "-address", "/run/containerd/containerd.sock"}, container.Docker, real.PID, []string{real.Name, "docker:" + real.Name, real.ID, real.ID[:12]}},
		"nspawn, of a name there is": {[]string{"systemd-nspawn", "-M", real.Name}, container.Nspawn, real.PID, []string{real.Name, "docker:" + real.Name}},
	} {
		t.Run(name, func(t *testing.T) {
			p := strike(t, "-", c.argv...)
			// The control: that is what its command line says.
			if m, ok := container.ParseMonitor(c.argv); !ok || m.Engine != c.is {
				t.Fatalf("the words say %+v: the attack proves nothing", m)
			}
			p.isTakenFor(t, c.victim, c.words...)
			// It is shown as the user's, or as nobody's.
			out, err := says(t, "containers", "-n", "-o", "CONTAINER,ENGINEUSER,INIT", strconv.Itoa(p.pid))
			if err != nil || !strings.Contains(out, fmt.Sprintf("@%d:", poser)) || !strings.Contains(out, fmt.Sprintf("  %d  ", poser)) {
				t.Errorf("it is shown as %q, %v", out, err)
			}
		})
	}
}

// The same where the container is stopped, and its files tell of no process.
func TestPoseAsDead(t *testing.T) {
	nstest.Need(t, "root", "gcc", "userns", "docker")
	dead := engine.Start(t, engine.Docker, engine.Options{})
	if out, err := exec.Command("docker", "stop", "-t", "0", dead.ID).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := strike(t, "-", "/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", dead.ID)
	p.isTakenFor(t, 0, dead.Name, "docker:"+dead.Name, dead.ID)
	if out, err := says(t, "ls", dead.Name); err == nil || !strings.Contains(out, "docker:"+dead.Name+" is stopped") {
		t.Errorf("%v: %s", err, out)
	}
}

// The same where /var/lib/lxc has a container of that name, which does not run.
func TestPoseAsStopped(t *testing.T) {
	nstest.Need(t, "root", "gcc", "userns")
	dir, err := os.MkdirTemp("/var/lib", "lxc-attack-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.MkdirAll("/var/lib/lxc", 0o755); err != nil { //nolint:gosec // as LXC has it
		t.Fatal(err)
	}
	home := "/var/lib/lxc/" + filepath.Base(dir)
	if err := os.Mkdir(home, 0o755); err != nil { //nolint:gosec // as LXC has it
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	mustWrite(t, home+"/config", "lxc.uts.name = x\n", 0o644)
	name := filepath.Base(home)
	p := strike(t, "-", "[lxc monitor] /var/lib/lxc "+name)
	p.isTakenFor(t, 0, name, "lxc:"+name)
	if out, err := says(t, "ls", name); err == nil || !strings.Contains(out, "lxc:"+name+" is stopped") {
		t.Errorf("%v: %s", err, out)
	}
}

// Whoever was given control groups can call one as an engine calls those of
// containers, in either version.
func TestPoseAsGroup(t *testing.T) {
	nstest.Need(t, "root", "gcc", "userns", "docker")
	real := engine.Start(t, engine.Docker, engine.Options{})
	id := nstest.ContainerID("attack")
	tried := 0
	for _, hierarchy := range hierarchies {
		if _, err := os.Stat(hierarchy + "/cgroup.procs"); err != nil {
			continue
		}
		tried++
		for _, c := range []struct {
			group  string
			victim int
			words  []string
		}{
			{"docker-" + real.ID + ".scope", real.PID, []string{real.Name, "docker:" + real.Name, real.ID, real.ID[:12]}},
			{"lxc.payload.attack-web", 0, []string{"attack-web", "lxc:attack-web"}},
			{"machine-attack.scope", 0, []string{"attack", "nspawn:attack"}},
			{"libpod-" + id + ".scope", 0, []string{id, "podman:" + id, id[:12]}},
			{"cri-containerd-" + id + ".scope", 0, []string{id, id[:12]}},
			{"runc-attack.scope", 0, []string{"attack", "runc:attack"}},
			{id, 0, []string{id, id[:12]}},
		} {
			t.Run(hierarchy+"/"+c.group, func(t *testing.T) {
				p := strike(t, filepath.Join(delegated(t, hierarchy), c.group), "sleep", "1000")
				// The control: that is what its control groups say.
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid))
				if err != nil || len(container.RefsOf(string(text))) == 0 {
					t.Fatalf("%v: its groups say nothing, the attack proves nothing: %s", err, text)
				}
				p.isTakenFor(t, c.victim, c.words...)
			})
		}
	}
	if tried == 0 {
		t.Error("no hierarchy of control groups")
	}
}

// Who is in a container, without any right, calls himself as the one who watches
// over another.
func TestPoseInContainer(t *testing.T) {
	nstest.Need(t, "root", "gcc", "userns", "docker")
	real := engine.Start(t, engine.Docker, engine.Options{})
	for name, argv := range map[string][]string{
		"podman": {"/usr/bin/conmon", "--cid", nstest.ContainerID("attack"), "--name", "attack-web"},
		"nspawn": {"systemd-nspawn", "-M", "attack-web"},
		"docker": {"/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", real.ID},
	} {
		t.Run(name, func(t *testing.T) {
			hostile := engine.Start(t, engine.Docker, engine.Options{
				Args:    []string{"--user", "1000", "--cap-drop", "ALL", "--security-opt", "seccomp=unconfined", "-v", program(t, "pose") + ":/pose:ro"},
				Command: append([]string{"/pose", "1000", "-"}, argv...),
			})
			p := pose{pid: poseIn(t, hostile.PID)}
			p.isTakenFor(t, 0, "attack-web", "nspawn:attack-web", "podman:attack-web")
			p.isTakenFor(t, real.PID, real.Name, "docker:"+real.Name, real.ID)
			out, err := says(t, "containers", "-n", "-o", "CONTAINER", strconv.Itoa(p.pid))
			if err != nil || !strings.HasPrefix(out, "docker:"+hostile.Name+" > ") {
				t.Errorf("it is shown as %q, %v", out, err)
			}
		})
	}
}

// poseIn waits for the child of a process.
func poseIn(t *testing.T, pid int) (child int) {
	t.Helper()
	for range 1000 {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if _, err := fmt.Sscan(string(text), &child); err == nil {
			return child
		}
		pause()
	}
	t.Fatal("it has no child")
	return 0
}

// pause lets others run.
func pause() {
	_ = syscall.Nanosleep(&syscall.Timespec{Nsec: 5e6}, nil) //nolint:errcheck // it is only a pause
}

// A set-user-ID program that a user starts under the name of a monitor is root's
// process, and not root's word: it does not stand in the way of the container that
// has the name.
func TestPoseBySetUserID(t *testing.T) {
	nstest.Need(t, "root", "userns", "docker", "python3")
	su, err := exec.LookPath("su")
	if err != nil {
		t.Skip(err)
	}
	real := engine.Start(t, engine.Docker, engine.Options{})
	const script = `
import ctypes, os, sys, time
uid, program, argv = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
os.setgroups([]); os.setgid(uid); os.setuid(uid)
me = os.getpid()
if os.fork() == 0:
    libc = ctypes.CDLL(None)
    if libc.unshare(0x7c020000) != 0: os._exit(1) # all but cgroup and time
    libc.syscall.restype = ctypes.c_long
    clone = 56 if os.uname().machine == "x86_64" else 220
    if libc.syscall(ctypes.c_long(clone), ctypes.c_long(0x8000 | 17), 0, 0, 0, 0) == 0: # CLONE_PARENT
        os.execv("/bin/sleep", ["sleep", "1000"])
    os._exit(0)
os.wait()
os.execv(program, argv)
`
	for name, argv := range map[string][]string{
		"name": {"[lxc monitor] /var/lib/lxc " + real.Name, "-c", "root"},
		"ID":   {"conmon", "-c", real.ID},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("python3", append([]string{"-c", script, strconv.Itoa(poser), su}, argv...)...)
			if _, err := cmd.StdinPipe(); err != nil { // for its question after a password
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid, children := 0, fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if pid != 0 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			posed := eventually(patience, func() bool {
				exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
				text, _ := os.ReadFile(children)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return filepath.Base(exe) == "su" && pid != 0
			})
			if !posed {
				t.Fatal("su was not started, or its child is not there")
			}
			// The control: it is there, called as the container is, and not confirmed.
			if out, _ := says(t, "containers", "-n", "-o", "INIT,NAME"); !strings.Contains(out, strconv.Itoa(pid)) {
				t.Fatalf("process %d is in no list:\n%s", pid, out)
			}
			pose{pid: pid}.isTakenFor(t, real.PID, real.Name, real.ID, real.ID[:12])
		})
	}
}

// An image has labels, which its container gets: whoever made it does not say so
// which pod that is in, nor what it is called.
func TestPoseByLabel(t *testing.T) {
	nstest.Need(t, "root", "docker")
	evil := engine.Start(t, engine.Docker, engine.Options{Args: []string{ // as an image's
		"--label", "io.kubernetes.pod.name=attack-cart", "--label", "io.kubernetes.pod.namespace=shop", "--label", "io.kubernetes.pod.uid=u",
		"--label", "io.kubernetes.container.name=app", "--label", "io.kubernetes.docker.type=container",
	}})
	// The control: these are its labels.
	out, err := exec.Command("docker", "inspect", "-f", `{{index .Config.Labels "io.kubernetes.pod.name"}}`, evil.ID).Output()
	if err != nil || strings.TrimSpace(string(out)) != "attack-cart" {
		t.Fatalf("%v: %s", err, out)
	}
	for _, word := range []string{"attack-cart", "pod:shop/attack-cart", "pod:shop/attack-cart/app", "shop/attack-cart/app"} {
		if out, err := says(t, "enter", "-c", word, "true"); err == nil {
			t.Errorf("%s leads to it: %s", word, out)
		}
	}
	if out, err := says(t, "containers", "-n", "-o", "CONTAINER", strconv.Itoa(evil.PID)); err != nil || !strings.HasPrefix(out, "docker:"+evil.Name+"\n") {
		t.Errorf("%v: it is shown as %q", err, out)
	}
	if out, err := says(t, "enter", "-c", evil.Name, "true"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// In version 1 of control groups a user moves into his own what runs as he does, also
// in a container of root's. It stays root's container, and is found.
func TestMovedByUser(t *testing.T) {
	nstest.Need(t, "root", "docker", "setpriv")
	if _, err := os.Stat("/sys/fs/cgroup/systemd/cgroup.procs"); err != nil {
		t.Skip("no control groups of version 1")
	}
	real := engine.Start(t, engine.Docker, engine.Options{Args: []string{"--user", strconv.Itoa(poser)}})
	id := nstest.ContainerID("attack")
	own := delegated(t, "/sys/fs/cgroup/systemd")
	t.Cleanup(func() {
		_ = syscall.Kill(real.PID, syscall.SIGKILL) //nolint:errcheck // so that the groups can go
		eventually(patience, func() bool {
			inner, _ := filepath.Glob(own + "/*/*.scope") //nolint:errcheck // the pattern is good
			for _, dir := range inner {
				_ = os.Remove(dir) //nolint:errcheck // not empty yet
			}
			return len(inner) == 0
		})
	})
	for _, group := range []string{"docker-" + id + ".scope", "docker-" + real.ID + ".scope/docker-" + id + ".scope", real.ID, "other"} {
		out, err := exec.Command("setpriv", "--reuid", strconv.Itoa(poser), "--regid", strconv.Itoa(poser), "--clear-groups", "sh", "-c",
			`mkdir -p "$1" && echo "$2" > "$1/cgroup.procs"`, "sh", filepath.Join(own, group), strconv.Itoa(real.PID)).CombinedOutput()
		// The control: it is there.
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", real.PID))
		if err != nil || !strings.Contains(string(text), filepath.Base(own)+"/"+group+"\n") {
			t.Fatalf("%v: %s: %s", err, out, text)
		}
		for _, word := range []string{real.Name, "docker:" + real.Name, real.ID} {
			if out, err := says(t, "enter", "-c", word, "--net", "readlink", "/proc/self/ns/net"); err != nil {
				t.Errorf("in %s: enter -c %s: %v: %s", group, word, err, out)
			}
		}
		out, err = exec.Command(program(t, "nstool"), "containers", "-n", "-o", "CONTAINER").Output()
		if all := strings.Fields(string(out)); err != nil || !slices.Contains(all, "docker:"+real.Name) || strings.Contains(string(out), id[:12]) {
			t.Errorf("in %s: %v: %s", group, err, out)
		}
	}
}

// What a user calls a control group does not stand in the way of root's container of
// that name: whoever else he lets write there, and in whichever hierarchy it is.
func TestPoseToBlock(t *testing.T) {
	nstest.Need(t, "root", "gcc", "userns", "runc")
	real := newBundle(t, "sleep", "1000")
	if err := exec.Command("runc", "run", "-d", "-b", real.dir, real.name).Run(); err != nil { // its output would be the container's
		t.Fatalf("runc: %v", err)
	}
	victim, err := strconv.Atoi(first(real.name))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, hierarchy := range hierarchies {
		if _, err := os.Stat(hierarchy + "/cgroup.procs"); err != nil {
			continue
		}
		tried++
		for _, mode := range []os.FileMode{0o755, 0o775, 0o777} {
			for _, group := range []string{"lxc.payload." + real.name, "runc-" + real.name + ".scope", real.name} {
				if group == real.name && strings.HasSuffix(hierarchy, "/unified") {
					continue // which is not the hierarchy that counts then
				}
				t.Run(fmt.Sprintf("%s/%s in %o", hierarchy, group, mode), func(t *testing.T) {
					own := delegated(t, hierarchy)
					if err := os.Chmod(own, mode); err != nil {
						t.Fatal(err)
					}
					p := strike(t, filepath.Join(own, group), "sleep", "1000")
					p.isTakenFor(t, victim, real.name)
				})
			}
		}
	}
	if tried == 0 {
		t.Error("no hierarchy of control groups")
	}
}

// Who is root in a container, and may make control groups in there, moves its first
// process into one that is called as another container's is. It does not hide so.
func TestMovedInwards(t *testing.T) {
	nstest.Need(t, "root", "docker")
	real := engine.Start(t, engine.Docker, engine.Options{})
	id, tried := nstest.ContainerID("attack"), 0
	for _, hierarchy := range hierarchies {
		own := filepath.Join(hierarchy, "docker", real.ID)
		if _, err := os.Stat(own + "/cgroup.procs"); err != nil {
			continue
		}
		tried++
		group := own + "/docker-" + id + ".scope"
		if err := os.Mkdir(group, 0o755); err != nil { //nolint:gosec // as the container's root would
			t.Fatal(err)
		}
		mustWrite(t, group+"/cgroup.procs", strconv.Itoa(real.PID), 0o644)
		t.Cleanup(func() {
			_ = syscall.Kill(real.PID, syscall.SIGKILL) //nolint:errcheck // so that the group can go
			eventually(patience, func() bool {
				err := os.Remove(group)
				return err == nil || os.IsNotExist(err)
			})
		})
	}
	if tried == 0 {
		t.Skip("Docker's control groups are elsewhere")
	}
	// The control: its control group says that it is in a container inside.
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", real.PID))
	if refs := container.RefsOf(string(text)); err != nil || len(refs) != 2 || refs[1].ID != id {
		t.Fatalf("%v: %s", err, text)
	}
	for _, word := range []string{real.Name, "docker:" + real.Name, real.ID} {
		if out, err := says(t, "enter", "-c", word, "true"); err != nil {
			t.Errorf("enter -c %s: %v: %s", word, err, out)
		}
	}
	out, err := says(t, "containers", "-n", "-o", "CONTAINER", strconv.Itoa(real.PID))
	if err != nil || !strings.HasPrefix(out, "docker:"+real.Name+"\n") || strings.Contains(out, id[:12]) {
		t.Errorf("it is shown as %q, %v", out, err)
	}
}

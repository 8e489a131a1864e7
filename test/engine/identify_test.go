package engine_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// scan looks at this host now.
func scan(t *testing.T) *inspect.Snapshot {
	t.Helper()
	snap, err := inspect.Scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// sets are the containers of each snapshot.
var sets sync.Map

// containers returns the containers of a snapshot, the same each time.
func containers(t *testing.T, snap *inspect.Snapshot) *container.Set {
	set, ok := sets.Load(snap)
	if !ok {
		set, _ = sets.LoadOrStore(snap, container.Find(t.Context(), snap, container.WithHidden()))
	}
	return set.(*container.Set)
}

// find returns the container with that ID, and fails without it.
func find(t *testing.T, snap *inspect.Snapshot, id string) *container.Container {
	t.Helper()
	set := containers(t, snap)
	for _, c := range set.Containers {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no container %s among %v; gaps: %v", id, set.Containers, set.Gaps)
	return nil
}

// wantNamespaces holds each namespace of a container against what the kernel's
// links say: its inode, and whether it is the container's or the host's.
func wantNamespaces(t *testing.T, snap *inspect.Snapshot, c *container.Container) {
	t.Helper()
	p, ok := snap.Process(c.Init)
	if !ok {
		t.Fatalf("%s: no process %d", c, c.Init)
	}
	links, host := namespaces(t, c.Init), namespaces(t, "self")
	for _, name := range types {
		typ, err := inspect.ParseType(name)
		if err != nil {
			t.Fatal(err)
		}
		id, ok := p.Namespace(typ)
		if got := inspect.FormatLink(typ, id.Ino); !ok || got != links[name] {
			t.Errorf("%s: %s, want %s", c, got, links[name])
		}
		owner := containers(t, snap).Owner(id.Ino)
		switch shared := links[name] == host[name]; {
		case shared && owner != nil:
			t.Errorf("%s: %s is the host's, and said to be of %s", c, links[name], owner)
		case !shared && owner == nil:
			t.Errorf("%s: %s is nobody's", c, links[name])
		}
	}
}

// Each engine's containers are known by ID, name, image or path, and first
// process, and can be entered by name.
func TestIdentify(t *testing.T) {
	nstool := nstest.Nstool(t)
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			started := engine.Start(t, e, engine.Options{})
			snap := scan(t)
			c := find(t, snap, started.ID)
			if string(c.Engine) != string(e) || c.Name != started.Name || c.Init != started.PID {
				t.Errorf("got %s %s with process %d, want %s %s with %d", c.Engine, c.Name, c.Init, e, started.Name, started.PID)
			}
			switch e {
			case engine.Docker, engine.Podman:
				if !strings.HasPrefix(strings.TrimPrefix(c.Image, "localhost/"), strings.TrimPrefix(started.Image, "localhost/")) {
					t.Errorf("image %q, want %q", c.Image, started.Image)
				}
			case engine.Nspawn:
				if c.Path != started.Image {
					t.Errorf("path %q, want %q", c.Path, started.Image)
				}
			case engine.Containerd:
				if want := "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + started.ID; c.Path != want || c.Namespace != "k8s.io" {
					t.Errorf("path %q in %s, want %q", c.Path, c.Namespace, want)
				}
			case engine.LXC:
				if c.Path != filepath.Join("/var/lib/lxc", started.Name) {
					t.Errorf("path %q", c.Path)
				}
			}
			wantNamespaces(t, snap, c)
			// What the shell is offered.
			for _, word := range []string{started.Name, string(e) + ":" + started.Name} {
				out, err := exec.Command(nstool, "__complete", "enter", "-c", word).Output()
				if err != nil || !strings.HasPrefix(string(out), word+"\t") {
					t.Errorf("completion of %s: %v: %s", word, err, out)
				}
			}
			for _, word := range []string{string(e) + ":" + started.Name, "container:" + started.Name} {
				out, err := exec.Command(nstool, "enter", "-c", word, "--net", "--uts", "readlink", "/proc/self/ns/uts").CombinedOutput()
				if want := namespaces(t, started.PID)["uts"]; err != nil || strings.TrimSpace(string(out)) != want {
					t.Errorf("enter -c %s: %v: %s, want %s", word, err, out, want)
				}
			}
		})
	}
}

// The sandbox of a pod and its containers are one pod, also on the host's
// network.
func TestIdentifyPod(t *testing.T) {
	for _, hostNetwork := range []bool{false, true} {
		t.Run(fmt.Sprint("host network ", hostNetwork), func(t *testing.T) {
			t.Parallel()
			pod := engine.StartPod(t, hostNetwork, "web", "side")
			snap := scan(t)
			sandbox := find(t, snap, pod.ID)
			if !sandbox.Sandbox || sandbox.Init != pod.PID || sandbox.Pod == nil || *sandbox.Pod != (container.Pod{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}) {
				t.Errorf("sandbox %+v, pod %+v", sandbox, sandbox.Pod)
			}
			wantNamespaces(t, snap, sandbox)
			for _, want := range pod.Containers {
				c := find(t, snap, want.ID)
				if c.Name != want.Name || c.Init != want.PID || c.Sandbox || c.Pod != sandbox.Pod || c.Engine != container.Containerd || c.Namespace != "k8s.io" {
					t.Errorf("got %+v, want %+v in pod %+v", c, want, sandbox.Pod)
				}
				if c.Image != pod.Image {
					t.Errorf("image %q, want %q", c.Image, pod.Image)
				}
				if got, want := c.String(), pod.Namespace+"/"+pod.Name+"/"+want.Name; got != want {
					t.Errorf("it is called %s, want %s", got, want)
				}
				wantNamespaces(t, snap, c)
				p, _ := snap.Process(c.Init)
				id, _ := p.Namespace(inspect.Net)
				if owner := containers(t, snap).Owner(id.Ino); !hostNetwork && owner != sandbox {
					t.Errorf("the network of %s is of %s, want the sandbox", c, owner)
				}
			}
			// One of its containers can be entered, and of two one must be named.
			nstool := nstest.Nstool(t)
			name := pod.Namespace + "/" + pod.Name
			for _, word := range []string{"pod:" + name + "/side", name + "/side"} {
				out, err := exec.Command(nstool, "enter", "-c", word, "--pid", "readlink", "/proc/self/ns/pid").CombinedOutput()
				if want := namespaces(t, pod.Containers[1].PID)["pid"]; err != nil || strings.TrimSpace(string(out)) != want {
					t.Errorf("enter -c %s: %v: %s, want %s", word, err, out, want)
				}
				out, err = exec.Command(nstool, "ls", "-n", "-t", "mnt", "-o", "NS", word).Output()
				if want := namespaces(t, pod.Containers[1].PID)["mnt"]; err != nil || "mnt:["+strings.TrimSpace(string(out))+"]" != want {
					t.Errorf("ls %s: %v: %s, want %s", word, err, out, want)
				}
			}
			out, err := exec.Command(nstool, "enter", "-c", pod.Name, "--net", "true").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "pod:"+name+"/side and pod:"+name+"/web") {
				t.Errorf("enter -c %s: %v: %s", pod.Name, err, out)
			}
			found := containers(t, snap).Pods(pod.Namespace, pod.Name, "")
			if len(found) != 1 || len(found[0].Containers) != 3 || found[0].Main() != sandbox {
				t.Errorf("the pod is %+v", found)
			}
		})
	}
}

// A process that entered from outside is a guest of the container.
func TestIdentifyGuest(t *testing.T) {
	started := engine.Start(t, engine.Docker, engine.Options{})
	for _, flags := range [][]string{{"-n"}, {"-a", "-F"}} {
		cmd := exec.Command("nsenter", append(append([]string{"-t", fmt.Sprint(started.PID)}, flags...), "/bin/sleep", "1000")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		guest := func() bool {
			snap := scan(t)
			set := containers(t, snap)
			guests := set.Guests(snap.Processes())
			for p := range snap.Processes() {
				m := set.Of(p)
				if m.Container != nil && m.Container.ID == started.ID && p.PID != started.PID && guests[p.PID] {
					return true
				}
			}
			return false
		}
		for tries := 0; !guest(); tries++ {
			if tries == 50 {
				t.Fatalf("nsenter %v: no guest", flags)
			}
		}
		if c := find(t, scan(t), started.ID); c.Init != started.PID {
			t.Errorf("the first process of %s is %d, want %d", c, c.Init, started.PID)
		}
	}
}

// The host's end of a pair of interfaces leads to the container.
func TestIdentifyInterface(t *testing.T) {
	started := engine.Start(t, engine.Docker, engine.Options{})
	nstool := nstest.Nstool(t)
	interfaces, err := filepath.Glob("/sys/class/net/veth*")
	if err != nil || len(interfaces) == 0 {
		t.Fatal("no interfaces", err)
	}
	found := 0
	for _, name := range interfaces {
		// Others come and go meanwhile.
		out, err := exec.Command(nstool, "containers", "-n", "-o", "CONTAINER", filepath.Base(name)).Output()
		if err == nil && strings.TrimSpace(string(out)) == "docker:"+started.Name {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d of %v lead to docker:%s", found, interfaces, started.Name)
	}
	out, err := exec.Command(nstool, "containers", "lo").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "interface lo: its other end is in no other network namespace") {
		t.Errorf("%v: %s", err, out)
	}
}

// A container that is stopped is said to be.
func TestIdentifyStopped(t *testing.T) {
	started := engine.Start(t, engine.Docker, engine.Options{})
	if out, err := exec.Command("docker", "kill", started.ID).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("docker", "wait", started.ID).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(nstest.Nstool(t), "ls", started.Name).CombinedOutput()
	if want := "nstool: ls: docker:" + started.Name + " is stopped"; err == nil || !slices.Contains(strings.Split(string(out), "\n"), want) {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}

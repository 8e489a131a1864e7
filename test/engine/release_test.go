package engine_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// sysadmin are the flags for what `kubectl debug --profile=sysadmin` gives and this
// machine can: a container with --privileged needs CAP_SYS_RESOURCE of its engine.
var sysadmin = []string{"--pid=host", "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"}

// The image that release/image writes is loaded and run by every engine that has
// images, and is what release/Containerfile makes.
func TestReleasedImage(t *testing.T) {
	nstest.Need(t, "root", "go", "docker", "podman", "containerd")
	if testing.Short() {
		t.Skip("builds an image")
	}
	const name = "localhost/nstool-image:test"
	dir := nstest.Dir(t)
	archive := filepath.Join(dir, "nstool.tar")
	do(t, "go", "run", "-C", "../..", "./release/image", "-o", archive, "-t", name, "-arch", "amd64")
	podman := []string{"podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs"} // for hybrid control groups
	for _, c := range []struct{ load, run, remove []string }{
		{[]string{"docker", "load", "-i", archive}, []string{"docker", "run", "--rm", name}, []string{"docker", "rmi", name}},
		{[]string{"podman", "load", "-i", archive}, append(podman, "run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", name), []string{"podman", "rmi", name}},
		{[]string{"ctr", "-n", "k8s.io", "images", "import", archive}, []string{"ctr", "-n", "k8s.io", "run", "--rm", name, "nstool-image-test", "/nstool"}, []string{"ctr", "-n", "k8s.io", "images", "rm", name}},
	} {
		do(t, c.load...)
		t.Cleanup(func() { do(t, c.remove...) })
		if out := do(t, append(c.run, "version")...); !strings.HasPrefix(out, "nstool ") {
			t.Errorf("%v: %q", c.run, out)
		}
	}

	// It sees the host's containers, and by its name in PATH too, as in a pod with a command.
	other := engine.Start(t, engine.Docker, engine.Options{})
	out := do(t, slices.Concat([]string{"docker", "run", "--rm", "--entrypoint", "nstool"}, sysadmin, []string{name, "ls", "-o", "PID,CONTAINER", "--json"})...)
	var list struct {
		Namespaces []struct {
			PID       int
			Container string
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := false
	for _, ns := range list.Namespaces {
		found = found || ns.PID == other.PID && ns.Container == "docker:"+other.Name
	}
	if !found {
		t.Errorf("no namespace of container %s, PID %d: %s", other.Name, other.PID, out)
	}

	// Both ways to make it make the same, but for what is told by arguments.
	bin := filepath.Join(dir, "bin", "nstool")
	do(t, "install", "-D", nstest.Nstool(t), bin)
	do(t, "docker", "build", "-t", "nstool-image-built", "-f", "../../release/Containerfile", filepath.Dir(bin))
	t.Cleanup(func() { do(t, "docker", "rmi", "nstool-image-built") })
	var configs [2]struct {
		Env, Entrypoint, Cmd []string
		WorkingDir, User     string
		Labels               map[string]string
	}
	for i, name := range []string{name, "nstool-image-built"} {
		if err := json.Unmarshal([]byte(do(t, "docker", "inspect", "-f", "{{json .Config}}", name)), &configs[i]); err != nil {
			t.Fatal(err)
		}
	}
	one, built := configs[0], configs[1]
	for label, value := range one.Labels {
		got, ok := built.Labels[label]
		if !ok || got != "" && got != value {
			t.Errorf("label %s is %q, by the Containerfile %q", label, value, got)
		}
	}
	if !slices.Equal(one.Env, built.Env) || !slices.Equal(one.Entrypoint, built.Entrypoint) || !slices.Equal(one.Cmd, built.Cmd) || one.WorkingDir != built.WorkingDir || one.User != built.User {
		t.Errorf("release/image makes %+v, the Containerfile %+v", one, built)
	}
}

// do runs a command and returns what it writes; the test ends if it fails.
func do(t *testing.T, words ...string) string {
	t.Helper()
	var errors strings.Builder
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s%s", words, err, out, &errors)
	}
	return string(out)
}

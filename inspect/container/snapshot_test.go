package container_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/nstest"
)

// containerHost makes a host with that many containers of Docker and of
// Kubernetes, 20 processes in each, and state files as long as real ones.
func containerHost(t testing.TB, containers int) string {
	var procs, files strings.Builder
	procs.WriteString("-- processes --\n1 0 host /init.scope /sbin/init\n")
	long := `["` + strings.Repeat(`KEY=some value or other","`, 100) + `"]`
	for i := range containers {
		name, pid := fmt.Sprintf("c%d", i), 1000+100*i
		cgroup := "/docker/ID(" + name + ")"
		if i%2 == 0 {
			fmt.Fprintf(&files, "-- root/var/lib/docker/containers/ID(%s)/config.v2.json --\n", name)
			fmt.Fprintf(&files, `{"State":{"Pid":%d},"Config":{"Image":"image","Env":%s},"Name":"/%s"}`+"\n", pid, long, name)
		} else {
			cgroup = fmt.Sprintf("/kubepods.slice/kubepods-pod%08d_1c2d_4e3f_8a9b_0c1d2e3f4a5b.slice/cri-containerd-ID(%s).scope", i, name)
			dir := "root/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID(" + name + ")"
			fmt.Fprintf(&files, "-- %s/config.json --\n", dir)
			fmt.Fprintf(&files, `{"process":{"env":%s},"root":{"path":"rootfs"},"annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"p%d","io.kubernetes.cri.sandbox-namespace":"shop"},"linux":{"seccomp":%s}}`+"\n", long, i, strings.Repeat(`{"x":`, 30)+long+strings.Repeat("}", 30))
			fmt.Fprintf(&files, "-- %s/init.pid --\n%d\n", dir, pid)
		}
		for k := range 20 {
			fmt.Fprintf(&procs, "%d 1 %s,user=host,time=host %s app\n", pid+k, name, cgroup)
		}
	}
	return nstest.MakeHost(t, procs.String()+files.String()).Proc
}

// BenchmarkNaming measures finding the names of containers.
func BenchmarkNaming(b *testing.B) {
	for _, containers := range []int{10, 200} {
		b.Run(fmt.Sprint(containers), func(b *testing.B) {
			proc := containerHost(b, containers)
			var naming time.Duration
			for b.Loop() {
				snap, err := inspect.Scan(context.Background(), inspect.WithProc(proc))
				if err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				set := container.Find(b.Context(), snap)
				naming += time.Since(start)
				if len(set.Containers) != containers || len(set.Gaps) != 0 || set.Containers[0].Name == "" {
					b.Fatalf("%d containers, gaps %v", len(set.Containers), set.Gaps)
				}
			}
			b.ReportMetric(float64(naming.Microseconds())/float64(b.N), "µs-naming/op")
		})
	}
}

// A daemon runs its own program, from where root alone can put it.
func TestIsDaemon(t *testing.T) {
	nstest.Need(t, "root", "sleep")
	program, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// Not below /tmp, where others can make a directory.
	roots, err := os.MkdirTemp("/var/lib", "nstest-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(roots)
	own, link := filepath.Join(roots, "dockerd"), filepath.Join(t.TempDir(), "dockerd")
	if err := errors.Join(os.Chmod(roots, 0o755), os.WriteFile(own, text, 0o755), os.Symlink(program, link)); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for path, want := range map[string]bool{own: true, link: false} {
		cmd := exec.Command(path, "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		snap, err := inspect.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := container.Find(t.Context(), snap).IsDaemon(cmd.Process.Pid, "dockerd"); got != want {
			t.Errorf("%s: %t", path, got)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

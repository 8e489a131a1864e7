package inspect_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nstool/nstool/inspect"
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

// Naming takes at most 3 ms for ten containers, and a small part of a scan for
// two hundred. A made-up /proc is read faster than a real one, so that part is
// larger here than where it matters.
func TestNamingCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	for _, c := range []struct {
		containers int
		most       func(scan time.Duration) time.Duration
	}{
		{10, func(time.Duration) time.Duration { return 3 * time.Millisecond }},
		{200, func(scan time.Duration) time.Duration { return scan * 15 / 100 }},
	} {
		proc := containerHost(t, c.containers)
		scan, naming := time.Hour, time.Hour
		for range 20 { // the best of some, as the machine has other things to do
			start := time.Now()
			snap, err := inspect.Scan(context.Background(), inspect.WithProc(proc))
			if err != nil {
				t.Fatal(err)
			}
			scan = min(scan, time.Since(start))
			start = time.Now()
			set := snap.Containers()
			naming = min(naming, time.Since(start))
			if len(set.Containers) != c.containers || len(set.Gaps) != 0 || set.Containers[0].Name == "" {
				t.Fatalf("%d containers, gaps %v", len(set.Containers), set.Gaps)
			}
		}
		t.Logf("%d containers: scan %v, naming %v", c.containers, scan, naming)
		if naming > c.most(scan) {
			t.Errorf("naming %d containers took %v, the scan %v", c.containers, naming, scan)
		}
	}
}

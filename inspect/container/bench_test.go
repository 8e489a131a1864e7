package container

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// crowded makes a host with n containers, each with some processes, of Docker
// and of Kubernetes in turn; their state files are as long as real ones.
func crowded(n int) string {
	var procs, files strings.Builder
	procs.WriteString("-- processes --\n1 0 host /init.scope /sbin/init\n")
	for pid := 2; pid < 100; pid++ {
		fmt.Fprintf(&procs, "%d 1 host /system.slice/x.service x\n", pid)
	}
	filler := func(n int) string {
		b, _ := json.Marshal(map[string]any{"env": strings.Fields(strings.Repeat("KEY=some_value_or_other ", n/26))})
		return string(b)
	}
	for i := range n {
		pid := 1000 + 10*i
		name := fmt.Sprintf("c%d", i)
		cgroup := "/docker/ID(" + name + ")"
		if i%2 == 1 {
			cgroup = fmt.Sprintf("/kubepods.slice/kubepods-pod%08d_1c2d_4e3f_8a9b_0c1d2e3f4a5b.slice/cri-containerd-ID(%s).scope", i, name)
			fmt.Fprintf(&files, "-- root/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID(%s)/config.json --\n", name)
			fmt.Fprintf(&files, `{"process":%s,"root":{"path":"rootfs"},"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"i","io.kubernetes.cri.sandbox-name":"pod%d","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"%08d-1c2d-4e3f-8a9b-0c1d2e3f4a5b"},"linux":%s}`+"\n", filler(2000), i, i, filler(7000))
			fmt.Fprintf(&files, "-- root/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID(%s)/init.pid --\n%d\n", name, pid)
		} else {
			fmt.Fprintf(&files, "-- root/var/lib/docker/containers/ID(%s)/config.v2.json --\n", name)
			fmt.Fprintf(&files, `{"State":{"Pid":%d},"Config":{"Image":"image:%d","Env":%s},"Name":"/%s","NetworkSettings":%s}`+"\n", pid, i, filler(1500), name, filler(1500))
		}
		for k := range 5 {
			fmt.Fprintf(&procs, "%d %d %s,user=host,time=host %s app\n", pid+k, 1, name, cgroup)
		}
	}
	return procs.String() + files.String()
}

// BenchmarkIdentify is what naming adds to a scan.
func BenchmarkIdentify(b *testing.B) {
	for _, n := range []int{0, 10, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := makeHost(b, crowded(n))
			set := m.identify()
			if len(set.Containers) != n || len(set.Gaps) != 0 {
				b.Fatalf("%d containers, gaps %v", len(set.Containers), set.Gaps)
			}
			for _, c := range set.Containers {
				if c.Name == "" || c.Image == "" {
					b.Fatalf("%+v has no name", c)
				}
			}
			for b.Loop() {
				m.identify()
			}
		})
	}
}

func BenchmarkParsePath(b *testing.B) {
	path := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0b5a1f9c_1c2d_4e3f_8a9b_0c1d2e3f4a5b.slice/cri-containerd-" + hexA + ".scope"
	for b.Loop() {
		parsePath(path)
	}
}

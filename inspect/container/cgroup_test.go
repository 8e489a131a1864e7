package container

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const (
	hexA = "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100"
	hexB = "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
)

func TestParsePath(t *testing.T) {
	const uid = "0b5a1f9c-1c2d-4e3f-8a9b-0c1d2e3f4a5b"
	under := strings.ReplaceAll(uid, "-", "_")
	for _, c := range []struct {
		path string
		want string // refs as engine:namespace/ID@pod
		rest string
	}{
		{"/", "", ""},
		{"/init.scope", "", "init.scope"},
		{"/system.slice/docker.service", "", "system.slice/docker.service"},
		{"/user.slice/user-1000.slice/session-2.scope", "", "user.slice/user-1000.slice/session-2.scope"},
		{"/process_api/10a2cf243b6bdf63e94c76dc60169335", "", "process_api/10a2cf243b6bdf63e94c76dc60169335"},

		// Docker.
		{"/docker/" + hexA, "docker:A", ""},
		{strings.Repeat("/docker/"+hexA, 10), strings.TrimSuffix(strings.Repeat("docker:A ", 8), " "), "docker/" + hexA + "/docker/" + hexA},
		{"/docker/" + hexA + "/init.scope", "docker:A", "init.scope"},
		{"/system.slice/docker-" + hexA + ".scope", "docker:A", ""},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + hexA + ".scope", "docker:A", ""},
		{"/mine.slice/docker-" + hexA + ".scope", "docker:A", ""},
		{"/mine/" + hexA, ":A", ""},
		{"/system.slice:docker:" + hexA, "docker:A", ""},
		{"/../" + hexA, ":A", ""},
		{"/../../docker/" + hexA, "docker:A", ""},
		{"/../docker-" + hexA + ".scope", "docker:A", ""},
		{"/docker/" + hexA[:63], "", "docker/" + hexA[:63]},
		{"/docker/" + strings.ToUpper(hexA), "", "docker/" + strings.ToUpper(hexA)},
		{"/docker/buildkit/0123456789abcdefghijklmno", "buildkit:0123456789abcdefghijklmno", ""},
		{"/system.slice/docker-0123456789abcdefghijklmno.scope", "buildkit:0123456789abcdefghijklmno", ""},

		// containerd, CRI, Kubernetes.
		{"/default/sleepy", "", "default/sleepy"},
		{"/k8s.io/" + hexA, ":A", ""},
		{"/system.slice/nerdctl-" + hexA + ".scope", "containerd:A", ""},
		{"/kubepods/pod" + uid + "/" + hexA, ":A@" + uid, ""},
		{"/kubepods/burstable/pod" + uid + "/" + hexA, ":A@" + uid, ""},
		{"/kubepods/besteffort/pod" + uid, "", ""},
		{"/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + hexA + ".scope", "containerd:k8s.io/A@" + uid, ""},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + hexA + ".scope", "containerd:k8s.io/A@" + uid, ""},
		{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/docker-" + hexA + ".scope", "docker:A@" + uid, ""},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-" + hexA + ".scope", "crio:A@" + uid, ""},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-" + hexA + ".scope/container", "crio:A@" + uid, "container"},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-conmon-" + hexA + ".scope", "", ""},
		{"/kubepods/burstable/pod" + uid + "/crio-" + hexA, "crio:A@" + uid, ""},
		{"/kubepods/burstable/pod8a1b2c3d4e5f60718293a4b5c6d7e8f9/" + hexA, ":A@8a1b2c3d4e5f60718293a4b5c6d7e8f9", ""},
		{"/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + hexA, "containerd:k8s.io/A", ""},

		// podman.
		{"/libpod_parent/libpod-" + hexA, "podman:A", ""},
		{"/libpod_parent/" + hexB + "/libpod-" + hexA, "podman:A@" + hexB, ""},
		{"/machine.slice/libpod-" + hexA + ".scope", "podman:A", ""},
		{"/machine.slice/libpod-" + hexA + ".scope/container", "podman:A", "container"},
		{"/machine.slice/machine-libpod_pod_" + hexB + ".slice/libpod-" + hexA + ".scope/container", "podman:A@" + hexB, "container"},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + hexA + ".scope/container", "podman:A", "container"},
		{"/system.slice/web.service/libpod-payload-" + hexA, "podman:A", ""},
		{"/machine.slice/libpod-conmon-" + hexA + ".scope", "", ""},

		// LXC, Incus, LXD, nspawn.
		{"/lxc.payload.web", "lxc:web", ""},
		{"/lxc.payload.web/system.slice/ssh.service", "lxc:web", "system.slice/ssh.service"},
		{"/lxc.payload.a.scope", "lxc:a.scope", ""},
		{"/lxc.payload.dev_web", "lxc:dev_web", ""},
		{"/lxc.payload/web", "lxc:web", ""},
		{"/lxc/101/ns/init.scope", "lxc:101", "ns/init.scope"},
		{"/lxc.monitor.web", "", ""},
		{"/lxc.monitor/101", "", ""},
		{`/machine.slice/machine-my\x2dbox.scope/payload`, "nspawn:my-box", "payload"},
		{"/machine.slice/systemd-nspawn@box.service/payload/init.scope", "nspawn:box", "payload/init.scope"},
		{`/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`, "", `machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`},
		{"/payload", "", "payload"},

		// By hand.
		{"/system.slice/runc-box.scope", "runc:box", ""},
		{"/system.slice/crun-box.scope", "crun:box", ""},

		// One in another.
		{"/docker/" + hexA + "/docker/" + hexB, "docker:A docker:B", ""},
		{"/docker/" + hexA + "/default/sleepy", "docker:A", "default/sleepy"},
		{"/docker/" + hexA + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + under + ".slice/cri-containerd-" + hexB + ".scope", "docker:A containerd:k8s.io/B@" + uid, ""},
		{"/system.slice/docker-" + hexA + ".scope/kubepods/besteffort/pod" + uid + "/" + hexB, "docker:A :B@" + uid, ""},
		{"/lxc.payload.web/system.slice/docker-" + hexA + ".scope", "lxc:web docker:A", ""},
		{"/machine.slice/libpod-" + hexA + ".scope/container/libpod_parent/libpod-" + hexB, "podman:A podman:B", ""},
		{"/mine/" + hexA + "/other/" + hexB, ":A :B", ""},
	} {
		refs, rest := parsePath(c.path)
		if got := describe(refs); got != c.want || strings.Join(rest, "/") != c.rest {
			t.Errorf("ParsePath(%q)\n got %q, rest %q\nwant %q, rest %q", c.path, got, strings.Join(rest, "/"), c.want, c.rest)
		}
	}
}

func describe(refs []Ref) string {
	var words []string
	for _, r := range refs {
		id := strings.NewReplacer(hexA, "A", hexB, "B").Replace(r.ID)
		if r.Namespace != "" {
			id = r.Namespace + "/" + id
		}
		if r.Pod != "" {
			id += "@" + r.Pod
		}
		words = append(words, fmt.Sprintf("%s:%s", r.Engine, id))
	}
	return strings.Join(words, " ")
}

func TestParseCgroup(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"0::/a\n", []string{"/a"}},
		{"12:pids:/a\n2:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/d\n", []string{"/c", "/d", "/a", "/b"}},
		{"2:cpu:/a\n1:name=systemd:/a\n0::/a\n", []string{"/a"}},
		{"0::/a (deleted)\n", []string{"/a"}},
		{"0::/a:b:c\n", []string{"/a:b:c"}},
		{"nonsense\n0:\n0::relative\n", nil},
	} {
		var got []string
		for _, g := range parseCgroup(c.text) {
			got = append(got, g.path)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("parseCgroup(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

// Hybrid hierarchies may differ, and what names most counts.
func TestRefsOf(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"1:name=systemd:/docker/" + hexA + "\n0::/\n", "docker:A"},
		{"2:cpu:/docker/" + hexA + "\n1:name=systemd:/\n0::/\n", "docker:A"},
		{"2:cpu:/docker/" + hexA + "/docker/" + hexB + "\n1:name=systemd:/docker/" + hexA + "\n", "docker:A docker:B"},
		{"4:memory:/process_api/10a2cf243b6bdf63e94c76dc60169335\n1:name=systemd:/\n0::/\n", ""},
	} {
		if got := describe(RefsOf(c.text)); got != c.want {
			t.Errorf("RefsOf(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/docker/" + hexA, "/../lxc.payload.web/docker-" + hexB + ".scope", "/kubepods/podx/" + hexA, `/machine-\x2.scope`, "/a.slice:b:c",
		"0::/\n", "1:name=systemd:/docker/" + hexA + "\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		RefsOf(path)
		refs, rest := parsePath(path)
		for _, r := range refs {
			if r.ID == "" || strings.Contains(r.ID, "/") {
				t.Errorf("ParsePath(%q): ID %q", path, r.ID)
			}
		}
		if tail := strings.Join(rest, "/"); !strings.HasSuffix(strings.TrimRight(path, "/"), tail) {
			t.Errorf("ParsePath(%q): rest %q", path, tail)
		}
		// A deeper path has all containers of the path above.
		deeper, _ := parsePath(strings.TrimRight(path, "/") + "/docker/" + hexB)
		if len(deeper) > 0 && len(deeper) < len(refs) {
			t.Errorf("ParsePath(%q) = %v, deeper %v", path, refs, deeper)
		}
	})
}

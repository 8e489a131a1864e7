package container

import (
	"strings"
	"testing"
)

func TestParseMonitor(t *testing.T) {
	for _, c := range []struct {
		argv string // words, "|" for a space in one
		want Monitor
		ok   bool
	}{
		{
			"/usr/bin/conmon --api-version 1 -c " + hexA + " -u " + hexA + " -r /usr/sbin/runc -b /var/lib/containers/storage/overlay-containers/" + hexA + "/userdata -p /run/containers/storage/overlay-containers/" + hexA + "/userdata/pidfile -n web --exit-dir /run/libpod/exits --full-attach --exit-command-arg -n",
			Monitor{Ref: Ref{Engine: Podman, ID: hexA}, Name: "web", Path: "/var/lib/containers/storage/overlay-containers/" + hexA + "/userdata"},
			true,
		},
		{
			"/usr/bin/conmon -b /run/containers/storage/overlay-containers/" + hexA + "/userdata -c " + hexA + " --exit-dir /var/run/crio/exits -l /var/log/pods/x --log-level info -n k8s_app_cart_shop_uid_0 -P /run/x -r /usr/bin/runc --runtime-arg --root=/run/runc --socket-dir-path /var/run/crio -u " + hexA + " -s",
			Monitor{Ref: Ref{Engine: CRIO, ID: hexA}, Name: "k8s_app_cart_shop_uid_0", Path: "/run/containers/storage/overlay-containers/" + hexA + "/userdata"},
			true,
		},
		{"conmon -b /x", Monitor{}, false},
		{"conmon -c ../../etc", Monitor{}, false},
		{
			"/usr/bin/containerd-shim-runc-v2 -namespace moby -id " + hexA + " -address /run/containerd/containerd.sock",
			Monitor{Ref: Ref{Engine: Docker, ID: hexA, Namespace: "moby"}, Socket: "/run/containerd/containerd.sock"},
			true,
		},
		{
			"/var/lib/rancher/k3s/data/x/bin/containerd-shim-runc-v2 -namespace k8s.io -id " + hexA + " -address /run/k3s/containerd/containerd.sock",
			Monitor{Ref: Ref{Engine: Containerd, ID: hexA, Namespace: "k8s.io"}, Socket: "/run/k3s/containerd/containerd.sock", Many: true},
			true,
		},
		{
			"containerd-shim --namespace=default -workdir /var/lib/containerd/io.containerd.runtime.v1.linux/default/c1 -address=/run/containerd/containerd.sock",
			Monitor{Ref: Ref{Engine: Containerd, ID: "c1", Namespace: "default"}, Socket: "/run/containerd/containerd.sock"},
			true,
		},
		{"containerd-shim-runc-v2 -namespace default", Monitor{}, false},
		{"containerd-shim-runc-v2 -id", Monitor{}, false},
		{"[lxc|monitor]|/var/lib/lxc|web", Monitor{Ref: Ref{Engine: LXC, ID: "web"}, Path: "/var/lib/lxc/web"}, true},
		{"[lxc|monitor]|/home/a|b/lxc|web", Monitor{Ref: Ref{Engine: LXC, ID: "web"}, Path: "/home/a b/lxc/web"}, true},
		{"[lxc|monitor]|web", Monitor{}, false},
		{"systemd-nspawn --register=no --keep-unit -D /srv/img -M box /bin/sleep -M other", Monitor{Ref: Ref{Engine: Nspawn, ID: "box"}, Path: "/srv/img"}, true},
		{"/usr/bin/systemd-nspawn -bD /srv/img", Monitor{Ref: Ref{Engine: Nspawn, ID: "img"}, Path: "/srv/img"}, true},
		{"systemd-nspawn --machine=box --image=/srv/x.raw", Monitor{Ref: Ref{Engine: Nspawn, ID: "box"}, Path: "/srv/x.raw"}, true},
		{"systemd-nspawn -i /srv/x.raw", Monitor{Ref: Ref{Engine: Nspawn, ID: "x"}, Path: "/srv/x.raw"}, true},
		{"systemd-nspawn -Mbox -D/srv/img", Monitor{Ref: Ref{Engine: Nspawn, ID: "box"}, Path: "/srv/img"}, true},
		{"systemd-nspawn -M", Monitor{}, false},
		{"sleep 1000", Monitor{}, false},
		{"", Monitor{}, false},
	} {
		var argv []string
		for _, word := range strings.Fields(c.argv) {
			argv = append(argv, strings.ReplaceAll(word, "|", " "))
		}
		got, ok := ParseMonitor(argv)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("ParseMonitor(%q)\n got %+v, %t\nwant %+v, %t", argv, got, ok, c.want, c.ok)
		}
	}
}

func TestOption(t *testing.T) {
	for _, c := range []struct{ argv, want string }{
		{"dockerd --data-root /srv/docker", "/srv/docker"},
		{"dockerd --data-root=/srv/docker -H fd://", "/srv/docker"},
		{"dockerd -g /old", "/old"},
		{"dockerd --data-root", ""},
		{"dockerd --data-rooted /x", ""},
		{"dockerd", ""},
	} {
		if got := option(strings.Fields(c.argv), "--data-root", "-g", "--graph"); got != c.want {
			t.Errorf("option(%q) = %q, want %q", c.argv, got, c.want)
		}
	}
}

func FuzzParseMonitor(f *testing.F) {
	for _, seed := range []string{"conmon\x00-c\x00x\x00-n", "containerd-shim\x00-id=\x00-namespace\x00a", "systemd-nspawn\x00-D\x00/", "[lxc monitor] / x", "systemd-nspawn\x00--machine"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cmdline string) {
		m, ok := ParseMonitor(strings.Split(cmdline, "\x00"))
		if ok && !isName(m.ID) {
			t.Errorf("ParseMonitor(%q): ID %q", cmdline, m.ID)
		}
	})
}

package container

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func hostOf(t testing.TB, name string) *maker {
	t.Helper()
	text, err := os.ReadFile("testdata/host/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	return makeHost(t, string(text))
}

func TestMatch(t *testing.T) {
	sets := map[string]*Set{}
	for _, c := range []struct {
		host, engine, name string
		want               string // targets
	}{
		{"docker", "", "web", "docker:web"},
		{"docker", "", "docker:web", "docker:web"},
		{"docker", "docker", "web", "docker:web"},
		{"docker", "", "container:web", "docker:web"},
		{"docker", "", "container:docker:web", "docker:web"},
		{"kubernetes", "", "pod:shop/cart", "pod:shop/cart"},
		{"kubernetes", "", "pod:shop/cart/log", "pod:shop/cart/log"},
		{"kubernetes", "", "pod:shop", ""},
		{"docker", "podman", "web", ""},
		{"docker", "", idOf("web")[:7], "docker:web"},
		{"docker", "docker", idOf("web"), "docker:web"},
		{"docker", "", "we", ""},
		{"docker", "", "", ""},
		{"kubernetes", "", "cart", "pod:shop/cart"},
		{"kubernetes", "", "shop/cart", "pod:shop/cart"},
		{"kubernetes", "", "shop/cart/app", "pod:shop/cart/app"},
		{"kubernetes", "", "app", "pod:shop/cart/app"},
		{"kubernetes", "", "log", "pod:shop/cart/log"},
		{"kubernetes", "", "shop", ""},
		{"kubernetes", "containerd", "app", "pod:shop/cart/app"},
		{"nested", "", "sleepy", ""},
		{"nested", "", "containerd:sleepy", ""},
		{"nested", "", "docker:kind-node > containerd:sleepy", "container:docker:kind-node > containerd:sleepy"},
		{"nested", "docker", "kind-node > containerd:sleepy", "container:docker:kind-node > containerd:sleepy"},
		{"nested", "", "docker:kind-node > shop/cart/app", "container:docker:kind-node > shop/cart/app"},
		{"nested", "", "shop/cart/app", ""},
		{"nested", "", "pod:shop/cart", ""},
		{"nested", "", "cart", ""},
		{"nested", "", "web", ""},
		{"nested", "", "lxc:box > docker:web", "container:lxc:box > docker:web"},
		{"nested", "", idOf("inbox")[:12], ""},
		{"podman", "", "mine", ""},
		{"podman", "", "podman:mine", ""},
		{"podman", "", idOf("mine"), ""},
		{"podman", "", "podman@1000:mine", "podman@1000:mine"},
		{"podman", "podman@1000", "mine", "podman@1000:mine"},
		{"podman", "", "podman@1000:" + idOf("mine")[:7], "podman@1000:mine"},
		{"podman", "", "podman@1001:mine", ""},
		{"podman", "", "podman@root:mine", ""},
		{"podman", "", "podman@root:web", "podman:web"},
		{"podman", "", "podman@1000:web", ""},
		{"docker_rootless", "", "docker:web", ""},
		{"docker_rootless", "", "docker@1000:web", "docker@1000:web"},
		{"hostile", "", "pod:shop/cart/app", ""},
		{"hostile", "", "cart", ""},
		{"hostile", "", "crio@1000:app", "crio@1000:app"},
		{"hostile", "", "nspawn:two", ""},
		{"hostile", "", "docker:web", ""},
		{"hostile", "", "gone", ""},
		{"hostile", "", idOf("gone"), ""},
		{"hostile", "", "box", ""},
		{"impostor", "", "docker:web", "docker:web"},
		{"impostor", "", idOf("web"), "docker:web"},
		{"impostor", "", "build", "lxc:build"},
		{"impostor", "", "lxc@1000:build", ""},
		{"impostor", "", "docker@1000:" + idOf("web"), ""},
		{"lxc", "", "build", "pid:101 pid:121"},
		{"lxc", "", "web", "incus:web"},
		{"lxc", "", "dev_web", "incus:web"},
		{"lxc", "", "incus:web", "incus:web"},
	} {
		set := sets[c.host]
		if set == nil {
			set = hostOf(t, c.host).identify()
			sets[c.host] = set
		}
		var got []string
		for _, m := range set.Match(Engine(c.engine), c.name) {
			got = append(got, set.Target(m))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q %q is %q, want %q", c.host, c.engine, c.name, got, c.want)
		}
	}
}

// Two containers of the same name have different targets.
func TestTargets(t *testing.T) {
	set := makeHost(t, `
-- processes --
1 0 host /init.scope /sbin/init
10 1 a /docker/ID(a) sleep
20 1 b /machine.slice/libpod-ID(b).scope sleep
30 1 c /docker/ID(a)/docker/ID(c) sleep
40 1 d /docker/ID(d) sleep
-- root/var/lib/docker/containers/ID(a)/config.v2.json --
{"State":{"Pid":10},"Name":"/web"}
-- root/var/lib/docker/containers/ID(d)/config.v2.json --
{"State":{"Pid":40},"Name":"/other"}
-- proc/10/root/var/lib/docker/containers/ID(c)/config.v2.json --
{"Name":"/web"}
-- root/var/lib/containers/storage/overlay-containers/containers.json --
[{"id":"ID(b)","names":["web"]}]
-- root/run/crun/ID(b)/status --
{"pid":20,"process-start-time":20}
`).identify()
	var got []string
	for _, m := range set.Match("", "web") {
		target := set.Target(m)
		got = append(got, target)
		// The offered word is understood, and means that one.
		prefix, name, _ := strings.Cut(target, ":")
		again := set.Match(Engine(prefix), name)
		if len(again) != 1 || again[0].Main() != m.Main() {
			t.Errorf("%s is %v", target, again)
		}
	}
	want := "docker:web podman:web"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	if set.Containers[0].String() != "docker:other" || set.Target(Match{Containers: set.Containers[:1]}) != "docker:other" {
		t.Errorf("%v", set.Containers)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"docker:web", "docker:database", "shop/cart/app"}
	for _, c := range []struct{ name, want string }{
		{"wbe", ""}, // two changes are too many in three letters
		{"weeb", "docker:web"},
		{"datbase", "docker:database"},
		{"docker:wep", "docker:web"},
		{"car", "shop/cart/app"},
		{"zzz", ""},
	} {
		if got, _ := Nearest(c.name, names); got != c.want {
			t.Errorf("Nearest(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestStopped(t *testing.T) {
	set := makeHost(t, `
-- processes --
1 0 host /init.scope /sbin/init
10 1 a /docker/ID(a) sleep
-- root/var/lib/docker/containers/ID(a)/config.v2.json --
{"Name":"/web"}
-- root/var/lib/docker/containers/ID(b)/config.v2.json --
{"Name":"/old"}
-- root/var/lib/docker/containers/ID(c)/config.v2.json --
{"Name":"
-- root/var/lib/containers/storage/overlay-containers/containers.json --
[{"id":"ID(p)","names":["pod"]}]
-- root/var/lib/lxc/l1/config --
-- root/var/lib/lxc/lost/x --
-- root/var/lib/machines/m1/ --
`).identify()
	var got []string
	for _, c := range set.Stopped() {
		got = append(got, c.String())
	}
	if want := "docker:old podman:pod lxc:l1 nspawn:m1"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// A user may name containers of their own engine without the user. A container of root's, or an
// unconfirmed one, with that name makes it ambiguous.
func TestMatchForUser(t *testing.T) {
	m := makeHost(t, `
-- processes --
1 0 host /init.scope /sbin/init
10 1 a /docker/ID(a) sleep
20 1 host /user.slice/conmon /usr/bin/conmon -c ID(b) -n web -b /home/ann/c/ID(b)/userdata
21 20 b /user.slice/user/libpod-ID(b).scope sleep
30 1 host /user.slice/conmon /usr/bin/conmon -c ID(c) -n db -b /home/ann/c/ID(c)/userdata
31 30 c /user.slice/user/libpod-ID(c).scope sleep
40 1 host /user.slice/bob /usr/bin/conmon -c ID(d) -n db -b /home/bob/c/ID(d)/userdata
41 40 d /user.slice/bob/libpod-ID(d).scope sleep
50 1 e /lxc.payload.db sleep
-- proc/owners --
process 20 1000
process 30 1000
process 40 1001
group /user.slice/user 1000
group /user.slice/bob 1001
-- root/var/lib/docker/containers/ID(a)/config.v2.json --
{"State":{"Pid":10},"Name":"/web"}
-- root/home/ann/x --
`)
	for caller, want := range map[Owner]map[string]string{
		Root: {"web": "docker:web", "podman:web": "", "db": "", "podman@1001:db": "podman@1001:db", "lxc:db": ""},
		1000: {"web": "docker:web podman@1000:web", "podman:web": "podman@1000:web", "docker:web": "docker:web", "db": "pid:50 podman@1000:db", "podman:db": "podman@1000:db", "podman@1001:db": "podman@1001:db"},
		1001: {"web": "docker:web", "db": "pid:50 podman@1001:db", idOf("c"): ""},
	} {
		m.host.caller = caller
		set := m.identify()
		for name, want := range want {
			var got []string
			for _, m := range set.Match("", name) {
				got = append(got, set.Target(m))
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != want {
				t.Errorf("%d: %s is %q, want %q", caller, name, text, want)
			}
		}
	}
}

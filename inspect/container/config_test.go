package container

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/internal/sys"
)

// State files of engines, cut to the parts that are read.
const (
	ociJSON = `{"ociVersion":"1.0.2","process":{"user":{"uid":1000,"gid":100,"additionalGids":[100,44]},"args":["sh"],
"env":["PATH=/bin","A=1"],"cwd":"/","capabilities":{"bounding":["CAP_CHOWN","CAP_NEW"],"ambient":null},"noNewPrivileges":true},
"root":{"path":"rootfs"},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"]}]}}}`
	runcJSON = `{"id":"x","init_process_pid":42,"init_process_start":7,"config":{"rootfs":"/images/x","capabilities":{"Bounding":["CAP_KILL"],"Effective":null},
"seccomp":{"default_action":2},"no_new_privileges":true,"labels":["a=b","bundle=/bundle"]}}`
	crunJSON = `{"pid":43,"process-start-time":7,"rootfs":"/images/x","bundle":"/bundle"}`
	unJSON   = `{"process":{"user":{"uid":0,"gid":0},"capabilities":null},"root":{"path":"/"},"linux":{"seccomp":{}}}`
)

func TestConfig(t *testing.T) {
	id := nstest.ContainerID("web")
	user := &User{UID: 1000, GID: 100, Groups: []uint32{100, 44}}
	env := []string{"PATH=/bin", "A=1"}
	caps := &Capabilities{Bounding: []string{"CAP_CHOWN", "CAP_NEW"}}
	task := "/run/containerd/io.containerd.runtime.v2.task/"
	for _, tc := range []struct {
		name  string
		c     Container
		files map[string]string // with ID for id
		want  Config
		err   string
	}{
		{name: "nothing", c: Container{Engine: Runc, ID: "web"}, want: Config{}},
		{
			name: "runc, created", c: Container{Engine: Runc, ID: "web"},
			files: map[string]string{"/run/runc/web/state.json": runcJSON, "/run/runc/web/exec.fifo": "", "/bundle/config.json": ociJSON},
			want:  Config{State: StateCreated, PID: 42, Runtime: Runc, Root: "/images/x", User: user, Env: env, Caps: &Capabilities{Bounding: []string{"CAP_KILL"}}, NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "runc, whose bundle says less by now", c: Container{Engine: Runc, ID: "web"},
			files: map[string]string{"/run/runc/web/state.json": runcJSON, "/bundle/config.json": unJSON},
			want:  Config{State: StateRunning, PID: 42, Runtime: Runc, Root: "/images/x", User: &User{}, Caps: &Capabilities{Bounding: []string{"CAP_KILL"}}, NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "runc, without a state yet", c: Container{Engine: Runc, ID: "web"},
			files: map[string]string{"/run/runc/web/exec.fifo": ""},
			want:  Config{State: StateCreated},
		},
		{
			name: "crun", c: Container{Engine: Crun, ID: "web"},
			files: map[string]string{"/run/crun/web/status": crunJSON, "/run/crun/web/config.json": ociJSON},
			want:  Config{State: StateRunning, PID: 43, Runtime: Crun, Root: "/images/x", User: user, Env: env, Caps: caps, NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "a user's crun", c: Container{Engine: Podman, ID: id, User: 1000, Path: "/home/ann/c/ID"},
			files: map[string]string{"/run/user/1000/crun/ID/status": crunJSON, "/run/user/1000/crun/ID/exec.fifo": "", "/bundle/config.json": ociJSON},
			want:  Config{State: StateCreated, PID: 43, Runtime: Crun, Root: "/images/x", User: user, Env: env, Caps: caps, NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "runc, with a bundle that others write", c: Container{Engine: Runc, ID: "web"},
			files: map[string]string{"/run/runc/web/state.json": strings.Replace(runcJSON, "/bundle", "/home/ann/b", 1), "/home/ann/b/config.json": unJSON},
			want:  Config{State: StateRunning, PID: 42, Runtime: Runc, Root: "/images/x", Caps: &Capabilities{Bounding: []string{"CAP_KILL"}}, NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "podman", c: Container{Engine: Podman, ID: id, Path: "/var/c/ID"},
			files: map[string]string{"/var/c/ID/userdata/config.json": ociJSON},
			want:  Config{User: user, Env: env, Caps: caps, NoNewPrivs: true, Seccomp: true, Root: "/var/c/ID/userdata/rootfs"},
		},
		{
			name: "containerd", c: Container{Engine: Containerd, ID: "web", Namespace: "k8s.io"},
			files: map[string]string{task + "k8s.io/web/config.json": unJSON, task + "other/web/config.json": ociJSON, "/run/containerd/runc/k8s.io/web/state.json": strings.Replace(runcJSON, "/bundle", task+"k8s.io/web", 1)},
			want:  Config{State: StateRunning, PID: 42, Runtime: Runc, Root: "/images/x", User: &User{}, Caps: &Capabilities{Bounding: []string{"CAP_KILL"}}, NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "docker, between two starts", c: Container{Engine: Docker, ID: id, Path: "/d/ID"},
			files: map[string]string{"/d/ID/config.v2.json": `{"State":{"Running":true,"Pid":0}}`, task + "moby/ID/config.json": ociJSON, task + "moby/ID/options.json": `{"root":"/var/run/docker/runtime-runc"}`, "/var/run/docker/runtime-runc/moby/ID/state.json": `{"init_process_pid":44,"config":{"rootfs":"/r","labels":[]}}`},
			want:  Config{State: StateCreated, Runtime: Runc, Root: "/r", User: user, Env: env},
		},
		{
			name: "docker, which runs", c: Container{Engine: Docker, ID: id, Path: "/d/ID"},
			files: map[string]string{"/d/ID/config.v2.json": `{"State":{"Running":true,"Pid":45}}`, task + "moby/ID/config.json": unJSON},
			want:  Config{State: StateRunning, PID: 45, User: &User{}, Root: "/"},
		},
		{
			name: "half a file", c: Container{Engine: Runc, ID: "web"},
			files: map[string]string{"/run/runc/web/state.json": runcJSON[:80]},
			want:  Config{State: StateCreated, PID: 42}, err: "no valid JSON",
		},
		{
			name: "LXC", c: Container{Engine: LXC, ID: "web", Path: "/var/lib/lxc/web"},
			files: map[string]string{"/var/lib/lxc/web/config": "lxc.include = /inc\nlxc.rootfs.path = dir:/var/lib/lxc/web/rootfs\n", "/inc/a.conf": "lxc.no_new_privs = 1\nlxc.include=/inc/a.conf\n", "/inc/b.conf": "# none\nlxc.seccomp.profile = /x\n", "/inc/c": "lxc.rootfs.path = /\n"},
			want:  Config{Root: "/var/lib/lxc/web/rootfs", NoNewPrivs: true, Seccomp: true},
		},
		{
			name: "LXC, with the host's root", c: Container{Engine: LXC, ID: "web", Path: "/var/lib/lxc/web"},
			files: map[string]string{"/var/lib/lxc/web/config": "lxc.uts.name = web\n"},
			want:  Config{Root: "/"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := nstest.Dir(t)
			for name, text := range tc.files {
				file := filepath.Join(root, strings.ReplaceAll(name, "ID", id))
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // of a made-up host
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tc.c.Path = strings.ReplaceAll(tc.c.Path, "ID", id)
			tc.want.Root = strings.ReplaceAll(tc.want.Root, "ID", id)
			set := &Set{host: host{proc: statedProc(t, tc.c.User), root: root, stated: true}}
			conf, err := set.Config(&tc.c)
			if got := errorText(err); !strings.Contains(got, tc.err) || tc.err == "" && got != "" {
				t.Errorf("the error is %q, not %q", got, tc.err)
			}
			if !reflect.DeepEqual(*conf, tc.want) {
				t.Errorf("it is\n%+v, not\n%+v", *conf, tc.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// statedProc is the /proc of a host on which one user has an engine, and owns the bundle.
func statedProc(t *testing.T, owner Owner) string {
	return nstest.Proc(t, fmt.Sprintf("-- owners --\nfile /run/user/1000 1000\nfile /home/ann 1000\nfile /bundle %d\n", owner))
}

func TestHasRoot(t *testing.T) {
	root := nstest.Dir(t)
	if err := os.Mkdir(filepath.Join(root, "sub"), 0o755); err != nil { //nolint:gosec // of a made-up host
		t.Fatal(err)
	}
	set := &Set{host: host{proc: statedProc(t, Root), root: root, stated: true}}
	for _, tc := range []struct {
		is, says string
		want     bool
	}{{"", "/", true}, {"sub", "/sub", true}, {"", "/sub", false}, {"", "", false}, {"sub", "/none", false}} {
		id, err := sys.WhereAt(sys.CurrentDir, filepath.Join(root, tc.is))
		if err != nil {
			t.Fatal(err)
		}
		if got := set.HasRoot(&Container{Engine: Runc, ID: "web"}, &Config{Root: tc.says}, id.Dev, id.Ino); got != tc.want {
			t.Errorf("%q is the root directory %q: %v", tc.is, tc.says, got)
		}
	}
}

package engine_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// types are the links of a process's namespaces.
var types = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

// namespaces returns a process's namespaces as the kernel's links say.
func namespaces(t *testing.T, pid any) map[string]string {
	t.Helper()
	links := map[string]string{}
	for _, typ := range types {
		link, err := os.Readlink(fmt.Sprintf("/proc/%v/ns/%s", pid, typ))
		if err != nil {
			t.Fatal(err)
		}
		links[typ] = link
	}
	return links
}

// What every engine gives a container of its own, so that a Start that returns
// some other process is noticed.
func wantOwn(t *testing.T, what string, pid int, want string) {
	t.Helper()
	host, own := namespaces(t, "self"), []string{}
	for typ, link := range namespaces(t, pid) {
		if link != host[typ] {
			own = append(own, typ)
		}
	}
	for _, typ := range strings.Fields(want) {
		if !strings.Contains(strings.Join(own, " "), typ) {
			t.Errorf("%s: process %d has no %s namespace of its own", what, pid, typ)
		}
	}
}

func TestStart(t *testing.T) {
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{})
			want := "ipc mnt pid uts net"
			switch e {
			case engine.Nspawn: // has the host's network
				want = "ipc mnt pid uts"
			}
			wantOwn(t, string(e), c.PID, want)
			if c.ID == "" || c.Name == "" || c.Image == "" {
				t.Errorf("%+v", c)
			}
			c.Stop()
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", c.PID)); err == nil {
				t.Errorf("process %d is still there", c.PID)
			}
		})
	}
}

func TestStartBare(t *testing.T) {
	for _, e := range []engine.Engine{engine.Docker, engine.Podman, engine.Containerd} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{Bare: true})
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/bin/sh", c.PID)); err == nil {
				t.Error("there is a shell")
			}
		})
	}
}

func TestStartPod(t *testing.T) {
	for _, hostNetwork := range []bool{false, true} {
		t.Run(fmt.Sprint("host network ", hostNetwork), func(t *testing.T) {
			t.Parallel()
			p := engine.StartPod(t, hostNetwork, "web", "side")
			if len(p.Containers) != 2 || p.Containers[0].Name != "web" {
				t.Fatalf("%+v", p)
			}
			wantOwn(t, "sandbox", p.PID, "mnt pid ipc")
			for _, c := range p.Containers {
				wantOwn(t, c.Name, c.PID, "mnt pid ipc")
				if got, want := namespaces(t, c.PID)["net"], namespaces(t, p.PID)["net"]; got != want {
					t.Errorf("%s is in %s, the sandbox in %s", c.Name, got, want)
				}
			}
			host := namespaces(t, "self")["net"]
			if got := namespaces(t, p.PID)["net"] == host; got != hostNetwork {
				t.Errorf("the network is the host's: %v", got)
			}
		})
	}
}

package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// A shown is what `nstool show --json` says, as far as is looked at here.
type shown struct {
	Namespaces []struct {
		NS        uint64
		Type      string
		Container *string
		Inside    struct {
			Hostname string
			Mounts   []struct{ Path, Fstype string }
			Roots    []struct{ Controllers, Path string }
		}
	}
	Processes []struct {
		PID        int
		Container  struct{ Container, Engine, CID string }
		Namespaces []struct {
			Type       string
			NS         uint64
			Of         string
			SharedWith []string `json:"shared_with"`
		}
		Task struct {
			Pids         []struct{ PID int }
			Capabilities struct{ Effective, Bounding []string }
			NoNewPrivs   bool `json:"no_new_privs"`
			Seccomp      string
			Cgroups      []struct{ Controllers, Path string }
		}
	}
}

func show(t *testing.T, args ...string) (s shown) {
	t.Helper()
	nstool(t, &s, 0, append([]string{"show", "--json"}, args...)...)
	return s
}

// nstool runs a command that has the given exit status, and decodes its JSON.
func nstool(t *testing.T, into any, status int, args ...string) {
	t.Helper()
	out, err := exec.Command(nstest.Nstool(t), args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == status {
		err = nil
	} else if err == nil && status != 0 {
		err = fmt.Errorf("exit status 0, not %d", status)
	}
	if err != nil {
		t.Fatalf("nstool %v: %v", args, err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("nstool %v: %v in %s", args, err, out)
	}
}

func field(t *testing.T, pid int, key string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("status of %d has no %s", pid, key)
	return ""
}

// TestShow shows a container of every engine, and compares with /proc, with
// nsenter(1) and with what the engine says.
func TestShow(t *testing.T) {
	for _, e := range engine.All {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			c := engine.Start(t, e, engine.Options{})
			s := show(t, string(e)+":"+c.Name)
			if len(s.Processes) != 1 || s.Processes[0].PID != c.PID || s.Processes[0].Container.Engine != string(e) || s.Processes[0].Container.CID != c.ID {
				t.Fatalf("got %+v; want process %d of %s %s", s.Processes, c.PID, e, c.ID)
			}
			p := s.Processes[0]
			want := namespaces(t, c.PID)
			host := namespaces(t, os.Getpid())
			for _, ns := range p.Namespaces {
				link := fmt.Sprintf("%s:[%d]", ns.Type, ns.NS)
				of := "own"
				if want[ns.Type] == host[ns.Type] {
					of = "host"
				}
				if link != want[ns.Type] || ns.Of != of {
					t.Errorf("%s: %s of %s; want %s of %s", c.Name, link, ns.Of, want[ns.Type], of)
				}
			}
			var pids []string
			for _, l := range p.Task.Pids {
				pids = append(pids, strconv.Itoa(l.PID))
			}
			if got, want := strings.Join(pids, " "), field(t, c.PID, "NSpid"); got != want {
				t.Errorf("PIDs %s; want %s", got, want)
			}
			mask, err := strconv.ParseUint(field(t, c.PID, "CapEff"), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(p.Task.Capabilities.Effective); n != popcount(mask) || slices.Contains(p.Task.Capabilities.Effective, "CAP_NET_ADMIN") != (mask>>12&1 == 1) {
				t.Errorf("capabilities %v; want %x", p.Task.Capabilities.Effective, mask)
			}
			if want := map[string]string{"0": "none", "1": "strict", "2": "filter"}[field(t, c.PID, "Seccomp")]; p.Task.Seccomp != want {
				t.Errorf("seccomp %s; want %s", p.Task.Seccomp, want)
			}

			in := show(t, "-t", "uts,mnt,cgroup", fmt.Sprint(c.PID))
			out, err := exec.Command("nsenter", "-t", fmt.Sprint(c.PID), "-u", "hostname").Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, ns := range in.Namespaces {
				switch ns.Type {
				case "uts":
					if got, want := ns.Inside.Hostname, strings.TrimSpace(string(out)); got != want {
						t.Errorf("host name %q; want %q", got, want)
					}
				case "mnt":
					text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", c.PID))
					if err != nil {
						t.Fatal(err)
					}
					if got, want := len(ns.Inside.Mounts), strings.Count(string(text), "\n"); got != want {
						t.Errorf("%d mounts; want %d", got, want)
					}
				}
			}

			var pid struct{ Tasks []struct{ PID int } }
			inner := field(t, c.PID, "NSpid")
			nstool(t, &pid, 0, "pid", "--json", "--in", c.Name, inner[strings.LastIndexByte(inner, ' ')+1:])
			if len(pid.Tasks) != 1 || pid.Tasks[0].PID != c.PID {
				t.Errorf("PID in %s: %+v; want %d", c.Name, pid, c.PID)
			}
		})
	}
}

func popcount(n uint64) (count int) {
	for ; n != 0; n &= n - 1 {
		count++
	}
	return count
}

// TestShowShared looks at what containers share with each other and the host.
func TestShowShared(t *testing.T) {
	a := engine.Start(t, engine.Docker, engine.Options{Args: []string{"--hostname", "blue", "--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges"}})
	b := engine.Start(t, engine.Docker, engine.Options{Args: []string{"--network", "container:" + a.Name, "--pid", "host"}})
	p := show(t, "docker:"+b.Name).Processes[0]
	for _, ns := range p.Namespaces {
		want, with := map[string]string{"net": "docker:" + a.Name, "pid": "host", "mnt": "own"}[ns.Type], ns.Type == "net"
		if want != "" && ns.Of != want || with != slices.Contains(ns.SharedWith, "docker:"+a.Name) {
			t.Errorf("%s of %s, shared with %v; want %s", ns.Type, ns.Of, ns.SharedWith, want)
		}
	}
	p = show(t, "docker:"+a.Name).Processes[0]
	for _, ns := range p.Namespaces {
		if ns.Type == "net" && (ns.Of != "own" || !slices.Contains(ns.SharedWith, "docker:"+b.Name)) {
			t.Errorf("net of %s, shared with %v", ns.Of, ns.SharedWith)
		}
	}
	if !slices.Contains(p.Task.Capabilities.Effective, "CAP_NET_ADMIN") || slices.Contains(p.Task.Capabilities.Effective, "CAP_SYS_ADMIN") || !p.Task.NoNewPrivs || p.Task.Seccomp != "filter" {
		t.Errorf("got %+v", p.Task)
	}

	var diff struct {
		Same  bool
		Types []struct {
			Type, Verdict string
			Differs       []struct {
				What string
				A, B []string
			}
		}
	}
	nstool(t, &diff, 1, "diff", "--json", a.Name, b.Name)
	if len(diff.Types) != 8 || diff.Same {
		t.Fatalf("got %+v", diff)
	}
	for _, c := range diff.Types {
		want := "different"
		if namespaces(t, a.PID)[c.Type] == namespaces(t, b.PID)[c.Type] {
			want = "same"
		}
		if c.Verdict != want {
			t.Errorf("%s: %s; want %s", c.Type, c.Verdict, want)
		}
	}
	nstool(t, &diff, 0, "diff", "--json", a.Name, fmt.Sprint(a.PID))
	if !diff.Same {
		t.Errorf("a container differs from its process: %+v", diff)
	}
}

// TestShowNetwork compares with what Docker and ss(8) say of a network.
func TestShowNetwork(t *testing.T) {
	nstest.Need(t, "ss")
	c := engine.Start(t, engine.Docker, engine.Options{Command: []string{"/bin/nc", "-l", "-p", "8080"}})
	var s struct {
		Namespaces []struct {
			Inside struct {
				Interfaces []struct {
					Name, State string
					Addresses   []string
					Peer        string
				}
				Routes  []struct{ Dst, Gateway string }
				Sockets []struct {
					Proto string
					Port  int
					PID   int
				}
			}
		}
	}
	var ss []byte
	for !strings.Contains(string(ss), ":8080") { // until nc(1) has got so far
		var err error
		if ss, err = exec.Command("nsenter", "-t", fmt.Sprint(c.PID), "-n", "ss", "-Hltn").Output(); err != nil {
			t.Fatalf("ss: %v", err)
		}
	}
	nstool(t, &s, 0, "show", "--json", "-t", "net", c.Name)
	out, err := exec.Command("docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}} {{.NetworkSettings.Gateway}}", c.Name).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(out))
	in := s.Namespaces[0].Inside
	found := false
	for _, i := range in.Interfaces {
		found = found || i.Name == "eth0" && slices.Contains(i.Addresses, want[0]) && strings.HasSuffix(i.Peer, "@host")
	}
	if !found || len(in.Routes) == 0 || in.Routes[0].Gateway != want[1] {
		t.Errorf("got %+v; want %v", in, want)
	}
	if len(in.Sockets) != strings.Count(string(ss), "\n") || in.Sockets[0].Port != 8080 || in.Sockets[0].PID != c.PID {
		t.Errorf("got %+v; ss says %s", in.Sockets, ss)
	}
}

// TestShowPod shows a pod, whose containers share a network but no PIDs.
func TestShowPod(t *testing.T) {
	p := engine.StartPod(t, false, "web", "side")
	pod := fmt.Sprintf("pod:%s/%s", p.Namespace, p.Name)
	s := show(t, pod)
	if len(s.Processes) != 1+len(p.Containers) {
		t.Fatalf("%d processes", len(s.Processes))
	}
	for _, proc := range s.Processes {
		for _, ns := range proc.Namespaces {
			if ns.Type == "net" && len(ns.SharedWith) != len(p.Containers) {
				t.Errorf("net of %s is shared with %v", proc.Container.Container, ns.SharedWith)
			}
		}
	}
	// Which of them is meant is asked, where it matters.
	for _, args := range [][]string{{"diff", pod, "self"}, {"pid", "--in", pod, "1"}} {
		out, err := exec.Command(nstest.Nstool(t), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), pod+"/web") || !strings.Contains(string(out), pod+"/side") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	for _, c := range p.Containers {
		var pid struct{ Tasks []struct{ PID int } }
		nstool(t, &pid, 0, "pid", "--json", "--in", pod+"/"+c.Name, "1")
		if pid.Tasks[0].PID != c.PID {
			t.Errorf("%s: %+v; want %d", c.Name, pid, c.PID)
		}
	}
}

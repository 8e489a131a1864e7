package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

type finding struct {
	Severity, Check, Subject, What, Fix, Then string
	Evidence                                  []string
}

// doctor runs nstool doctor and returns what it finds about a subject, in any
// check.
func doctor(t *testing.T, subject string, args ...string) (about []finding) {
	t.Helper()
	out, err := exec.Command(nstest.Nstool(t), append([]string{"doctor", "--json"}, args...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("doctor: %v: %s", err, exit.Stderr)
	}
	var all struct{ Findings []finding }
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	for _, f := range all.Findings {
		if f.Subject == subject {
			about = append(about, f)
		}
	}
	return about
}

// TestDoctorContainers looks at real containers: nothing is said of one as it
// comes from the engine, and what is wrong with the others is.
func TestDoctorContainers(t *testing.T) {
	most := []string{"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"}
	for _, c := range []string{"SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH", "MAC_ADMIN", "MAC_OVERRIDE"} {
		most = append(most, "--cap-add", c)
	}
	for _, c := range []struct {
		name string
		args []string
		want []string // checks and words of the sentence, nothing worse than a note without
	}{
		{"plain", nil, nil},
		{"limited", []string{"--memory", "64m", "--cap-drop", "ALL", "--read-only", "--user", "65534"}, nil},
		{"shares", []string{"--network", "host", "--ipc", "host", "--pid", "host"}, []string{"sharing: shares the host's net, pid and ipc namespaces"}},
		{"admin", []string{"--cap-add", "SYS_ADMIN"}, []string{"privileges: may do what it takes to be root of the host: CAP_SYS_ADMIN"}},
		{"tracer", []string{"--pid", "host", "--cap-add", "SYS_PTRACE"}, []string{"sharing: shares the host's pid namespace", "privileges: may do what it takes to be root of the host: CAP_SYS_PTRACE"}},
		{"privileged", most, []string{"privileges: runs privileged: it has the capabilities of the host, and no seccomp filter"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			box := engine.Start(t, engine.Docker, engine.Options{Args: c.args})
			subject := "docker:" + box.Name
			var got []string
			for _, f := range doctor(t, subject, "--check", "sharing,privileges", "--severity", "warning") {
				what, ok := strings.CutPrefix(f.What, subject+" ")
				if got = append(got, f.Check+": "+what); !ok || f.Fix != "docker stop -- "+box.ID || !strings.HasPrefix(f.Then, "start it again without ") {
					t.Errorf("%+v", f)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}

// TestDoctorStop runs what is proposed of a container of each engine: it ends, what
// was said of it is not said any more, and those of all engines beside it go on.
func TestDoctorStop(t *testing.T) {
	for _, c := range []struct {
		engine engine.Engine
		args   []string
		fix    string // with the ID for ID, and the first process for PID
	}{
		{engine.Docker, []string{"--network", "host", "--stop-timeout", "1"}, "docker stop -- ID"},
		{engine.Podman, []string{"--network", "host", "--stop-timeout", "1"}, "podman stop -- ID"},
		{engine.Containerd, []string{"--net-host"}, "ctr -n k8s.io task kill -s SIGKILL ID"},
		{engine.LXC, nil, "lxc-stop -t 10 -n ID"},
		{engine.Nspawn, nil, "kill -KILL PID"},
	} {
		t.Run(string(c.engine), func(t *testing.T) {
			t.Parallel()
			beside := engine.Start(t, c.engine, engine.Options{Args: c.args})
			box := engine.Start(t, c.engine, engine.Options{Args: c.args})
			subject := string(c.engine) + ":" + box.Name
			if c.engine == engine.Containerd {
				subject = "containerd:" + box.ID
			}
			found := doctor(t, subject, "--check", "sharing,privileges", "--severity", "warning")
			if len(found) == 0 {
				t.Fatalf("nothing is found of %s", subject)
			}
			want := strings.ReplaceAll(strings.ReplaceAll(c.fix, "PID", strconv.Itoa(box.PID)), "ID", box.ID)
			if found[0].Fix != want {
				t.Fatalf("%+v, not %s", found[0], want)
			}
			out, err := exec.Command("sh", "-c", found[0].Fix).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", found[0].Fix, err, out)
			}
			waitGone(t, box.PID)
			if found := doctor(t, subject, "--check", "sharing,privileges"); len(found) != 0 {
				t.Errorf("it is said still: %+v", found)
			}
			if err := syscall.Kill(beside.PID, 0); err != nil {
				t.Errorf("%s beside it: %v", beside.Name, err)
			}
		})
	}
}

// waitGone waits until a process has ended.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d is there still", pid)
		}
	}
}

// TestDoctorNames leaves behind what engines leave behind.
func TestDoctorNames(t *testing.T) {
	nstest.Need(t, "root", "docker", "ip")
	if testing.Short() {
		t.Skip("starts a real container")
	}
	box := engine.Start(t, engine.Docker, engine.Options{})
	key, err := exec.Command("docker", "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", box.Name).Output()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("/run/docker/netns", filepath.Base(strings.TrimSpace(string(key))))
	if found := doctor(t, name, "--check", "names"); len(found) != 0 {
		t.Errorf("of a container that runs: %+v", found)
	}
	box.Stop()
	// Docker clears its name away in a minute, which is no leak.
	for _, f := range doctor(t, name, "--check", "names") {
		if f.Severity != "note" {
			t.Errorf("of a container that ended: %+v", f)
		}
	}
	// One that Docker does not know of is.
	left := "/run/docker/netns/nstooltest01"
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(left) })
	want := "rm -- " + left
	if nstest.Lacks("whole") != nil {
		want = "" // another mount namespace may have a namespace there
	}
	if found := doctor(t, left, "--check", "names"); len(found) != 1 || found[0].Fix != want {
		t.Errorf("%+v", found)
	}
}

// TestDoctorPod looks at a pod, and at the network namespace of one that is gone.
func TestDoctorPod(t *testing.T) {
	p := engine.StartPod(t, true, "web")
	subject := p.Namespace + "/" + p.Name + "/web"
	found := doctor(t, subject, "--check", "sharing")
	if len(found) != 1 || !strings.Contains(found[0].What, "host's net namespace") || found[0].Fix != "" || !strings.Contains(strings.Join(found[0].Evidence, "\n"), "the spec of pod "+p.Namespace+"/"+p.Name+" has hostNetwork: true") {
		t.Errorf("%s: %+v", subject, found)
	}
	if found := doctor(t, p.Namespace+"/"+p.Name, "--check", "sharing"); len(found) != 0 {
		t.Errorf("it is said twice: %+v", found)
	}

	// In a mount namespace of our own, where no other test sees it.
	nstest.Need(t, "whole")
	out, err := exec.Command("unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount -t tmpfs t /run; ip netns add cni-0a1b2c3d-nstool-test
		ip netns add cni-1a1b2c3d-nstool-test; ip netns exec cni-1a1b2c3d-nstool-test sleep 20 & trap "kill $!" EXIT
		until [ "$(ip netns pids cni-1a1b2c3d-nstool-test)" ]; do :; done
		"$1" doctor --check leaks --severity warning || true`, "sh", nstest.Nstool(t)).Output()
	if err != nil || !strings.Contains(string(out), "fix: ip netns delete cni-0a1b2c3d-nstool-test\n") || strings.Contains(string(out), "cni-1a1b2c3d") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDoctorInAPod looks from inside of a container that sees the host. What that takes
// is told of every such container but the one that the doctor itself is in: it is there
// because somebody wanted it to be.
func TestDoctorInAPod(t *testing.T) {
	inside := engine.Start(t, engine.Docker, engine.Options{Args: append(sysadmin, "-v", nstest.Nstool(t)+":/nstool:ro")})
	other := engine.Start(t, engine.Docker, engine.Options{Args: sysadmin})
	out, err := exec.Command("docker", "exec", inside.Name, "/nstool", "doctor", "--json", "--check", "sharing,privileges").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	for c, want := range map[*engine.Container]int{inside: 0, other: 2} {
		if got := len(doctor(t, "docker:"+c.Name, "--check", "sharing,privileges")); got != 2 {
			t.Errorf("on the host %d findings about %s", got, c.Name)
		}
		var all struct{ Findings []finding }
		if err := json.Unmarshal(out, &all); err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, f := range all.Findings {
			if f.Severity != "note" && slices.ContainsFunc(append(f.Evidence, f.Subject), func(s string) bool {
				return s == "docker:"+c.Name || strings.Contains(s, fmt.Sprintf("its first process is %d", c.PID))
			}) {
				got++
			}
		}
		if got != want {
			t.Errorf("inside %d findings about %s, want %d: %s", got, c.Name, want, out)
		}
	}
}

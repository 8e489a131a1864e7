package engine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
	"github.com/nstool/nstool/test/engine"
)

// TestHintsWhereNstoolIsConfined runs nstool inside containers: its hint begins with
// what confines nstool itself there, and sends nobody to flags or settings that would
// not help. What needs nothing that a container lacks works.
func TestHintsWhereNstoolIsConfined(t *testing.T) {
	other := engine.Start(t, engine.Docker, engine.Options{})
	const (
		bounding = "hint: nstool itself is confined, as in a container that lacks CAP_SYS_PTRACE, CAP_SYS_ADMIN"
		both     = bounding + "; its own seccomp filter may be in the way, too"
		ptrace   = "hint: nstool itself is confined, as in a container that lacks CAP_SYS_PTRACE; its own seccomp filter may be in the way, too"
	)
	in := func(flags ...string) *engine.Container {
		return engine.Start(t, engine.Docker, engine.Options{Args: append(flags, "-v", nstest.Nstool(t)+":/nstool:ro")})
	}
	plain, unfiltered := in(), in("--security-opt", "seccomp=unconfined")
	hosts, admin := in("--pid=host"), in("--pid=host", "--cap-add=SYS_ADMIN")
	for _, c := range []struct {
		box   *engine.Container
		words string
		want  string // of the hint, or "" for success
		more  string
	}{
		{plain, "run --net true", both + "\n", ""},
		{plain, "run --uts true", both + "\n", ""},
		{plain, "run --rootless --net true", both + "\n", ""},
		{plain, "enter -p 1 -r true", both + "; ", "--allow-missing=seccomp"},
		// What that hint proposes, and where nothing is joined.
		{plain, "enter -p 1 -r --allow-missing=seccomp true", "", ""},
		{plain, "enter -p 1 true", "", ""},
		{plain, "enter -p 1 --net true", "", ""},
		{plain, "cp 1:/bin/busybox /tmp/copy", "", ""},
		{unfiltered, "run --net true", bounding + "; ", "--rootless"},
		{unfiltered, "enter -p 1 --tools true", bounding + "; that takes CAP_SYS_ADMIN here\n", ""},
		{hosts, "enter -p OTHER --net true", both + "\n", ""},
		{hosts, "enter -p OTHER true", "hint: nstool itself is in a mount namespace where that is not mounted", ""},
		{admin, "enter -p OTHER --net true", "", ""},
		{admin, "run --uts --pin nstool-hint true", ptrace + "; looking at it takes CAP_SYS_PTRACE", ""},
	} {
		words := strings.Fields(strings.ReplaceAll(c.words, "OTHER", strconv.Itoa(other.PID)))
		out, err := exec.Command("docker", append([]string{"exec", c.box.Name, "/nstool"}, words...)...).CombinedOutput()
		if text := string(out); (err == nil) != (c.want == "") || !strings.Contains(text, c.want) || !strings.Contains(text, c.more) {
			t.Errorf("%v: %v: %s", words, err, text)
		}
	}
	// The control: it is the confinement that denies it, as it denies it to others.
	for _, words := range []string{"unshare -n true", "unshare -Ur true"} {
		if out, err := exec.Command("docker", append([]string{"exec", plain.Name, "/bin/busybox"}, strings.Fields(words)...)...).CombinedOutput(); err == nil {
			t.Errorf("%s may: %s", words, out)
		}
	}
}

// A pod or container that has less than it takes is told what it lacks, in one line,
// whatever is asked: also where nothing was denied, since nothing could be seen.
func TestWhatThePodLacks(t *testing.T) {
	other := engine.Start(t, engine.Docker, engine.Options{})
	const (
		begin   = "hint: nstool itself is confined, as in a container that lacks "
		filter  = "; its own seccomp filter may be in the way, too\n"
		all     = begin + "hostPID: true (--pid=host), CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN" + filter
		pid     = begin + "hostPID: true (--pid=host)\n"
		caps    = begin + "CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN" + filter
		admin   = begin + "CAP_NET_ADMIN, CAP_SYS_ADMIN" + filter
		sockets = begin + "CAP_NET_ADMIN" + filter
	)
	process := []string{"enter -p OTHER true", "ls OTHER", "show OTHER", "pid OTHER", "net OTHER", "cp OTHER:/etc/passwd /tmp/copy", "forward --stdio OTHER 80", "pin add nstool-image -p OTHER --net"}
	named := []string{"enter -c NAME true", "show NAME", "containers NAME", "cp NAME:/etc/passwd /tmp/copy", "forward --stdio NAME 80", "enter --pod default/cart/app true"}
	lists := []string{"ls", "containers", "net", "ports", "doctor"}
	// A filter of somebody's own, which refuses what capabilities permit.
	profile := filepath.Join(nstest.Dir(t), "profile.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["setns"], "action": "SCMP_ACT_ERRNO"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags    []string
		commands []string
		want     string
	}{
		{nil, slices.Concat(process, named, lists), all},
		{[]string{"--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt", "seccomp=unconfined"}, slices.Concat(process, named, lists), pid},
		{[]string{"--pid=host"}, slices.Concat(named, lists), caps},
		{[]string{"--pid=host", "--cap-add=SYS_PTRACE"}, []string{"show NAME", "containers NAME", "net", "ports"}, admin},
		{[]string{"--pid=host", "--cap-add=SYS_PTRACE", "--cap-add=SYS_ADMIN"}, []string{"ls"}, sockets},
		{[]string{"--pid=host", "--cap-add=SYS_PTRACE"}, []string{"enter -c NAME true", "forward --stdio NAME 80", "forward --stdio OTHER 80"}, begin + "CAP_SYS_ADMIN; its own seccomp filter may be in the way, too; "},
		{[]string{"--pid=host"}, []string{"enter -p 4194304 true"}, ""},
		{
			[]string{"--pid=host", "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt", "seccomp=" + profile},
			[]string{"net", "enter -p OTHER true", "forward --stdio OTHER 80", "pin add nstool-image -p OTHER --net"},
			"hint: nstool is itself under a seccomp filter, which may be what denies it: an unconfined profile has none",
		},
	} {
		box := engine.Start(t, engine.Docker, engine.Options{Args: append(c.flags, "--tmpfs=/run", "-v", nstest.Nstool(t)+":/nstool:ro")})
		for _, words := range c.commands {
			words = strings.NewReplacer("OTHER", strconv.Itoa(other.PID), "NAME", other.Name).Replace(words)
			out, _ := exec.Command("docker", append([]string{"exec", box.Name, "/nstool"}, strings.Fields(words)...)...).CombinedOutput()
			if text := string(out); !strings.Contains(text, c.want) || strings.Count(text, "as in a container") > 1 || c.want == "" && strings.Contains(text, "as in a container") {
				t.Errorf("docker run %v: nstool %s: want %q: %s", c.flags, words, c.want, text)
			}
		}
	}
}

// What is asked of a container without programs, such as one of nstool's own image.
func TestHintsWithoutPrograms(t *testing.T) {
	other := engine.Start(t, engine.Docker, engine.Options{})
	box := engine.Start(t, engine.Docker, engine.Options{Bare: true, Args: append(sysadmin, "-v", nstest.Nstool(t)+":/nstool:ro", "-v", "/:/host:ro")})
	name := "docker:" + other.Name
	for words, want := range map[string]string{
		"enter -c " + name + " --net nosuchprogram":       "hint: nstool itself is in a container, and its programs are looked for there; in a pod of kubectl debug, nstool enter -c " + name + " --tools=/host brings the node's\n",
		"run --net nosuchprogram":                         "hint: nstool itself is in a container, and its programs are looked for there\n",
		"enter -c " + name + " --tools nosuchprogram":     "hint: neither the target nor the tools have it; ",
		"enter -c " + name + " --tools=/host ls /.nstool": "target",
		"enter -c " + name + " --net --mnt nosuchprogram": "hint: nstool enter -c " + name + " --tools nosuchprogram brings this host's programs along",
	} {
		out, _ := exec.Command("docker", append([]string{"exec", box.Name, "/nstool"}, strings.Fields(words)...)...).CombinedOutput()
		if text := string(out); !strings.Contains(text, want) {
			t.Errorf("%s: want %q: %s", words, want, text)
		}
	}
}

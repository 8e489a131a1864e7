package engine_test

import (
	"os/exec"
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
		both     = "hint: nstool is itself confined, by a seccomp filter and by a bounding set without CAP_SYS_PTRACE or CAP_SYS_ADMIN, as in a container that is not privileged"
		bounding = "hint: the bounding set of nstool itself has no CAP_SYS_PTRACE or CAP_SYS_ADMIN, as in a container that is not privileged"
		ptrace   = "hint: nstool is itself confined, by a seccomp filter and by a bounding set without CAP_SYS_PTRACE, as in a container that is not privileged"
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

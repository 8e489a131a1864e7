package engine_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/nstool/nstool/test/engine"
)

// TestHintsWhereNstoolIsConfined runs nstool inside a container that is not
// privileged: its hint begins with that, and sends nobody to flags or settings that
// would not help.
func TestHintsWhereNstoolIsConfined(t *testing.T) {
	box := engine.Start(t, engine.Docker, engine.Options{Args: []string{"-v", engine.Nstool(t) + ":/nstool:ro"}})
	for _, flags := range []string{"--net", "--uts", "--rootless --net"} {
		words := append([]string{"exec", box.Name, "/nstool", "run"}, append(strings.Fields(flags), "true")...)
		out, err := exec.Command("docker", words...).CombinedOutput()
		if text := string(out); err == nil || !strings.Contains(text, "operation not permitted\nhint: nstool is itself confined, by a seccomp filter") {
			t.Errorf("run %s: %v: %s", flags, err, text)
		}
	}
	// The control: it is the confinement that denies it, as it denies it to others.
	if out, err := exec.Command("docker", "exec", box.Name, "/bin/busybox", "unshare", "-n", "true").CombinedOutput(); err == nil {
		t.Errorf("unshare may: %s", out)
	}
}

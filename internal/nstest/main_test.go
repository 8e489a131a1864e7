package nstest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestLeak leaves something behind, when it is told to by TestLeaksAreFound.
func TestLeak(t *testing.T) {
	switch os.Getenv("NSTEST_LEAK") {
	case "":
		t.Skip("run by TestLeaksAreFound")
	case "process":
		if err := exec.Command("sleep", "4").Start(); err != nil {
			t.Fatal(err)
		}
	case "orphan":
		if err := exec.Command("sh", "-c", "setsid sleep 4 & exit 0").Run(); err != nil {
			t.Fatal(err)
		}
	case "mount":
		dir, err := os.MkdirTemp("", "leak")
		if err == nil {
			err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	case "descriptor":
		if _, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0); err != nil {
			t.Fatal(err)
		}
	case "goroutine":
		go func() { select {} }()
	}
}

func TestLeaksAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("each leak is given two seconds to go")
	}
	for kind, said := range map[string]string{
		"process":    `"sleep\x004\x00"`,
		"orphan":     `"sleep\x004\x00"`,
		"mount":      "mount /",
		"descriptor": "descriptor on /dev/null",
		"goroutine":  "TestLeak",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if kind == "mount" {
				Need(t, "root")
			}
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestLeak$")
			cmd.Env = append(os.Environ(), "NSTEST_LEAK="+kind, NeedVar+"=")
			if kind == "mount" { // which so goes away by itself
				cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "left behind") || !strings.Contains(string(out), said) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestNeed(t *testing.T) {
	if os.Getenv("NSTEST_LACK") != "" {
		Need(t, "no-such-program")
		t.Fatal("it is there")
	}
	for need, want := range map[string]string{
		"root,no-such-program": "FAIL",
		"root":                 "skipped for want of: no-such-program (1)",
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestNeed$")
		cmd.Env = append(os.Environ(), "NSTEST_LACK=1", NeedVar+"="+need)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (want == "FAIL") || !strings.Contains(string(out), want) {
			t.Errorf("%s=%s: %v\n%s", NeedVar, need, err, out)
		}
	}
}

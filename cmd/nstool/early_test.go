package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// What enter has no use for is not initialised before it has become the
// program: the command line library, and the one of the tables.
func TestEnterIsEarly(t *testing.T) {
	nstest.Need(t, "userns")
	box := nstest.Sandbox(t, "user", "uts")
	cmd := exec.Command(asNstool(t), "enter", "-p", fmt.Sprint(box.PID), "--user", "--uts", "echo", "in")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.Output()
	if err != nil || string(out) != "in\n" {
		t.Fatalf("%q, %v", out, err)
	}
	var trace strings.Builder
	cmd = exec.Command(asNstool(t), "enter", "-p", fmt.Sprint(box.PID), "--user", "--uts", "true")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	done := regexp.MustCompile(`(?m)^init (\S+) `).FindAllStringSubmatch(trace.String(), -1)
	if len(done) == 0 {
		t.Fatalf("no trace: %q", trace.String())
	}
	for _, m := range done {
		for _, late := range []string{"github.com/spf13/", "github.com/olekukonko/tablewriter", "github.com/prometheus/", "text/template", "net/http"} {
			if strings.HasPrefix(m[1], late) {
				t.Errorf("%s is initialised before enter", m[1])
			}
		}
	}
}

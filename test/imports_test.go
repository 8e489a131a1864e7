// Package test holds what is true of the module as a whole.
package test

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const module = "github.com/nstool/nstool/"

// forbidden has the packages that a package must not depend on, directly or not.
// Data flows one way: /proc, inspect, output; target, enter, exec; namespace, pin. A
// package with a costly init costs every start of a program that depends on it.
var forbidden = map[string][]string{
	"inspect":           {"inspect/container", "inspect/network", "output", "enter", "pin", "inspect/process", "cmd/nstool", "github.com/prometheus/procfs"},
	"inspect/container": {"inspect/network", "output", "enter", "pin", "inspect/process", "cmd/nstool", "github.com/prometheus/procfs"},
	"inspect/process":   {"output", "enter", "pin", "cmd/nstool"},
	"inspect/network":   {"output", "enter", "pin", "inspect/process", "cmd/nstool", "github.com/prometheus/procfs"},
	"output":            {"enter", "pin", "inspect/process", "cmd/nstool"},
	"internal/report":   {"enter", "cmd/nstool"},
	"enter":             {"inspect/network", "output", "pin", "inspect/process", "cmd/nstool", "github.com/prometheus/procfs"},
	"pin":               {"inspect/network", "output", "enter", "inspect/process", "cmd/nstool", "github.com/prometheus/procfs"},
	"target":            {"inspect/network", "output", "enter", "inspect/process", "cmd/nstool", "github.com/prometheus/procfs"},
	"internal/entry":    {"inspect/network", "output", "inspect/process", "cmd/nstool", "github.com/spf13/cobra", "github.com/prometheus/procfs"},
	"internal/busy":     {"output", "enter", "cmd/nstool"},
	"internal/doctor":   {"output", "enter", "cmd/nstool"},
	"internal/sys":      {"inspect", "output", "enter", "pin", "target", "cmd/nstool"},
	"cmd/nstool":        {"internal/nstest", "testing", "github.com/rogpeppe/go-internal"},
}

// doors has the packages, mostly one, that import a dependency.
var doors = map[string]string{
	"golang.org/x/sys/unix":                "internal/sys",
	"github.com/spf13/cobra":               "cmd/nstool",
	"github.com/olekukonko/tablewriter":    "output",
	"github.com/prometheus/procfs":         "inspect/process",
	"github.com/mdlayher/netlink":          "inspect/network",
	"github.com/rogpeppe/go-internal":      "internal/nstest",
	"runtime/cgo":                          "",
	"os/user":                              "",                                // asks NSS where there is cgo; and reads the whole file
	"net":                                  "internal/forward internal/carry", // its resolver does so too, and is not asked
	"github.com/inconshreveable/mousetrap": "",
}

func TestImports(t *testing.T) {
	nstest.Need(t, "go")
	// go test looks at these files, and so runs this test again when one has
	// changed.
	if err := filepath.WalkDir("..", func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Imports ","}}:{{join .Deps ","}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), ":")
		if len(parts) != 3 || !strings.HasPrefix(parts[0], module) {
			t.Fatalf("go list said %q", line)
		}
		pkg := strings.TrimPrefix(parts[0], module)
		imports, deps := strings.Split(parts[1], ","), strings.Split(parts[2], ",")
		seen++
		for _, banned := range forbidden[pkg] {
			if hits := under(deps, banned); len(hits) > 0 {
				t.Errorf("%s depends on %v", pkg, hits)
			}
		}
		for dependency, door := range doors {
			if hits := under(imports, dependency); len(hits) > 0 && !slices.Contains(strings.Fields(door), pkg) && !strings.HasPrefix(pkg, "test/") {
				t.Errorf("%s imports %v; only %q may", pkg, hits, door)
			}
		}
	}
	if seen < 4 {
		t.Errorf("go list named %d packages", seen)
	}
}

// under returns the packages of list that are name, or are below it unless it
// is one of ours.
func under(list []string, name string) []string {
	ours := slices.Contains(list, module+name)
	if ours {
		return []string{name}
	}
	var hits []string
	for _, pkg := range list {
		if pkg == name || strings.Contains(name, ".") && strings.HasPrefix(pkg, name+"/") {
			hits = append(hits, pkg)
		}
	}
	return hits
}

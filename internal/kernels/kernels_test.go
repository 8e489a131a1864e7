package kernels_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/kernels"
	"github.com/nstool/nstool/internal/nstest"
)

var update = flag.Bool("update", false, "rewrite KERNEL VERSIONS in the manual")

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAsUser(t *testing.T) { nstest.AsUser(t) }

// A kernel has what came with it and those before it. That one which is older
// lacks it is not held: features are brought to older kernels too.
func TestAdditions(t *testing.T) {
	for _, a := range kernels.Additions {
		t.Run(a.Name, func(t *testing.T) {
			err := a.Probe()
			nstest.SkipUnsupported(t, err, a.Since)
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestManual(t *testing.T) {
	const path = "../../man/nstool.1"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), ".Sh KERNEL VERSIONS\n")
	_, after, ok2 := strings.Cut(rest, ".Sh SEE ALSO\n")
	if !ok || !ok2 {
		t.Fatal("no KERNEL VERSIONS in the manual")
	}
	want := before + kernels.Manual() + ".Sh SEE ALSO\n" + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatal("KERNEL VERSIONS in the manual is not what the table says: go test ./internal/kernels -update")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a manual page
		t.Fatal(err)
	}
}

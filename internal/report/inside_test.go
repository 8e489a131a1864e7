package report

import (
	"slices"
	"testing"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/inside"
	"github.com/nstool/nstool/output"
)

// A fact that people see as "?" is unknown in JSON, too, and not none.
func TestUnknownFacts(t *testing.T) {
	v := View{&output.View{Snapshot: &inspect.Snapshot{}}}
	question := []string{"?"}
	for _, in := range []*inside.User{{}, {Setgroups: "deny"}} {
		for _, f := range v.userFacts(&inspect.Namespace{Type: inspect.User}, in) {
			if f.name != "" && slices.Equal(f.shown, question) != (f.value == output.Unknown) {
				t.Errorf("%+v: %s is shown as %q, and %v in JSON", in, f.key, f.shown, f.value)
			}
		}
	}
}

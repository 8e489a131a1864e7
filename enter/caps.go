package enter

import (
	"strings"

	"github.com/nstool/nstool/inspect/task"
)

// ParseCaps parses names of capabilities, with or without "CAP_" before them.
func ParseCaps(names []string) (Caps, error) { return task.ParseCaps(names) }

// A capsError reports that the caller does not have capabilities that a program was to have in
// addition to the target's.
type capsError struct{ Missing Caps }

func (e *capsError) Error() string {
	return "cannot add " + strings.Join(e.Missing.Names(), ", ") + ": nstool itself does not have it"
}

// CapsNamed returns the capabilities among those that have these names: of one
// without a number here, newer than this program, it is as if it were not named.
func CapsNamed(names []string) (set Caps) {
	for _, name := range names {
		one, _ := task.ParseCaps([]string{name}) //nolint:errcheck // see above
		set |= one
	}
	return set
}

package report

import "github.com/nstool/nstool/output"

// A View is an output.View with the methods of this package.
type View struct{ *output.View }

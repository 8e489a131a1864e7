// Package report writes what is known of one thing or two at length, for people and as JSON:
// sheets, comparisons, the PIDs of a process, and findings.
//
// Each type of namespace has one table of the facts inside it. Show, diff and JSON range over
// that table, so a further fact is one entry.
package report

import "github.com/nstool/nstool/output"

// A View is an output.View with the methods of this package.
type View struct{ *output.View }

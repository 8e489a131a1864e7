// Package man carries the manual pages inside the binary.
//
// They are written by hand in mdoc(7), one for each command, and installed from
// this directory by packagers, with that of kubectl-nstool. For those who have only the binary,
// `nstool help --man ls` prints one, for man -l or mandoc to draw.
package man

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed nstool*.1
var pages embed.FS

// Page returns the page with the given name, "nstool-ls" or "nstool", in
// mdoc(7). The error is an [fs.ErrNotExist] if there is none.
func Page(name string) (string, error) {
	text, err := pages.ReadFile(name + ".1")
	return string(text), err
}

// Names returns the names of the pages, in order.
func Names() []string {
	files, err := fs.Glob(pages, "*.1")
	if err != nil {
		panic(err) // the pattern is bad
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".1")
	}
	slices.Sort(files)
	return files
}

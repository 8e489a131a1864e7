package main

import (
	"io"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

// width returns the width of the terminal w, or 0 if w is no terminal.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	n, _ := sys.TerminalWidth(f.Fd())
	return n
}

// color reports whether standard output may have colour: it is a terminal with colour, and
// NO_COLOR is not set (no-color.org).
func (a *app) color() bool {
	return width(a.out) > 0 && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

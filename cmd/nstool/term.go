package main

import (
	"io"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

// width returns how wide the terminal that w writes to is, or 0 if w is none.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	n, _ := sys.TerminalWidth(f.Fd())
	return n
}

// color reports whether what goes to standard output may have colour: it is a
// terminal that can, and nobody has said otherwise (no-color.org).
func (a *app) color() bool {
	return width(a.out) > 0 && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

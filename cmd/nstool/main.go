// Command nstool shows the namespaces of a Linux host, says which container
// each belongs to and what keeps it alive, enters them and pins them.
package main

import (
	"context"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

func main() {
	report, apart := isApart()
	code := Main(context.Background(), os.Args[1:], &app{in: os.Stdin, out: standardOutput(), err: os.Stderr, getenv: os.Getenv, apart: apart})
	if apart {
		_, _ = report.Write([]byte{byte(code)})
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
			f.Close() // who reads from it is not to wait for us to be gone
		}
	}
	os.Exit(int(code))
}

// standardOutput is named in messages, and fails if it was closed: the run time
// has opened /dev/null in its place, where what is written would be lost without
// a word.
func standardOutput() *os.File {
	const name = "standard output"
	if sys.WereClosed()[1] {
		if fd, err := sys.OpenUnwritable(); err == nil {
			return os.NewFile(uintptr(fd), name)
		}
	}
	return os.NewFile(1, name)
}

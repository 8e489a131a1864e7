// Command nstool shows the namespaces of a Linux host, says which container
// each belongs to and what keeps it alive, enters them and pins them.
package main

import (
	"context"
	"os"

	"github.com/nstool/nstool/internal/sys"
)

func main() {
	report := helperReport()
	code := Main(context.Background(), os.Args[1:], &app{in: os.Stdin, out: standardOutput(), err: os.Stderr, getenv: os.Getenv, status: report})
	if report != nil {
		_, _ = report.Write([]byte{byte(code)})
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
			f.Close() // the reader must not wait until this process has exited
		}
	}
	os.Exit(int(code))
}

// standardOutput is standard output with a name for messages. Writes fail if it was closed: the
// runtime has opened /dev/null in its place, where output would be lost silently.
func standardOutput() *os.File {
	const name = "standard output"
	if sys.WereClosed()[1] {
		if fd, err := sys.OpenUnwritable(); err == nil {
			return os.NewFile(uintptr(fd), name)
		}
	}
	return os.NewFile(1, name)
}

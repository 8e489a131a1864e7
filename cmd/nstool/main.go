// Command nstool shows the namespaces of a Linux host, says which container
// each belongs to and what keeps it alive, enters them and pins them.
package main

import (
	"context"
	"os"
)

func main() {
	report, apart := isApart()
	code := Main(context.Background(), os.Args[1:], &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, apart: apart})
	if apart {
		_, _ = report.Write([]byte{byte(code)})
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
			f.Close() // who reads from it is not to wait for us to be gone
		}
	}
	os.Exit(int(code))
}

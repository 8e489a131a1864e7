// Command nstool shows the namespaces of a Linux host, says which container
// each belongs to and what keeps it alive, enters them and pins them.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(int(Main(context.Background(), os.Args[1:], &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv})))
}

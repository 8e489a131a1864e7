package output_test

import (
	"context"
	"log"
	"os"
	"slices"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/output"
)

// A table of the UTS namespaces of the host, with the number of threads.
func ExampleTable() {
	ctx := context.Background()
	snap, err := inspect.Scan(ctx)
	if err != nil {
		log.Fatal(err)
	}
	cols, err := output.Select(output.NamespaceList().Columns, "ns,nthreads,pid,command", nil)
	if err != nil {
		log.Fatal(err)
	}
	view := &output.View{Snapshot: snap, Details: snap.Describe(ctx, snap.Processes(), inspect.WithArgs())}
	rows := slices.Collect(snap.Namespaces(inspect.UTS))
	if err := output.Table(os.Stdout, view, rows, cols, output.Style{}, nil); err != nil {
		log.Fatal(err)
	}
}

// Only the namespaces for which an expression over their columns is true.
func ExampleFilter() {
	snap, err := inspect.Scan(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	filter, err := output.NewFilter(output.NamespaceList().Columns, `nprocs == 0 and type in ["net", "mnt"]`)
	if err != nil {
		log.Fatal(err)
	}
	view := &output.View{Snapshot: snap}
	rows := filter.Keep(view, slices.Collect(snap.Namespaces()))
	cols := output.Pick(output.NamespaceList().Columns, "NS", "TYPE", "HOLDERS")
	if err := output.Raw(os.Stdout, view, rows, cols, output.Style{NoHeader: true}); err != nil {
		log.Fatal(err)
	}
}

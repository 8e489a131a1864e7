package inspect_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/nstool/nstool/inspect"
)

// The network namespaces that no process is in, and what keeps them alive.
func ExampleScan() {
	snap, err := inspect.Scan(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for ns := range snap.Namespaces(inspect.Net) {
		if len(ns.Members) > 0 {
			continue
		}
		for h := range snap.Holders(ns) {
			fmt.Println(ns, "is held by", h.Kind, h.PID, h.Path)
		}
	}
}

// A scan of /proc alone, for a program that may not load BPF programs.
func ExampleWithoutBPF() {
	snap, err := inspect.Scan(context.Background(), inspect.WithoutBPF())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(snap.Reasons(snap.Gaps()))
}

// The command that each user namespace was made for, with its owner.
func ExampleSnapshot_Describe() {
	ctx := context.Background()
	snap, err := inspect.Scan(ctx, inspect.WithTypes(inspect.TypesOf(inspect.User)))
	if err != nil {
		log.Fatal(err)
	}
	for ns := range snap.Namespaces(inspect.User) {
		if leader := ns.Leader(); leader != nil {
			d := snap.Describe(ctx, slices.Values([]*inspect.Process{leader}), inspect.WithArgs())[leader.PID]
			fmt.Println(ns, "of user", d.UID, "runs", d.Command())
		}
	}
}

// What a scan could not read is no error.
func ExampleSnapshot_Gaps() {
	snap, err := inspect.Scan(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, gap := range snap.Gaps() {
		fmt.Println("incomplete:", gap)
	}
}

func ExampleParseLink() {
	typ, ino, ok := inspect.ParseLink("net:[4026531840]")
	fmt.Println(typ, ino, ok)
	// Output: net 4026531840 true
}

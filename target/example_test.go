package target_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/target"
)

func ExampleParse() {
	ref, err := target.Parse("pod:shop/cart/app")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ref.PodNS, ref.Pod, ref.Name)
	// Output: shop cart app
}

func ExampleFind() {
	ctx := context.Background()
	snap, err := inspect.Scan(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ref, err := target.Parse("docker:web")
	if err != nil {
		log.Fatal(err)
	}
	found, err := target.Find(snap, container.Lookup(ctx, snap), ref)
	if err != nil {
		log.Fatal(err)
	}
	for _, ns := range found.Namespaces(snap) {
		fmt.Println(ns)
	}
}

// The namespaces of a process can be joined, or kept by package pin.
func ExampleFound_Open() {
	ctx := context.Background()
	snap, err := inspect.Scan(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ref, err := target.Parse("self")
	if err != nil {
		log.Fatal(err)
	}
	found, err := target.Find(snap, nil, ref)
	if err != nil {
		log.Fatal(err)
	}
	files, err := found.Open(ctx, snap) // to join, or to keep
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range files {
		file.Close()
	}
}

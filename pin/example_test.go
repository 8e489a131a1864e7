package pin_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/pin"
)

// Two namespaces of a process, kept under one name.
func ExampleAdd() {
	var files []*os.File
	for _, path := range []string{"/proc/4242/ns/net", "/proc/4242/ns/uts"} {
		f, err := os.Open(path)
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if err := pin.Add(context.Background(), "web", files); err != nil {
		log.Fatal(err)
	}
}

// A network namespace that ip-netns(8) knows too: ip netns exec blue ip addr.
func ExampleInNetns() {
	f, err := os.Open("/proc/4242/ns/net")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := pin.Add(context.Background(), "blue", []*os.File{f}, pin.InNetns()); err != nil {
		log.Fatal(err)
	}
}

// All of a set is opened, or one of it, to join it by setns(2).
func ExampleOpen() {
	files, err := pin.Open("web")
	if err != nil {
		log.Fatal(err)
	}
	for t, f := range files {
		fmt.Println(t, f.Name())
		f.Close()
	}
}

// What is pinned, and what is dead.
func ExampleAll() {
	for set, err := range pin.All(context.Background()) {
		if err != nil {
			log.Print(err)
			continue
		}
		for _, p := range set.Pins {
			if p.Dead != nil {
				fmt.Println(set.Name, p.Type, "is dead:", p.Dead)
				continue
			}
			fmt.Println(set.Name, p.Type, p.ID.Ino)
		}
	}
}

// One of a set is let go.
func ExampleRemove() {
	if err := pin.Remove(context.Background(), "web", inspect.UTS); err != nil {
		log.Fatal(err)
	}
}

// A store for a program of its own.
func ExampleStore() {
	store := &pin.Store{Dir: "/run/testbed"}
	for set, err := range store.All(context.Background()) {
		fmt.Println(set.Name, set.Types(), err)
	}
}

// The directory of the default store, where ip-netns(8) does not look.
func ExampleDefault() {
	store, err := pin.Default()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pins are files below", store.Dir)
}

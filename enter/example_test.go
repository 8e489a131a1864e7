package enter_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
)

// Dial a port inside the network namespace of process 4242.
func ExampleDo() {
	ns, err := enter.OpenFile("/proc/4242/ns/net", inspect.Net)
	if err != nil {
		log.Fatal(err)
	}
	defer ns.Close()
	var conn net.Conn
	err = enter.Do(context.Background(), func() (err error) {
		conn, err = net.Dial("tcp", "127.0.0.1:80")
		return err
	}, ns)
	fmt.Println(conn, err)
}

// Say what would be done to run ip(8) in the network namespace of a process,
// and do it.
func ExampleCmd() {
	target, err := enter.Open(4242)
	if err != nil {
		log.Fatal(err)
	}
	defer target.Close()
	cmd := enter.Command(target, "ip", "addr")
	cmd.Types = inspect.TypesOf(inspect.Net)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	steps, err := cmd.Plan()
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range steps {
		fmt.Println(step)
	}
	if err := cmd.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// Command kubectl-nstool is a plugin of kubectl: nstool on the nodes of a cluster, from
// wherever kubectl works. It knows no protocol of Kubernetes. Every step is a call of kubectl,
// so that every kubeconfig, proxy and login works. It runs on Linux and macOS, and on others
// without a terminal for programs.
//
// A command of the plugin is one session with a node, or several beside each other:
//
//	words.go    sorts the words: flags of the plugin, for kubectl; all others, for nstool
//	place.go    asks for the pod that was named and for its node
//	session.go  makes a debug pod on the node, waits until it runs, removes it
//	command.go  runs "nstool ..." in it by kubectl exec, and passes on its exit status
//	forward.go  gives each connection to a port here an exec of its own
//	cp.go       packs and unpacks the files on this side
//	trouble.go  says in one line why kubectl failed, and what to ask for
//
// The debug pod is that of kubectl debug node/N --profile=sysadmin. It also has a label with a
// hash of who made it, and a deadline. The kubelet ends the pod then, also if this process is
// gone. Its name is chosen here, before it is made, so that it can be removed whatever kubectl
// has said: after an error, a signal or a broken connection. Only after SIGKILL does it stay until
// its deadline. The next session removes ended pods with the caller's label, and no others.
//
// A signal does not interrupt the calls of kubectl that make and remove a pod. They end within
// seconds; without their answer nobody would know whether there is a pod.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nstool/nstool/internal/text"
)

// Exit statuses of the plugin itself; others are those of nstool.
const (
	statusFailed = 1
	statusUsage  = 2
	statusOwn    = 125 // of enter, where 1 may be the program's
	statusSignal = 128 // plus N: interrupted by signal N
)

func main() { os.Exit(run(os.Args[1:])) }

// An interrupted error is the signal that ended the command.
type interrupted struct{ signal syscall.Signal }

func (e interrupted) Error() string { return "interrupted" }

// An exit is the status of a program that has said why.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// A usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func run(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 10)
	// Without a reader of our output there still is a pod to remove.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for s := range signals {
			cancel(interrupted{s.(syscall.Signal)})
		}
	}()
	o, err := parse(args, os.Getenv)
	if err == nil {
		err = o.run(ctx)
	}
	if e, ok := errors.AsType[interrupted](context.Cause(ctx)); ok && err != nil {
		return statusSignal + int(e.signal)
	}
	if status, ok := errors.AsType[exit](err); ok {
		return int(status)
	}
	if err == nil {
		return 0
	}
	say("%v", err)
	if _, ok := errors.AsType[usageError](err); ok && o.command != "enter" {
		return statusUsage
	}
	if o.command == "enter" {
		return statusOwn
	}
	return statusFailed
}

// say writes a line to standard error. What others wrote in it cannot control the terminal.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "kubectl nstool: %s\n", text.Clean(fmt.Sprintf(format, args...)))
}

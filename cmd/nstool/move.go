package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// onHost are the commands about the host. In a container that sees the host's processes they move
// to the host's file system and control groups first, and answer as they do there. All that they
// name, and all that they are given, is the host's. The others need the caller's own files, and
// look up on the host what belongs to it: see [inspect.Host].
var onHost = map[string]bool{
	"busy": true, "containers": true, "diff": true, "doctor": true, "ls": true, "net": true,
	"pid": true, "pin": true, "ports": true, "show": true,
}

// moveToHost starts the program again on the host, if the command is about the host and the caller
// is elsewhere. Where that is not permitted the command goes on with what can be read from here;
// only pins cannot be made from outside.
func (a *app) moveToHost(cmd *cobra.Command) error {
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	if proc := cmd.Flags().Lookup("proc"); a.hosts != nil || !onHost[top.Name()] || proc != nil && proc.Changed {
		return nil
	}
	host := inspect.FindHost()
	if !host.IsElsewhere() || host.Moved {
		if host.Err != nil && top.Name() == "pin" {
			return fmt.Errorf("the host's file system cannot be reached: %w", host.Err)
		}
		return nil
	}
	if a.status == nil {
		// A helper moves: this process may be all that there is of the container.
		return cmp.Or[error](runHelper(), statusError{status: statusDone})
	}
	exe, err := os.Executable()
	if err == nil {
		err = sys.Inherit(int(a.status.Fd()))
	}
	if err == nil {
		err = host.Exec(exe, os.Args, append(os.Environ(), fmt.Sprintf("%s=%d", reportVar, a.status.Fd())))
	}
	if top.Name() == "pin" {
		return fmt.Errorf("move to the host's file system: %w", err)
	}
	return nil
}

// sayHost says in one line how the host is reached, for --verbose.
func (a *app) sayHost() {
	switch host := inspect.FindHost(); {
	case errors.Is(host.Err, inspect.ErrNoHost):
		fmt.Fprintf(a.err, "nstool: the host's file system cannot be reached: %v\n", host.Err)
	case host.String() != "":
		fmt.Fprintf(a.err, "nstool: the host's file system is reached through %s\n", host)
	default:
		fmt.Fprintln(a.err, "nstool: the host's file system is the caller's own")
	}
}

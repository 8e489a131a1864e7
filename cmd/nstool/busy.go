package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/busy"
	"github.com/nstool/nstool/internal/doctor"
	"github.com/nstool/nstool/output"
)

func newBusy(a *app) *cobra.Command {
	var o findingOptions
	var severity string
	cmd := &cobra.Command{
		Use:     "busy [flags] PATH",
		Short:   "Show what keeps a mount, a device, a directory or a file in use",
		GroupID: groupSee,
		Long: `Show what keeps a mount point, a block device, a directory or a file in use, in
every mount namespace: processes, sockets, loop devices, swap, mounts below it,
and other mounts of the same file system.

Each finding has the command that would free it. Nothing is changed.

The exit status is 0 if nothing uses it, 1 if something does, and 2 if that could
not be found out.`,
		Example: `  nstool busy /mnt/disk      why it cannot be unmounted
  nstool busy /dev/sdb1      what uses it, in any mount namespace`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.severity, err = doctor.ParseSeverity(severity); err != nil {
				return usageError{Err: err}
			}
			if len(args) != 1 {
				return usagef("busy what? one path")
			}
			return runBusy(cmd.Context(), a, o, args[0])
		},
	}
	cmd.Flags().SortFlags = false
	findingFlags(cmd, &o, &severity)
	return cmd
}

func runBusy(ctx context.Context, a *app, o findingOptions, path string) error {
	if path == "" {
		return usagef("the path is empty")
	}
	stop := a.progress("still looking at " + o.proc)
	host, use, found, err := busy.Look(ctx, path, inspect.WithProc(o.proc))
	stop()
	if err != nil {
		return asTrouble(err)
	}
	fmt.Fprintf(a.err, "nstool: %s\n", output.Clean(busyWords(use)))
	return asTrouble(a.report(host, o, found, nil, host.Snapshot.Unseen(inspect.AllFacts)))
}

// busyWords describes what is looked at.
func busyWords(b *inspect.Busy) string {
	fs := fmt.Sprintf("%s of %s (%s)", b.On.Type, b.On.Source, b.On.Dev)
	switch {
	case b.Mount.ID != 0:
		return fmt.Sprintf("%s is a mount point: %s", b.Path, fs)
	case b.Dev != b.On.Dev || b.On.ID == 0:
		return fmt.Sprintf("%s is a block device (%s), and not mounted here", b.Path, b.Dev)
	case b.Device:
		return fmt.Sprintf("%s is a block device: %s, mounted at %s", b.Path, fs, b.On.Point)
	}
	return fmt.Sprintf("%s is no mount point: what is at or below it counts, on %s, mounted at %s", b.Path, fs, b.On.Point)
}

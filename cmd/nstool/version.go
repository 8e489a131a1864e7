package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// version is set at link time for a release: -ldflags "-X main.version=v1.2.3".
var version = ""

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return a.tellVersion() },
	}
}

// newPause returns the command that keeps a debug pod of kubectl-nstool alive.
func newPause(*app) *cobra.Command {
	return &cobra.Command{
		Use:    "pause",
		Short:  "Do nothing, until a signal",
		Hidden: true,
		Args:   noArgs,
		RunE: func(*cobra.Command, []string) error {
			for {
				time.Sleep(time.Hour)
			}
		},
	}
}

// versionWord returns the version: of the release, or as the module has it.
func versionWord() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return info.Main.Version
	}
	return version
}

func (a *app) tellVersion() error {
	_, err := fmt.Fprintf(a.out, "nstool %s (%s, %s/%s)\n", versionWord(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

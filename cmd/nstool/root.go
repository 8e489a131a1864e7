package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/output"
)

// An app has the standard files and the environment of a command.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	status   *os.File // where the helper reports its status; nil for another process

	hosts *hosts // where the command runs, if not here alone
}

// Main runs the command that args name and returns the exit status.
func Main(ctx context.Context, args []string, a *app) status {
	hosts, args, err := takeHosts(args)
	if err != nil {
		a.say("nstool", err)
		return statusOf(err)
	}
	words, err := plainWords(args)
	if err != nil {
		a.say("nstool "+args[0], err)
		return statusOf(err)
	}
	root := newRoot(a, words...)
	if err := noSuchCommand(root, words); err != nil {
		a.say(root.Name(), err)
		return statusOf(err)
	}
	if hosts != nil {
		hosts.words = words
		done, err := a.onHosts(ctx, hosts)
		if err != nil {
			a.say(strings.Join(append([]string{"nstool"}, words[:min(1, len(words))]...), " "), err)
		}
		if done || err != nil {
			return statusOf(err)
		}
	}
	root.SetArgs(words)
	help := &helpWriter{w: a.out}
	root.SetOut(help)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = help.err
	}
	if err == nil {
		return statusDone
	}
	a.say(cmd.CommandPath(), err)
	return statusOf(err)
}

// say writes an error to standard error, and its hints below.
func (a *app) say(command string, err error) {
	if !silent(err) {
		// "nstool: pin: add: what was attempted: on what: why"
		fmt.Fprintf(a.err, "%s: %s\n", strings.ReplaceAll(command, " ", ": "), output.CleanText(err.Error()))
	}
	for _, hint := range hintsOf(err) {
		fmt.Fprintf(a.err, "hint: %s\n", output.CleanText(hint))
	}
}

// sayButLast writes all errors but the last, which it returns for [Main] to write.
func (a *app) sayButLast(command string, failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	last := len(failed) - 1
	for _, err := range failed[:last] {
		a.say(command, err)
	}
	return failed[last]
}

// A helpWriter remembers errors of writing help and completions, which cobra does not return.
type helpWriter struct {
	w   io.Writer
	err error
}

func (h *helpWriter) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	if err != nil && h.err == nil {
		h.err = err
	}
	return n, err
}

// Groups of commands, as help shows them.
const (
	groupSee = "see"
	groupDo  = "do"
)

// newCommand makes each command, by its name.
var newCommand = map[string]func(*app) *cobra.Command{
	"busy":       newBusy,
	"containers": newContainers,
	"cp":         newCp,
	"diff":       newDiff,
	"doctor":     newDoctor,
	"enter":      newEnter,
	"forward":    newForward,
	"ls":         newLs,
	"net":        newNet,
	"pause":      newPause,
	"pid":        newPid,
	"pin":        newPin,
	"ports":      newPorts,
	"run":        newRun,
	"show":       newShow,
	"version":    newVersion,
}

// newRoot returns the tree of commands. If words begin with the name of a command, the tree has
// only that one: making all takes 0.4 ms.
func newRoot(a *app, words ...string) *cobra.Command {
	var version, verbose bool
	root := &cobra.Command{
		Use:           "nstool",
		Short:         "See, enter and keep Linux namespaces",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.moveToHost(cmd); err != nil {
				return err
			}
			if verbose {
				a.sayHost()
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				return a.tellVersion()
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVarP(&version, "version", "V", false, "print the version")
	hostFlags(root)
	root.PersistentFlags().BoolVarP(&verbose, "verbose", "v", false, "say how the host is reached")
	root.SetIn(a.in)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(a))
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"},
		&cobra.Group{ID: groupDo, Title: "Enter and keep:"},
	)
	root.SetGlobalNormalizationFunc(longPrefix)
	if len(words) > 0 && newCommand[words[0]] != nil {
		root.CompletionOptions.DisableDefaultCmd = true
		root.AddCommand(newCommand[words[0]](a))
		return root
	}
	for _, command := range newCommand {
		root.AddCommand(command(a))
	}
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil && completion != root {
		completion.Args = noArgs // cobra's own shows help for an unknown shell, with status 0
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range completion.Commands() {
			shell.Args = noArgs
		}
	}
	return root
}

// noArgs is an Args function whose error is a usage error, unlike cobra's own.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return noCommand(cmd, args[0])
	}
	return usagef("unexpected argument %q", args[0])
}

package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/man"
)

// newHelp returns the help command, which can also show manual pages: whoever
// has only the binary has them too.
func newHelp(a *app) *cobra.Command {
	var manual bool
	cmd := &cobra.Command{
		Use:   "help [--man] [COMMAND...]",
		Short: "Show help, or the manual page, of a command",
		Example: `  nstool help enter
  nstool help --man ls | man -l -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noCommand(cmd.Root(), strings.Join(args, " "))
			}
			if !manual {
				return about.Help()
			}
			page, err := manualOf(about)
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.out, page)
			return err
		},
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		o := offers{word: word}
		if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
			for _, c := range about.Commands() {
				if c.IsAvailableCommand() {
					o.add(c.Name(), c.Short)
				}
			}
		}
		return o.list, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.Flags().BoolVar(&manual, "man", false, "print the manual page, for man -l or mandoc to draw")
	return cmd
}

// manualOf returns the manual page of a command, or that of the command which
// it is part of.
func manualOf(cmd *cobra.Command) (string, error) {
	page, err := man.Page(strings.ReplaceAll(cmd.CommandPath(), " ", "-"))
	if err != nil && cmd.HasParent() {
		return manualOf(cmd.Parent())
	}
	return page, err
}

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/man"
	"github.com/nstool/nstool/target"
)

// newHelp returns the help command, which can also print manual pages, for users who have only
// the binary.
func newHelp(a *app) *cobra.Command {
	var manual bool
	cmd := &cobra.Command{
		Use:   "help [--man] [COMMAND...]",
		Short: "Show help, or the manual page, of a command",
		Example: `  nstool help enter
  nstool help targets                what can stand for a TARGET
  nstool help --man ls | man -l -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "targets" && !manual {
				return writeTargets(a.out)
			}
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
		if len(args) == 0 {
			o.add("targets", "What can stand for a TARGET")
		}
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

// manualOf returns the manual page of a command, or that of its parent.
func manualOf(cmd *cobra.Command) (string, error) {
	page, err := man.Page(strings.ReplaceAll(cmd.CommandPath(), " ", "-"))
	if err != nil && cmd.HasParent() {
		return manualOf(cmd.Parent())
	}
	return page, err
}

// writeTargets writes the grammar of a TARGET.
func writeTargets(w io.Writer) error {
	var b strings.Builder
	line := func(form, what string) { fmt.Fprintf(&b, "  %-30s %s\n", form, what) }
	b.WriteString("A TARGET names a process, a namespace, a container or a pin:\n\n")
	line("PID, PID/TID, self", "process or thread, or nstool itself")
	line("INODE, TYPE:[INODE]", "namespace by its inode number")
	line("PATH with a slash", "namespace by a file that leads to it")
	line("NAME, ID", "container of any engine, by its name or the beginning of its ID")
	for _, p := range target.Prefixes() {
		line(p.Word+":"+p.Form, p.Help)
	}
	b.WriteString("\nA container of another user's engine is ENGINE@USER:NAME. See TARGETS in nstool(1).\n")
	_, err := io.WriteString(w, b.String())
	return err
}

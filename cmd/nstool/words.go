package main

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/internal/entry"
)

// otherWords returns the names of our commands in other tools.
func otherWords() map[string]string {
	return map[string]string{
		"attach": "enter", "debug": "enter", "exec": "enter", "nsenter": "enter", "shell": "enter",
		"list": "ls", "lsns": "ls", "namespaces": "ls", "netns": "pin", "unshare": "run",
		"inspect": "show", "top": "pid", "port-forward": "forward", "port": "ports", "ss": "ports", "listen": "ports",
		"ip": "net", "link": "net", "interfaces": "net", "copy": "cp", "check": "doctor", "fuser": "busy", "lsof": "busy", "container": "containers",
	}
}

// noSuchCommand reports that the first word is no command, before the following words are
// parsed as flags of the program.
func noSuchCommand(root *cobra.Command, words []string) error {
	if len(words) == 0 || strings.HasPrefix(words[0], "-") || strings.HasPrefix(words[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	if cmd, _, err := root.Find(words); err == nil && cmd != root || words[0] == "help" || words[0] == "completion" {
		return nil
	}
	return noCommand(root, words[0])
}

// noCommand returns the error for an unknown command, with the nearest name.
func noCommand(cmd *cobra.Command, word string) error {
	err := usagef("no command %q; see %s --help", word, cmd.CommandPath())
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	others := map[string]string{}
	if cmd.Root() == cmd {
		others = otherWords()
		names = slices.AppendSeq(names, maps.Keys(others))
	}
	slices.Sort(names)
	meant := entry.Nearest(word, names)
	if other := others[meant]; other != "" {
		meant = other
	}
	if meant == "" {
		return err
	}
	return withHint(err, "%s %s is meant?", cmd.CommandPath(), meant)
}

// longPrefix completes a shortened long flag as getopt_long(3) does, if it fits only one.
func longPrefix(flags *pflag.FlagSet, name string) pflag.NormalizedName {
	if found := withPrefix(flags, name); len(found) == 1 {
		return pflag.NormalizedName(found[0])
	}
	return pflag.NormalizedName(name)
}

// withPrefix returns the names of flags that begin with a prefix, or the flag of just that
// name.
func withPrefix(flags *pflag.FlagSet, prefix string) (found []string) {
	exact := false
	flags.VisitAll(func(f *pflag.Flag) {
		exact = exact || f.Name == prefix
		if strings.HasPrefix(f.Name, prefix) && !f.Hidden {
			found = append(found, f.Name)
		}
	})
	if exact {
		return []string{prefix}
	}
	return found
}

// flagError makes a usage error of a mistake in flags, with the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	e, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(e.GetSpecifiedName()) < 2 {
		return usageError{Err: err}
	}
	if found := withPrefix(cmd.Flags(), e.GetSpecifiedName()); len(found) > 1 {
		return usagef("--%s may be --%s", e.GetSpecifiedName(), strings.Join(found, " or --"))
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if meant := entry.Nearest(e.GetSpecifiedName(), names); meant != "" {
		return withHint(usageError{Err: err}, "--%s is meant?", meant)
	}
	return usageError{Err: err}
}

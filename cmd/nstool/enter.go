package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/unpack"
)

// newEnter and newRun return the commands of package entry.
func newEnter(a *app) *cobra.Command {
	cmd := newEntry(a, "enter [FLAGS] [TARGET]", "Run a program in namespaces that exist", entry.NewOptions())
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		for _, name := range []string{"target", "container", "pod"} {
			if len(args) > 0 || cmd.Flags().Changed(name) {
				return nil, cobra.ShellCompDirectiveDefault
			}
		}
		return completeTargets(cmd, args, word)
	}
	return cmd
}

func newRun(a *app) *cobra.Command {
	return newEntry(a, "run [FLAGS]", "Run a program in new namespaces", entry.NewRunOptions())
}

// plainWords returns a command line of "enter" or "run" as their table of flags reads it, and
// any other unchanged.
func plainWords(args []string) ([]string, error) {
	opts := entry.NewOptions()
	switch {
	case len(args) == 0 || args[0] != "enter" && args[0] != "run":
		return args, nil
	case args[0] == "run":
		opts = entry.NewRunOptions()
	}
	words, err := opts.Plain(args[1:])
	if err != nil {
		advice := "see nstool " + args[0] + " --help"
		if e, ok := errors.AsType[*entry.WordError](err); ok && e.Advice != "" {
			advice = e.Advice
		}
		return nil, entry.Explained{Err: err, Advice: advice, Code: int(statusOwn)}
	}
	return append([]string{args[0]}, words...), nil
}

func newEntry(a *app, use, short string, opts *entry.Options) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use:     use + " [PROGRAM [ARG...]]",
		GroupID: groupDo,
		Short:   short,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Program = args
			return enterWith(cmd, a, opts)
		},
	}
	cmd.Flags().SetInterspersed(false)
	for i := range opts.Flags() {
		addFlag(cmd.Flags(), opts, &opts.Flags()[i])
	}
	completeEntryFlags(cmd, opts)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return entry.Explained{Err: err, Advice: "see nstool " + name + " --help", Code: int(statusOwn)}
	})
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprint(cmd.OutOrStdout(), opts.Usage())
		return err
	})
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { _ = cmd.Usage() })
	return cmd
}

func enterWith(cmd *cobra.Command, a *app, opts *entry.Options) error {
	if done, err := entry.Outcome(); done {
		return err
	}
	opts.Unpacker = unpack.Open
	runtime.LockOSThread() // never unlocked: the program ends with the command
	e, err := opts.Command(cmd.Context())
	if err != nil {
		return opts.Explain(err)
	}
	defer e.Close()
	return opts.Explain(e.Do(cmd.Context(), a.out))
}

// addFlag adds a flag to a command, under all its names.
func addFlag(flags *pflag.FlagSet, opts *entry.Options, f *entry.Flag) {
	if f.Name == "help" {
		return
	}
	value := flagValue{opts, f}
	short := func(i int) string {
		if i < len(f.Short) {
			return f.Short[i : i+1]
		}
		return ""
	}
	add := func(name, short string, hidden bool) {
		p := flags.VarPF(value, name, short, f.Help)
		p.Hidden = hidden
		if f.Arg == "" || f.Optional {
			p.NoOptDefVal = leftOut
		}
	}
	add(f.Name, short(0), false)
	for i, name := range f.Aliases {
		add(name, short(i+1), true)
	}
	for i := 1 + len(f.Aliases); i < len(f.Short); i++ {
		add(f.Name+"-"+short(i), short(i), true)
	}
}

// leftOut is the value of an argument that was left out.
const leftOut = "\x00"

// A flagValue sets a flag of the table of package entry.
type flagValue struct {
	opts *entry.Options
	flag *entry.Flag
}

func (v flagValue) String() string { return "" }
func (v flagValue) Type() string   { return strings.ToLower(v.flag.Arg) }
func (v flagValue) Set(arg string) error {
	switch {
	case arg == leftOut:
		arg = ""
	case arg == "":
		return fmt.Errorf("the argument is empty")
	case v.flag.Arg == "":
		return fmt.Errorf("it takes no argument")
	}
	return v.opts.Set(v.flag, arg)
}

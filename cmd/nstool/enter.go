package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/internal/entry"
)

// newEnter returns the command that internal/entry describes and carries out.
func newEnter(a *app) *cobra.Command {
	opts := entry.NewOptions()
	cmd := &cobra.Command{
		Use:     "enter [FLAGS] [PROGRAM [ARG...]]",
		GroupID: groupDo,
		Short:   "Run a program in namespaces that exist",
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Program = args
			return enterWith(cmd, a, opts)
		},
	}
	cmd.Flags().SetInterspersed(false)
	for i := range entry.Flags {
		addFlag(cmd.Flags(), opts, &entry.Flags[i])
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return entry.Explained{Err: err, Advice: "see nstool enter --help", Code: int(statusOwn)}
	})
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprint(cmd.OutOrStdout(), entry.Usage())
		return err
	})
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { _ = cmd.Usage() })
	return cmd
}

func enterWith(cmd *cobra.Command, a *app, opts *entry.Options) error {
	if done, err := entry.Outcome(); done {
		return err
	}
	runtime.LockOSThread() // for good: the program ends with the command
	e, err := opts.Command(cmd.Context(), enterable)
	if err != nil {
		return opts.Explain(err)
	}
	defer e.Close()
	return opts.Explain(e.Do(cmd.Context(), a.out))
}

// addFlag tells the command line library of a flag, under all its names.
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

// leftOut is what the library gives for an argument that was left out.
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

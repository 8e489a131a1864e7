package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/target"
)

// typeFlag adds the flag --type to cmd, a list of types of namespace, which its help lists.
func typeFlag(cmd *cobra.Command, names *[]string, help string) {
	cmd.Flags().VarP((*wordList)(names), "type", "t", help+": "+inspect.AllTypes.String())
	completeFlag(cmd, "type", listOf(typeNames))
}

func typeNames() []string { return strings.Split(inspect.AllTypes.String(), ", ") }

// A wordList is the value of a flag that takes words with commas between them, and can be
// given again. An empty value is one empty word, so that a shell variable that is not set
// gives an error. (pflag's own brings encoding/csv into the program.)
type wordList []string

func (w *wordList) Set(value string) error {
	*w = append(*w, strings.Split(value, ",")...)
	return nil
}

func (w *wordList) String() string { return strings.Join(*w, ",") }

func (w *wordList) Type() string { return "strings" }

// parseTypes parses --type.
func parseTypes(names []string) (types inspect.Types, err error) {
	for _, name := range names {
		t, err := inspect.ParseType(name)
		if err != nil {
			return 0, usageError{Err: err}
		}
		types = types.With(t)
	}
	return types, nil
}

// A choice is the types of namespace that were asked for, and the words of those that have one,
// such as --net=pin:blue.
type choice struct {
	types inspect.Types
	all   bool
	words map[inspect.Type]target.Ref
}

// flags adds the flags that fill the choice: those of nstool-enter(1).
func (c *choice) flags(fs *pflag.FlagSet) {
	c.words = make(map[inspect.Type]target.Ref)
	for i := range entry.Flags {
		f := &entry.Flags[i]
		t := f.Type()
		if t == 0 {
			continue
		}
		fs.VarPF(&typeValue{c, t}, f.Name, f.Short, f.Help).NoOptDefVal = fromTarget
		for _, alias := range f.Aliases {
			fs.VarPF(&typeValue{c, t}, alias, "", "").NoOptDefVal = fromTarget
			fs.Lookup(alias).Hidden = true
		}
	}
	fs.BoolVarP(&c.all, "all", "a", false, "all of them")
}

// fromTarget is the value of a flag without a value. pflag does not show it, and it is no TARGET.
const fromTarget = "true"

// A typeValue is the flag of one type.
type typeValue struct {
	c *choice
	t inspect.Type
}

func (v *typeValue) String() string { return "" }

// Type is shown by pflag after the flag: nothing.
func (v *typeValue) Type() string { return "bool" }

func (v *typeValue) Set(word string) error {
	v.c.types = v.c.types.With(v.t)
	if word == fromTarget {
		return nil
	}
	// nsenter(1) takes a file in the working directory too.
	if strings.Contains(word, "/") && !strings.Contains(word, ":") && !strings.HasPrefix(word, "/") {
		word = "./" + word
	}
	ref, err := target.Parse(word)
	if err != nil {
		return err
	}
	v.c.words[v.t] = ref
	return nil
}

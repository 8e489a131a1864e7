package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/target"
)

// typeFlag is all that the command line knows of a type of namespace. The
// letters are those of nsenter(1) and unshare(1), but for -p, which is the
// process.
var typeFlags = []struct {
	typ     inspect.Type
	short   string
	name    string
	meaning string
}{
	{inspect.Mnt, "m", "mnt", "mount namespace"},
	{inspect.UTS, "u", "uts", "UTS namespace: hostname and domain name"},
	{inspect.IPC, "i", "ipc", "IPC namespace"},
	{inspect.Net, "n", "net", "network namespace"},
	{inspect.PID, "", "pid", "PID namespace"},
	{inspect.User, "U", "user", "user namespace"},
	{inspect.Cgroup, "C", "cgroup", "cgroup namespace"},
	{inspect.Time, "T", "time", "time namespace"},
}

// A choice is the types of namespace that were asked for, and of those that
// were given a word of their own, such as --net=pin:blue, the word.
type choice struct {
	types inspect.Types
	all   bool
	words map[inspect.Type]target.Ref
}

// flags adds the flags that fill the choice, with "mount" for "mnt" too.
func (c *choice) flags(fs *pflag.FlagSet) {
	c.words = make(map[inspect.Type]target.Ref)
	for _, f := range typeFlags {
		flag := fs.VarPF(&typeValue{c, f.typ}, f.name, f.short, f.meaning)
		flag.NoOptDefVal = ofTarget
	}
	fs.VarPF(&typeValue{c, inspect.Mnt}, "mount", "", "").NoOptDefVal = ofTarget
	fs.Lookup("mount").Hidden = true
	fs.BoolVarP(&c.all, "all", "a", false, "all of them")
}

// ofTarget is the value of a flag that was given none. It is what pflag shows
// nothing of, and what cannot be meant as a TARGET.
const ofTarget = "true"

// A typeValue is the flag of one type.
type typeValue struct {
	c *choice
	t inspect.Type
}

func (v *typeValue) String() string { return "" }

// Type is what pflag shows behind the flag: nothing.
func (v *typeValue) Type() string { return "bool" }

func (v *typeValue) Set(word string) error {
	v.c.types = v.c.types.With(v.t)
	if word == ofTarget {
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

package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/pin"
)

// completeFlag lets the shell complete the values of a flag.
func completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // no such flag
	}
}

// oneOf offers words.
func oneOf(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return beginning(word, "", words()), cobra.ShellCompDirectiveNoFileComp
	}
}

// listOf offers words for the last one of a list with commas. A sign may stand
// before the first: "+" of columns to add, "-" of one to sort by.
func listOf(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		n := strings.LastIndexByte(word, ',') + 1
		if n == 0 && word != "" && strings.ContainsRune("+-", rune(word[0])) {
			n = 1
		}
		return beginning(word[n:], word[:n], words()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// directories has the shell offer directories.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// beginning returns the words that begin with what was typed, in whichever case,
// each behind what stands before it.
func beginning(typed, before string, words []string) (list []string) {
	for _, w := range words {
		if typed != "" && typed == strings.ToLower(typed) {
			w = strings.ToLower(w)
		}
		if strings.HasPrefix(w, typed) {
			list = append(list, before+w)
		}
	}
	return list
}

// completeTargets offers what can stand for a TARGET: containers and pods, pins
// and names of ip-netns(8), and where a number was begun processes, each with
// what it is beside it.
func completeTargets(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp
	if word == "" || word[0] == '/' || word[0] == '.' {
		directive = cobra.ShellCompDirectiveDefault // a file
	}
	snap, err := inspect.Scan(cmd.Context(), entry.ForContainers()...)
	if err != nil {
		return nil, directive
	}
	o := offers{word: word}
	o.containers(cmd.Context(), snap)
	if word != "" && word[0] >= '0' && word[0] <= '9' {
		o.processes(cmd.Context(), snap)
	}
	for set, err := range pin.All(cmd.Context()) {
		if err == nil {
			o.add("pin:"+set.Name, "pinned namespaces")
		}
	}
	names, _ := sys.ReadDir(pin.IPNetnsDir)
	for _, entry := range names {
		o.add("netns:"+entry.Name, "network namespace of ip-netns(8)")
	}
	o.add("self", "nstool itself")
	return o.list, directive
}

// completeContainers offers containers and pods.
func completeContainers(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	o := offers{word: word}
	if snap, err := inspect.Scan(cmd.Context(), entry.ForContainers()...); err == nil {
		o.containers(cmd.Context(), snap)
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp
}

// completePods offers pods and their containers, as the flag --pod has them.
func completePods(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	o := offers{word: word}
	if snap, err := inspect.Scan(cmd.Context(), entry.ForContainers()...); err == nil {
		set := container.Find(cmd.Context(), snap, container.WithHidden())
		for _, c := range set.Containers {
			if c.Pod == nil || c.Pod.Name == "" {
				continue
			}
			named := set.Pods(c.Pod.Namespace, c.Pod.Name, "")
			if !slices.ContainsFunc(named, func(m container.Match) bool { return slices.Contains(m.Containers, c) }) {
				continue // another user's, or one in a container
			}
			pod := c.Pod.Namespace + "/" + c.Pod.Name
			if what := "what the containers of the pod share"; c.Sandbox {
				o.add(pod, what)
			} else {
				o.add(pod+"/"+c.Name, c.Image)
			}
		}
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp
}

// completeJoin offers TYPE=TARGET.
func completeJoin(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	typ, rest, ok := strings.Cut(word, "=")
	if !ok {
		types := beginning(word, "", typeNames())
		for i := range types {
			types[i] += "="
		}
		return types, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	list, directive := completeTargets(cmd, args, rest)
	for i := range list {
		list[i] = typ + "=" + list[i]
	}
	return list, directive
}

// completeEntryFlags lets the shell complete those flags of cmd that package entry
// describes.
func completeEntryFlags(cmd *cobra.Command, opts *entry.Options) {
	cmd.Flags().VisitAll(func(p *pflag.Flag) {
		f := opts.Named(p.Name)
		if f == nil && p.Shorthand != "" {
			f = opts.Lettered(p.Shorthand[0])
		}
		if f == nil || f.Arg == "" {
			return
		}
		switch {
		case f.Name == "target" || f.Type() != 0:
			completeFlag(cmd, p.Name, completeTargets)
		case f.Name == "container":
			completeFlag(cmd, p.Name, completeContainers)
		case f.Name == "pod":
			completeFlag(cmd, p.Name, completePods)
		case f.Name == "join":
			completeFlag(cmd, p.Name, completeJoin)
		case f.Name == "tools":
			completeFlag(cmd, p.Name, completeTools)
		case f.Values() == nil: // a file or directory, or what nobody knows
		case f.List():
			completeFlag(cmd, p.Name, listOf(f.Values))
		default:
			completeFlag(cmd, p.Name, oneOf(f.Values))
		}
	})
}

// completeTools offers containers with programs, and files.
func completeTools(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	list, _ := completeContainers(cmd, args, word)
	return append(beginning(word, "", []string{"static"}), list...), cobra.ShellCompDirectiveDefault
}

// completePins offers the names of our pins, each once.
func completePins(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	o := offers{word: word}
	for set, err := range pin.All(cmd.Context()) {
		if err == nil && !slices.Contains(args, set.Name) {
			o.add(set.Name, "pinned namespaces")
		}
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp
}

// offers are what the shell may put in the place of word.
type offers struct {
	word string
	list []string
}

// add offers a word, if it begins as what was typed. What others have named is
// offered only if a shell can have nothing against it.
func (o *offers) add(word, what string) {
	if !strings.HasPrefix(word, o.word) || strings.ContainsFunc(word, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._:/@+-", r)
	}) {
		return
	}
	o.list = append(o.list, cobra.CompletionWithDesc(word, output.Clean(what)))
}

// containers offers those that run, as docker:web and, where a word was begun
// so, as web.
func (o *offers) containers(ctx context.Context, snap *inspect.Snapshot) {
	set := container.Find(ctx, snap, container.WithHidden())
	for _, c := range set.Containers {
		if !c.Confirmed {
			continue // no name stands for it
		}
		m := container.Match{Containers: []*container.Container{c}}
		what := c.Image
		if what == "" {
			what = "container of " + string(c.Engine)
		}
		o.add(set.Target(m), what)
		if c.Name != "" && o.word != "" && len(set.Match("", c.Name)) == 1 {
			o.add(c.Name, what)
		}
	}
}

// processes offers those whose number begins as the word.
func (o *offers) processes(ctx context.Context, snap *inspect.Snapshot) {
	var found []*inspect.Process
	for p := range snap.Processes() {
		if strings.HasPrefix(strconv.Itoa(p.PID), o.word) {
			found = append(found, p)
		}
	}
	details, set := snap.Describe(ctx, slices.Values(found), true), container.Find(ctx, snap, container.WithHidden())
	for _, p := range found {
		d := details[p.PID]
		what := d.Command()
		if c := set.Of(p).Container; c != nil {
			what += " (" + c.String() + ")"
		}
		o.add(strconv.Itoa(p.PID), what)
	}
}

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

// oneOf completes one of several words.
func oneOf(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return beginning(word, "", words()), cobra.ShellCompDirectiveNoFileComp
	}
}

// listOf completes the last word of a list with commas. A sign may precede the first: "+" to
// add columns, "-" to sort.
func listOf(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		n := strings.LastIndexByte(word, ',') + 1
		if n == 0 && word != "" && strings.ContainsRune("+-", rune(word[0])) {
			n = 1
		}
		return beginning(word[n:], word[:n], words()), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// directories has the shell complete directories.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// beginning returns the words that begin with typed, in any case, each with before in front.
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

// completeTargets completes a TARGET: containers and pods, pins and names of ip-netns(8), and
// processes after a digit, each with a description.
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

// completeContainers completes containers and pods.
func completeContainers(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	o := offers{word: word}
	if snap, err := inspect.Scan(cmd.Context(), entry.ForContainers()...); err == nil {
		o.containers(cmd.Context(), snap)
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp
}

// completePods completes pods and their containers, in the form of the flag --pod.
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

// completeJoin completes TYPE=TARGET.
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

// completeEntryFlags lets the shell complete the flags of package entry.
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
		case f.Values() == nil: // a file or directory, or anything
		case f.List():
			completeFlag(cmd, p.Name, listOf(f.Values))
		default:
			completeFlag(cmd, p.Name, oneOf(f.Values))
		}
	})
}

// completeTools completes containers with programs, and files.
func completeTools(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	list, _ := completeContainers(cmd, args, word)
	return append(beginning(word, "", []string{"static"}), list...), cobra.ShellCompDirectiveDefault
}

// completePins completes the names of our pins, each once.
func completePins(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	o := offers{word: word}
	for set, err := range pin.All(cmd.Context()) {
		if err == nil && !slices.Contains(args, set.Name) {
			o.add(set.Name, "pinned namespaces")
		}
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp
}

// offers are completions of word.
type offers struct {
	word string
	list []string
}

// add adds a completion, if it begins with the word. Names with characters that mean something
// to a shell are left out.
func (o *offers) add(word, what string) {
	if !strings.HasPrefix(word, o.word) || strings.ContainsFunc(word, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._:/@+-", r)
	}) {
		return
	}
	o.list = append(o.list, cobra.CompletionWithDesc(word, output.Clean(what)))
}

// containers adds running containers, as docker:web, and after the first letter also as web.
func (o *offers) containers(ctx context.Context, snap *inspect.Snapshot) {
	set := container.Find(ctx, snap, container.WithHidden())
	for _, c := range set.Containers {
		if !c.Confirmed {
			continue // it has no name
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

// processes adds the processes whose number begins with the word.
func (o *offers) processes(ctx context.Context, snap *inspect.Snapshot) {
	var found []*inspect.Process
	for p := range snap.Processes() {
		if strings.HasPrefix(strconv.Itoa(p.PID), o.word) {
			found = append(found, p)
		}
	}
	details, set := snap.Describe(ctx, slices.Values(found), inspect.WithArgs()), container.Find(ctx, snap, container.WithHidden())
	for _, p := range found {
		d := details[p.PID]
		what := d.Command()
		if c := set.Of(p).Container; c != nil {
			what += " (" + c.String() + ")"
		}
		o.add(strconv.Itoa(p.PID), what)
	}
}

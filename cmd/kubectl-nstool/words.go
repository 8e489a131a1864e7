package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// options are what the words of a command line say.
type options struct {
	command string
	words   []string // for nstool
	passed  []string // flags for every call of kubectl

	namespace string // of pods without one; "" is that of the kubeconfig
	image     string
	in        string // the namespace of debug pods; "" is namespace
	deadline  time.Duration
	timeout   time.Duration
	nodes     []string
	all       bool // all nodes, or with clean all namespaces
	parallel  int
}

// A flag is a flag of the plugin. Those without set are passed on to kubectl.
type flag struct {
	name, short string
	arg         string // "" takes none
	help        string
	env         string // a variable with its default
	only        string // the one command that has it; "" is all
	set         func(o *options, arg string) error
}

func flags() []flag {
	return []flag{
		{name: "context", arg: "NAME", help: "the context of the kubeconfig"},
		{name: "kubeconfig", arg: "FILE", help: "the kubeconfig"},
		{name: "cluster", arg: "NAME", help: "the cluster of the kubeconfig"},
		{name: "as", arg: "USER", help: "act as this user of the cluster; before enter, cp and forward, which have an --as of nstool's own"},
		{name: "as-group", arg: "GROUP", help: "and as this group"},
		{name: "as-uid", arg: "UID", help: "and with this UID"},
		{name: "namespace", short: "n", arg: "NAME", help: "the namespace of PODs without one, and of the debug pod", set: set(func(o *options) *string { return &o.namespace })},
		{name: "debug-namespace", arg: "NAME", help: "the namespace of the debug pod", env: "NSTOOL_DEBUG_NAMESPACE", set: set(func(o *options) *string { return &o.in })},
		{name: "image", arg: "IMAGE", help: "the image of the debug pod, with nstool in its PATH", env: "NSTOOL_IMAGE", set: set(func(o *options) *string { return &o.image })},
		{name: "deadline", arg: "TIME", help: "the longest life of the debug pod: 4h, for lists 10m", env: "NSTOOL_DEADLINE", set: span(func(o *options) *time.Duration { return &o.deadline })},
		{name: "timeout", arg: "TIME", help: "wait so long until the debug pod runs: 2m", env: "NSTOOL_TIMEOUT", set: span(func(o *options) *time.Duration { return &o.timeout })},
		{name: "node", arg: "NODE,...", help: "on these nodes", set: func(o *options, arg string) error {
			for name := range strings.SplitSeq(arg, ",") {
				if !isName(name) {
					return fmt.Errorf("%q cannot be the name of a node", name)
				}
				if !slices.Contains(o.nodes, name) {
					o.nodes = append(o.nodes, name)
				}
			}
			return nil
		}},
		{name: "all-nodes", help: "on every node of the cluster", set: func(o *options, _ string) error { o.all = true; return nil }},
		{name: "all-namespaces", short: "A", only: "clean", help: "of clean: in all namespaces", set: func(o *options, _ string) error { o.all = true; return nil }},
		{name: "parallel", arg: "N", help: "on so many nodes at a time: 8", set: func(o *options, arg string) error {
			if _, err := fmt.Sscanf(arg+"\n", "%d\n", &o.parallel); err != nil || o.parallel < 1 {
				return fmt.Errorf("%q is no number of nodes", arg)
			}
			return nil
		}},
	}
}

func set(of func(*options) *string) func(*options, string) error {
	return func(o *options, arg string) error { *of(o) = arg; return nil }
}

func span(of func(*options) *time.Duration) func(*options, string) error {
	return func(o *options, arg string) error {
		d, err := time.ParseDuration(arg)
		if err != nil || d < time.Second {
			return fmt.Errorf("%q is no time such as 90s, 10m or 4h", arg)
		}
		*of(o) = d
		return nil
	}
}

// A command says how the words behind it are read.
type command struct {
	use, help string
	program   bool // flags end at the first word behind the POD: a program with words of its own
	ownAs     bool // --as is a flag of this command of nstool
	list      bool // it shows what is on nodes
}

func commands() map[string]command {
	return map[string]command{
		"enter":   {use: "enter POD [FLAGS] [PROGRAM [ARG...]]", help: "Run a program in a container", program: true, ownAs: true},
		"forward": {use: "forward POD [[ADDRESS:]PORT:][TOADDRESS:]TOPORT...", help: "Carry ports of this computer into a pod", ownAs: true},
		"cp":      {use: "cp SOURCE... DEST", help: "Copy files out of a container (POD:PATH), or into one", ownAs: true},
		"clean":   {use: "clean [-A]", help: "Remove debug pods of yours that have ended"},

		"ls":         {list: true, help: "List namespaces"},
		"containers": {list: true, help: "List containers"},
		"net":        {list: true, help: "List interfaces"},
		"ports":      {list: true, help: "List listening sockets"},
		"doctor":     {list: true, help: "Find what is wrong"},
		"show":       {list: true, help: "Show all about a pod, process or namespace"},
		"busy":       {list: true, help: "Show what keeps a mount or file in use"},
		"diff":       {list: true, help: "Compare two targets"},
		"pid":        {list: true, help: "Translate PIDs"},
		"pin":        {list: true, help: "Keep namespaces by name"},
	}
}

// parse sorts the words of a command line. The options are never nil.
func parse(args []string, getenv func(string) string) (*options, error) {
	o := &options{image: defaultImage(), timeout: 2 * time.Minute, parallel: 8}
	all := flags()
	for _, f := range all {
		if v := getenv(f.env); f.env != "" && v != "" {
			if err := f.set(o, v); err != nil {
				return o, usagef("%s: %v", f.env, err)
			}
		}
	}
	bare := 0 // words without a dash behind the command
	var cmd command
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		f, value, inWord, found := find(all, word)
		switch {
		case word == "--":
			o.words = append(append(o.words, word), args...)
			return o, o.check()
		case o.command == "" && (word == "-h" || word == "--help" || word == "help"), o.command != "" && bare == 0 && (word == "-h" || word == "--help"):
			o.command = "help"
			return o, nil
		case found && f.name == "as" && cmd.ownAs:
			if !inWord && len(args) > 0 {
				word, args = word+"="+args[0], args[1:]
			}
			o.words = append(o.words, word)
		case found && (f.only == "" || f.only == o.command):
			switch {
			case f.arg == "" && inWord:
				return o, usagef("--%s takes no value", f.name)
			case f.arg != "" && !inWord && len(args) == 0:
				return o, usagef("--%s needs a value: %s", f.name, f.arg)
			case f.arg != "" && !inWord:
				value, args = args[0], args[1:]
			}
			if f.set == nil {
				o.passed = append(o.passed, "--"+f.name+"="+value)
			} else if err := f.set(o, value); err != nil {
				return o, usagef("--%s: %v", f.name, err)
			}
		case o.command == "" && strings.HasPrefix(word, "-"):
			return o, usagef("no flag %s before a command; see kubectl nstool --help", word)
		case o.command == "":
			var ok bool
			if cmd, ok = commands()[word]; !ok {
				return o, usagef("no command %q: it is one of %s", word, strings.Join(slices.Sorted(maps.Keys(commands())), ", "))
			}
			o.command = word
		default:
			o.words = append(o.words, word)
			if strings.HasPrefix(word, "-") && word != "-" {
				continue
			}
			if bare++; cmd.program && (bare > 1 || len(o.nodes) > 0) {
				o.words = append(o.words, args...) // of the program
				return o, o.check()
			}
		}
	}
	return o, o.check()
}

// find returns the flag that a word is, and its value if that is in the word.
func find(all []flag, word string) (f flag, value string, inWord, found bool) {
	name, value, inWord := strings.Cut(word, "=")
	for _, f := range all {
		switch {
		case name == "--"+f.name:
			return f, value, inWord, true
		case f.short == "" || strings.HasPrefix(word, "--"):
		case f.arg == "" && word == "-"+f.short, f.arg != "" && name == "-"+f.short:
			return f, value, inWord, true
		case f.arg != "" && strings.HasPrefix(word, "-"+f.short):
			return f, word[len("-"+f.short):], true, true
		}
	}
	return flag{}, "", false, false
}

// check finds what is missing or contradicts.
func (o *options) check() error {
	cmd := commands()[o.command]
	switch {
	case o.command == "":
		return usagef("no command; see kubectl nstool --help")
	case o.all && len(o.nodes) > 0:
		return usagef("--node and --all-nodes exclude each other")
	case o.all && !cmd.list && o.command != "clean":
		return usagef("%s is for one pod, and takes no --all-nodes", o.command)
	case len(o.nodes) > 1 && !cmd.list:
		return usagef("%s is for one node", o.command)
	case cmd.list && !o.all && len(o.nodes) == 0 && o.command != "show":
		return usagef("%s on which node? --node NODE, or --all-nodes; kubectl get nodes lists them", o.command)
	case (o.command == "clean") && len(o.words) > 0:
		return usagef("unexpected argument %q", o.words[0])
	}
	if o.in == "" {
		o.in = o.namespace
	}
	if o.deadline == 0 {
		if o.deadline = 4 * time.Hour; cmd.list {
			o.deadline = 10 * time.Minute
		}
	}
	return nil
}

// isName reports whether s can be the name of a thing of Kubernetes, and so is no flag and no
// path to kubectl.
func isName(s string) bool {
	return s != "" && len(s) <= 253 && s[0] != '-' && s[0] != '.' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// A podName is the name of a pod, and of a container in it.
type podName struct{ namespace, pod, container string }

func (p podName) String() string {
	s := p.namespace + "/" + p.pod
	if p.container != "" {
		s += "/" + p.container
	}
	return s
}

// parsePod parses [NAMESPACE/]POD[/CONTAINER]. With --namespace, two words are POD/CONTAINER.
func (o *options) parsePod(word string) (podName, error) {
	parts := strings.Split(strings.TrimPrefix(word, "pod:"), "/")
	for _, part := range parts {
		if !isName(part) || len(parts) > 3 {
			return podName{}, usagef("bad pod %q: it is written NAMESPACE/POD[/CONTAINER], or POD in the namespace of -n", word)
		}
	}
	switch {
	case len(parts) == 3 && o.namespace != "" && parts[0] != o.namespace:
		return podName{}, usagef("%s is not in the namespace %s", word, o.namespace)
	case len(parts) == 3:
		return podName{parts[0], parts[1], parts[2]}, nil
	case len(parts) == 2 && o.namespace == "":
		return podName{parts[0], parts[1], ""}, nil
	case len(parts) == 2:
		return podName{o.namespace, parts[0], parts[1]}, nil
	}
	return podName{o.namespace, parts[0], ""}, nil
}

const help = `nstool on the nodes of a cluster, in a debug pod that is removed at the end.

Usage: kubectl nstool [FLAGS] COMMAND ...

  kubectl nstool enter shop/cart/app --tools      a shell, with the tools of the image
  kubectl nstool forward shop/cart 8080:80        a port of a pod, on this computer
  kubectl nstool cp shop/cart/app:/etc/app.yaml . a file of a container without shell
  kubectl nstool show shop/cart                   all about it
  kubectl nstool ports --node node1               what listens on a node
  kubectl nstool doctor --all-nodes --json        what is wrong, anywhere

A POD is NAMESPACE/POD[/CONTAINER], or POD[/CONTAINER] in the namespace of -n.
Other flags and words are those of nstool. A flag that takes a value is written
--flag=value before a POD.

Commands:
`

// usage returns the text of --help.
func usage() string {
	var b strings.Builder
	b.WriteString(help)
	all := commands()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		use := all[name].use
		if all[name].list {
			use = name + " ... --node NODE | --all-nodes"
		}
		fmt.Fprintf(&b, "  %-52s %s\n", use, all[name].help)
	}
	b.WriteString("\nFlags:\n")
	for _, f := range flags() {
		name := "--" + f.name
		if f.short != "" {
			name = "-" + f.short + ", " + name
		}
		if f.arg != "" {
			name += " " + f.arg
		}
		if f.env != "" {
			f.help += " ($" + f.env + ")"
		}
		fmt.Fprintf(&b, "  %-26s %s\n", name, f.help)
	}
	return b.String()
}

package target

import (
	"errors"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/pin"
)

// A Prefix is a word before the colon of a TARGET.
type Prefix struct {
	Word string // "pod"
	Form string // what follows the colon, as a user writes it: "NAMESPACE/POD[/CONTAINER]"
	Help string // what it names, a noun

	kind  Kind
	parse func(ref *Ref, rest string) error
}

// Prefixes returns the prefixes of a TARGET, in the order in which users read them. An engine of
// another user has the user's name: "podman@ann".
func Prefixes() []Prefix {
	list := []Prefix{
		{"pid", "PID[/TID|:PIDFDINODE]", "process or thread", Process, parseProcess},
		{"file", "PATH", "namespace by a file that leads to it", File, func(ref *Ref, rest string) error { ref.Path = rest; return nil }},
		{"container", "NAME", "container of any engine", Container, nameIn("")},
	}
	for _, e := range container.Engines() {
		list = append(list, Prefix{string(e), "NAME", "container of " + string(e), Container, nameIn(string(e))})
	}
	return append(list, []Prefix{
		{"pod", "NAMESPACE/POD[/CONTAINER]", "Kubernetes pod, or a container in it", Pod, parsePod},
		{"pin", "NAME[/TYPE]", "namespaces that nstool-pin(1) keeps", Pin, parsePin},
		{"netns", "NAME", "network namespace with a name of ip-netns(8)", Netns, parseNetns},
		{"nsid", "ID", "namespace by its 64-bit identifier", NSID, parseNSID},
	}...)
}

// prefixOf returns the prefix that a word is, also that of a user's engine.
func prefixOf(word string) (Prefix, bool) {
	for _, p := range Prefixes() {
		if p.Word == word {
			return p, true
		}
	}
	if _, user, ok := container.SplitEngine(word); ok && user != "" {
		return Prefix{kind: Container, parse: nameIn(word)}, true
	}
	return Prefix{}, false
}

// nameIn parses the name of a container of an engine, "" for any.
func nameIn(engine string) func(*Ref, string) error {
	return func(ref *Ref, rest string) error {
		ref.Engine, ref.Name = engine, rest
		return nil
	}
}

func parsePod(ref *Ref, rest string) error {
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" || parts[len(parts)-1] == "" {
		return errors.New("a pod is written pod:NAMESPACE/POD[/CONTAINER]")
	}
	if ref.PodNS, ref.Pod = parts[0], parts[1]; len(parts) == 3 {
		ref.Name = parts[2]
	}
	return nil
}

func parsePin(ref *Ref, rest string) (err error) {
	name, typ, typed := strings.Cut(rest, "/")
	if err := pin.CheckName(name); err != nil {
		return err
	}
	if ref.Name = name; typed {
		ref.Type, err = inspect.ParseType(typ)
	}
	return err
}

func parseNetns(ref *Ref, rest string) error {
	switch {
	case strings.Contains(rest, "/"):
		return errors.New("a name of ip-netns(8) has no slash; write the path as it is")
	case rest == "." || rest == "..":
		return errors.New("that is a directory, and no name of ip-netns(8)")
	}
	ref.Name = rest
	return nil
}

func parseNSID(ref *Ref, rest string) (err error) {
	if ref.Ino, err = parseNumber(rest); err != nil {
		return errors.New("an nsid is a whole number")
	}
	return nil
}

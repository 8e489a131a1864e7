package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/man"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

// commands returns all commands that are shown in help.
func commands() []*cobra.Command {
	var all []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		all = append(all, c)
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub)
			}
		}
	}
	walk(newRoot(&app{getenv: os.Getenv}))
	return all
}

// pageOf returns the manual page of a command, without going up.
func pageOf(c *cobra.Command) (string, bool) {
	page, err := man.Page(strings.ReplaceAll(c.CommandPath(), " ", "-"))
	return page, err == nil
}

var (
	itemWithFlag = regexp.MustCompile(`(?m)^\.It Fl .*$`)
	longFlag     = regexp.MustCompile(`(?:Fl |, )-([a-z][-a-z]*)`)
)

// part returns the name of the command of nstool that c is, or is part of.
func part(c *cobra.Command) string {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return c.Name()
}

// Every prefix of a TARGET, and so every engine, stands in the manual.
func TestManualHasAllPrefixes(t *testing.T) {
	page, err := man.Page("nstool")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = strings.Cut(page, ".Sh TARGETS")
	page, _, _ = strings.Cut(page, "\n.Sh ")
	words := regexp.MustCompile(`\w+`).FindAllString(page, -1)
	for _, p := range target.Prefixes() {
		if !slices.Contains(words, p.Word) {
			t.Errorf("TARGETS in nstool(1) does not have %s:", p.Word)
		}
	}
}

// listOptions returns the section of nstool(1) about the options of all lists.
func listOptions(t *testing.T) string {
	page, err := man.Page("nstool")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = strings.Cut(page, "\n.Sh LISTS\n")
	page, _, _ = strings.Cut(page, "\n.Sh ")
	return page
}

// Every flag stands in the manual page of its command, with its short name. The flags
// of all lists stand in nstool(1).
func TestManualHasAllFlags(t *testing.T) {
	for _, c := range commands() {
		page, err := manualOf(c)
		if err != nil {
			t.Error(err)
		}
		if top := part(c); top == "completion" || top == "help" {
			continue
		}
		items := itemWithFlag.FindAllString(page, -1)
		if c.Flags().Lookup("list-columns") != nil {
			if !strings.Contains(page, "LISTS") {
				t.Errorf("%s: the page does not refer to LISTS in nstool(1)", c.CommandPath())
			}
			items = append(items, itemWithFlag.FindAllString(listOptions(t), -1)...)
		}
		root, err := manualOf(c.Root())
		if err != nil {
			t.Error(err)
		}
		everywhere := itemWithFlag.FindAllString(root, -1)
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			items := items
			if c.InheritedFlags().Lookup(f.Name) != nil {
				items = everywhere
			}
			if !slices.ContainsFunc(items, func(item string) bool {
				if !regexp.MustCompile(`(Fl |, )-` + f.Name + `( |$)`).MatchString(item) {
					return false
				}
				return f.Shorthand == "" || regexp.MustCompile(`(Fl |, )`+f.Shorthand+`( |$)`).MatchString(item)
			}) {
				t.Errorf("%s: the page has no item for --%s (-%s)", c.CommandPath(), f.Name, f.Shorthand)
			}
		})
	}
}

// Every flag that a page describes exists.
func TestManualHasNoOtherFlags(t *testing.T) {
	known := map[string]map[string]bool{} // page -> flags
	for _, c := range commands() {
		name := c
		for {
			if _, ok := pageOf(name); ok || !name.HasParent() {
				break
			}
			name = name.Parent()
		}
		page := strings.ReplaceAll(name.CommandPath(), " ", "-")
		if known[page] == nil {
			known[page] = map[string]bool{"help": true}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) { known[page][f.Name] = true })
	}
	for _, m := range longFlag.FindAllStringSubmatch(listOptions(t), -1) {
		known["nstool"][m[1]] = true
		for _, c := range commands() {
			if c.Flags().Lookup("list-columns") != nil && c.Flags().Lookup(m[1]) == nil {
				t.Errorf("%s lacks --%s, which LISTS in nstool(1) gives to all lists", c.CommandPath(), m[1])
			}
		}
	}
	for _, page := range man.Names() {
		text, err := man.Page(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range itemWithFlag.FindAllString(text, -1) {
			for _, m := range longFlag.FindAllStringSubmatch(item, -1) {
				if !known[page][m[1]] {
					t.Errorf("%s.1 describes --%s, which there is not", page, m[1])
				}
			}
		}
	}
}

// Every command stands in nstool(1), says in short what it does, and has a page
// that nstool(1) leads to.
func TestManualHasAllCommands(t *testing.T) {
	top, err := man.Page("nstool")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands() {
		if s := c.Short; s == "" || strings.HasSuffix(s, ".") || strings.ToUpper(s[:1]) != s[:1] {
			t.Errorf("%s: short help %q wants a capital and no full stop", c.CommandPath(), s)
		}
		if c.HasParent() && c.Parent() == c.Root() && !strings.Contains(top, "\n.It Cm "+c.Name()+"\n") {
			t.Errorf("nstool.1 does not say what %s is", c.Name())
		}
	}
	for _, name := range man.Names() {
		if name != "nstool" && !strings.Contains(top, ".Xr "+name+" 1") {
			t.Errorf("nstool.1 does not lead to %s(1)", name)
		}
	}
}

// Every exit status stands in nstool(1).
func TestManualHasAllStatuses(t *testing.T) {
	top, err := man.Page("nstool")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []status{statusDone, statusFailed, statusUsage, statusOwn, statusNotInvoked, statusNotFound, statusSignal} {
		want := fmt.Sprintf("\n.It %d\n", s)
		if s == statusSignal {
			want = fmt.Sprintf("\n.It %d+N\n", s)
		}
		if !strings.Contains(top, want) {
			t.Errorf("nstool.1 does not say what status %d means", s)
		}
	}
}

// The columns in the manual are those of the table. With -update they are
// written there.
func TestManualHasAllColumns(t *testing.T) {
	columns(t, "nstool-ls", "columns", output.NamespaceList().Columns)
	columns(t, "nstool-ls", "process columns", output.ProcessList().Columns)
	columns(t, "nstool-containers", "columns", output.ContainerList().Columns)
	columns(t, "nstool-net", "columns", output.InterfaceList().Columns)
	columns(t, "nstool-ports", "columns", output.ListenerList().Columns)
}

func columns[R any](t *testing.T, name, mark string, table []output.Column[R]) {
	t.Helper()
	text, err := man.Page(name)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	fmt.Fprintf(&want, ".\\\" %s\n", mark)
	for _, c := range table {
		help := strings.ToUpper(c.Help[:1]) + c.Help[1:]
		fmt.Fprintf(&want, ".It %s\n%s.\n", c.Name, strings.TrimSuffix(help, "."))
	}
	_, rest, ok := strings.Cut(text, ".\\\" "+mark+"\n")
	if !ok {
		t.Fatalf("%s.1 has no mark for %s", name, mark)
	}
	have, _, _ := strings.Cut(rest, ".El\n")
	if ".\\\" "+mark+"\n"+have == want.String() {
		return
	}
	if !*update {
		t.Errorf("%s.1: %s differ; go test ./cmd/nstool -run Manual -update writes them", name, mark)
		return
	}
	file := "../../man/" + name + ".1"
	now, err := os.ReadFile(file) // it may have been changed by the table before
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(string(now), ".\\\" "+mark+"\n"+have, want.String(), 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

package entry

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/target"
)

// StaticTools is the directory in which a distribution can put programs that need no other files,
// such as a static busybox, for --tools=static.
const StaticTools = "/usr/lib/nstool/tools"

// sweeper is the name of a nstool that ends processes which a killed nstool has left in a container.
const sweeper = "nstool-sweep"

// An Unpacker returns a function that writes the files of an archive, or of an image in a directory,
// into an empty directory.
type Unpacker func(file string) (func(dir string) error, error)

// errNeedsMain is the error of [Options.Command] for an archive without an Unpacker.
var errNeedsMain = errors.New("only main can unpack it")

// A tooling has the options for tools.
type tooling struct {
	asked  bool
	source string
	view   enter.View
}

// tools returns the tools of the options, or nil. e closes what it opens.
func (o *Options) tools(e *Entry, find func(target.Ref) (*Found, error)) (*enter.Tools, error) {
	t := &enter.Tools{View: o.Tools.view, Sweeper: []string{sweeper}}
	if !o.Tools.asked {
		if t.View != enter.ViewDefault {
			return nil, usagef("--view says where tools are, and needs --tools")
		}
		return nil, nil
	}
	switch source := o.Tools.source; {
	case source == "":
	case source == "static":
		t.Dir = StaticTools
		if _, err := sys.StatPath(t.Dir, true); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no static tools come with this nstool: there is no %s", t.Dir)
		}
	case strings.Contains(source, "/") && !strings.HasPrefix(source, "pod:") || source == "." || source == "..":
		return t, o.toolsAt(source, t)
	default:
		found, err := lookUp(source, find)
		if err != nil {
			if _, serr := sys.StatPath(source, true); serr == nil {
				return nil, fmt.Errorf("--tools=%s: %w; the file of that name is ./%s", source, err, source)
			}
			return nil, fmt.Errorf("--tools=%s: %w", source, err)
		}
		e.held = append(e.held, found)
		if found.Process == nil {
			return nil, fmt.Errorf("--tools=%s: it has no process whose root directory could be taken", source)
		}
		t.Of, t.From = found.Process, source
	}
	return t, nil
}

// toolsAt opens the tools at a path: a directory, an archive, or an image.
func (o *Options) toolsAt(file string, t *enter.Tools) error {
	st, err := sys.StatPath(file, true)
	if err != nil {
		return fmt.Errorf("--tools: %w", err)
	}
	_, err = sys.StatPath(path.Join(file, "oci-layout"), false)
	if image := err == nil; st.IsDir() && !image {
		t.Dir = file
		return nil
	}
	t.From = file
	if o.Unpacker == nil {
		return errNeedsMain
	}
	t.Unpack, err = o.Unpacker(file)
	return err
}

// toolsCheck finds contradictions in the options for tools.
func (o *Options) toolsCheck(c *enter.Cmd) error {
	switch {
	case c.Tools == nil:
		return nil
	case c.Target == nil:
		return usagef("--tools needs a process as target, to stand beside its files")
	case !c.Types.Has(inspect.Mnt):
		return usagef("--tools is about the files of the target: it needs --mnt, or no namespace flag at all")
	case c.Root || c.RootDir != "" || c.Dir || c.DirPath != "":
		return usagef("--tools has a root directory of its own making: --root and --wd do not go with it, --wdns=DIR does")
	}
	return nil
}

// words returns the flag of the target.
func (o *Options) words() string {
	switch {
	case o.Container != "":
		return shell.Command("-c", o.Container)
	case o.Pod != "":
		return shell.Command("--pod", o.Pod)
	}
	return shell.Command("-p", o.Target)
}

// explainToolless explains that the target lacks a program, and how to bring it.
func (o *Options) explainToolless(x *Explained) {
	target := o.words()
	name := cmp.Or(o.Container, o.Pod, o.Target)
	what, program := "shell", ""
	if len(o.Program) > 0 {
		what = o.Program[0]
		program = " " + shell.Quote(path.Base(what))
	}
	x.Err = fmt.Errorf("there is no %s in %s", what, name)
	x.Advice = fmt.Sprintf("nstool enter %s --tools%s brings this host's programs along, and changes nothing in there", target, program)
}

// toolCaps are programs that can do little without a capability.
var toolCaps = [...]struct{ capability, programs string }{
	{"SYS_PTRACE", " strace ltrace gdb gdbserver perf py-spy pstack gcore "},
	{"NET_RAW", " tcpdump tshark dumpcap ngrep arping "},
	{"NET_ADMIN", " iptables nft conntrack "},
	{"SYS_ADMIN", " mount umount nsenter unshare bpftrace bpftool "},
}

// lacking returns the capabilities that tools which failed did not have, if they need them.
func (o *Options) lacking(lacked enter.Caps) string {
	if !o.Tools.asked || len(o.Program) == 0 {
		return ""
	}
	program := path.Base(o.Program[0])
	for _, w := range toolCaps {
		set, err := enter.ParseCaps([]string{w.capability})
		switch {
		case err != nil || !strings.Contains(w.programs, " "+program+" "):
		case set&lacked == 0 && o.Tools.view == enter.ViewDefault && o.AddCaps == 0 && !o.Privileged:
			return fmt.Sprintf("%s looks for settings, such as users, among the files of the target; --view=tools has its own in their places", program)
		case set&lacked != 0:
			return fmt.Sprintf("%s had no CAP_%s, as the target has none; --cap-add %[2]s gives it that, and --privileged all that you may do", program, w.capability)
		}
	}
	return ""
}

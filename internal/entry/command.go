package entry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/pin"
	"github.com/nstool/nstool/target"
)

// A Found is an opened TARGET: a process, or files of namespaces.
type Found struct {
	Process *enter.Target
	Files   map[inspect.Type]*os.File
	Netns   string // the name of ip-netns(8) that it was given by, or ""

	// Container says that an engine of root says that it is the container of that name.
	Container bool

	terms *enter.Expected // of a container that was found by its name
}

// Confirm returns nil if the target is still the one that was named: a container that was found
// by its name must be ready. It is called again when everything is open.
func (f *Found) Confirm() error {
	if f.terms == nil || f.Process == nil {
		return nil
	}
	return f.Process.Ready(*f.terms)
}

// Close closes everything that was opened.
func (f *Found) Close() {
	if f.Process != nil {
		f.Process.Close()
	}
	CloseFiles(f.Files)
}

// CloseFiles closes the namespaces of a set.
func CloseFiles(set map[inspect.Type]*os.File) {
	for _, f := range set {
		f.Close()
	}
}

// Open opens the namespace of type t of the target.
func (f *Found) Open(t inspect.Type) (*os.File, error) {
	if f.Process != nil {
		return f.Process.Namespace(t)
	}
	file := f.Files[t]
	if file == nil {
		for got := range f.Files {
			return nil, fmt.Errorf("it is a %s namespace, not a %s namespace", got, t)
		}
		return nil, fmt.Errorf("it has no %s namespace", t)
	}
	return os.NewFile(uintptr(sys.Dup(int(file.Fd()))), file.Name()), nil
}

// A UsageError is a mistake in the command line.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// lookUp opens a TARGET by calling find.
func lookUp(word string, find func(target.Ref) (*Found, error)) (*Found, error) {
	ref, err := target.Parse(word)
	if err != nil {
		return nil, UsageError{err}
	}
	return find(ref)
}

// Find opens a TARGET.
func Find(ctx context.Context, ref target.Ref) (*Found, error) {
	if found, err := known(ref); found != nil || err != nil {
		return found, err
	}
	return enterable(ctx, ref)
}

// known opens a TARGET that needs no scan, and returns nil for others.
func known(ref target.Ref) (*Found, error) {
	switch ref.Kind {
	case target.Process:
		return process(ref)
	case target.File:
		return files("", ref.Path)
	case target.Netns:
		file := inspect.FindHost().Path(path.Join(pin.IPNetnsDir, ref.Name))
		f, err := files("", file)
		if errors.Is(err, fs.ErrNotExist) {
			if _, e := sys.Readlink(file); e != nil { // else the error already says where it leads
				return nil, &noNetns{ref.Name}
			}
		}
		if f != nil {
			f.Netns = ref.Name
		}
		return f, err
	case target.Pin:
		return pinned(ref)
	case target.NSID:
		return identified(ref), nil
	}
	return nil, nil
}

// A noNetns means that ip-netns(8) has no such name in this mount namespace.
type noNetns struct{ name string }

func (e *noNetns) Error() string {
	return fmt.Sprintf("no network namespace %q in %s: %v", e.name, pin.IPNetnsDir, fs.ErrNotExist)
}

func (e *noNetns) Unwrap() error { return fs.ErrNotExist }

// hint returns the mount namespace that has the name, if one has it.
func (e *noNetns) hint() string {
	file := path.Join("/proc/1/root", pin.IPNetnsDir, e.name)
	if _, err := sys.StatPath(file, false); err != nil {
		return ""
	}
	return "nstool is in another mount namespace than process 1, where it is --net=" + shell.Quote(file)
}

// identified opens a namespace by its identifier, if the kernel can (Linux 6.19) and the caller
// may. Otherwise a scan may find it.
func identified(ref target.Ref) *Found {
	fd, err := sys.OpenHandle(sys.Handle{ID: ref.Ino})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), ref.Text)
	flag, err := sys.NamespaceFlag(fd)
	t, ok := inspect.TypeOfFlag(flag)
	if err != nil || !ok {
		f.Close()
		return nil
	}
	return &Found{Files: map[inspect.Type]*os.File{t: f}}
}

func process(ref target.Ref) (*Found, error) {
	pid := ref.PID
	if pid == 0 {
		pid = os.Getpid()
	}
	t, err := enter.OpenThread(pid, ref.TID)
	if err != nil {
		return nil, err
	}
	if ref.PidfdIno != 0 {
		if err := t.Check(ref.PidfdIno); err != nil {
			t.Close()
			return nil, err
		}
	}
	return &Found{Process: t}, nil
}

// files opens a namespace by its file.
func files(dir string, names ...string) (*Found, error) {
	found := &Found{Files: map[inspect.Type]*os.File{}}
	for _, name := range names {
		f, err := enter.OpenFile(path.Join(dir, name), 0)
		if err != nil {
			found.Close()
			return nil, err
		}
		t, err := enter.TypeOf(f)
		if err != nil {
			f.Close()
			found.Close()
			return nil, err
		}
		found.Files[t] = f
	}
	return found, nil
}

func pinned(ref target.Ref) (*Found, error) {
	if ref.Type != 0 {
		f, err := pin.OpenType(ref.Name, ref.Type)
		if err != nil {
			return nil, err
		}
		return &Found{Files: map[inspect.Type]*os.File{ref.Type: f}}, nil
	}
	set, err := pin.Open(ref.Name)
	if err != nil {
		return nil, err
	}
	return &Found{Files: set}, nil
}

// An Entry is a command that is ready to be planned and run.
type Entry struct {
	Cmd    *enter.Cmd
	opts   *Options
	target string // as in the command
	held   []*Found

	answered func() // called when the target has answered
}

// Close closes everything that was opened.
func (e *Entry) Close() {
	if e.answered != nil {
		e.answered()
	}
	for _, f := range e.held {
		f.Close()
	}
}

// patience starts the time in which the target must answer.
func (e *Entry) patience() {
	if e.answered != nil {
		e.answered()
	}
	e.answered = Impatient(e.opts.command(), cmp.Or(e.target, "the target"), 125)
}

// confirm returns nil if all targets are still the ones that were named.
func (e *Entry) confirm() error {
	for _, f := range e.held {
		if err := f.Confirm(); err != nil {
			return err
		}
	}
	return nil
}

// Command finds the target and makes the command of the options.
func (o *Options) Command(ctx context.Context) (e *Entry, err error) {
	e = &Entry{opts: o}
	defer func() {
		if err != nil {
			e.Close()
			e = nil
		}
	}()
	ref, given, err := TargetOf(o.Target, o.Container, o.Pod)
	if err != nil {
		return e, err
	}
	e.target = ref.Text
	// Each attempt to find the target has its full time.
	find := func(ref target.Ref) (*Found, error) {
		return Await(ctx, o.Wait, func() (*Found, error) {
			e.patience()
			return Find(ctx, ref)
		})
	}
	e.patience()
	c := &enter.Cmd{
		Files:      map[inspect.Type]*os.File{},
		UserParent: o.UserParent,
		KeepEnv:    o.KeepEnv, AddEnv: o.AddEnv, TargetEnv: o.TargetEnv,
		Root: o.Root, RootDir: o.RootDir, Dir: o.Dir, DirPath: o.DirPath, InnerDir: o.InnerDir,
		UID: o.UID, GID: o.GID, FollowUID: o.FollowUID, FollowGID: o.FollowGID,
		PreserveCredentials: o.Preserve, KeepCaps: o.KeepCaps,
		NoFork: o.NoFork, MountProc: o.MountProc, NetnsFiles: o.NetnsFiles,
		JoinCgroup: o.JoinCgroup, FollowContext: o.FollowContext,
		Privileged: o.Privileged, AllowMissing: o.AllowMissing, RawStdio: o.RawStdio, KeepFDs: o.KeepFDs, KillChild: o.KillChild,
		AddCaps: o.AddCaps, Looked: func() { e.answered() }, Confirm: e.confirm,
		Note:  func(text string) { fmt.Fprintf(os.Stderr, "nstool: %s: %s\n", o.command(), text) },
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	e.Cmd = c
	if err := o.finish(); err != nil {
		return e, err
	}
	c.New, c.MountProc, c.ProcDir = o.Make.New, o.MountProc, o.Make.procDir
	if o.Make.pin != "" {
		if c.New.Pin, err = o.pinner(ctx); err != nil {
			return e, err
		}
	}
	if len(o.Program) > 0 {
		if o.Program[0] == "" {
			return e, usagef("the name of the program is empty")
		}
		c.Path, c.Args = o.Program[0], o.Program
	}

	var found *Found
	if given {
		if found, err = find(ref); err != nil {
			return e, err
		}
		e.held = append(e.held, found)
		c.Target, c.NetnsName = found.Process, found.Netns
		if found.terms != nil {
			c.GivenEnv = found.terms.Env
			if o.UID == nil && o.GID == nil && o.userName == "" && !o.FollowUID && !o.Privileged {
				o.other = found.other()
			}
		}
	}
	all := o.All || found != nil && len(o.Namespaces) == 0 && o.NetSocket < 0 && !o.UserParent
	if err := o.check(found, all); err != nil {
		return e, err
	}
	if all && !o.All && ref.Shared {
		all, c.Types = false, SharedByPod
	}
	if all {
		// All types but those that are made. A user namespace is made inside.
		rest := inspect.AllTypes &^ o.Make.Types.Without(inspect.User)
		if found.Process != nil {
			c.Types = rest
		}
		for t, f := range found.Files {
			if rest.Has(t) {
				c.Files[t] = f
			}
		}
	}
	for t := range inspect.AllTypes.All() {
		from, ok := o.Namespaces[t]
		if !ok {
			continue
		}
		of := found
		if from != "" {
			if of, err = lookUp(from, find); err != nil {
				return e, fmt.Errorf("%s: %w", o.from(t, from), err)
			}
			e.held = append(e.held, of)
			// The program belongs to the process that these come from.
			if c.Target == nil && of.Process != nil && (t == inspect.User || t == inspect.Mnt || t == inspect.PID) {
				c.Target = of.Process
			}
		}
		switch file := of.Files[t]; {
		case of.Process != nil && from == "":
			c.Types = c.Types.With(t)
		case of.Process != nil:
			f, err := of.Process.Namespace(t)
			if err != nil {
				return e, err
			}
			e.held = append(e.held, &Found{Files: map[inspect.Type]*os.File{t: f}})
			c.Files[t] = f
		case file != nil:
			c.Files[t] = file
		default:
			return e, fmt.Errorf("%s: %w", o.from(t, from), lacks(cmp.Or(from, e.target), of, t))
		}
		if t == inspect.Net && of.Netns != "" {
			c.NetnsName = of.Netns
		}
	}
	if err := o.lookUpUser(c); err != nil {
		return e, err
	}
	if c.Tools, err = o.tools(e, find); err != nil {
		return e, err
	}
	if err := o.toolsCheck(c); err != nil {
		return e, err
	}
	if o.NetSocket >= 0 {
		f, err := c.Target.NetOfSocket(o.NetSocket)
		if err != nil {
			return e, err
		}
		e.held = append(e.held, &Found{Files: map[inspect.Type]*os.File{inspect.Net: f}})
		c.Files[inspect.Net] = f
	}
	if o.isHostShell(c) {
		c.Note("the files are the caller's: no mnt namespace is joined")
	}
	return e, nil
}

// isHostShell reports whether the program is an interactive shell of the caller, with the files
// of the caller. Its user may think that it is inside the target.
func (o *Options) isHostShell(c *enter.Cmd) bool {
	if o.run || o.DryRun || o.Root || o.RootDir != "" || c.Tools != nil || c.Types.Has(inspect.Mnt) || c.Files[inspect.Mnt] != nil || o.Make.Types.Has(inspect.Mnt) {
		return false
	}
	if _, ok := sys.TerminalWidth(0); !ok {
		return false
	}
	if len(o.Program) == 0 {
		return true
	}
	shells := []string{"sh", "bash", "ash", "dash", "ksh", "zsh", "fish"}
	return slices.Contains(shells, path.Base(o.Program[0])) && !slices.ContainsFunc(o.Program[1:], func(arg string) bool {
		return !strings.HasPrefix(arg, "-") || arg == "-c" // it runs another program
	})
}

// lacks returns the error for a TARGET that is no process and has no namespace of type t.
func lacks(word string, found *Found, t inspect.Type) error {
	if strings.HasPrefix(word, "pin:") {
		return fmt.Errorf("no %s namespace is pinned as %s", t, strings.TrimPrefix(word, "pin:"))
	}
	for got, f := range found.Files {
		return &enter.TypeError{Path: f.Name(), Got: got, Want: t}
	}
	return fmt.Errorf("%s has no %s namespace", word, t)
}

// from returns how the command line says where a namespace comes from.
func (o *Options) from(t inspect.Type, from string) string {
	if o.run {
		return fmt.Sprintf("--join %s=%s", t, from)
	}
	if from == "" {
		return "--" + t.String()
	}
	return fmt.Sprintf("--%s=%s", t, from)
}

// check finds contradictions.
func (o *Options) check(found *Found, all bool) error {
	if o.run {
		return o.runCheck()
	}
	process := found != nil && found.Process != nil
	switch {
	case found == nil && all:
		return usagef("--all needs a target: all namespaces of which process?")
	case found == nil && len(o.Namespaces) == 0 && o.Make.Types == 0:
		return usagef("nothing to enter: give a TARGET, or a namespace such as --net=FILE")
	case !process && (o.Root || o.Dir || o.FollowUID || o.FollowGID || o.TargetEnv || o.NetSocket >= 0 || o.JoinCgroup || o.FollowContext):
		return usagef("--root, --wd, --env, --net-socket, --join-cgroup, --follow-context and follow need a process as target")
	case (o.Dir || o.DirPath != "") && o.InnerDir != "":
		return usagef("--wd and --wdns exclude each other")
	case o.Preserve && (o.UID != nil || o.GID != nil || o.userName != "" || o.groupName != "" || o.FollowUID || o.FollowGID):
		return usagef("--preserve-credentials and --setuid or --setgid exclude each other")
	}
	for t, from := range o.Namespaces {
		if from == "" && found == nil {
			return usagef("--%s needs a target by -p, or --%s=FILE", t, t)
		}
	}
	return nil
}

// Do prints the plan, or runs the program.
func (e *Entry) Do(ctx context.Context, out io.Writer) error {
	if !e.opts.DryRun {
		return e.Cmd.RunOrExec(ctx)
	}
	steps, err := e.Cmd.Plan()
	if err != nil {
		return err
	}
	for _, s := range steps {
		if _, err := fmt.Fprintln(out, s); err != nil {
			return err
		}
	}
	return nil
}

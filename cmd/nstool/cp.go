package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/copy"
	"github.com/nstool/nstool/internal/deputy"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/text"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

type cpOptions struct {
	*app
	from     []target.Path
	to       target.Path
	archive  bool
	noFollow bool
	tar      bool
	stream   bool     // standard input or output is a stream of package copy
	words    []string // the arguments
	owner    string
	as       string
	wait     time.Duration
}

func newCp(a *app) *cobra.Command {
	o := &cpOptions{app: a}
	cmd := &cobra.Command{
		Use:     "cp [FLAGS] SOURCE... DEST",
		GroupID: groupDo,
		Short:   "Copy files out of a container, or into one",
		Long: `Copy files and directories between the caller and a target. One of the two is
TARGET:PATH; the other is a path here, or - for standard input or output. No
program of the target runs, so it needs neither a shell nor tar. Files there are
read and written with the rights of the target.

A copy here belongs to the caller, a copy in a target to the user of the target.
A file replaces an older one when it is complete.`,
		Example: `  nstool cp web:/etc/app.yaml .
  nstool cp app.yaml web:/tmp/
  nstool cp --wait=1m web:/var/log/app.log .     out of a container that crashes
  nstool cp pod:shop/cart/app:/var/log logs       a directory, with everything in it
  nstool cp web:/proc/1/net/tcp -                 as the target numbers its processes
  nstool cp web:/srv - | tar -tv                  a directory, as an archive`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("from where to where? see nstool cp --help")
			}
			return nil
		},
		ValidArgsFunction: completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(args); err != nil {
				return usageError{Err: err}
			}
			o.words = args
			if o.status == nil && o.in == os.Stdin {
				if err := o.standard(); err != nil {
					return err
				}
				return runHelper()
			}
			return runCp(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.archive, "archive", "a", false, "keep owners, by their numbers in the target; in a target, set-ID bits too")
	f.StringVar(&o.owner, "owner", "", "give the copy to `UID[:GID]`, by their numbers in the target")
	f.StringVar(&o.as, "as", "", "act in a target as its `root`, or as the target process: root, target")
	f.BoolVarP(&o.noFollow, "no-dereference", "P", false, "copy a link that is named as a link")
	f.BoolVar(&o.tar, "tar", false, "write an archive to standard output also for a file")
	f.BoolVar(&o.stream, "stream", false, "with -H: the far end of a copy")
	f.Lookup("stream").Hidden = true
	waitFlag(f, &o.wait, "w", "wait for the target to run and the source to exist, for `TIME` such as 30s, or without a limit")
	f.BoolP("recursive", "r", true, "directories too; they always are")
	f.Lookup("recursive").Hidden = true
	return cmd
}

// A waitValue is a time to wait, or without a limit.
type waitValue struct{ d *time.Duration }

func (v *waitValue) String() string { return "" }
func (v *waitValue) Type() string   { return "time" }
func (v *waitValue) Set(s string) (err error) {
	*v.d, err = entry.ParseWait(s)
	return err
}

// waitFlag adds --wait to a command.
func waitFlag(f *pflag.FlagSet, d *time.Duration, short, help string) {
	f.VarPF(&waitValue{d}, "wait", short, help).NoOptDefVal = "forever"
}

// completePaths completes targets, and files of the caller.
func completePaths(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if p, err := target.ParsePath(word); word != "" && (err != nil || !p.Local || strings.ContainsAny(word[:1], "./")) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	list, _ := completeTargets(cmd, args, word)
	for i, offer := range list {
		name, what, described := strings.Cut(offer, "\t")
		if list[i] = name + ":/"; described {
			list[i] += "\t" + what
		}
	}
	return list, cobra.ShellCompDirectiveNoSpace
}

// parse parses the arguments.
func (o *cpOptions) parse(args []string) error {
	var inTarget, streams int
	for i, word := range args {
		p, err := target.ParsePath(word)
		if err != nil {
			return o.withLocalHint(word, err)
		}
		if !p.Local {
			inTarget++
		} else if word == "-" {
			streams++
		}
		if i == len(args)-1 {
			o.to = p
		} else {
			o.from = append(o.from, p)
		}
	}
	switch {
	case inTarget == 0:
		return errors.New("neither is in a target: one of them is written TARGET:PATH")
	case streams > 1 || streams == 1 && len(args) > 2:
		return errors.New("- is the only source, or with one source the destination")
	case o.owner != "" && o.archive:
		return errors.New("--owner and --archive exclude each other")
	case o.as != "" && o.as != "root" && o.as != "target":
		return fmt.Errorf("bad --as %q: it is root or target", o.as)
	}
	_, _, err := parseOwner(o.owner)
	return err
}

// standard is an error if standard input or output is wanted, and closed.
func (o *cpOptions) standard() error {
	closed := sys.WereClosed()
	switch {
	case o.to.Local && o.to.Path == "-" && closed[1]:
		return errors.New("standard output is closed")
	case o.from[0].Local && o.from[0].Path == "-" && closed[0]:
		return errors.New("standard input is closed")
	}
	return nil
}

// withLocalHint adds how to write a file of the caller that looks like one of a target.
func (o *cpOptions) withLocalHint(word string, err error) error {
	if _, e := os.Lstat(word); e == nil && strings.Contains(word, ":") {
		return withHint(err, "the file here is written %s", shell.Quote("./"+word))
	}
	return err
}

// parseOwner parses UID[:GID]. Without GID it is the same number.
func parseOwner(s string) (uid, gid uint32, err error) {
	if s == "" {
		return 0, 0, nil
	}
	u, g, both := strings.Cut(s, ":")
	if !both {
		g = u
	}
	var n [2]uint32
	for i, word := range []string{u, g} {
		x, err := strconv.ParseUint(word, 10, 32)
		if err != nil || x == 1<<32-1 {
			return 0, 0, fmt.Errorf("bad owner %q: it is written UID or UID:GID, in numbers", s)
		}
		n[i] = uint32(x)
	}
	return n[0], n[1], nil
}

// An end is the source or the destination of a copy: files of the caller, or of a target whose
// files stay open even if it exits.
type end struct {
	name  string // "" is the caller
	found *entry.Found
	root  *os.File
	mnt   *os.File // keeps the mounts
	who   enter.Identity
	far   *copy.Far // the deputy
}

// patience is the longest time to wait for the removal of incomplete copies.
const patience = 2 * time.Second

func (e *end) close() {
	if e.far != nil {
		e.far.Close(patience)
	}
	for _, f := range []*os.File{e.root, e.mnt} {
		if f != nil {
			f.Close()
		}
	}
	if e.found != nil {
		e.found.Close()
	}
}

func (e *end) place(path string) copy.Place {
	return copy.Place{Root: e.root, Name: e.name, Path: path, By: e.far}
}

// openEnd opens a target and its root directory.
func (o *cpOptions) openEnd(ctx context.Context, p target.Path) (*end, error) {
	if p.Local {
		return &end{}, nil
	}
	e := &end{name: p.Ref.Text}
	err := o.hold(ctx, e, p.Ref)
	if err != nil {
		e.close()
		if errors.Is(err, fs.ErrNotExist) && p.Ref.Kind == target.Word {
			err = o.withLocalHint(p.Ref.Text+":"+p.Path, err)
		}
		return nil, err
	}
	return e, nil
}

func (o *cpOptions) hold(ctx context.Context, e *end, ref target.Ref) (err error) {
	if e.found, err = entry.Find(ctx, ref); err != nil {
		return err
	}
	if e.root, err = openRoot(e.found, ref.Text); err != nil {
		return err
	}
	rights, err := o.rights(e)
	if rights != nil {
		defer rights.Close()
	}
	if err != nil {
		return err
	}
	e.far, err = copy.StartFar(rights, e.root)
	return err
}

// rights returns the rights with which files of a target are read and written.
func (o *cpOptions) rights(e *end) (*deputy.Rights, error) {
	p := e.found.Process
	if p == nil {
		return deputy.RightsIn(e.found.Files[inspect.Mnt], e.root, e.name)
	}
	// Hold the mount namespace, or its mounts vanish with the last process. Without permission,
	// go on without it.
	e.mnt, _ = p.Namespace(inspect.Mnt)
	var err error
	if e.who, err = p.Identity(); err != nil {
		return nil, err
	}
	as := map[string]deputy.As{"root": deputy.AsRoot, "target": deputy.AsTarget}[o.as]
	if as == deputy.AsFits && e.found.Container {
		as = deputy.AsContainer
	}
	rights, err := deputy.RightsOf(p, e.root, as)
	if err == nil {
		err = e.found.Confirm() // and the target has not exited before
	}
	return rights, err
}

// await is openEnd with waiting until the target runs, and, for a source, until the file
// exists.
func (o *cpOptions) await(ctx context.Context, p target.Path, source bool) (*end, error) {
	if o.wait == 0 || p.Local {
		return o.openEnd(ctx, p)
	}
	what := p.Ref.Text
	if source {
		what += ":" + p.Path
	}
	stop := o.progress("waiting for " + output.Clean(what))
	defer stop()
	return entry.Await(ctx, o.wait, func() (*end, error) {
		e, err := o.openEnd(ctx, p)
		if err == nil && source {
			if _, err = e.place(p.Path).IsDir(ctx); err != nil {
				e.close()
				e = nil
			}
		}
		return e, err
	})
}

// errInterrupted has the signal that ended the command.
type errInterrupted struct{ signal syscall.Signal }

func (e errInterrupted) Error() string { return "interrupted" }

func runCp(ctx context.Context, o *cpOptions) error {
	ctx, stop := signals(ctx)
	defer stop()
	work := &copying{o: o}
	// Never on the main thread: the kernel sends signals to that one first, and it takes none
	// while a file system blocks it.
	done := sys.StartThread(func() error { return work.run(ctx) })
	var err error
	select {
	case e := <-done:
		err = e.Result()
	case <-ctx.Done():
		// A blocked goroutine is left behind.
		select {
		case e := <-done:
			err = e.Result()
		case <-time.After(time.Second):
			work.abort(patience)
			err = context.Cause(ctx)
		}
	}
	if e, ok := errors.AsType[errInterrupted](context.Cause(ctx)); ok && err != nil {
		return statusError{statusSignal + status(e.signal), e}
	}
	if err == nil && work.failed {
		return statusError{status: statusFailed}
	}
	return err
}

// A copying is one run of the command.
type copying struct {
	o      *cpOptions
	copier copy.Copier
	failed bool
}

// abort removes incomplete copies, and waits no longer than the patience.
func (c *copying) abort(limit time.Duration) {
	if c.copier.Busy() {
		limit = time.Minute
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.copier.Abort()
	}()
	select {
	case <-gone:
	case <-time.After(limit):
	}
}

func (c *copying) run(ctx context.Context) error {
	o := c.o
	c.copier.Failed = func(where string, err error) {
		c.failed = c.failed || !errors.Is(err, copy.ErrSpecial)
		fmt.Fprintf(o.err, "nstool: cp: %s: %s\n", output.Clean(where), output.CleanText(err.Error()))
	}
	if o.hosts != nil {
		return c.onHost(ctx)
	}
	to, err := o.await(ctx, o.to, false)
	if err != nil {
		return err
	}
	defer to.close()
	if len(o.from) > 1 {
		if dir, err := to.place(o.to.Path).IsDir(ctx); err != nil {
			return err
		} else if !dir {
			return fmt.Errorf("%s is not a directory, and there are %d to be copied to it", to.place(o.to.Path), len(o.from))
		}
	}
	ends := make(map[string]*end)
	for _, p := range o.from {
		from := ends[p.Ref.Text]
		if from == nil {
			if from, err = o.await(ctx, p, true); err != nil {
				return err
			}
			defer from.close()
			ends[p.Ref.Text] = from
		}
		if err := c.one(ctx, from, p.Path, to); err != nil {
			return err
		}
	}
	return nil
}

// one copies one source.
func (c *copying) one(ctx context.Context, from *end, path string, to *end) error {
	o := c.o
	if err := c.setOwners(to); err != nil {
		return err
	}
	stop := o.progressOf(func() string {
		return fmt.Sprintf("copied %s in %d files", text.Size(uint64(c.copier.Bytes.Load())), c.copier.Files.Load())
	})
	defer stop()
	src, dst := from.place(path), to.place(o.to.Path)
	do := func() error {
		switch {
		case from.name == "" && path == "-":
			if o.stream {
				return c.copier.FromStream(ctx, o.in, dst)
			}
			dir, err := dst.IsDir(ctx)
			if err == nil && dir {
				return c.copier.FromTar(ctx, o.in, dst)
			}
			return c.copier.FromReader(ctx, o.in, dst, 0o644)
		case to.name == "" && o.to.Path == "-":
			if o.stream {
				return c.copier.ToStream(ctx, o.out, src)
			}
			return c.toStdout(ctx, src)
		}
		return c.copier.Copy(ctx, src, dst)
	}
	err := do()
	if to.name == "" {
		return err
	}
	if sys.IsReadOnly(err) {
		if dirs := writable(to); len(dirs) > 0 {
			err = withHint(err, "%s can be written to there", strings.Join(dirs, ", "))
		}
	}
	return err
}

// toStdout writes a file as it is, and a directory as an archive.
func (c *copying) toStdout(ctx context.Context, src copy.Place) error {
	terminal := width(c.o.out) > 0
	dir, err := src.IsDir(ctx)
	if err != nil {
		return err
	}
	if dir || c.o.tar {
		if terminal {
			return usagef("an archive is not written to a terminal; | tar -t lists it")
		}
		return c.copier.ToTar(ctx, c.o.out, src)
	}
	if terminal {
		return c.copier.ToWriter(ctx, cleaned{c.o.out}, src)
	}
	return c.copier.ToWriter(ctx, c.o.out, src)
}

// setOwners sets the owner of copies.
func (c *copying) setOwners(to *end) error {
	o, opts := c.o, &c.copier.Options
	*opts = copy.Options{NoFollow: o.noFollow}
	if to.found != nil && to.found.Process != nil {
		if u, g, ok := to.who.Inside(to.who.UID, to.who.GID); ok {
			opts.Heir = &[2]uint32{u, g}
		}
	} else if to.name == "" && !o.archive {
		opts.Umask = umask()
	}
	switch {
	case o.owner != "":
		u, g, _ := parseOwner(o.owner)
		if to.found != nil && to.found.Process != nil {
			if _, _, ok := to.who.Outside(u, g); !ok {
				return fmt.Errorf("there is no user or group %d:%d in %s", u, g, to.name)
			}
		}
		opts.Owner = &[2]uint32{u, g}
	case o.archive:
		opts.Keep = true
		opts.KeepSetID = to.name != "" || o.to.Path == "-"
	}
	return nil
}

// umask returns the caller's umask.
func umask() uint32 {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return uint32(mask)
}

// writable returns directories of a target with a read-only root that can be written: those on
// a tmpfs.
func writable(e *end) (dirs []string) {
	if e.found == nil || e.found.Process == nil {
		return nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", e.found.Process.PID()))
	if err != nil || e.found.Process.Alive() != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		mount, of, ok := strings.Cut(line, " - ")
		m, f := strings.Fields(mount), strings.Fields(of)
		if !ok || len(m) < 6 || len(f) < 3 || f[0] != "tmpfs" || strings.Contains(m[4], `\`) {
			continue
		}
		rw := strings.HasPrefix(m[5]+",", "rw,") && strings.HasPrefix(f[2]+",", "rw,")
		kernels := strings.HasPrefix(m[4], "/dev") || strings.HasPrefix(m[4], "/proc") || strings.HasPrefix(m[4], "/sys")
		if rw && !kernels && len(dirs) < 4 {
			dirs = append(dirs, m[4])
		}
	}
	return dirs
}

// A cleaned writer replaces everything that a terminal would interpret.
type cleaned struct{ w io.Writer }

func (c cleaned) Write(p []byte) (int, error) {
	for line := range strings.SplitAfterSeq(string(p), "\n") {
		text, ended := strings.CutSuffix(line, "\n")
		cells := strings.Split(strings.TrimSuffix(text, "\r"), "\t")
		for i := range cells {
			cells[i] = output.CleanText(cells[i])
		}
		text = strings.Join(cells, "\t")
		if ended {
			text += "\n"
		}
		if _, err := io.WriteString(c.w, text); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// progressOf shows the progress of a long task on a terminal, until stop is called.
func (a *app) progressOf(how func() string) (stop func()) {
	if width(a.err) == 0 {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for pause, said := time.Second, false; ; pause = time.Second / 4 {
			select {
			case <-quit:
				if said {
					fmt.Fprint(a.err, "\r\x1b[K")
				}
				return
			case <-time.After(pause):
				said = true
				fmt.Fprintf(a.err, "\r%s ...\x1b[K", how())
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/carry"
	"github.com/nstool/nstool/internal/deputy"
	"github.com/nstool/nstool/internal/entry"
	"github.com/nstool/nstool/internal/forward"
	"github.com/nstool/nstool/internal/forward/port"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/output"
	"github.com/nstool/nstool/target"
)

type forwardOptions struct {
	*app
	ref       target.Ref
	specs     []forward.Spec
	addresses []string
	as        string // rights for unix sockets: target or root
	stdio     bool   // one connection from standard input and output
	wait      time.Duration
}

func newForward(a *app) *cobra.Command {
	o := &forwardOptions{app: a}
	cmd := &cobra.Command{
		Use:     "forward {TARGET [[ADDRESS:]PORT:][TOADDRESS:]TOPORT[/udp]... | --stdio TARGET [TOADDRESS:]TOPORT}",
		GroupID: groupDo,
		Short:   "Carry ports of this host into a network namespace",
		Long: `Listen on ports of the caller, and carry connections and datagrams to addresses in
the network namespace of a target. It runs until it is interrupted, or until the
process or container has exited.

It listens on 127.0.0.1 unless an address is given. PORT 0, or none, stands for any
free port. The address inside is 127.0.0.1 too by default. It can be the path of a
unix socket of the target, which is connected to with the rights of the target
process (--as).`,
		Example: `  nstool forward web 8080:80
  nstool forward web 8080:80 8053:53/udp
  nstool forward pod:shop/cart 80             the same port on both sides
  nstool forward netns:blue :10.0.0.5:80      any free port, another address
  nstool forward 4242 8080:/run/app.sock      a unix socket
  nstool forward web 0.0.0.0:8080:80          for other hosts too`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no target; see nstool forward --help")
			}
			if len(args) == 1 {
				return usagef("no port to forward to %s: 8080:80 for one", args[0])
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeTargets(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(args); err != nil {
				return usageError{Err: err}
			}
			if o.hosts != nil {
				ctx, stop := signals(cmd.Context())
				defer stop()
				if err := o.onHost(ctx); ctx.Err() == nil {
					return err
				}
				return nil // interrupted, as intended
			}
			if o.status == nil && o.in == os.Stdin {
				return runHelper()
			}
			return runForward(cmd.Context(), o)
		},
	}
	waitFlag(cmd.Flags(), &o.wait, "w", "wait for the target to run, for `TIME` such as 30s, or without a limit")
	cmd.Flags().Var((*wordList)(&o.addresses), "address", "listen on this `ADDRESS`, for ports without one; can be given several times")
	completeFlag(cmd, "address", cobra.NoFileCompletions)
	cmd.Flags().StringVar(&o.as, "as", "target", "connect to unix sockets as `root` of the user namespace of the target, or as the target process: root, target")
	completeFlag(cmd, "as", cobra.FixedCompletions([]string{"root", "target"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&o.stdio, "stdio", false, "listen on nothing: carry standard input and output to one connection")
	return cmd
}

// parse parses the arguments.
func (o *forwardOptions) parse(args []string) (err error) {
	if o.ref, err = target.Parse(args[0]); err != nil {
		return err
	}
	if o.as != "root" && o.as != "target" {
		return fmt.Errorf("bad --as %q: it is root or target", o.as)
	}
	o.ref.Shared = true // for a pod the network that its containers share
	var addresses []netip.Addr
	for _, word := range o.addresses {
		a, err := port.ParseAddress(word)
		if err != nil {
			return fmt.Errorf("--address: %w", err)
		}
		addresses = append(addresses, a)
	}
	if o.stdio {
		return o.parseStdio(args[1:])
	}
	for _, word := range args[1:] {
		spec, err := port.Parse(word)
		if err != nil {
			return err
		}
		if spec.UDP && o.hosts != nil {
			return fmt.Errorf("%q: %w", word, carry.ErrUDP)
		}
		if spec.Listen.IsValid() || len(addresses) == 0 {
			o.specs = append(o.specs, spec)
			continue
		}
		for _, a := range addresses {
			spec.Listen = a
			o.specs = append(o.specs, spec)
		}
	}
	return nil
}

// parseStdio parses the destination for standard input and output.
func (o *forwardOptions) parseStdio(words []string) error {
	if len(words) != 1 || o.addresses != nil {
		return errors.New("--stdio is one connection: it takes one [TOADDRESS:]TOPORT, and excludes --address")
	}
	spec, err := port.Parse(":" + words[0])
	switch {
	case err != nil:
		return fmt.Errorf("--stdio: bad port %q: it is written [TOADDRESS:]TOPORT, or as the path of a unix socket", words[0])
	case spec.UDP:
		return errors.New("--stdio: UDP cannot be carried, only TCP and unix sockets")
	}
	o.specs = []forward.Spec{spec}
	return nil
}

// endWithin is the longest time that the command runs after a signal.
const endWithin = 1500 * time.Millisecond

func runForward(ctx context.Context, o *forwardOptions) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Never on the main thread, as for runCp.
	done := sys.StartThread(func() error { return o.forward(ctx) })
	var ending sys.Ending
	select {
	case ending = <-done:
	case <-ctx.Done():
		select {
		case ending = <-done:
		case <-time.After(endWithin): // a blocked connection is left behind
		}
	}
	err := ending.Result()
	if ctx.Err() != nil {
		return nil // interrupted, as intended
	}
	return err
}

// forward forwards until ctx is done.
func (o *forwardOptions) forward(ctx context.Context) error {
	found, err := entry.Await(ctx, o.wait, func() (*entry.Found, error) { return entry.Find(ctx, o.ref) })
	if err != nil {
		return err
	}
	defer found.Close()
	ns, err := found.Open(inspect.Net)
	if err != nil {
		return fmt.Errorf("%s: %w", o.ref.Text, err)
	}
	defer ns.Close()
	own := entry.IsOwn(inspect.Net, ns)
	if own {
		ns = nil // no join is needed, which might not be permitted
	}
	f, err := forward.New(ns)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = withHint(err, "%s", entry.Begin("that takes CAP_SYS_ADMIN in the user namespace that owns the network, and in your own"))
		}
		return err
	}
	defer f.Close()
	if err := o.connectAs(f, found); err != nil {
		return err
	}
	if o.stdio {
		if err := f.Stdio(ctx, o.specs[0], os.Stdin, os.Stdout); err != nil {
			return fmt.Errorf("%s in %s: %w", o.specs[0], o.ref.Text, err)
		}
		return nil
	}
	says := &complaints{w: o.err, about: make(map[string]*complaint)}
	f.Failed = func(spec forward.Spec, err error) {
		says.add(fmt.Sprintf("%s in %s: %v", spec, o.ref.Text, err))
	}
	var lines strings.Builder
	for _, spec := range o.specs {
		at, err := f.Listen(ctx, spec)
		if err != nil {
			return err
		}
		if own && spec.LeadsTo(at) {
			return fmt.Errorf("%s has the network of the caller, and %s would lead to itself", o.ref.Text, at)
		}
		protocol := ""
		if spec.UDP {
			protocol = "/udp"
		}
		fmt.Fprintf(&lines, "%s%s -> %s %s\n", at, protocol, output.Clean(o.ref.Text), output.Clean(spec.String()))
	}
	if _, err := io.WriteString(o.out, lines.String()); err != nil {
		return err
	}
	ended, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if found.Process != nil {
		go func() {
			// An open socket would keep a namespace alive in which nobody answers.
			if err := found.Process.Wait(ended); ended.Err() == nil {
				if err == nil {
					err = fmt.Errorf("%s has ended", o.ref.Text)
				}
				cancel(err)
			}
		}()
	}
	f.Serve(ended)
	return context.Cause(ended)
}

// connectAs sets the rights with which unix sockets are connected, if there are any.
func (o *forwardOptions) connectAs(f *forward.Forwarder, found *entry.Found) error {
	var path, abstract bool
	for _, spec := range o.specs {
		path = path || strings.HasPrefix(spec.ToPath, "/")
		abstract = abstract || strings.HasPrefix(spec.ToPath, "@")
	}
	mnt := found.Files[inspect.Mnt]
	switch {
	case !path && !abstract:
		return nil
	case found.Process == nil && mnt == nil && path:
		return fmt.Errorf("%s has no mount namespace, and so no files", o.ref.Text)
	case found.Process == nil && mnt == nil:
		return fmt.Errorf("%s is a namespace alone, and nobody is known as whom to connect to an abstract socket in it: name a process", o.ref.Text)
	}
	root, err := openRoot(found, o.ref.Text)
	if err != nil {
		return err
	}
	var rights *deputy.Rights
	if found.Process != nil {
		as := deputy.AsTarget
		if o.as == "root" {
			as = deputy.AsRoot
		}
		rights, err = deputy.RightsOf(found.Process, root, as)
	} else {
		rights, err = deputy.RightsIn(mnt, root, o.ref.Text)
	}
	if err != nil {
		root.Close()
	} else {
		err = f.ConnectAs(rights, root)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.ref.Text, err)
	}
	return nil
}

// openRoot opens the root directory of a target: that of the process, or of the mount
// namespace.
func openRoot(found *entry.Found, text string) (*os.File, error) {
	if found.Process != nil {
		return found.Process.Root()
	}
	ns := found.Files[inspect.Mnt]
	if ns == nil {
		return nil, fmt.Errorf("%s has no mount namespace, and so no files", text)
	}
	var root *os.File
	err := enter.Do(context.Background(), func() error {
		dir, err := sys.OpenWay("/", true)
		if err == nil {
			root = os.NewFile(uintptr(dir), text+":/")
		}
		return err
	}, ns)
	return root, err
}

// complaints writes messages that may repeat, each at most once a second.
type complaints struct {
	mu    sync.Mutex
	w     io.Writer
	about map[string]*complaint
}

type complaint struct {
	last time.Time
	kept int // not written since
}

func (c *complaints) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.about) > 100 {
		clear(c.about)
	}
	one := c.about[text]
	if one == nil {
		one = &complaint{}
		c.about[text] = one
	}
	if now.Sub(one.last) < time.Second {
		one.kept++
		return
	}
	more := ""
	if one.kept > 0 {
		more = fmt.Sprintf(" (and %d times more)", one.kept)
	}
	fmt.Fprintf(c.w, "nstool: forward: %s%s\n", output.CleanText(text), more)
	*one = complaint{last: now}
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nstool/nstool/internal/carry"
	"github.com/nstool/nstool/internal/copy"
	"github.com/nstool/nstool/internal/many"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/output"
)

// With -H a command runs on other hosts, each time as one command line of ssh(1): keys, jump hosts
// and connections are those of the caller's configuration, and nothing listens on a host. What runs
// there is the nstool of this version, found by PATH or brought along (see bring.go). The words are
// checked here, before any connection is made. Lists are asked for in the form for programs, and
// package many makes one of them. A host is a stranger: what it says is cleaned, and the words that
// it gets are quoted.

// hosts are where a command runs instead of here.
type hosts struct {
	names       []string
	sudo, bring bool
	timeout     time.Duration
	words       []string // the command
}

// hostFlags adds the flags for hosts to the help of the program. takeHosts parses them.
func hostFlags(root *cobra.Command) {
	f := root.Flags()
	f.StringP("host", "H", "", "run the command on the hosts of this `LIST`, by ssh")
	f.Bool("sudo", false, "with -H: as root there, by sudo -n")
	f.Bool("bring", false, "with -H: bring nstool along to where it is not installed")
	f.String("timeout", "", "with -H: the longest `TIME` to wait for a host, such as 30s")
}

// takeHosts takes the flags for hosts out of the words of the command line: -H only before the
// name of the command, the others anywhere before "--" and before the program of enter and run.
// Without hosts it returns nil.
func takeHosts(args []string) (h *hosts, rest []string, err error) {
	h = &hosts{}
	var list, timeout *string
	command := ""
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		name, value, given := strings.Cut(word, "=")
		if short, ok := strings.CutPrefix(word, "-H"); ok && command == "" {
			name, value, given = "--host", strings.TrimPrefix(short, "="), short != ""
		}
		to := map[string]**string{"--host": &list, "--timeout": &timeout}[name]
		switch {
		case word == "--" || strings.HasPrefix(word, cobra.ShellCompRequestCmd):
			rest, args = append(append(rest, word), args...), nil
		case to != nil && !given && len(args) == 0:
			return nil, nil, usagef("flag needs an argument: %s", name)
		case to != nil && *to != nil:
			return nil, nil, usagef("%s is given twice: a list has commas", name)
		case to != nil:
			if !given {
				value, args = args[0], args[1:]
			}
			*to = &value
		case word == "--sudo":
			h.sudo = true
		case word == "--bring":
			h.bring = true
		default:
			rest = append(rest, word)
			if strings.HasPrefix(word, "-") {
				continue
			}
			if command == "" {
				command = word
			} else if command == "enter" || command == "run" {
				rest, args = append(rest, args...), nil
			}
		}
	}
	if list == nil {
		if h.sudo || h.bring || timeout != nil {
			return nil, nil, usagef("--sudo, --bring and --timeout are for other hosts: -H HOST says which")
		}
		return nil, rest, nil
	}
	if timeout != nil {
		if h.timeout, err = time.ParseDuration(*timeout); err != nil || h.timeout < time.Second {
			return nil, nil, usagef("bad --timeout %q: it is a time such as 30s, and at least 1s", *timeout)
		}
	}
	h.words = rest
	h.names = strings.Split(*list, ",")
	for i, name := range h.names {
		switch {
		case name == "" || name[0] == '-' || strings.Contains(name, "@-") || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r == 0x7f || strings.ContainsRune("'`\"$\\;&<>|(){}", r) // a ProxyCommand is given it
		}):
			return nil, nil, usagef("bad host %q", name)
		case slices.Contains(h.names[:i], name):
			return nil, nil, usagef("host %s is given twice", name)
		}
	}
	return h, rest, nil
}

// one is an error if there are several hosts.
func (h *hosts) one(command string) error {
	if len(h.names) > 1 {
		return usagef("%s works with one host at a time, and %d were given", command, len(h.names))
	}
	return nil
}

// onHosts runs the command on the hosts, or returns false if that is done here: help, and what
// carries something between a host and the caller.
func (a *app) onHosts(ctx context.Context, h *hosts) (done bool, err error) {
	at := slices.IndexFunc(h.words, func(word string) bool { return !strings.HasPrefix(word, "-") })
	if at < 0 {
		return true, usagef("no command for %s; see nstool --help", strings.Join(h.names, ", "))
	}
	command := h.words[at]
	switch command {
	case "help", "completion", "version":
		return true, usagef("%s is not for other hosts", command)
	case "enter", "run":
		if at > 0 { // and the words are not those of package entry
			return true, usagef("%s stands before the name of the command: -H HOST %s ...", h.words[0], command)
		}
		if err := h.one(command); err != nil {
			return true, err
		}
		if slices.Contains(h.words[:slices.Index(h.words, "--")], "--help") {
			return false, nil
		}
		return true, a.alive(ctx, func(ctx context.Context) error { return h.pass(ctx, a, h.words, statusOwn) })
	}
	root := newRoot(a, h.words...)
	cmd, args, err := root.Find(h.words)
	if err == nil {
		cmd.InitDefaultHelpFlag()
		err = cmd.ParseFlags(args)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	is := func(flag string) bool {
		f := cmd.Flags().Lookup(flag)
		return f != nil && f.Changed && f.Value.String() != "false"
	}
	switch {
	case err != nil || cmd.HasSubCommands() || is("help") || is("list-columns"):
		return false, nil //nolint:nilerr // the command itself says what is wrong
	case command == "forward" || command == "cp":
		a.hosts = h
		return false, h.one(command)
	}
	return true, a.alive(ctx, func(ctx context.Context) error { return h.ask(ctx, a, cmd, is) })
}

// alive calls f, with a context that ends by signals.
func (a *app) alive(ctx context.Context, f func(context.Context) error) error {
	ctx, stop := signals(ctx)
	defer stop()
	err := f(ctx)
	if e, ok := errors.AsType[errInterrupted](context.Cause(ctx)); ok {
		return statusError{statusSignal + status(e.signal), e}
	}
	return err
}

// signals returns a context that ends, with an errInterrupted, by the signals that end a command.
func signals(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	got := make(chan os.Signal, 1)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case s := <-got:
			cancel(errInterrupted{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		cancel(nil)
	}
}

// ask runs a command that only answers, on all hosts, and makes one answer of theirs. is says
// which flags are given.
func (h *hosts) ask(ctx context.Context, a *app, cmd *cobra.Command, is func(string) bool) error {
	words := h.words
	table := cmd.Flags().Lookup("noheadings") != nil && !is("json") && !is("tree")
	if table {
		at := slices.Index(words, "--")
		if at < 0 {
			at = len(words)
		}
		words = slices.Insert(slices.Clone(words), at, "--raw", "--noheadings=false")
	}
	places := make([]many.Place, len(h.names))
	for i, name := range h.names {
		places[i] = many.Place{Name: name, Do: func(ctx context.Context, stdout, stderr io.Writer) (int, error) {
			path, release, err := h.carried(ctx, name, stderr)
			if err != nil {
				return 0, err
			}
			defer release()
			return h.run(ctx, name, path, words, nil, stdout, stderr)
		}}
	}
	o := many.Options{Timeout: h.limit()}
	if width(a.err) > 0 {
		o.Progress = a.err
	}
	answers := many.Ask(ctx, places, o)
	var err error
	switch {
	case is("json"):
		err = many.JSON(a.out, "host", answers)
	case table:
		style := many.Style{NoHeader: is("noheadings"), Raw: is("raw"), Color: a.color()}
		if !is("notruncate") {
			style.Width = width(a.out)
		}
		err = many.Table(a.out, "host", answers, style)
	default:
		err = many.Text(a.out, answers)
	}
	many.Say(a.err, answers)
	if err != nil {
		return err
	}
	return h.outcome(cmd.Name(), answers)
}

// outcome returns the worst status of answers. A host that has failed is never forgotten.
func (h *hosts) outcome(command string, answers []many.Answer) error {
	own := statusFailed
	if command == "doctor" || command == "busy" {
		own = statusTrouble
	}
	worst := status(many.Worst(answers, int(own)))
	if failed := many.Failed(answers); len(failed) > 0 && len(answers) > 1 {
		return statusError{worst, fmt.Errorf("%d of %d hosts did not answer: %s", len(failed), len(answers), strings.Join(failed, ", "))}
	}
	if worst == statusDone {
		return nil
	}
	return statusError{status: worst}
}

// limit returns the longest time to wait for the answer of a host. One host is waited for
// without a limit.
func (h *hosts) limit() time.Duration {
	if h.timeout == 0 && len(h.names) > 1 {
		return time.Minute
	}
	return h.timeout
}

// far is run on a host by sh, with sudo or nothing in its gap. Its words are the version, the status
// of a failure of its own, nstool, and the words for that. It says why nstool of this version cannot
// be run, and marks a status 255 that is not ssh's. It outlives what ends by ^C, to pass on how.
const far = `want=$1 own=$2 nstool=$3; shift 3; run() { %s "$nstool" "$@"; }; v=$(run version 2>&1 </dev/null); ` +
	`case $v in "nstool $want "*) ;; ` +
	`"nstool "*) echo "nstool: $v is there, and this is $want: install that, or use --bring" >&2; exit $own;; ` +
	`*) echo "nstool: nstool $want cannot be run there (${v:-it says nothing}): install it, or use --bring" >&2; exit $own;; esac; ` +
	`trap : INT QUIT; run "$@"; s=$?; [ $s -ne 255 ] || [ -t 2 ] || printf '\000nstool 255\n' >&2; exit $s`

// mark is what far writes.
const mark = "\x00nstool 255\n"

// ssh returns the command that runs a script of sh with these words on a host, until ctx is done.
func (h *hosts) ssh(ctx context.Context, host string, options []string, script string, words ...string) *exec.Cmd {
	var args []string
	if len(h.names) > 1 {
		args = append(args, "-o", "BatchMode=yes")
	}
	if limit := h.limit(); limit > 0 {
		args = append(args, "-o", "ConnectTimeout="+strconv.Itoa(int(min(limit, 15*time.Second)/time.Second)))
	}
	args = append(append(args, options...), "--", host, shell.Exact(append([]string{"sh", "-c", script, "nstool"}, words...)...))
	cmd := exec.CommandContext(ctx, "ssh", args...) //nolint:gosec // that is what it is for
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// nstool returns the command that runs nstool on a host: the one at a path, or the host's own.
func (h *hosts) nstool(ctx context.Context, host, path string, own status, options, words []string) *exec.Cmd {
	sudo := ""
	if h.sudo {
		sudo = "sudo -n"
	}
	return h.ssh(ctx, host, options, fmt.Sprintf(far, sudo), append([]string{versionWord(), strconv.Itoa(int(own)), cmp.Or(path, "nstool")}, words...)...)
}

// run runs nstool on a host, and returns its exit status. An error is ssh's, or says that it was
// not nstool that ran.
func (h *hosts) run(ctx context.Context, host, path string, words []string, in io.Reader, out, stderr io.Writer) (int, error) {
	cmd := h.nstool(ctx, host, path, 255, []string{"-T"}, words)
	marked := &markReader{w: stderr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, marked
	n, err := many.Run(ctx, cmd)
	if marked.flush(); err == nil && n == 255 && !marked.seen {
		return 0, many.ErrSilent
	}
	return n, err
}

// A markReader passes on what is written, but for the mark at its end.
type markReader struct {
	w    io.Writer
	held []byte
	seen bool
}

func (m *markReader) Write(p []byte) (int, error) {
	all := append(m.held, p...)
	n := len(all)
	for i := min(n, len(mark)); i > 0; i-- {
		if string(all[n-i:]) == mark[:i] {
			n -= i
			break
		}
	}
	m.held = bytes.Clone(all[n:])
	m.seen = string(m.held) == mark
	_, err := m.w.Write(all[:n])
	return len(p), err
}

func (m *markReader) flush() {
	if !m.seen {
		_, _ = m.w.Write(m.held)
	}
}

// pass runs nstool on the host with the caller's standard files, on a terminal if input and
// output are one.
func (h *hosts) pass(ctx context.Context, a *app, words []string, own status) error {
	host := h.names[0]
	path, release, err := h.carried(ctx, host, a.linesOf(host))
	if err != nil {
		return h.lost(err, own)
	}
	defer release()
	var n int
	if in, ok := a.in.(*os.File); ok && own == statusOwn && width(in) > 0 && width(a.out) > 0 {
		n, err = h.onTerminal(ctx, a, path, words)
	} else {
		n, err = h.run(ctx, host, path, words, a.in, a.out, a.err)
	}
	switch {
	case err != nil:
		return h.lost(err, own)
	case n != 0:
		return statusError{status: status(n)}
	}
	return nil
}

// lost returns the error for a host that has not answered.
func (h *hosts) lost(err error, own status) error {
	return statusError{own, fmt.Errorf("%s: %w", h.names[0], err)}
}

// onTerminal runs nstool on a terminal of the host, where nothing can be marked: when a program has
// ended, also with 255, ssh says "closed", and nothing else.
func (h *hosts) onTerminal(ctx context.Context, a *app, path string, words []string) (int, error) {
	cmd := h.nstool(ctx, h.names[0], path, statusOwn, []string{"-t", "-o", "LogLevel=INFO"}, words)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, io.MultiWriter(a.err, &said)
	n, err := many.Run(ctx, cmd)
	if text := strings.TrimRight(said.String(), "\r\n"); err == nil && n == 255 &&
		(!strings.HasSuffix(text, " closed.") || strings.Contains(text, "closed by remote host")) {
		err = many.ErrSilent
	}
	return n, err
}

// linesOf is a writer of lines of a host to standard error.
func (a *app) linesOf(host string) io.Writer {
	return carry.Lines(func(line string) { many.Line(a.err, host, line) })
}

// onHost forwards ports of the caller into a namespace on the host: each connection is a command
// there, and nothing listens there.
func (o *forwardOptions) onHost(ctx context.Context) error {
	h, host := o.hosts, o.hosts.names[0]
	if o.stdio {
		return h.pass(ctx, o.app, h.words, statusFailed)
	}
	says := &complaints{w: o.err, about: make(map[string]*complaint)}
	path, release, err := h.carried(ctx, host, o.linesOf(host))
	if err != nil {
		return h.lost(err, statusFailed)
	}
	defer release()
	// So what ssh asks for is asked once, and it is known whether nstool is there.
	if n, err := h.run(ctx, host, path, []string{"version"}, nil, io.Discard, o.linesOf(host)); err != nil || n != 0 {
		return h.lost(cmp.Or(err, many.ErrSilent), statusFailed)
	}
	var ports []*carry.Port
	var opened strings.Builder
	for _, spec := range o.specs {
		p, err := carry.Listen(spec)
		if err != nil {
			return err
		}
		defer p.Close()
		ports = append(ports, p)
		fmt.Fprintf(&opened, "%s -> %s %s on %s\n", p.At, output.Clean(o.ref.Text), output.Clean(spec.String()), output.Clean(host))
	}
	if _, err := io.WriteString(o.out, opened.String()); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, p := range ports {
		words := []string{"forward", "--stdio", "--as=" + o.as, "--", o.ref.Text, p.Spec.Far()}
		wg.Go(func() {
			p.Serve(ctx, func(ctx context.Context) *exec.Cmd {
				cmd := h.nstool(ctx, host, path, statusFailed, []string{"-T", "-o", "BatchMode=yes"}, words)
				cmd.Stderr = carry.Lines(func(line string) { says.add(host + ": " + strings.TrimPrefix(line, "nstool: ")) })
				return cmd
			}, func(err error) {
				if _, said := errors.AsType[*exec.ExitError](err); !said {
					says.add(host + ": " + err.Error())
				}
			})
		})
	}
	wg.Wait()
	return nil
}

// onHost copies between the host and the caller. Files go through the connection, as the stream
// in which they go between two processes here.
func (c *copying) onHost(ctx context.Context) error {
	o, h := c.o, c.o.hosts
	here := o.to.Local
	for _, p := range o.from {
		here = here || p.Local
	}
	if !here || o.to.Path == "-" && o.to.Local || o.from[0].Path == "-" && o.from[0].Local {
		a := *o.app
		if width(a.out) > 0 {
			a.out = cleaned{a.out}
		}
		return h.pass(ctx, &a, h.words, statusFailed)
	}
	host := h.names[0]
	path, release, err := h.carried(ctx, host, o.linesOf(host))
	if err != nil {
		return h.lost(err, statusFailed)
	}
	defer release()
	to := &end{}
	if err := c.setOwners(to); err != nil {
		return err
	}
	dest := o.words[len(o.words)-1]
	if len(o.from) > 1 {
		if dir, err := to.place(o.to.Path).IsDir(ctx); o.to.Local && (err != nil || !dir) {
			return cmp.Or(err, fmt.Errorf("%s is not a directory, and there are %d to be copied to it", dest, len(o.from)))
		}
		dest += "/."
	}
	flags := []string{"cp", "--stream", "--archive=" + strconv.FormatBool(o.archive), "--no-dereference=" + strconv.FormatBool(o.noFollow), "--owner=" + o.owner, "--as=" + o.as}
	if o.wait != 0 {
		flags = append(flags, "--wait="+o.wait.String())
	}
	for i, p := range o.from {
		words := append(slices.Clone(flags), "--", "-", dest)
		if !p.Local {
			words = append(slices.Clone(flags), "--", o.words[i], "-")
		}
		if err := c.through(ctx, path, words, func(pipe *os.File) error {
			if p.Local {
				return c.copier.ToStream(ctx, pipe, to.place(p.Path))
			}
			return c.copier.FromStream(ctx, pipe, to.place(o.to.Path))
		}, p.Local); err != nil {
			return err
		}
	}
	return nil
}

// through runs nstool on the host, with a pipe as its input, or its output if it is not up. f has
// the other end.
func (c *copying) through(ctx context.Context, path string, words []string, f func(pipe *os.File) error, up bool) error {
	o, h := c.o, c.o.hosts
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours, theirs := r, w
	var in io.Reader
	var out io.Writer = w
	if up {
		ours, theirs, in, out = w, r, r, io.Discard
	}
	var n int
	var lost error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n, lost = h.run(ctx, h.names[0], path, words, in, out, o.linesOf(h.names[0]))
		theirs.Close()
	}()
	err = f(ours)
	ours.Close()
	if err != nil {
		cancel()
	}
	<-ended
	told := err == nil || errors.Is(err, copy.ErrCut) || errors.Is(err, syscall.EPIPE)
	switch {
	case lost != nil && told:
		return h.lost(lost, statusFailed)
	case n != 0 && told:
		c.failed = true // the host has said why
		return nil
	}
	return err
}

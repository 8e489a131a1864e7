package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// version is set at link time for a release, as that of nstool.
var version = "latest"

// defaultImage is the image of the same version. It names no registry: that is the cluster's.
func defaultImage() string { return "nstool:" + strings.TrimPrefix(version, "v") }

// run runs the command.
func (o *options) run(ctx context.Context) error {
	switch o.command {
	case "help":
		_, err := io.WriteString(os.Stdout, usage())
		return err
	case "enter":
		return o.enter(ctx)
	case "forward":
		return o.forward(ctx)
	case "cp":
		return o.cp(ctx)
	case "clean":
		by, err := o.callerOf(ctx)
		if err != nil {
			return err
		}
		removed, err := o.clean(ctx, by)
		for _, name := range removed {
			fmt.Fprintln(os.Stdout, name)
		}
		if err != nil {
			return o.explain(err)
		}
		return nil
	}
	return o.list(ctx)
}

// enter runs a program in a container, or with --node in whatever nstool finds there.
func (o *options) enter(ctx context.Context) error {
	node, err := o.place(ctx, true)
	if err != nil {
		return err
	}
	tty := onTerminal(os.Stdin, os.Stdout)
	return o.on(ctx, node, func(s *session) error { return s.exec(ctx, tty, os.Stdin, os.Stdout, os.Stderr, o.words) })
}

// list shows what is on nodes.
func (o *options) list(ctx context.Context) error {
	switch {
	case o.all || len(o.nodes) > 1:
		return o.many(ctx)
	case len(o.nodes) == 0: // show POD
		if _, err := o.place(ctx, false); err != nil {
			return err
		}
	}
	var in io.Reader
	tty := onTerminal(os.Stdin, os.Stdout)
	if tty {
		in = os.Stdin
	}
	return o.on(ctx, o.nodes[0], func(s *session) error { return s.exec(ctx, tty, in, os.Stdout, os.Stderr, o.words) })
}

// place returns the node: that of --node, else that of the pod which is the first word without
// a dash. That word becomes one for nstool. one: it is to be one container.
func (o *options) place(ctx context.Context, one bool) (string, error) {
	if len(o.nodes) > 0 {
		return o.nodes[0], nil
	}
	i := slices.IndexFunc(o.words, func(w string) bool { return !strings.HasPrefix(w, "-") })
	if i < 0 || slices.Contains(o.words[:i], "--") {
		return "", usagef("%s of which pod? It is written NAMESPACE/POD[/CONTAINER]; or --node NODE", o.command)
	}
	name, err := o.parsePod(o.words[i])
	if err != nil {
		return "", err
	}
	name, p, err := o.find(ctx, name, one)
	if err != nil {
		return "", err
	}
	word := "pod:" + name.String()
	// nstool takes the TARGET first.
	o.words = append([]string{word}, slices.Delete(o.words, i, i+1)...)
	o.nodes = []string{p.Spec.NodeName}
	return p.Spec.NodeName, nil
}

// on is a session with one node.
func (o *options) on(ctx context.Context, node string, do func(*session) error) error {
	var wg sync.WaitGroup
	var gone error
	wg.Go(func() { gone = o.checkNode(ctx, node) })
	by, err := o.callerOf(ctx)
	if wg.Wait(); err != nil || gone != nil {
		return cmp.Or(err, gone)
	}
	say("waiting for a debug pod on %s ...", node)
	wait := o.cleanMeanwhile(ctx, by)
	defer wait()
	return o.with(ctx, node, by, do)
}

// exec runs nstool in the debug pod. An error of type [exit] is its exit status.
func (s *session) exec(ctx context.Context, tty bool, in io.Reader, out, errs io.Writer, words []string) error {
	var flags []string
	if in != nil {
		flags = append(flags, "-i")
	}
	if tty {
		flags = append(flags, "-t")
	}
	cmd := s.o.kubectl(ctx, s.execArgs(flags...)...)
	cmd.Args = append(append(cmd.Args, s.o.command), words...)
	says, answer := &remote{w: errs}, &answer{w: out}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, answer, says
	if tty {
		cmd.Stdout = out // itself
	}
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok && tty && e.ExitCode() < 0 {
		sane := exec.Command("stty", "sane") // a killed kubectl has not restored the terminal
		sane.Stdin = os.Stdin
		_ = sane.Run()
	}
	err = says.end(err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(answer.err, syscall.EPIPE):
		return exit(statusSignal + int(syscall.SIGPIPE)) // nobody reads any more
	case answer.err != nil:
		return answer.err
	}
	status, ended := errors.AsType[exit](err)
	if err != nil && (!ended || status == statusSignal+exit(syscall.SIGKILL)) {
		return s.broken(err)
	}
	return err
}

// An answer remembers why it could not be written: kubectl does not tell.
type answer struct {
	w   io.Writer
	err error
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.w.Write(p)
	if err != nil && a.err == nil {
		a.err = err
	}
	return n, err
}

// execArgs are the words of kubectl before those of nstool in the debug pod.
func (s *session) execArgs(flags ...string) []string {
	return append(append(s.o.inDebug("exec", s.name, "-c", "nstool", "--quiet"), flags...), "--", "nstool")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/many"
)

// many shows what is on several nodes, as one list.
func (o *options) many(ctx context.Context) error {
	by, err := o.callerOf(ctx)
	if err != nil {
		return err
	}
	names, check := o.nodes, o.checkNode
	if o.all {
		nodes, err := o.allNodes(ctx)
		if err != nil {
			return err
		}
		names = nil
		for _, n := range nodes {
			names = append(names, n.Metadata.Name)
		}
		check = func(_ context.Context, name string) error {
			return nodes[slices.Index(names, name)].gone()
		}
	}
	words, write := o.form()
	var places []many.Place
	for _, name := range names {
		places = append(places, many.Place{Name: name, Do: func(ctx context.Context, out, errs io.Writer) (int, error) {
			err := check(ctx, name)
			if err == nil {
				err = o.with(ctx, name, by, func(s *session) error { return s.exec(ctx, false, nil, out, errs, words) })
			}
			if status, ok := errors.AsType[exit](err); ok {
				return int(status), nil
			}
			return 0, err
		}})
	}
	asking := many.Options{AtOnce: o.parallel}
	if onTerminal(os.Stderr) {
		asking.Progress = os.Stderr
	}
	wait := o.cleanMeanwhile(ctx, by)
	answers := many.Ask(ctx, places, asking)
	wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = write(answers)
	many.Say(os.Stderr, answers)
	if err != nil {
		return err
	}
	failed := statusFailed
	if o.command == "doctor" {
		failed = 2 // as if it could not look at its host: 1 is that it has found something
	}
	if status := many.Worst(answers, failed); status != 0 {
		return exit(status)
	}
	return nil
}

// form returns the words for nstool on each of several nodes, and what makes one answer of all.
func (o *options) form() (words []string, write func([]many.Answer) error) {
	has := func(names ...string) bool {
		return slices.ContainsFunc(o.words, func(w string) bool {
			name, _, _ := strings.Cut(w, "=")
			return slices.Contains(names, name)
		})
	}
	switch {
	case has("--json", "-J"):
		return o.words, func(a []many.Answer) error { return many.JSON(os.Stdout, "node", a) }
	case !slices.Contains([]string{"ls", "containers", "net", "ports"}, o.command), has("--help", "-h", "--list-columns", "-H", "--tree", "-T"):
		return o.words, func(a []many.Answer) error { return many.Text(os.Stdout, a) }
	}
	style := many.Style{Raw: has("--raw", "-r"), NoHeader: has("--noheadings"), Color: os.Getenv("NO_COLOR") == "" && onTerminal(os.Stdout)}
	if onTerminal(os.Stdout) && !has("--notruncate", "-u") {
		size := exec.Command("stty", "size")
		size.Stdin = os.Stdout
		out, _ := size.Output()
		_, _ = fmt.Sscan(string(out), new(int), &style.Width)
	}
	return slices.Concat([]string{"--raw", "--noheadings=false"}, slices.DeleteFunc(slices.Clone(o.words), func(w string) bool { return w == "--noheadings" })),
		func(a []many.Answer) error { return many.Table(os.Stdout, "node", a, style) }
}

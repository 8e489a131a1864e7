package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/nstool/nstool/internal/carry"
	"github.com/nstool/nstool/internal/forward/port"
	"github.com/nstool/nstool/internal/text"
)

// forward carries ports of this computer into a pod, until it is interrupted.
func (o *options) forward(ctx context.Context) error {
	var flags, words []string
	for _, w := range o.words {
		switch name, _, _ := strings.Cut(w, "="); {
		case !strings.HasPrefix(w, "-"):
			words = append(words, w)
		case name == "--as" || name == "--wait" || name == "-w":
			flags = append(flags, w)
		default:
			return usagef("forward takes no %s here: an address is written before the port, as in 127.0.0.2:8080:80", w)
		}
	}
	if len(words) < 2 {
		return usagef("forward takes a pod and a port: kubectl nstool forward shop/cart 8080:80")
	}
	var specs []port.Spec
	for _, w := range words[1:] {
		spec, err := port.Parse(w)
		if err != nil {
			return usageError{err}
		}
		if spec.UDP {
			return usagef("%s: %v", w, carry.ErrUDP)
		}
		specs = append(specs, spec)
	}
	o.words = []string{words[0]} // place changes it
	node, err := o.place(ctx, false)
	if err != nil {
		return err
	}
	target := o.words[0]
	var ports []*carry.Port
	for _, spec := range specs {
		p, err := carry.Listen(spec)
		if err != nil {
			return err
		}
		defer p.Close()
		ports = append(ports, p)
	}
	err = o.on(ctx, node, func(s *session) error {
		// With the pod it ends: nothing would be carried.
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var wg sync.WaitGroup
		for _, p := range ports {
			fmt.Fprintf(os.Stdout, "%s -> %s %s\n", p.At, text.Clean(words[0]), text.Clean(p.Spec.String()))
			wg.Go(func() {
				p.Serve(ctx, func(ctx context.Context) *exec.Cmd {
					cmd := o.kubectl(ctx, s.execArgs("-i")...)
					cmd.Args = append(append(append(cmd.Args, "forward", "--stdio"), flags...), target, p.Spec.Far())
					cmd.Stderr = carry.Lines(func(line string) {
						if !strings.HasPrefix(line, terminated) {
							say("%s", line)
						}
					})
					return cmd
				}, func(err error) {
					if _, ok := errors.AsType[*exec.ExitError](err); !ok { // else it has said why
						say("forward: %s: %v", p.Spec, err)
					}
				})
			})
		}
		wg.Go(func() { cancel(s.watch(ctx)) })
		wg.Wait()
		return context.Cause(ctx)
	})
	if _, ok := errors.AsType[interrupted](err); ok {
		return nil // as intended
	}
	return err
}

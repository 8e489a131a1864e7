package entry

import (
	"context"
	"errors"
	"os"
	"path"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
)

// outcome is the result of a command that ran before main.
var outcome struct {
	done bool
	err  error
}

// Outcome returns the result of the command, if it ran before main. Only errors remain to be
// reported: otherwise the program has ended.
func Outcome() (done bool, err error) { return outcome.done, outcome.err }

// init runs `nstool enter`, `nstool run` and the plain forms of `nstool pin` before the
// packages are initialised that only other commands use. Go initialises packages in the order
// of their import paths, and cobra, tablewriter and others take longer to initialise than
// enter takes to join. Words that it does not understand are left to main, which uses the same
// table of flags.
func init() {
	if len(os.Args) == 1 && os.Args[0] == sweeper {
		if enter.Sweep(os.Stdin) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) < 3 || path.Base(os.Args[0]) != "nstool" {
		return
	}
	var o *Options
	switch os.Args[1] {
	case "enter":
		o = NewOptions()
	case "run":
		o = NewRunOptions()
	case "pin":
		if inspect.FindHost() != (inspect.Host{}) {
			return // main moves to the host first, and says so
		}
		if pinEarly(os.Args[2:]) {
			os.Exit(0)
		}
		return
	default:
		return
	}
	_, err := o.Parse(os.Args[2:])
	if err != nil || o.Help || o.DryRun {
		return
	}
	ctx := context.Background()
	e, err := o.Command(ctx)
	if errors.Is(err, errNeedsMain) {
		return
	}
	if err == nil {
		err = e.Do(ctx, nil)
		e.Close()
	}
	err = o.Explain(err)
	if err == nil {
		os.Exit(0)
	}
	if x, ok := errors.AsType[Explained](err); ok && x.Said && x.Advice == "" {
		os.Exit(x.Code)
	}
	outcome.done, outcome.err = true, err
}

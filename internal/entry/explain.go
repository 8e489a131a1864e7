package entry

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/shell"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/pin"
)

// An Explained error is an error of the command, with the exit status, and with advice that is
// true for it, if there is any.
type Explained struct {
	Err    error
	Advice string
	Code   int
	// Said means that there is nothing to say: the program ran, and has said everything.
	Said bool
}

func (e Explained) Error() string { return e.Err.Error() }
func (e Explained) Unwrap() error { return e.Err }
func (e Explained) Hint() string  { return e.Advice }

// The exit statuses of a command that runs a program, besides those of the program.
const (
	StatusOwn        = 125
	StatusNotInvoked = 126
	StatusNotFound   = 127
	StatusSignal     = 128
)

// Explain makes an error of the command of err.
func (o *Options) Explain(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*enter.ExitError](err); ok {
		if e.Signal != 0 {
			return Explained{Err: err, Code: StatusSignal + int(e.Signal), Said: true}
		}
		return Explained{Err: err, Code: e.Code, Said: true, Advice: cmp.Or(o.lacking(e.Lacked), o.noTerminalName(e), o.other)}
	}
	if e, ok := errors.AsType[*enter.StdioError](err); ok {
		code := cmp.Or(e.Exit.Code, 1) // lost output is a failure, also if the program succeeded
		if e.Exit.Signal != 0 {
			code = StatusSignal + int(e.Exit.Signal)
		}
		return Explained{Err: err, Code: code}
	}
	x := Explained{Err: err, Code: StatusOwn}
	if e, ok := errors.AsType[*enter.StepError](err); ok {
		o.explainStep(e, &x)
		if e.Step.Op == enter.Exec {
			return x
		}
	} else if e, ok := errors.AsType[*enter.TypeError](err); ok {
		x.Advice = "join it as " + shell.Quote(fmt.Sprintf("--%s=%s", e.Got, e.Path))
	} else if e, ok := errors.AsType[*noNetns](err); ok {
		x.Advice = e.hint()
	} else if _, ok := errors.AsType[*enter.HostDirError](err); ok {
		x.Advice = "--wdns=DIR is a directory inside; --privileged hands the one outside over"
	} else if e, ok := errors.AsType[*enter.MissingError](err); ok {
		x.Advice = missing(e)
	} else if errors.Is(err, pin.ErrInitGone) {
		x.Advice = "nstool pin rm NAME/pid takes it out of the set; --net, --uts and their like choose of it"
	} else if errors.Is(err, enter.ErrNotNamespace) {
		x.Advice = "a namespace file is one such as /proc/PID/ns/net or /run/netns/NAME"
	}
	if x.Advice == "" {
		x.Advice = Refused(err)
	} else if errors.Is(err, fs.ErrPermission) {
		x.Advice = Begin(x.Advice)
	}
	return x
}

// terminalPrograms are programs that need the name of their terminal.
const terminalPrograms = " tty tmux screen gpg login su script mesg newgrp ssh-keygen pinentry "

// noTerminalName returns a hint if such a program failed because its terminal has no name.
func (o *Options) noTerminalName(e *enter.ExitError) string {
	if !e.Nameless || len(o.Program) == 0 || !strings.Contains(terminalPrograms, " "+path.Base(o.Program[0])+" ") {
		return ""
	}
	return "its terminal has no name in there: the target has no devpts of its own, or the program has more rights than it"
}

// missing returns how to go on without a part of a confinement.
func missing(e *enter.MissingError) string {
	switch {
	case errors.Is(e.Err, enter.ErrNoTarget):
		return "--target names a process to take it from; --privileged runs it unconfined"
	case errors.Is(e.Err, enter.ErrOtherUser):
		return "--user joins it"
	case e.Part == enter.PartCgroup && errors.Is(e.Err, fs.ErrNotExist):
		return "nstool itself is in a mount namespace where that is not mounted, as in a container; " + waive(e.Part)
	}
	return waive(e.Part)
}

func waive(part enter.Part) string {
	return fmt.Sprintf("--allow-missing=%s does without, and --privileged without all of the confinement", part)
}

func (o *Options) explainStep(e *enter.StepError, x *Explained) {
	switch {
	case e.Step.Op == enter.Exec && errors.Is(e.Err, fs.ErrNotExist):
		x.Code = StatusNotFound
		if e.Toolless {
			o.explainToolless(x)
		} else if o.Tools.asked {
			x.Advice = "neither the target nor the tools have it; --tools=SOURCE brings others, and --tools=/host the node's in a pod of kubectl debug"
		} else if _, mnt := o.Namespaces[inspect.Mnt]; !mnt && inspect.FindHost().IsElsewhere() {
			x.Advice = "nstool itself is in a container, and its programs are looked for there"
			if cmp.Or(o.Container, o.Pod, o.Target) != "" {
				x.Advice += "; in a pod of kubectl debug, nstool enter " + o.words() + " --tools=/host brings the node's"
			}
		} else if len(o.Program) == 0 {
			x.Advice = "there is neither bash nor ash nor sh in there; name a program that is"
		}
	case e.Step.Op == enter.Exec:
		x.Code, x.Advice = StatusNotInvoked, o.other
		if o.Tools.asked && errors.Is(e.Err, sys.ErrNoInterpreter) && o.Tools.view != enter.ViewTools {
			x.Advice = "--view=tools has all in its place that the tools want to find"
		}
	case e.Dead():
		x.Advice = "nothing can be started in it ever again; leave --pid out to join the other namespaces"
	case (e.Step.Op == enter.Fork || e.Step.Op == enter.Keep) && errors.Is(e.Err, syscall.EAGAIN):
		x.Advice = "there are as many processes as may be: of its user (RLIMIT_NPROC), in the cgroups that nstool itself is in, or in all"
	case e.Call == "ptrace" && errors.Is(e.Err, fs.ErrPermission):
		x.Advice = "who traces nstool, as strace -f does, is in the way, or a security module"
	case e.Denial != nil && e.Step.Op != enter.Make:
		x.Advice = denied(e)
	case e.Step.Op == enter.Pin && errors.Is(e.Err, pin.ErrPinned):
		x.Advice = "nstool pin rm removes the set with that name"
	case e.Step.Op == enter.Pin && errors.Is(e.Err, fs.ErrPermission) && strings.Contains(e.Err.Error(), "/proc/"):
		x.Advice = Refused(e.Err)
	case e.Step.Op == enter.Pin && errors.Is(e.Err, fs.ErrPermission):
		x.Advice = "that takes CAP_SYS_ADMIN here, where the pins are kept: an ordinary user has it inside nstool run --rootless --mnt"
	case e.Step.Op == enter.Mount && o.Tools.asked && errors.Is(e.Err, fs.ErrPermission) && os.Geteuid() == 0:
		x.Advice = "that takes CAP_SYS_ADMIN here"
	case e.Step.Op == enter.Mount && o.Tools.asked && errors.Is(e.Err, fs.ErrPermission):
		x.Advice = "that takes CAP_SYS_ADMIN here; in a user namespace of yours you have it: nstool enter " + o.words() + " -U --privileged --preserve-credentials --env=PATH nstool enter " + o.words() + " --tools"
	case e.Step.Op == enter.Make || e.Step.Op == enter.Mount:
		o.explainMake(e, x)
	case e.Step.Part != "":
		x.Advice = waive(e.Step.Part)
	case e.Step.Op == enter.Credential && errors.Is(e.Err, syscall.EINVAL):
		x.Advice = "there is no such user or group"
	}
}

// denied returns what would permit a join.
func denied(e *enter.StepError) string {
	d := e.Denial
	switch {
	case d.Seccomp || d.Bounded:
		return Begin("")
	case d.Owner != 0 && e.Step.Type == inspect.User:
		return fmt.Sprintf("it was made by uid %d; joining it needs to be that user, or CAP_SYS_ADMIN in it", d.OwnerUID)
	case d.Owner != 0:
		return fmt.Sprintf("user namespace %d of uid %d owns it; joining it needs CAP_SYS_ADMIN in there", d.Owner, d.OwnerUID)
	case d.NoAdmin:
		return "its owner is a user namespace outside yours; joining it needs CAP_SYS_ADMIN in there"
	}
	return ""
}

// Looking returns what would permit to look at a namespace of a process, or "".
func Looking(e *enter.NamespaceError) string {
	switch me := uint32(os.Geteuid()); {
	case !errors.Is(e.Err, fs.ErrPermission):
		return ""
	case me != 0 && e.UID != me:
		return fmt.Sprintf("the process is that of uid %d; looking at its namespaces needs to be that user, or CAP_SYS_PTRACE", e.UID)
	}
	switch lacks := some(e.Lacks); {
	case e.Ptrace && lacks != "":
		return Begin("nstool has CAP_SYS_PTRACE, but not all that the process is permitted, which this kernel asks for: it lacks " + lacks)
	case e.Ptrace:
		return Begin("nstool has CAP_SYS_PTRACE: a security module, or a sandbox that it is in, denies it")
	case lacks != "":
		return Begin("looking at its namespaces takes CAP_SYS_PTRACE in its user namespace; the process is permitted what nstool has not: " + lacks)
	}
	return Begin("looking at its namespaces takes CAP_SYS_PTRACE in its user namespace")
}

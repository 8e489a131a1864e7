package enter

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/sys"
)

// An Op is a kind of [Step].
type Op uint8

// The kinds of step. Up to Exec they are in the order in which they are taken if no namespace
// is made.
const (
	Prepare    Op = iota + 1 // set what does not depend on namespaces
	Join                     // join a namespace
	Make                     // make a namespace
	Mount                    // change mounts that only the program sees
	Chroot                   // change the root directory
	Chdir                    // change the working directory
	Credential               // change user and groups
	Confine                  // give up privileges
	Fork                     // enter the PID namespace by a child
	Session                  // set what only the last process can
	Exec                     // run the program
	Init                     // start the program as the child of a process that reaps
	Map                      // write the ID maps of a new user namespace
	Pin                      // keep the namespaces that were made
	Keep                     // start the program as the child of a process that reaps what it leaves behind
)

// A Step is one thing to do on the way to the program.
type Step struct {
	Op   Op
	Type inspect.Type // of Join and Make
	ID   inspect.ID   // of Join
	Part Part         // what of the target's is taken on, or ""
	// Text describes it as an infinitive: "join the net namespace 4026532281 of process 4242".
	Text string

	// calls appends the system calls of the step.
	calls func(*sys.Script)
	// caller, if not nil, is called in the caller, with the PID of the process that waits for
	// it.
	caller func(pid int) error
	// move, if not nil, is the cgroup that calls moves to.
	move *move
	// pidfd, if not 0, is a pidfd that can join this and the neighbouring namespaces in one
	// call.
	pidfd int
	// verify appends the calls that check a Join after all joins.
	verify func(*sys.Script)
	// toolsMount, if not nil, is made before any process is started.
	toolsMount *toolsMount
	// denied finds out why a Join was denied.
	denied func() *Denial
}

// String returns what the step does, such as "join the net namespace
// 4026532281 of process 4242".
func (s Step) String() string { return s.Text }

// A StepError reports the step that failed: the program did not run.
type StepError struct {
	Step Step
	Call string // the system call
	Err  error  // usually an errno
	// Denial is what is known about why a Join or a Make was not permitted, or nil. For a Make
	// it holds what confines the caller.
	Denial *Denial
	// Toolless reports that the program was searched in the file system of a process, to which
	// [Tools] could be brought.
	Toolless bool
}

// A Denial is what is known about a namespace that the caller may not join. A join takes
// CAP_SYS_ADMIN in the user namespace that owns it, and in the caller's own.
type Denial struct {
	Owner    uint64 // inode number of the owning user namespace, 0 if hidden
	OwnerUID uint32 // the user that made it
	NoAdmin  bool   // the caller has no CAP_SYS_ADMIN in its user namespace
	Bounded  bool   // and cannot get it: its bounding set lacks it
	Seccomp  bool   // the caller is under a seccomp filter
}

func (e *StepError) Error() string {
	if e.Step.Text == "" {
		return fmt.Sprintf("%s: %v", e.Call, e.Err)
	}
	return fmt.Sprintf("cannot %s: %s", e.Step.Text, e.why())
}

// why replaces the text of errors that would mislead.
func (e *StepError) why() string {
	switch {
	case errors.Is(e.Err, sys.ErrMismatch):
		return "the namespace read back is another one"
	case errors.Is(e.Err, sys.ErrNoInterpreter):
		return "it is there, but its interpreter or dynamic loader is not"
	case e.Step.Op == Exec && errors.Is(e.Err, syscall.ENOEXEC):
		return "it is no program for this machine, and there is no /bin/sh to read it if it is a script"
	case e.Step.Op == Fork && errors.Is(e.Err, syscall.ENOMEM):
		return "the PID namespace is dead: its first process has ended"
	}
	return e.Err.Error()
}

func (e *StepError) Unwrap() error { return e.Err }

// Dead reports whether the step failed because the first process of the PID namespace has
// ended: no process can ever be started in it.
func (e *StepError) Dead() bool { return e.Step.Op == Fork && errors.Is(e.Err, syscall.ENOMEM) }

// crowded reports whether the step failed because a limit of processes is reached.
func (e *StepError) crowded() bool {
	return (e.Step.Op == Fork || e.Step.Op == Keep) && errors.Is(e.Err, syscall.EAGAIN)
}

// An ExitError reports how a program ended, unless with status 0.
type ExitError struct {
	Code   int            // exit status, or -1
	Signal syscall.Signal // signal that ended it, or 0
	// Lacked are the capabilities that the program did not have because it was confined as the
	// target is.
	Lacked Caps
	// Nameless reports that the terminal of the program had no name where it ran: ttyname(3)
	// finds none.
	Nameless bool
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return "the program was ended by signal " + e.Signal.String()
	}
	return fmt.Sprintf("the program ended with status %d", e.Code)
}

// A StdioError reports that a program ran, but that some of its input or output could not be
// passed on, as on a full disk.
type StdioError struct {
	Exit ExitError // how the program ended; Code may be 0
	Err  error     // names the descriptor: "write standard output: no space left on device"
}

func (e *StdioError) Error() string { return e.Err.Error() }
func (e *StdioError) Unwrap() error { return e.Err }

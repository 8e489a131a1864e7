// Package deputy starts processes of our own that act with the rights of a
// target, and with no others.
//
// A deputy is another process of this program, in the user namespace of the target, with its
// user and at most its capabilities: see [Rights]. The kernel then decides what it may open,
// connect to or make, as for the target. It stays in the mount and PID namespaces of the
// caller, so that no process inside sees it, and opens files of the target from a descriptor of
// its root directory that the caller has opened: joining a mount namespace would lose a
// chroot(2).
//
// It has this descriptor and one connection to the caller, and nothing else of the caller: no
// environment, no terminal, no other file. Tracing it takes CAP_SYS_PTRACE in the caller's user
// namespace; see [sys.Script.Become]. Nevertheless the caller does not trust its messages.
//
// Go cannot join a user namespace, and an execve(2) after the join would leave the memory of
// the new program to every process with CAP_SYS_PTRACE in it (mm->user_ns). So the stub comes
// before Go in one process (sys/become.go): a copy of the executable in a sealed memfd starts
// at a symbol of ours instead of the entry of the runtime. A script joins and drops rights,
// with one thread and no stack, and then the runtime starts as usual.
package deputy

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// name is the first argument of a deputy.
const name = "nstool-deputy"

// A Deputy is a process that acts for the caller.
type Deputy struct {
	*Conn
	pidfd sys.Pidfd
	gone  chan struct{} // closed when it has ended
}

// Start starts a deputy with these rights, in a role of [Serve], with these files. An error
// that names a system call is about a right that could not be taken.
func Start(r *Rights, role string, files ...*os.File) (*Deputy, error) {
	ours, theirs, err := sys.MessagePair()
	if err != nil {
		return nil, err
	}
	defer sys.CloseFD(theirs)
	conn := newConn(ours)
	d, err := r.start(role, theirs, files)
	if err != nil {
		conn.Close()
		return nil, err
	}
	d.Conn = conn
	return d, nil
}

// start starts the process, and returns when it has the rights.
func (r *Rights) start(role string, conn int, files []*os.File) (*Deputy, error) {
	report, tell, err := sys.Pipe()
	if err != nil {
		return nil, err
	}
	defer sys.CloseFD(report)
	null, err := sys.OpenNull()
	if err != nil {
		sys.CloseFD(tell)
		return nil, err
	}
	defer sys.CloseFD(null)
	s, err := r.script(role, null, conn, tell, files)
	var pid int
	if err == nil {
		pid, err = s.Start()
	}
	sys.CloseFD(tell)
	if err != nil {
		return nil, err
	}
	d := &Deputy{gone: make(chan struct{})}
	d.pidfd, err = sys.OpenPidfd(pid) // our child, not reaped yet
	if err != nil {
		_ = sys.Kill(pid, syscall.SIGKILL)
		_ = sys.Reap(pid)
		return nil, err
	}
	go func() {
		_ = sys.ReapRunning(pid)
		close(d.gone)
	}()
	said, ok := sys.ReadReport(report)
	switch {
	case ok && said.Err != nil:
		step, call := s.Failed(said.Failed)
		err = fmt.Errorf("%s: %w", r.steps()[step], os.NewSyscallError(call, said.Err))
	case !ok:
		err = fmt.Errorf("%s: %w", r, ErrEnded)
	}
	if err != nil {
		d.kill()
		return nil, err
	}
	return d, nil
}

// Close ends the deputy: at once if it has nothing to finish, and by SIGKILL after the
// patience. A deputy that is blocked by a file system is left behind.
func (d *Deputy) Close(patience time.Duration) {
	d.Conn.Close()
	select {
	case <-d.gone:
	case <-time.After(patience):
	}
	d.kill()
}

// kill kills it.
func (d *Deputy) kill() {
	_ = d.pidfd.Kill()
	select {
	case <-d.gone:
	case <-time.After(100 * time.Millisecond): // it may never end
	}
	_ = d.pidfd.Close()
}

// Hangup ends the connection, at which a deputy exits.
func (d *Deputy) Hangup() { d.Conn.Close() }

// Gone is closed when the deputy has ended.
func (d *Deputy) Gone() <-chan struct{} { return d.gone }

// Serve is called by the init function of a package, with a role that it defines. In a deputy
// with this role, serve is called with the connection and the files of [Start], and the process
// exits when it returns.
func Serve(role string, serve func(conn *Conn, files []*os.File)) {
	if len(os.Args) != 3 || os.Args[0] != name || os.Args[1] != role {
		return
	}
	var files []*os.File
	for i := range len(os.Args[2]) { // one letter for each file
		files = append(files, os.NewFile(uintptr(firstFile+1+i), "file"))
	}
	serve(newConn(firstFile), files)
	os.Exit(0) //nolint:forbidigo // it is the main function of a deputy, and nothing is deferred yet
}

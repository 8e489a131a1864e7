package main

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// What waits for a file system that does not answer may not even be killed: the
// process stays until the kernel has its answer. So a command that reads what
// others have mounted runs in a process of its own, beside the one that the
// caller waits for. It says when it is done, which is not when it is gone.

// reportVar names the descriptor on which the process apart says its status.
const reportVar = "NSTOOL_REPORT"

// isApart reports whether this is that process, and takes the word for it away
// from the environment.
func isApart() (report *os.File, ok bool) {
	fd, err := strconv.Atoi(os.Getenv(reportVar))
	if err != nil || fd < 3 {
		return nil, false
	}
	os.Unsetenv(reportVar)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "report"), true
}

// runApart runs the whole command line once more, in a process apart, and
// returns its status. Signals are passed on to it, and it does not outlive us.
func runApart() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The caller's other descriptors stay what they are: a TARGET may be one, as in
	// /proc/self/fd/3.
	fd := int(w.Fd())
	if err := sys.Inherit(fd); err != nil {
		w.Close()
		return err
	}
	cmd.Env = append(os.Environ(), reportVar+"="+strconv.Itoa(fd))
	// It cleans up also if we are killed. The signal comes when the thread
	// ends that started it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	done := make(chan status, 1)
	go func() {
		b := make([]byte, 1)
		if n, _ := r.Read(b); n == 1 {
			done <- status(b[0])
		}
		close(done)
	}()
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case code, said := <-done:
			if !said {
				<-exited
				return statusError{status: died(cmd.ProcessState)}
			}
			select {
			case <-exited:
			case <-time.After(100 * time.Millisecond): // it may never be
			}
			if code == statusDone {
				return nil
			}
			return statusError{status: code}
		}
	}
}

// died returns the status of a process that has not said it itself.
func died(state *os.ProcessState) status {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return statusSignal + status(ws.Signal())
	}
	return status(max(state.ExitCode(), int(statusFailed)))
}

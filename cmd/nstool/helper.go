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

// A process that is blocked by a file system cannot be killed until the kernel has an answer.
// So a command that reads mounts of others runs in a helper process, beside the process that
// the caller waits for. The helper reports its status, and may exit later.

// reportVar is the variable with the descriptor on which the helper reports its status.
const reportVar = "NSTOOL_REPORT"

// helperReport returns where the helper reports its status, or nil if this process is no helper,
// and removes reportVar from the environment.
func helperReport() *os.File {
	fd, err := strconv.Atoi(os.Getenv(reportVar))
	if err != nil || fd < 3 {
		return nil
	}
	os.Unsetenv(reportVar)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "report")
}

// runHelper runs the whole command line again in a helper, and returns its status. Signals are
// passed on to it, and it does not outlive this process.
func runHelper() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The helper gets the caller's other descriptors: a TARGET may be one, as in
	// /proc/self/fd/3.
	fd := int(w.Fd())
	if err := sys.Inherit(fd); err != nil {
		w.Close()
		return err
	}
	cmd.Env = append(os.Environ(), reportVar+"="+strconv.Itoa(fd))
	// It also cleans up if this process is killed. The signal comes when the thread that
	// started it ends.
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
			case <-time.After(100 * time.Millisecond): // it may never exit
			}
			if code == statusDone {
				return nil
			}
			return statusError{status: code}
		}
	}
}

// died returns the status of a helper that has not reported it.
func died(state *os.ProcessState) status {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return statusSignal + status(ws.Signal())
	}
	return status(max(state.ExitCode(), int(statusFailed)))
}

//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// apart gives a command a process group of its own, which no key of the terminal interrupts.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// umask returns the permissions that new files do not get.
func umask() int {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return mask
}

// Package procfile reads the text of files under /proc. It opens no file.
//
// The text is written by the kernel, but names in it are chosen by others.
package procfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// TicksPerSecond is USER_HZ: the unit of times in /proc, on amd64 and arm64.
const TicksPerSecond = 100

// A Stat is the part of /proc/pid/stat that is needed here; see proc_pid_stat(5).
type Stat struct {
	Comm    string // the name of the command, cut to 15 bytes; the process chooses it
	State   byte   // 'R', 'S', 'D', 'Z' ...
	PPID    int
	Flags   uint64 // PF_* in the kernel's include/linux/sched.h
	Threads int
	Start   uint64 // in clock ticks since boot
}

// Flags of a [Stat].
const (
	forkNoExec   = 0x00000040 // PF_FORKNOEXEC
	kernelThread = 0x00200000 // PF_KTHREAD
)

// Exited reports whether the thread is a zombie or dead.
func (s Stat) Exited() bool { return s.State == 'Z' || s.State == 'X' }

// IsKernelThread reports whether it is a thread of the kernel.
func (s Stat) IsKernelThread() bool { return s.Flags&kernelThread != 0 }

// NeverExecuted reports whether it has not executed a program since its fork.
func (s Stat) NeverExecuted() bool { return s.Flags&forkNoExec != 0 }

// ParseStat reads the text of /proc/pid/stat. The name of the command stands in parentheses
// and may itself hold parentheses, blanks and newlines: it ends at the last one.
func ParseStat(text []byte) (s Stat, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, errors.New("no command name")
	}
	f := bytes.Fields(text[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return s, errors.New("too few fields")
	}
	s.Comm, s.State = string(text[open+1:end]), f[0][0]
	var errs [4]error
	// The field numbers of the manual are from 1, and two are before the state.
	s.PPID, errs[0] = strconv.Atoi(string(f[4-3]))
	s.Flags, errs[1] = strconv.ParseUint(string(f[9-3]), 10, 64)
	s.Threads, errs[2] = strconv.Atoi(string(f[20-3]))
	s.Start, errs[3] = strconv.ParseUint(string(f[22-3]), 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return Stat{}, fmt.Errorf("stat: %w", err)
	}
	return s, nil
}

package inspect

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// A Detail describes a process.
type Detail struct {
	PPID  int
	State byte      // as in proc_pid_stat(5): 'R', 'S', 'D', 'Z' ...
	UID   uint32    // effective user ID, in the caller's terms
	Start time.Time // zero if the start of the system is not known
	// Ticks is the start time in clock ticks since boot. Together with the
	// PID it identifies a process.
	Ticks uint64
	// Comm is the name of the command, cut to 15 bytes by the kernel. The process chooses it: it
	// may contain anything.
	Comm string
	// Args is the command line, cut to 4 KiB. It is nil if it was not asked for, and for a kernel
	// thread or a zombie.
	Args []string
	// Err is why Args is missing, for instance [ErrSlow], or why everything is: then
	// [Detail.Known] is false.
	Err error
}

// Known reports whether there is more than Err.
func (d Detail) Known() bool { return d.State != 0 }

// Command returns the command line with blanks between or, if there is none, the name of the
// command in brackets, as ps(1) does.
func (d Detail) Command() string {
	if len(d.Args) == 0 {
		return "[" + d.Comm + "]"
	}
	n := len(d.Args)
	for _, a := range d.Args {
		n += len(a)
	}
	b := make([]byte, 0, n)
	for i, a := range d.Args {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, a...)
	}
	return string(b)
}

// A DescribeOption adds something to what Describe reads.
type DescribeOption func(*describing)

type describing struct{ args bool }

// WithArgs reads the command lines too.
func WithArgs() DescribeOption { return func(d *describing) { d.args = true } }

// Describe reads name, parent, user and start time of the given processes. A process that has
// exited has no entry.
//
// The command line of a process is in its memory. If its memory map is locked, for instance by a
// file system that does not answer, a reader waits for as long as that lasts. During execve(2)
// even the name is not readable. So Describe asks for many at once, and leaves behind those that
// do not answer within some tenths of a second: their Err is [ErrSlow].
func (s *Snapshot) Describe(ctx context.Context, procs iter.Seq[*Process], options ...DescribeOption) map[int]Detail {
	var read describing
	for _, option := range options {
		option(&read)
	}
	details := make(map[int]Detail)
	var pids []int
	for p := range procs {
		if _, ok := details[p.PID]; !ok {
			details[p.PID] = Detail{}
			pids = append(pids, p.PID)
		}
	}
	dir, err := sys.OpenProc(s.proc.path)
	if err != nil {
		for _, pid := range pids {
			details[pid] = Detail{Err: err}
		}
		return details
	}
	var stuck wait.Stuck
	defer func() { stuck.Close(func() { dir.Close() }) }()
	proc := procFS{path: s.proc.path, dir: dir}
	boot := proc.boot()
	silent := wait.Many(ctx, &stuck, len(pids),
		func() func(int) Detail {
			buf := make([]byte, maxArgs)
			return func(i int) Detail {
				d, err := proc.stat(pids[i], boot, buf)
				d.Err = err
				return d
			}
		},
		func(i int, d Detail) {
			if proc.gone(pids[i], d.Err) {
				delete(details, pids[i])
			} else {
				details[pids[i]] = d
			}
		}, nil)
	for _, i := range silent {
		details[pids[i]] = Detail{Err: fmt.Errorf("state of process %d: %w", pids[i], ErrSlow)}
	}
	if !read.args {
		return details
	}
	pids = slices.DeleteFunc(pids, func(pid int) bool {
		d, ok := details[pid]
		return !ok || d.Err != nil
	})
	proc.readArgs(ctx, &stuck, pids, func(pid int, args []string, err error) {
		d := details[pid]
		d.Args = args
		if !proc.gone(pid, err) {
			d.Err = err
		}
		details[pid] = d
	})
	return details
}

// maxArgs is the longest part of a command line that is read.
const maxArgs = 4096

// stat reads everything but the command line.
func (p *procFS) stat(pid int, boot time.Time, buf []byte) (Detail, error) {
	st, err := p.dir.Stat(sys.AppendName(nil, pid, ""))
	if err != nil {
		return Detail{}, err
	}
	n, err := p.dir.ReadFile(sys.AppendName(nil, pid, "/stat"), buf)
	if err != nil {
		return Detail{}, err
	}
	s, err := procfile.ParseStat(buf[:n])
	if err != nil {
		return Detail{}, fmt.Errorf("stat of process %d: %w", pid, err)
	}
	d := Detail{Comm: s.Comm, State: s.State, PPID: s.PPID, Ticks: s.Start, UID: st.UID}
	if !boot.IsZero() {
		d.Start = boot.Add(time.Duration(s.Start) * (time.Second / procfile.TicksPerSecond))
	}
	return d, nil
}

// boot returns the time when the system started, or the zero time.
func (p *procFS) boot() time.Time {
	buf := make([]byte, 64<<10)
	n, err := p.dir.ReadFile(sys.NewName("stat"), buf)
	if err != nil {
		return time.Time{}
	}
	_, rest, _ := bytes.Cut(buf[:n], []byte("\nbtime "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	sec, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}

// threads returns the number of threads of the system, or 0.
func (p *procFS) threads() int {
	buf := make([]byte, 256)
	n, _ := p.dir.ReadFile(sys.NewName("loadavg"), buf) //nolint:errcheck // then it is empty
	_, all, _ := strings.Cut(string(buf[:n]), "/")      // "0.20 0.18 0.12 1/80 11206"
	all, _, _ = strings.Cut(all, " ")
	threads, _ := strconv.Atoi(all) //nolint:errcheck // 0 if it is none
	return threads
}

// readArgs reads the command lines of processes, and calls f for one at a time.
func (p *procFS) readArgs(ctx context.Context, stuck *wait.Stuck, pids []int, f func(pid int, args []string, err error)) {
	type answer struct {
		args []string
		err  error
	}
	dir := p.dir
	silent := wait.Many(ctx, stuck, len(pids),
		func() func(int) answer {
			buf := make([]byte, maxArgs)
			return func(i int) answer {
				n, err := dir.ReadFile(sys.AppendName(nil, pids[i], "/cmdline"), buf)
				return answer{parseArgs(buf[:n]), err}
			}
		},
		func(i int, a answer) { f(pids[i], a.args, a.err) }, nil)
	for _, i := range silent {
		f(pids[i], nil, fmt.Errorf("command line of process %d: %w", pids[i], ErrSlow))
	}
}

// parseArgs splits a command line at its zero bytes. A process that wrote over its arguments may
// have left any number of them at the end.
func parseArgs(cmdline []byte) []string {
	cmdline = bytes.TrimRight(cmdline, "\x00")
	if len(cmdline) == 0 {
		return nil
	}
	var args []string
	for arg := range bytes.SplitSeq(cmdline, []byte{0}) {
		args = append(args, string(arg))
	}
	return args
}

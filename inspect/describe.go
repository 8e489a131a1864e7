package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// A Detail is what a process says of itself.
type Detail struct {
	PPID  int
	State byte   // as in proc_pid_stat(5): 'R', 'S', 'D', 'Z' ...
	UID   uint32 // effective user ID, in the caller's terms
	Start time.Time
	// Ticks is the start time in clock ticks since boot. Together with the
	// PID it tells a process from a later one.
	Ticks uint64
	// Comm is the name of the command, as the kernel cuts it to 15 bytes.
	// The process chooses it: it may hold anything.
	Comm string
	// Args is the command line, nil if it is empty, as that of a kernel thread
	// or a zombie is, or was not asked for. It is cut to 4 KiB.
	Args []string
	// Err says why Args is missing, for instance [ErrSlow], or why all is.
	Err error
}

// Command returns the command line with blanks between, or where there is none
// the name of the command in brackets, as ps(1) does.
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

// Describe reads name, parent, user and start time of the given processes, and
// with args also their command lines. A process that has exited has no entry.
//
// The command line of a process comes from its memory, and one whose memory map
// is locked, by a file system that does not answer for one, makes a reader wait
// for as long as that lasts. So Describe reads many at once, waits a tenth of a
// second for any of them to answer, and then leaves behind those that do not:
// they are described without Args, with [ErrSlow].
func (s *Snapshot) Describe(ctx context.Context, procs iter.Seq[*Process], args bool) map[int]Detail {
	details := make(map[int]Detail)
	proc := s.proc
	if proc.dir, _ = sys.OpenProc(proc.path); proc.dir < 0 {
		return details
	}
	stuck := false
	defer func() {
		if !stuck { // what is left behind may still read in it
			proc.dir.Close()
		}
	}()
	var each []*Process
	for p := range procs {
		if _, ok := details[p.PID]; !ok {
			details[p.PID] = Detail{}
			each = append(each, p)
		}
	}
	clear(details)
	boot := proc.boot()
	type part struct {
		pids    []int
		details []Detail
		buf     []byte
	}
	var pids []int
	parallel(runtime.GOMAXPROCS(0), len(each),
		func() *part { return &part{buf: make([]byte, argsMost)} },
		func(p *part, i int) {
			d, err := proc.stat(each[i].PID, boot, p.buf)
			if sys.Gone(err) {
				return
			}
			d.Err = err
			p.pids = append(p.pids, each[i].PID)
			p.details = append(p.details, d)
		},
		func(p *part) {
			for i, pid := range p.pids {
				details[pid] = p.details[i]
				if p.details[i].Err == nil {
					pids = append(pids, pid)
				}
			}
		})
	if args {
		stuck = proc.readArgs(ctx, pids, func(pid int, args []string, err error) {
			d := details[pid]
			d.Args = args
			if !sys.Gone(err) {
				d.Err = err
			}
			details[pid] = d
		})
	}
	return details
}

// argsMost is how much of a command line is read.
const argsMost = 4096

// stat reads what a process says without being asked twice.
func (p *procFS) stat(pid int, boot time.Time, buf []byte) (Detail, error) {
	st, err := p.dir.Stat(sys.AppendName(nil, pid, ""))
	if err != nil {
		return Detail{}, err
	}
	n, err := p.dir.ReadFile(sys.AppendName(nil, pid, "/stat"), buf)
	if err != nil {
		return Detail{}, err
	}
	d, err := parseStat(buf[:n])
	if err != nil {
		return Detail{}, fmt.Errorf("stat of process %d: %w", pid, err)
	}
	d.UID = st.UID
	if !boot.IsZero() {
		d.Start = boot.Add(time.Duration(d.Ticks) * (time.Second / ticksPerSecond))
	}
	return d, nil
}

// ticksPerSecond is USER_HZ, which is 100 for all of Linux's interfaces to
// programs on amd64 and arm64.
const ticksPerSecond = 100

// parseStat reads the fields of /proc/pid/stat that a Detail has. The name of
// the command stands in parentheses and may itself hold parentheses, blanks and
// newlines: it ends at the last one. See proc_pid_stat(5).
func parseStat(stat []byte) (Detail, error) {
	open := bytes.IndexByte(stat, '(')
	end := bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return Detail{}, errors.New("no command name")
	}
	d := Detail{Comm: string(stat[open+1 : end])}
	fields := bytes.Fields(stat[end+1:])
	const state, ppid, start = 0, 1, 19 // 3, 4 and 22 in proc_pid_stat(5): from 1, and two are gone
	if len(fields) <= start || len(fields[state]) != 1 {
		return Detail{}, errors.New("too few fields")
	}
	d.State = fields[state][0]
	var err error
	if d.PPID, err = strconv.Atoi(string(fields[ppid])); err != nil {
		return Detail{}, fmt.Errorf("parent: %w", err)
	}
	if d.Ticks, err = strconv.ParseUint(string(fields[start]), 10, 64); err != nil {
		return Detail{}, fmt.Errorf("start time: %w", err)
	}
	return d, nil
}

// boot returns when the system started, or the zero time.
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

// readArgs reads the command lines of processes on several goroutines, each of
// which may be left behind, and calls f for one at a time. It reports whether
// one was.
func (p *procFS) readArgs(ctx context.Context, pids []int, f func(pid int, args []string, err error)) (stuck bool) {
	const most = 64 // readers that may be stuck
	type answer struct {
		pid  int
		args []string
		err  error
	}
	var (
		mu      sync.Mutex
		next    int
		answers = make(chan answer, len(pids))
		running int
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(pids) {
			return 0, false
		}
		next++
		return pids[next-1], true
	}
	reader := func() {
		buf := make([]byte, argsMost)
		for {
			pid, ok := take()
			if !ok {
				return
			}
			n, err := p.dir.ReadFile(sys.AppendName(nil, pid, "/cmdline"), buf)
			answers <- answer{pid, parseArgs(buf[:n]), err}
		}
	}
	start := func(n int) {
		for ; n > 0 && running < most; n-- {
			running++
			go reader()
		}
	}
	start(2)
	waiting := make(map[int]bool, len(pids))
	for _, pid := range pids {
		waiting[pid] = true
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.pid)
			f(a.pid, a.args, a.err)
			timer.Reset(patience)
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		// Nobody answers. More readers may find processes that do, as long
		// as there are any left to try.
		mu.Lock()
		left := len(pids) - next
		mu.Unlock()
		if left == 0 || running == most || ctx.Err() != nil {
			break
		}
		start(running)
		timer.Reset(patience)
	}
	for _, pid := range pids {
		if waiting[pid] {
			f(pid, nil, fmt.Errorf("command line of process %d: %w", pid, ErrSlow))
		}
	}
	return len(waiting) > 0
}

// parseArgs splits a command line at its zero bytes. A process that wrote over
// its arguments may have left any number of them at the end.
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

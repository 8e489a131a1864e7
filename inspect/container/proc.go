package container

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// openProc returns the proc file system of a host.
func openProc(h host) (*procDir, error) {
	dir, err := sys.OpenKernelDir(h.proc)
	return &procDir{path: h.proc, host: h.Host, dir: dir, argv: make(map[int][]string), stats: make(map[int]procfile.Stat)}, err
}

func (p *procDir) close() { p.stuck.Close(p.dir.Close) }

// A procDir is the proc file system with the processes.
type procDir struct {
	path string
	host inspect.Host
	dir  sys.StateDir
	buf  [64 << 10]byte
	argv map[int][]string // command lines
	// stats are the results of [procDir.readStats].
	stats map[int]procfile.Stat
	stuck wait.Stuck
}

func (p *procDir) read(pid int, name string) ([]byte, error) {
	data, err := p.dir.ReadProc(strconv.Itoa(pid)+"/"+name, p.buf[:])
	if err != nil {
		return nil, fmt.Errorf("read %w", err)
	}
	return data, nil
}

// maxSlow is how many processes may not answer before no more are asked. The files of a process,
// other than its control group, wait for locks that it holds, maybe for ever.
const maxSlow = 8

// ask asks a question that may never be answered. f must touch nothing that others change.
func ask[T any](p *procDir, f func() (T, error)) (answer T, err error) {
	if p.stuck.Count >= maxSlow {
		return answer, inspect.ErrSlow
	}
	return wait.One(context.Background(), &p.stuck, wait.Short, f)
}

// readSlow is read for a file whose contents may never come.
func (p *procDir) readSlow(pid int, name string) (string, error) {
	dir := p.dir
	return ask(p, func() (string, error) {
		data, err := dir.ReadProc(strconv.Itoa(pid)+"/"+name, make([]byte, 16<<10))
		return string(data), err
	})
}

// cgroup returns the control groups of a process, as the host sees them if possible.
func (p *procDir) cgroup(pid int) (text string, err error) {
	err = p.host.InCgroups(func() error {
		data, err := p.read(pid, "cgroup")
		text = string(data)
		return err
	})
	return text, err
}

// maxStat is more than the length of a stat file: 52 numbers and a name.
const maxStat = 2 << 10

// readStats reads the stat files of these processes together: one at a time, each would wake a
// thread. Of a process that does not answer, and those after it, nothing is known.
func (p *procDir) readStats(pids []int) {
	dir := p.dir
	stats, err := ask(p, func() (map[int]procfile.Stat, error) {
		stats := make(map[int]procfile.Stat, len(pids))
		buf := make([]byte, maxStat)
		for _, pid := range pids {
			if text, err := dir.ReadProc(strconv.Itoa(pid)+"/stat", buf); err == nil {
				stats[pid], _ = procfile.ParseStat(text)
			}
		}
		return stats, nil
	})
	if err == nil {
		p.stats = stats
	}
}

// stat returns the values of a stat file, zero if it cannot be read.
func (p *procDir) stat(pid int) procfile.Stat {
	if s, known := p.stats[pid]; known {
		return s
	}
	return p.statNow(pid)
}

// statNow is stat, read anew.
func (p *procDir) statNow(pid int) (s procfile.Stat) {
	if text, err := p.readSlow(pid, "stat"); err == nil {
		s, _ = procfile.ParseStat([]byte(text))
	}
	return s
}

func (p *procDir) readlink(name string) (string, error) {
	dir := p.dir
	return ask(p, func() (string, error) { return dir.Readlink(name) })
}

// lives reports whether a process still runs: it is no zombie, and its control group exists. A
// group with a running process cannot be removed.
func (p *procDir) lives(pid int) bool {
	text, err := p.cgroup(pid)
	if err != nil {
		return !sys.Gone(err)
	}
	if strings.Contains(text, " (deleted)\n") {
		return false
	}
	s := p.statNow(pid)
	return !s.Exited() || s.Threads > 1 // then the others are no zombies
}

// cmdline returns the arguments of a process, none if they cannot be read.
func (p *procDir) cmdline(pid int) []string {
	argv, known := p.argv[pid]
	if !known {
		argv = p.cmdlineNow(pid)
		p.argv[pid] = argv
	}
	return argv
}

// cmdlineNow is cmdline, read anew.
func (p *procDir) cmdlineNow(pid int) (argv []string) {
	if data, err := p.readSlow(pid, "cmdline"); err == nil && data != "" {
		argv = strings.Split(strings.TrimSuffix(data, "\x00"), "\x00")
	}
	return argv
}

// monitor returns the information about a container in the command line of a process. A shim of
// containerd runs in the bundle of its container, so that is the path.
func (p *procDir) monitor(pid int) (Monitor, bool) {
	argv := p.cmdline(pid)
	m, ok := ParseMonitor(argv)
	if !ok || path.IsAbs(m.Path) {
		return m, ok
	}
	if cwd, err := p.readlink(strconv.Itoa(pid) + "/cwd"); err == nil && path.IsAbs(cwd) {
		m.Path = path.Join(cwd, m.Path)
	}
	return m, true
}

// root returns the path of the root directory of a process.
func (p *procDir) root(pid int) string { return path.Join(p.path, strconv.Itoa(pid), "root") }

// mountinfo returns the path of the mount table of a process.
func (p *procDir) mountinfo(pid int) string { return path.Join(p.path, strconv.Itoa(pid), "mountinfo") }

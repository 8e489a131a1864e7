package container

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// openProc returns the proc file system at path.
func openProc(path string) (*procDir, error) {
	dir, err := sys.OpenKernelDir(path)
	return &procDir{path: path, dir: dir, argv: make(map[int][]string), stats: make(map[int]string), asker: asker{most: mostSlow}}, err
}

func (p *procDir) close() { p.asker.close(p.dir.Close) }

// A procDir is the proc file system in which processes are looked up.
type procDir struct {
	path string
	dir  sys.StateDir
	buf  [64 << 10]byte
	argv map[int][]string // command lines that were read
	// stats are what was read of processes together, by [procDir.readStats].
	stats map[int]string
	asker
}

func (p *procDir) read(pid int, name string) ([]byte, error) {
	data, err := p.dir.ReadProc(strconv.Itoa(pid)+"/"+name, p.buf[:])
	if err != nil {
		return nil, fmt.Errorf("read %w", err)
	}
	return data, nil
}

// mostSlow is how many processes may not answer before no more are asked: what a
// process says of itself, other than its control group, waits for locks that it
// holds, maybe for ever.
const mostSlow = 8

// readSlow is read for what may be long in coming.
func (p *procDir) readSlow(pid int, name string) (string, error) {
	dir := p.dir
	return ask(&p.asker, func() (string, error) {
		data, err := dir.ReadProc(strconv.Itoa(pid)+"/"+name, make([]byte, 16<<10))
		return string(data), err
	})
}

func (p *procDir) cgroup(pid int) (string, error) {
	data, err := p.read(pid, "cgroup")
	return string(data), err
}

// mostStat is more than there can be in stat: 52 numbers and a name.
const mostStat = 2 << 10

// readStats reads what stat says of these processes: one at a time, each would cost
// a thread that is woken. Of one that does not answer, and those after it, nothing
// is known.
func (p *procDir) readStats(pids []int) {
	dir := p.dir
	texts, err := ask(&p.asker, func() (map[int]string, error) {
		texts := make(map[int]string, len(pids))
		buf := make([]byte, mostStat)
		for _, pid := range pids {
			if data, err := dir.ReadProc(strconv.Itoa(pid)+"/stat", buf); err == nil {
				texts[pid] = string(data)
			}
		}
		return texts, nil
	})
	if err == nil {
		p.stats = texts
	}
}

// stat returns the parent of a process and when it started, in clock ticks
// since boot. See proc_pid_stat(5).
func (p *procDir) stat(pid int) (ppid int, start uint64) {
	text, known := p.stats[pid]
	if known {
		return parseStat(fieldsOf(text))
	}
	return parseStat(p.fields(pid))
}

func parseStat(fields []string) (ppid int, start uint64) {
	if len(fields) < 20 {
		return 0, 0
	}
	ppid, _ = strconv.Atoi(fields[1])
	start, _ = strconv.ParseUint(fields[19], 10, 64)
	return ppid, start
}

func (p *procDir) readlink(name string) (string, error) {
	dir := p.dir
	return ask(&p.asker, func() (string, error) { return dir.Readlink(name) })
}

// ticksPerSecond is USER_HZ of the kernel, the same on every machine that Go
// knows.
const ticksPerSecond = 100

// started returns when a process started, in clock ticks since boot, or 0.
func (p *procDir) started(pid int) uint64 {
	_, start := p.stat(pid)
	return start
}

// startedNow is started, read anew.
func (p *procDir) startedNow(pid int) uint64 {
	_, start := parseStat(p.fields(pid))
	return start
}

// fields returns the fields of stat from the third on.
func (p *procDir) fields(pid int) []string {
	data, err := p.readSlow(pid, "stat")
	if err != nil {
		return nil
	}
	return fieldsOf(data)
}

// fieldsOf returns the fields of stat from the third on. The name in the second
// may hold anything, also ")".
func fieldsOf(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

// lives reports whether a process still runs: it is no zombie, and its control
// group is there. One that a process runs in cannot be removed.
func (p *procDir) lives(pid int) bool {
	text, err := p.cgroup(pid)
	if err != nil {
		return !sys.Gone(err)
	}
	if strings.Contains(text, " (deleted)\n") {
		return false
	}
	fields := p.fields(pid)
	if len(fields) < 18 || fields[0] != "Z" && fields[0] != "X" {
		return true
	}
	threads, _ := strconv.Atoi(fields[17])
	return threads > 1 // the first of them is a zombie, the others are not
}

// kernelThread reports whether a process is a thread of the kernel: PF_KTHREAD
// in the kernel's include/linux/sched.h.
func (p *procDir) kernelThread(pid int) bool {
	fields := p.fields(pid)
	if len(fields) < 7 {
		return false
	}
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	return flags&0x00200000 != 0
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

// monitor reads what the command line of a process says of a container. A shim
// of containerd runs in the bundle of its container, which is then the path.
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

// root returns the path that leads to the root directory of a process.
func (p *procDir) root(pid int) string { return path.Join(p.path, strconv.Itoa(pid), "root") }

// mountinfo returns the path of what says what a process has mounted.
func (p *procDir) mountinfo(pid int) string { return path.Join(p.path, strconv.Itoa(pid), "mountinfo") }

package wait

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nstool/nstool/internal/procfile"
)

// A Patience is the time to wait for something that other processes decide. Time in which the
// threads of a process of ours run, or wait to run, does not count: on a busy machine the delay
// is ours, not theirs.
type Patience struct {
	limit     time.Duration
	process   string // "self" or a PID
	began     time.Time
	scheduled time.Duration // at the start
	uncounted int           // number of extensions by a tenth
}

// NewPatience starts a Patience, with the threads of the process pid, or of this one for 0.
func NewPatience(limit time.Duration, pid int) *Patience {
	p := &Patience{limit: limit, process: "self", began: time.Now()}
	if pid != 0 {
		p.process = strconv.Itoa(pid)
	}
	p.scheduled = scheduled(p.process)
	return p
}

// Left returns the time left, or 0.
func (p *Patience) Left() time.Duration {
	passed := time.Since(p.began)
	busy := min(max(scheduled(p.process)-p.scheduled, 0), passed)
	left := max(p.limit-(passed-busy), 0)
	// The kernel counts the time that a thread waits to run only when it runs at last, and does
	// not count a delay by the quota of its cgroup.
	if left == 0 && p.uncounted < 30 && runnable(p.process) {
		p.uncounted++
		left = p.limit / 10
	}
	return left
}

// runnable reports whether a thread of a process, other than the calling one, runs or waits to
// run, and still does so a moment later: threads of the Go runtime run shortly whenever one
// wakes up.
func runnable(process string) bool {
	dir := "/proc/" + process + "/task"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	own := strconv.Itoa(syscall.Gettid())
	for range 2 {
		tasks = slices.DeleteFunc(tasks, func(task os.DirEntry) bool {
			text, _ := os.ReadFile(dir + "/" + task.Name() + "/stat") //nolint:errcheck // then it is empty
			s, err := procfile.ParseStat(text)
			return task.Name() == own || err != nil || s.State != 'R'
		})
		if len(tasks) == 0 {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// scheduled returns the total time that the threads of a process have run or waited for a
// processor. It does not grow while all of them wait for something else. It is 0 if the kernel
// does not count it: see Documentation/scheduler/sched-stats.rst of the kernel.
func scheduled(process string) (all time.Duration) {
	dir := "/proc/" + process + "/task"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/" + task.Name() + "/schedstat")
		if f := strings.Fields(string(text)); err == nil && len(f) == 3 {
			ran, _ := strconv.ParseInt(f[0], 10, 64)    //nolint:errcheck // 0 is fine
			waited, _ := strconv.ParseInt(f[1], 10, 64) //nolint:errcheck // as above
			all += time.Duration(ran + waited)
		}
	}
	return all
}

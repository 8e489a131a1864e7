package sys

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Patience is how long is waited for something that others decide. Time in which
// the threads of a process of ours run, or wait to run, does not count: on a busy
// machine it is not the others who keep us waiting.
type Patience struct {
	limit     time.Duration
	process   string // "self" or a PID
	began     time.Time
	scheduled time.Duration // by then
	uncounted int           // how often it was given a tenth more
}

// NewPatience begins to wait, for a process by its PID or for this one, 0.
func NewPatience(limit time.Duration, pid int) *Patience {
	p := &Patience{limit: limit, process: "self", began: time.Now()}
	if pid != 0 {
		p.process = strconv.Itoa(pid)
	}
	p.scheduled = scheduled(p.process)
	return p
}

// Left returns how much longer to wait, or 0.
func (p *Patience) Left() time.Duration {
	passed := time.Since(p.began)
	busy := min(max(scheduled(p.process)-p.scheduled, 0), passed)
	left := max(p.limit-(passed-busy), 0)
	// How long one has waited to run the kernel counts when it runs at last, and
	// not at all what a quota of its cgroup has it wait.
	if left == 0 && p.uncounted < 30 && runnable(p.process) {
		p.uncounted++
		left = p.limit / 10
	}
	return left
}

// runnable reports whether a thread of a process, other than the calling one, runs
// or waits to run, and does so still a moment later: those of the run time look for
// work whenever one wakes up.
func runnable(process string) bool {
	dir := "/proc/" + process + "/task"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	own := strconv.Itoa(unix.Gettid())
	for range 2 {
		tasks = slices.DeleteFunc(tasks, func(task os.DirEntry) bool {
			text, _ := os.ReadFile(dir + "/" + task.Name() + "/stat") //nolint:errcheck // then it is empty
			_, rest, _ := strings.Cut(string(text), ") ")
			return task.Name() == own || !strings.HasPrefix(rest, "R")
		})
		if len(tasks) == 0 {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// Scheduled returns for how long the threads of this process have been on a
// processor or waited for one, in all. It does not grow while all of them wait
// for something else. It is 0 if the kernel keeps no such account: see
// Documentation/scheduler/sched-stats.rst of the kernel.
func Scheduled() time.Duration { return scheduled("self") }

func scheduled(process string) (all time.Duration) {
	dir := "/proc/" + process + "/task"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/" + task.Name() + "/schedstat")
		if f := strings.Fields(string(text)); err == nil && len(f) == 3 {
			ran, _ := strconv.ParseInt(f[0], 10, 64)    //nolint:errcheck // 0 does
			waited, _ := strconv.ParseInt(f[1], 10, 64) //nolint:errcheck // as above
			all += time.Duration(ran + waited)
		}
	}
	return all
}

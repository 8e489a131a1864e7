package entry

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// patience is the time for a target to answer.
const patience = 10 * time.Second

// command returns the name of the command.
func (o *Options) command() string {
	if o.run {
		return "run"
	}
	return "enter"
}

// unnoticed is a wait that nobody notices. Before it, the time that this process could not run is not asked for.
const unnoticed = 100 * time.Millisecond

// Impatient ends the program with a message and a status unless answered is called in time. A
// process in an execve(2) that never ends holds a lock. Since Linux 6.18 even reading the links
// in its directory of /proc waits for that lock. A process whose memory map is locked does not
// show its environment. A thread that waits for these cannot be stopped, so the program must end.
//
// The time grows by the time in which this process worked or waited to run.
func Impatient(command, target string, status int) (answered func()) {
	// The Go runtime opens two descriptors for the first timer, and aborts if it cannot.
	if !sys.SpareFDs(2) {
		return func() {}
	}
	var (
		mu    sync.Mutex // guards what follows
		timer *time.Timer
		over  bool
		p     *wait.Patience
		began = time.Now()
	)
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(unnoticed, func() {
		mu.Lock()
		defer mu.Unlock()
		if p == nil {
			p = wait.NewPatience(patience-unnoticed, 0)
		}
		if over {
			return
		}
		if left := p.Left(); left > 0 {
			timer.Reset(left)
			return
		}
		fmt.Fprintf(os.Stderr, "nstool: %s: %s\n", command, silence(target, time.Since(began)))
		os.Exit(status)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}

// silence returns the message for a target that has not answered, with the time that was added
// because this process could not run.
func silence(target string, passed time.Duration) string {
	passed, busy := passed.Round(time.Second), ""
	if passed > patience {
		busy = fmt.Sprintf(", %v of it for want of a processor on this busy machine", passed-patience)
	}
	return fmt.Sprintf("%s has not answered for %v%s: it is in an execve(2) that does not end, or its memory is locked", target, passed, busy)
}

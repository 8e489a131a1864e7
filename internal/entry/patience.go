package entry

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/internal/wait"
)

// patience is how long a target may take to tell what is asked of it.
const patience = 10 * time.Second

// command is the command that the options are of.
func (o *Options) command() string {
	if o.run {
		return "run"
	}
	return "enter"
}

// unnoticed is how long nobody minds to wait: until then it is not asked for how
// long this process did not run.
const unnoticed = 100 * time.Millisecond

// Impatient ends the program with a line and a status unless answered is called
// in time. A process in an execve(2) that does not end holds a lock which since
// Linux 6.18 even a look at the links in its directory of /proc waits for, and
// one whose memory map is locked does not show its environment. The thread that
// waits cannot be called back; to end the program is all that helps.
//
// On a busy machine it is given longer, by as much as this process worked or
// waited to run.
func Impatient(command, target string, status int) (answered func()) {
	// The run time opens two descriptors when the first timer is set, and ends
	// the program if it cannot.
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

// silence says that the target has not answered for some time, and how much of that
// it was given since this process could not run.
func silence(target string, passed time.Duration) string {
	passed, busy := passed.Round(time.Second), ""
	if passed > patience {
		busy = fmt.Sprintf(", %v of it for want of a processor on this busy machine", passed-patience)
	}
	return fmt.Sprintf("%s has not answered for %v%s: it is in an execve(2) that does not end, or its memory is locked", target, passed, busy)
}

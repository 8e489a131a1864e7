package entry

import (
	"fmt"
	"os"
	"time"

	"github.com/nstool/nstool/internal/sys"
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

// Impatient ends the program with a line and a status unless answered is called
// in time. A process in an execve(2) that does not end holds a lock which since
// Linux 6.18 even a look at the links in its directory of /proc waits for, and
// one whose memory map is locked does not show its environment. The thread that
// waits cannot be called back; to end the program is all that helps.
func Impatient(command, target string, status int) (answered func()) {
	// The run time opens two descriptors when the first timer is set, and ends
	// the program if it cannot.
	if !sys.SpareFDs(2) {
		return func() {}
	}
	timer := time.AfterFunc(patience, func() {
		fmt.Fprintf(os.Stderr, "nstool: %s: %s has not answered for %v: it is in an execve(2) that does not end, or its memory is locked\n", command, target, patience)
		os.Exit(status)
	})
	return func() { timer.Stop() }
}

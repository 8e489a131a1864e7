package doctor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/procfile"
)

// A Cleaner is the thread of the kernel that frees network namespaces. There is one at a
// time: while it waits, no other network namespace is freed.
type Cleaner struct {
	PID      int
	Sleeps   bool   // in the kernel, uninterruptibly
	Switches uint64 // how often it has given up its processor
	// Waits are the functions of the kernel that it is in, the innermost first, if the
	// caller may see them.
	Waits []string
}

// readCleaner looks for it. Since Linux 4.18 the name of a worker says what it does:
// "kworker/u8:2+netns", or, with "-", what it did last. Workers are children of thread 2,
// which exists in the initial PID namespace only.
func (h *Host) readCleaner() {
	proc := h.Snapshot.Proc()
	children, err := os.ReadFile(filepath.Join(proc, "2/task/2/children"))
	if err != nil {
		return
	}
	for _, word := range strings.Fields(string(children)) {
		dir := filepath.Join(proc, word)
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil || !bytes.HasSuffix(bytes.TrimSpace(comm), []byte("+netns")) {
			continue
		}
		pid, _ := strconv.Atoi(word)
		c := &Cleaner{PID: pid}
		text, _ := os.ReadFile(dir + "/status")
		c.Sleeps = strings.HasPrefix(procfile.Field(text, "State"), "D")
		c.Switches, _ = strconv.ParseUint(procfile.Field(text, "voluntary_ctxt_switches"), 10, 64)
		stack, _ := os.ReadFile(dir + "/stack") // takes CAP_SYS_ADMIN
		for line := range strings.Lines(string(stack)) {
			if _, f, ok := strings.Cut(line, "] "); ok {
				f, _, _ = strings.Cut(strings.TrimSpace(f), "+")
				c.Waits = append(c.Waits, f)
			}
		}
		h.Cleaner = c
		return
	}
}

// waitsForDevice is the function in which the kernel waits until nobody uses a device.
const waitsForDevice = "netdev_wait_allrefs"

// cleanup finds a network namespace that the kernel cannot free. One look cannot tell it
// from one that is just being freed. The next look must find the same thread in the same
// place, and the thread must not have run in between. A thread that waits for a device may
// have run, because it checks the device from time to time.
func cleanup(h *Host) []Finding {
	c := h.Cleaner
	if c == nil || !c.Sleeps {
		return nil
	}
	f := Finding{
		Severity: Warning, Subject: "kworker", transient: true,
		What:  fmt.Sprintf("the kernel is stuck freeing a network namespace, in process %d: it frees no other one before that", c.PID),
		state: fmt.Sprint(c.PID, " ", c.Waits),
	}
	device := false
	for _, w := range c.Waits {
		device = device || strings.HasPrefix(w, waitsForDevice)
	}
	switch {
	case device:
		f.Evidence = []string{"it waits for a device that something in the kernel still uses; the log of the kernel names it after unregister_netdevice"}
	case len(c.Waits) > 0:
		f.state += fmt.Sprint(" ", c.Switches)
		f.Evidence = []string{"it waits in " + strings.Join(c.Waits[:min(len(c.Waits), 4)], ", called by ")}
	default:
		f.state += fmt.Sprint(" ", c.Switches)
		f.Evidence = []string{"only root can see where it waits"}
	}
	return []Finding{f}
}

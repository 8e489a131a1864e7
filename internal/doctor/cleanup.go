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

// A Cleaner is a thread of the kernel that takes network namespaces apart. There is
// one at a time: while it waits, no other network namespace goes.
type Cleaner struct {
	PID      int
	Sleeps   bool   // in the kernel, uninterruptibly
	Switches uint64 // how often it gave up its processor so far
	// Waits are the functions of the kernel that it is in, the innermost first, as
	// far as the caller may know them.
	Waits []string
}

// readCleaner looks for it. Since Linux 4.18 the kernel writes what a worker is at
// into its name: "kworker/u8:2+netns", and with "-" what it was at last. The
// workers are children of thread 2, which a PID namespace other than the initial
// one does not have.
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

// waitsForDevice is where the kernel waits until nobody uses a device any more.
const waitsForDevice = "netdev_wait_allrefs"

// cleanup finds a network namespace that the kernel cannot take apart. One look
// does not tell it from one that it is about to: the next one has to find the same
// thread in the same place, without having run in between, but where it looks from
// time to time whether a device is free by now.
func cleanup(h *Host) []Finding {
	c := h.Cleaner
	if c == nil || !c.Sleeps {
		return nil
	}
	f := Finding{
		Severity: Warning, Subject: "kworker", passing: true,
		What: fmt.Sprintf("the kernel is stuck in taking a network namespace apart, in process %d: none that is left goes until it is through", c.PID),
		at:   fmt.Sprint(c.PID, " ", c.Waits),
	}
	device := false
	for _, w := range c.Waits {
		device = device || strings.HasPrefix(w, waitsForDevice)
	}
	switch {
	case device:
		f.Evidence = []string{"it waits for a device that something in the kernel uses still; the kernel's log names it, behind unregister_netdevice"}
	case len(c.Waits) > 0:
		f.at += fmt.Sprint(" ", c.Switches)
		f.Evidence = []string{"it waits in " + strings.Join(c.Waits[:min(len(c.Waits), 4)], ", called by ")}
	default:
		f.at += fmt.Sprint(" ", c.Switches)
		f.Evidence = []string{"where it waits only root can see"}
	}
	return []Finding{f}
}

package inside

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
)

// Time is what is inside a time namespace: the offsets of its clocks from those of the initial
// one. See time_namespaces(7); Linux 5.6.
type Time struct {
	Monotonic, Boottime time.Duration
}

func (r *reader) time() *Time {
	if r.ns.Initial() {
		return &Time{}
	}
	text, err := r.offsets()
	if err != nil {
		r.gap("offsets", err)
		return nil
	}
	t, err := parseOffsets(string(text))
	r.gap("offsets", err)
	return t
}

// offsets reads timens_offsets. The file is about the children of a process, so the process
// must be one whose children will be in the namespace.
func (r *reader) offsets() ([]byte, error) {
	const file = "timens_offsets"
	children := r.ns.Type.ForChildren()
	for i, p := range r.ns.Members {
		if i == 8 {
			break
		}
		if texts, err := r.of(p.PID, children, nil, file); err == nil {
			return texts[0], nil
		}
	}
	for _, h := range r.ns.Others() {
		if h.Kind == inspect.ByChildren && h.TID == 0 {
			if texts, err := r.of(h.PID, children, nil, file); err == nil {
				return texts[0], nil
			}
		}
	}
	texts, err := r.joined("self/" + file)
	if err != nil {
		return nil, err
	}
	return texts[0], nil
}

// parseOffsets reads the text of timens_offsets: lines of a clock, seconds and
// nanoseconds. The clock is a name since Linux 5.7, and was its number before.
func parseOffsets(text string) (*Time, error) {
	t := &Time{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("a line of three words was expected, not %q", line)
		}
		sec, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, err
		}
		nsec, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, err
		}
		const longest = 1 << 33 // seconds: the kernel allows 2^62 ns, a Duration has 2^63
		if sec > longest || sec < -longest || nsec < 0 || nsec >= 1e9 {
			return nil, fmt.Errorf("offset out of range: %q", line)
		}
		d := time.Duration(sec)*time.Second + time.Duration(nsec)
		switch fields[0] {
		case "monotonic", "1":
			t.Monotonic = d
		case "boottime", "7":
			t.Boottime = d
		}
	}
	return t, nil
}

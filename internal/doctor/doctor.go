// Package doctor finds what is wrong with the namespaces of a host: names that lead
// nowhere, namespaces that something keeps and nobody uses, limits that are nearly reached,
// and containers that are not kept apart from the host.
//
//	host, err := doctor.Read(ctx, doctor.Checks)
//	if err != nil {
//		return err
//	}
//	for _, f := range host.Examine(doctor.Checks) {
//		fmt.Println(f.Severity, f.What)
//	}
//
// [Read] gathers what there is to know; it changes nothing. [Host.Examine] then
// judges, and reads nothing. [Look] does both, and looks again before it calls
// something a leak: a namespace that is being made or freed looks the same for a moment.
//
// A finding has the command that would put it right. Nothing here runs it.
//
// # What is normal
//
// Normal operation of engines and other programs is a [Note] at most: a descriptor of a
// namespace that has processes; names that somebody gave on purpose, by ip-netns(8) or a pin
// of ours; names that Docker has not removed yet; the namespaces of pods that CRI-O keeps
// while no container of them runs.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/container"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/pin"
)

// A Severity says how bad a [Finding] is.
type Severity uint8

// Severities.
const (
	Note    Severity = iota + 1 // worth knowing, but need not be wrong
	Warning                     // wrong or dangerous, but everything still works
	Problem                     // something does not work, or the next thing will not
)

var severityNames = [...]string{Note: "note", Warning: "warning", Problem: "problem"}

// String returns "note", "warning" or "problem".
func (s Severity) String() string {
	if int(s) < len(severityNames) && severityNames[s] != "" {
		return severityNames[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// ParseSeverity is the inverse of [Severity.String].
func ParseSeverity(word string) (Severity, error) {
	for s := Note; s <= Problem; s++ {
		if s.String() == word {
			return s, nil
		}
	}
	return 0, fmt.Errorf("no severity %q; there are: note, warning, problem", word)
}

// A Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Severity Severity
	// Check is the name of the check that found it, see [Checks].
	Check string
	// Subject is what it is about: a path, a namespace, a container, a user. Check and
	// Subject identify a finding.
	Subject string
	// What is a sentence. It contains names that others chose: clean it before showing it.
	What string
	// Evidence is what was seen, one fact each.
	Evidence []string
	// Since is when it may have begun. SinceIs says what has that time, [SinceFile] or
	// [SinceHolder], because namespaces have none.
	Since   time.Time
	SinceIs string
	// Fix is a shell command that puts it right, or "". It has printable ASCII characters
	// only, whatever the names in it.
	Fix string
	// Rests is what was seen that Fix is based on: look again before you run it later. Then
	// is what is left to do after it.
	Rests, Then string

	order     uint64 // the number of the namespace, lower for an older one, or 0
	transient bool   // it may change in a moment
	group     group  // of a note, see [Fold]
	state     string // what must be the same at the next look
	links     []link // what shows that it is still so, or nil
}

// What [Finding.Since] is the time of.
const (
	SinceFile   = "file"   // the file that the namespace is or was mounted on was made
	SinceHolder = "holder" // the process that holds the namespace was started
)

// key identifies a finding, also at another look.
func (f Finding) key() string { return fmt.Sprint(f.Check, " ", f.Subject, " ", f.order, " ", f.state) }

// A link is a file or a symbolic link that shows a finding. If text is "", it only has to
// exist.
type link struct{ path, text string }

// still reports whether any of the links of a finding is unchanged.
func (f Finding) still() bool {
	return f.links == nil || slices.ContainsFunc(f.links, func(l link) bool {
		if l.text == "" {
			_, err := sys.StatPath(l.path, false)
			return !errors.Is(err, fs.ErrNotExist)
		}
		text, err := os.Readlink(l.path)
		return err == nil && text == l.text
	})
}

// A Check looks for one kind of trouble in a [Host].
type Check struct {
	Name string
	Help string
	find func(*Host) []Finding
	// needs are the facts of the snapshot that must be complete. Otherwise the check is not
	// made, because absence proves nothing where something could not be seen.
	needs inspect.Facts
	// reads are the parts of a Host that it needs, besides the snapshot.
	reads part
	// members says that it needs only member processes of the snapshot.
	members bool
}

// A part is a set of fields of a [Host] that a scan does not fill.
type part uint8

const (
	readNames part = 1 << iota // names, the mounts on them, and the daemons that keep them
	readHolders
	readCleaner
	readLimits
	readConfinements
	readAll = readNames | readHolders | readCleaner | readLimits | readConfinements
)

// Checks are all there are, in the order of their findings.
var Checks = []Check{
	{Name: "names", Help: "names of namespaces that are dead", find: names, reads: readNames},
	{Name: "leaks", Help: "namespaces without a process that something keeps", find: leaks, needs: inspect.Occupants, reads: readNames | readHolders | readConfinements},
	{Name: "held", Help: "descriptors of networks in programs that have no use for them", find: held, reads: readHolders | readConfinements},
	{Name: "cleanup", Help: "network namespaces that the kernel cannot take apart", find: cleanup, reads: readCleaner, members: true},
	{Name: "limits", Help: "numbers of namespaces near their limit", find: limits, reads: readLimits},
	{Name: "sharing", Help: "containers in namespaces of the host", find: sharing, reads: readConfinements, members: true},
	{Name: "left", Help: "containers left behind in a namespace of another one", find: left, reads: readConfinements, members: true},
	{Name: "privileges", Help: "containers that could take over the host", find: privileges, reads: readConfinements, members: true},
}

// A Host is what was read of a host. It may be made up.
type Host struct {
	Snapshot *inspect.Snapshot
	// Containers are those of the snapshot.
	Containers *container.Set
	// Now is when it was read.
	Now time.Time
	// Mounts is the mount namespace of the caller, in which commands are run.
	Mounts inspect.ID
	// Names are the pins of every program, see [pin.All] and [pin.Others].
	Names []Name
	// Holders are the processes that hold namespaces without being in them.
	Holders map[int]Holder
	// Docker is where Docker keeps its state and when it last changed it.
	Docker Docker
	// Stacks are the inode numbers of the namespaces that are mounted on a path in the
	// mount namespace of the caller, the top one first. 0 is something else.
	Stacks map[string][]uint64
	// Cleaner frees network namespaces now, or is nil.
	Cleaner *Cleaner
	// Limits are those of /proc/sys/user/max_TYPE_namespaces.
	Limits map[inspect.Type]uint64
	// Inner are the limits inside user namespaces below that of the caller that own many
	// namespaces.
	Inner map[inspect.ID]map[inspect.Type]int
	// Confinements are those of the first processes of containers.
	Confinements map[int]Confinement
	// Bounding is the capability bounding set of the host's first process, or
	// zero if it is not known.
	Bounding uint64
	// Gaps are what could not be read, without those of the snapshot.
	Gaps []inspect.Gap
}

// A Name is one pin of a set.
type Name struct {
	By   string // see [pin.Set]
	Set  string // the name of the set, for pins of our own
	Made time.Time
	Size int64 // of the file of a dead name
	pin.Pin
}

// A Holder is a process that holds namespaces.
type Holder struct {
	inspect.Detail
	Mortality
	Unit      string // its unit of systemd, or ""
	Container *container.Container
}

// A Mortality says what it takes to end a process.
type Mortality struct {
	First  bool // it is the first process of a PID namespace, which gets no other signal than SIGKILL without a handler
	Immune bool // it ignores SIGTERM, blocks it, or is stopped
}

// A Docker is what the state of the daemon of Docker shows.
type Docker struct {
	Started time.Time // when the daemon started, or zero if none runs
	Changed time.Time // when a container was last made, started, stopped or removed
	Silent  bool      // Changed is not known: the state does not answer
}

// A Confinement is what a process is allowed, from /proc/pid/status.
type Confinement struct {
	Mortality
	Bounding uint64
	Seccomp  int    // 0 is none
	Profile  string // of AppArmor or SELinux, or ""
}

// Examine returns the findings of the checks: the worst first, then by check, then the
// oldest first.
func (h *Host) Examine(checks []Check) []Finding {
	var all []Finding
	for _, c := range checks {
		if !h.Snapshot.Whole(c.needs) {
			continue // see Unchecked
		}
		found := c.find(h)
		for i := range found {
			found[i].Check = c.Name
		}
		sort.SliceStable(found, func(i, j int) bool { return older(&found[i], &found[j]) })
		all = append(all, found...)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Severity > all[j].Severity })
	return all
}

// Unchecked returns the checks that [Host.Examine] did not make, each with the reason.
func (h *Host) Unchecked(checks []Check) (gaps []inspect.Gap) {
	for _, c := range checks {
		if why := h.Snapshot.Unseen(c.needs); len(why) > 0 {
			gaps = append(gaps, inspect.Gap{What: c.Name, Err: fmt.Errorf("%w, %s", ErrNotChecked, strings.Join(why, "; "))})
		}
	}
	return gaps
}

// ErrNotChecked is in the gaps that [Host.Unchecked] returns.
var ErrNotChecked = errors.New("not checked")

// older orders findings by age, with those of unknown age last.
func older(a, b *Finding) bool {
	if a.order != 0 && b.order != 0 {
		return a.order < b.order
	}
	return !a.Since.IsZero() && (b.Since.IsZero() || a.Since.Before(b.Since))
}

// ago returns how long ago t was, in one unit.
func (h *Host) ago(t time.Time) string {
	d := max(h.Now.Sub(t), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// Package doctor says what is wrong with the namespaces of a host: names that
// lead nowhere, namespaces that nobody uses and something keeps, limits that are
// nearly reached, and containers that are not kept apart from the host.
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
// something a leak: what is being made or taken down looks the same for a moment.
//
// A finding has the command that would put it right. Nothing here runs it.
//
// # What is normal
//
// A tool that cries wolf is not run twice. So what engines and other programs do
// in normal operation is told apart, and is a [Note] at most: a descriptor of a
// namespace that has processes; names that somebody gave on purpose, by
// ip-netns(8) or a pin of ours; names that Docker has not yet cleared away; the
// namespaces of pods that CRI-O keeps while no container of them runs.
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
	Note    Severity = iota + 1 // true, and worth to know; nothing need be wrong
	Warning                     // wrong, or a danger, and things work still
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

// A Finding is one thing that is wrong, or worth to know.
type Finding struct {
	Severity Severity
	// Check is the name of the check that found it, see [Checks].
	Check string
	// Subject is what it is about: a path, a namespace, a container, a user.
	// Together with Check it tells a finding from others.
	Subject string
	// What is a sentence. Names in it are as others chose them: clean it before
	// showing it.
	What string
	// Evidence is what was seen, one fact each.
	Evidence []string
	// Since is a time from which on it may have been so, and SinceIs says of
	// what that is the time: [SinceFile] or [SinceHolder]. Namespaces have no
	// time of their own.
	Since   time.Time
	SinceIs string
	// Fix is a command for a shell that puts it right, or "" if no command
	// does. It is of printable ASCII characters alone, whatever the names in it.
	Fix string
	// Rests is what was seen that Fix rests on: what to look at again before it
	// is given, if some time has gone by. Then is what is left to do after it.
	Rests, Then string

	order   uint64 // where kernels number namespaces, older ones have lower numbers
	passing bool   // it may be gone in a moment
	kin     kin    // of a note, see Fold
	at      string // what has to be the same at the next look
	again   []link // where it can be seen that it is still so
}

// Of what [Finding.Since] is the time.
const (
	SinceFile   = "file"   // when the file was made that the namespace is or was mounted on
	SinceHolder = "holder" // when the process was started that holds the namespace
)

// key tells whether a finding is the same as one of another look.
func (f Finding) key() string { return fmt.Sprint(f.Check, " ", f.Subject, " ", f.order, " ", f.at) }

// A link is what a finding was seen by. Text is "" for what need only be there.
type link struct{ path, text string }

// still reports whether anything of it is as it was.
func (f Finding) still() bool {
	return f.again == nil || slices.ContainsFunc(f.again, func(l link) bool {
		if l.text == "" {
			_, err := sys.StatPath(l.path, false)
			return !errors.Is(err, fs.ErrNotExist)
		}
		text, err := os.Readlink(l.path)
		return err == nil && text == l.text
	})
}

// A Check looks at a [Host] for one kind of trouble.
type Check struct {
	Name string
	Help string
	find func(*Host) []Finding
	// needs are the facts without all of which it would report what is not so: nothing
	// is concluded from what could not be seen.
	needs inspect.Facts
	// reads are the parts of a Host that it looks at, besides the snapshot.
	reads part
	// members: of the snapshot it looks at member processes alone.
	members bool
}

// A part is something of a [Host] that takes reading beyond a scan.
type part uint8

const (
	readNames part = 1 << iota // and what is mounted on them, and the daemons that keep them
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

// A Host is all that is known of one. It may be made up.
type Host struct {
	Snapshot *inspect.Snapshot
	// Containers are those of the snapshot.
	Containers *container.Set
	// Now is when it was read.
	Now time.Time
	// Mounts is the caller's mount namespace, where commands are given.
	Mounts inspect.ID
	// Names are the pins of every program, see [pin.All] and [pin.Others].
	Names []Name
	// Holders are the processes that hold namespaces without being in them.
	Holders map[int]Holder
	// Docker is where Docker keeps its state and when it last changed it.
	Docker Docker
	// Stacks are the namespaces that are mounted on paths in the caller's mount
	// namespace, by inode number, the one on top first; 0 is something else.
	Stacks map[string][]uint64
	// Cleaner is at work on network namespaces, or nil.
	Cleaner *Cleaner
	// Limits are those of /proc/sys/user/max_TYPE_namespaces.
	Limits map[inspect.Type]uint64
	// Inner are the limits that user namespaces below the caller's have of their
	// own, of those that own many namespaces.
	Inner map[inspect.ID]map[inspect.Type]int
	// Confinements are those of the first processes of containers.
	Confinements map[int]Confinement
	// Bounding is the capability bounding set of the host's first process, or
	// zero if it is not known.
	Bounding uint64
	// Gaps are what could not be read, those of the snapshot not among them.
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
	First  bool // it is the first process of a PID namespace: of signals it has no handler for it gets SIGKILL alone
	Immune bool // it ignores SIGTERM, blocks it, or is stopped
}

// A Docker is what the state of Docker's daemon tells.
type Docker struct {
	Started time.Time // when the daemon started, or zero if none runs
	Changed time.Time // when a container was last made, started, ended or removed
	Silent  bool      // that is not known: its state does not answer
}

// A Confinement is what limits a process, of /proc/pid/status.
type Confinement struct {
	Mortality
	Bounding uint64
	Seccomp  int    // 0 is none
	Profile  string // of AppArmor or SELinux, or ""
}

// Examine returns what the checks find, the worst first, then by check, the
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

// Unchecked says which of the checks [Host.Examine] could not make, and why: what
// they find would rest on what was not seen.
func (h *Host) Unchecked(checks []Check) (gaps []inspect.Gap) {
	for _, c := range checks {
		if why := h.Snapshot.Unseen(c.needs); len(why) > 0 {
			gaps = append(gaps, inspect.Gap{What: c.Name, Err: fmt.Errorf("%w, %s", ErrNotChecked, strings.Join(why, "; "))})
		}
	}
	return gaps
}

// ErrNotChecked is of the gaps that [Host.Unchecked] returns.
var ErrNotChecked = errors.New("not checked")

// older orders findings, those without any age last.
func older(a, b *Finding) bool {
	if a.order != 0 && b.order != 0 {
		return a.order < b.order
	}
	return !a.Since.IsZero() && (b.Since.IsZero() || a.Since.Before(b.Since))
}

// ago says how long ago something was, in one unit.
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

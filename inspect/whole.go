package inspect

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/internal/procfile"
	"github.com/nstool/nstool/internal/sys"
)

// Facts are kinds of fact about namespaces. A snapshot may have only a part of a kind: then what
// it has is true, and there may be more.
type Facts uint8

// The kinds of fact.
const (
	Members   Facts = 1 << iota // which processes are in a namespace
	Threads                     // which threads are, of processes that are no members
	Children                    // for the children of which processes it is
	FDs                         // which descriptors of it are open
	Sockets                     // which sockets of it are open
	Mounts                      // where it is mounted
	AllFacts  Facts = Members | Threads | Children | FDs | Sockets | Mounts
	Occupants Facts = Members | Threads | Children // which processes are in it, or will be
)

// A source is a place where a scan looks for some facts.
type source struct {
	facts Facts
	gap   string              // the name of its gaps, see [Gap.What]
	at    string              // the things that it looks at
	asked func(*options) bool // whether the options ask for it
}

var sources = []source{
	{AllFacts, "ns", "", func(*options) bool { return true }},
	{AllFacts &^ Members, "task", "threads", func(o *options) bool { return o.tasks }},
	{FDs | Sockets | Mounts, "fd", "descriptors", func(o *options) bool { return o.fds }},
	{Sockets, "socket", "sockets", func(*options) bool { return true }},
	{Mounts, "mountinfo", "mounts", func(o *options) bool { return o.mounts }},
}

// Unseen returns the reasons why the snapshot may lack some of these facts: then nothing follows
// from their absence. It is nil if the scan was complete: it read every process for these facts,
// in a proc file system of the initial PID namespace that hides none. Each reason is a phrase for
// one line, such as "1 of 90 processes (PID 1) could not be read".
//
// It has too many callers to be inlined, see [Snapshot.Whole].
//
//go:noinline
func (s *Snapshot) Unseen(facts Facts) []string {
	var why []string
	for _, r := range s.unseen {
		if r.facts&facts != 0 {
			why = append(why, r.why)
		}
	}
	return why
}

// Whole reports whether the snapshot has all of these facts. See [Snapshot.Unseen].
func (s *Snapshot) Whole(facts Facts) bool { return len(s.Unseen(facts)) == 0 }

// MountsKnown reports whether all mounts of namespaces in that mount namespace were seen.
func (s *Snapshot) MountsKnown(mnt ID) bool {
	ns, ok := s.Namespace(mnt)
	return ok && s.mounts && !slices.ContainsFunc(s.gaps, func(g Gap) bool {
		return g.What == gapMounts+ns.String() || g.What == "mountinfo" && ns.Leader() != nil && g.PID == ns.Leader().PID
	})
}

// NestedKnown reports whether all owned and enclosed namespaces are known.
func (s *Snapshot) NestedKnown() bool {
	return (s.listed || s.Whole(AllFacts)) && !slices.ContainsFunc(s.namespaces, func(ns *Namespace) bool {
		return ns.Owner.Err != nil || ns.Type.Hierarchical() && ns.Parent.Err != nil
	})
}

// Unread returns the processes whose namespaces could not be read. ok is false if there may be
// processes that are not known at all.
func (s *Snapshot) Unread() (pids []int, ok bool) {
	for _, r := range s.unseen {
		if r.facts&Members != 0 && !r.unread {
			return nil, false
		}
	}
	for _, g := range s.gaps {
		if g.What == sources[0].gap && g.PID != 0 {
			pids = append(pids, g.PID)
		}
	}
	return pids, true
}

// Missing returns nil if there is no process with that PID, which is not in the snapshot, or an
// error if that is not known. The kernel can be asked in the initial PID namespace; others have
// numbers for a part of the processes only.
func (s *Snapshot) Missing(pid int) error {
	if !s.proc.real {
		return nil
	}
	if !s.proc.initial {
		return s.proc.blind[len(s.proc.blind)-1].Err
	}
	p, err := sys.OpenPidfd(pid)
	if err != nil {
		return nil //nolint:nilerr // not even a thread, or that
	}
	p.Close()
	if _, err := os.Stat(filepath.Join(s.proc.path, strconv.Itoa(pid))); err == nil {
		return nil // it is younger than the snapshot
	}
	return fmt.Errorf("it runs, and %s does not show it: %w", s.proc.path, fs.ErrPermission)
}

// unseen is a reason why some facts may be incomplete.
type unseen struct {
	facts  Facts
	why    string
	unread bool // of some known processes
}

// findUnseen finds these reasons in the gaps.
func (s *scanner) findUnseen() (all []unseen) {
	for _, g := range s.proc.blind {
		all = append(all, unseen{facts: AllFacts, why: g.String()})
	}
	mounts := 0
	for _, g := range s.gaps {
		i := slices.IndexFunc(sources, func(l source) bool { return l.gap == g.What })
		switch {
		case i >= 0 && g.PID == 0:
			all = append(all, unseen{facts: sources[i].facts, why: g.String()})
		case strings.HasPrefix(g.What, gapMounts):
			mounts++
		}
	}
	pids := unreadPIDs(s.gaps)
	for _, l := range sources {
		if !l.asked(&s.options) {
			all = append(all, unseen{facts: l.facts, why: l.at + " were not looked at"})
		}
		if list := pids[l.gap]; len(list) > 0 {
			all = append(all, unseen{l.facts, unreadText(l.gap, list, len(s.processes)), true})
		}
	}
	if mounts > 0 {
		all = append(all, unseen{facts: Mounts, why: "the mounts of " + count(mounts, "mount namespace", "mount namespaces") + " could not be read"})
	}
	return all
}

// unreadPIDs returns the processes of gaps, by name of the gap. A process without any namespaces
// is only listed for those.
func unreadPIDs(gaps []Gap) map[string][]int {
	pids := make(map[string][]int)
	for _, g := range gaps {
		if g.PID != 0 {
			pids[g.What] = append(pids[g.What], g.PID)
		}
	}
	for what, list := range pids {
		slices.Sort(list)
		pids[what] = slices.Compact(list)
	}
	for what, list := range pids {
		if what != sources[0].gap {
			pids[what] = slices.DeleteFunc(list, func(pid int) bool { _, ok := slices.BinarySearch(pids[sources[0].gap], pid); return ok })
		}
	}
	return pids
}

// unreadText says that something of processes could not be read, and names them if they are few.
func unreadText(what string, pids []int, processes int) string {
	const few = 3
	text := fmt.Sprintf("%d of %d processes", len(pids), max(processes, len(pids)))
	if len(pids) <= few {
		words := make([]string, len(pids))
		for i, pid := range pids {
			words[i] = strconv.Itoa(pid)
		}
		text += " (PID " + strings.Join(words, ", ") + ")"
	}
	if i := slices.IndexFunc(sources, func(l source) bool { return l.gap == what }); i >= 0 {
		what = sources[i].at
	}
	if what != "" {
		text = what + " of " + text
	}
	return text + " could not be read"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Reasons describes gaps in a few lines. It is nil without gaps.
func (s *Snapshot) Reasons(gaps []Gap) (why []string) {
	const few = 3
	unasked, others := 0, 0
	for _, g := range gaps {
		if g.PID != 0 {
			continue
		}
		if _, _, ns := ParseLink(g.What); ns {
			unasked++
		} else if others++; others <= few {
			why = append(why, g.String())
		}
	}
	if others > few {
		why = append(why, fmt.Sprintf("and %d more of the kind", others-few))
	}
	if unasked > 0 {
		why = append(why, "the owner of "+count(unasked, "namespace", "namespaces")+" could not be asked for")
	}
	pids := unreadPIDs(gaps)
	for _, what := range slices.SortedFunc(maps.Keys(pids), func(a, b string) int { return cmp.Or(-cmp.Compare(len(pids[a]), len(pids[b])), strings.Compare(a, b)) }) {
		if list := pids[what]; len(list) > 0 {
			why = append(why, unreadText(what, list, len(s.processes)))
		}
	}
	return why
}

// gapMounts begins the name of a gap about the mounts of a namespace.
const gapMounts = "mounts of "

// findBlindSpots finds out which processes a proc file system does not show.
func (p *procFS) findBlindSpots() {
	if why := p.hides(); why != nil {
		p.blind = append(p.blind, Gap{What: p.path, Err: why})
	}
	if ns, err := p.own(); err != nil {
		p.blind = append(p.blind, Gap{What: p.path, Err: fmt.Errorf("which PID namespace it is of is not known: %w", err)})
	} else if initial, _ := PID.InitialIno(); ns == initial {
		p.initial = true
	} else {
		p.blind = append(p.blind, Gap{What: p.path, Err: fmt.Errorf("it is of %s, which is not the initial PID namespace: processes outside of it are not to be seen", FormatLink(PID, ns))})
	}
}

// own returns the inode number of the caller's PID namespace.
func (p *procFS) own() (uint64, error) {
	var buf [64]byte
	n, err := p.dir.Readlink(sys.NewName("self/ns/pid"), buf[:])
	return parseIno(buf[:n]), err
}

// innermost reports whether the caller is in the PID namespace of p, and not in one below it: then
// it has one number there.
func (p *procFS) innermost() bool {
	buf := make([]byte, 8<<10)
	n, err := p.dir.ReadFile(sys.NewName("self/status"), buf)
	if err != nil {
		return true
	}
	return len(strings.Fields(procfile.Field(buf[:n], "NSpid"))) <= 1
}

// hides returns an error if the mount hides processes from the caller, see hidepid in proc(5).
// With noaccess only their directories are closed, and each is a gap.
func (p *procFS) hides() error {
	if _, err := p.dir.Stat(sys.NewName("1")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it is mounted with hidepid, processes of others are not to be seen: %w", fs.ErrPermission)
	}
	options, err := p.options()
	if err != nil {
		return fmt.Errorf("whether it hides processes is not known: %w", err)
	}
	mode, group := "", 0
	for option := range strings.SplitSeq(options, ",") {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "hidepid":
			mode = value
		case "gid":
			group, _ = strconv.Atoi(value)
		}
	}
	switch mode {
	case "2", "invisible":
		if p.inGroup(group) {
			return nil
		}
	case "4", "ptraceable":
	default:
		return nil
	}
	return fmt.Errorf("it is mounted with hidepid=%s, processes of others are not to be seen: %w", mode, fs.ErrPermission)
}

// inGroup reports whether the caller is in the group that hidepid=invisible exempts. The number is
// one of the initial user namespace.
func (p *procFS) inGroup(group int) bool {
	var buf [64]byte
	n, err := p.dir.Readlink(sys.NewName("self/ns/user"), buf[:])
	initial, _ := User.InitialIno()
	if err != nil || parseIno(buf[:n]) != initial {
		return false
	}
	groups, err := os.Getgroups()
	return os.Getegid() == group || err == nil && slices.Contains(groups, group)
}

// options returns the options of the file system, from the line of mountinfo of its mount.
func (p *procFS) options() (string, error) {
	id, err := sys.MountInfoID(int(p.dir))
	if err != nil {
		return "", err
	}
	file, err := p.dir.OpenFile(sys.NewName("self/mountinfo"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	prefix := []byte(strconv.FormatUint(id, 10) + " ")
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 16<<10), maxMountTable)
	for lines.Scan() {
		if line := lines.Bytes(); bytes.HasPrefix(line, prefix) {
			return string(line[bytes.LastIndexByte(line, ' ')+1:]), nil
		}
	}
	return "", cmp.Or(lines.Err(), errors.New("its mount is not in the caller's table"))
}

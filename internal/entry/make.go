package entry

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/inspect/task"
	"github.com/nstool/nstool/internal/passwd"
	"github.com/nstool/nstool/internal/sys"
	"github.com/nstool/nstool/pin"
)

// A making has the options for new namespaces.
type making struct {
	enter.New
	all, noInit, rootless     bool
	mapRoot, mapCurrent, auto bool
	users, groups             []string
	setgroups, pin            string
	procDir                   string
	implied                   map[inspect.Type]string // the flag that implies each type
}

// imply makes a namespace that another flag needs.
func (m *making) imply(t inspect.Type, flag string) {
	m.Types = m.Types.With(t)
	if m.implied == nil {
		m.implied = map[inspect.Type]string{}
	}
	m.implied[t] = flag
}

// finish decides what the flags leave open. It looks up who the caller is, and which users the
// caller may map, only if a user namespace is made.
func (o *Options) finish() error {
	m := &o.Make
	if m.all {
		m.Types = inspect.AllTypes
		for t := range o.Namespaces {
			if t != inspect.User {
				m.Types = m.Types.Without(t)
			}
		}
		o.MountProc = o.MountProc || m.Types.Has(inspect.PID) && m.Types.Has(inspect.Mnt)
	}
	if m.rootless && !m.mapCurrent && len(m.users) == 0 {
		m.mapRoot = true
	}
	for t := range o.Namespaces {
		if t != inspect.User && m.Types.Has(t) {
			flag, other := "--new-"+t.String(), "--"+t.String()
			if o.run {
				flag, other = "--"+t.String(), "--join"
			}
			if m.implied[t] != "" {
				flag = m.implied[t]
			}
			return usagef("%s makes a new %s namespace, and %s names one to join", flag, t, other)
		}
	}
	m.Init = m.Types.Has(inspect.PID) && !m.noInit
	if !m.Types.Has(inspect.User) {
		return nil
	}
	return m.maps()
}

// maps decides which users and groups exist in the new user namespace.
func (m *making) maps() (err error) {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if m.mapRoot && m.mapCurrent {
		return usagef("--map-root and --map-current exclude each other")
	}
	if m.auto && (len(m.users) > 0 || len(m.groups) > 0) {
		return usagef("--map-auto excludes --map-users and --map-groups")
	}
	nothing := !m.mapRoot && !m.mapCurrent && !m.auto && len(m.users)+len(m.groups) == 0
	if nothing {
		// The caller keeps their user and group, and root keeps all others too.
		if m.mapCurrent = uid != 0; !m.mapCurrent {
			m.users, m.groups = []string{"all"}, []string{"all"}
		}
	}
	if m.auto {
		m.users, m.groups = []string{"auto"}, []string{"auto"}
	}
	if m.UIDs, err = m.rangesOf("user", m.users, uid, "/etc/subuid", "/proc/self/uid_map"); err != nil {
		return err
	}
	if m.GIDs, err = m.rangesOf("group", m.groups, gid, "/etc/subgid", "/proc/self/gid_map"); err != nil {
		return err
	}
	// A caller without CAP_SETGID that maps only their own group must deny setgroups.
	m.DenySetgroups = m.setgroups == "deny" ||
		uid != 0 && m.setgroups == "" && len(m.GIDs) == 1 && m.GIDs[0].Count == 1 && m.GIDs[0].Outside == gid
	if m.setgroups == "allow" && uid != 0 && len(m.GIDs) == 1 && m.GIDs[0].Outside == gid {
		return usagef("the kernel denies setgroups to an ordinary user that maps only their own group")
	}
	return nil
}

// rangesOf returns the ranges for words of a flag. If the caller becomes root or keeps their ID,
// the caller has a range of its own among them.
func (m *making) rangesOf(what string, words []string, own uint32, subFile, mapFile string) (list []enter.Range, err error) {
	for _, word := range words {
		switch word {
		case "auto":
			given, err := subRanges(subFile, what)
			if err != nil {
				return nil, err
			}
			list = append(list, given...)
		case "all":
			all, err := allRanges(mapFile)
			if err != nil {
				return nil, err
			}
			list = append(list, all...)
		default:
			r, err := parseRange(word)
			if err != nil {
				return nil, fmt.Errorf("--map-%ss=%s: %w", what, word, err)
			}
			list = append(list, r)
		}
	}
	switch {
	case m.mapRoot:
		list = insert(list, enter.Range{Inside: 0, Outside: own, Count: 1})
	case m.mapCurrent:
		list = insert(list, enter.Range{Inside: own, Outside: own, Count: 1})
	}
	for i, a := range list {
		for _, b := range list[:i] {
			if overlap(a.Inside, a.Count, b.Inside, b.Count) || overlap(a.Outside, a.Count, b.Outside, b.Count) {
				return nil, usagef("the %ss %s and %s overlap", what, a, b)
			}
		}
	}
	return list, nil
}

func overlap(a, n, b, m uint32) bool {
	return uint64(a) < uint64(b)+uint64(m) && uint64(b) < uint64(a)+uint64(n)
}

// insert adds a range of one ID before the others. Those that would be at its place inside move up
// by one, and its ID outside is removed from them.
func insert(list []enter.Range, one enter.Range) []enter.Range {
	out := []enter.Range{one}
	for _, r := range list {
		for _, part := range without(r, one.Outside) {
			if one.Inside < part.Inside || uint64(one.Inside) >= uint64(part.Inside)+uint64(part.Count) {
				out = append(out, part)
				continue
			}
			before := one.Inside - part.Inside
			if before > 0 {
				out = append(out, enter.Range{Inside: part.Inside, Outside: part.Outside, Count: before})
			}
			if rest := part.Count - before; rest > 0 && one.Inside < 1<<32-2 {
				out = append(out, enter.Range{Inside: one.Inside + 1, Outside: part.Outside + before, Count: rest})
			}
		}
	}
	return out
}

// without returns the parts of a range except one ID outside.
func without(r enter.Range, outside uint32) (parts []enter.Range) {
	if outside < r.Outside || uint64(outside) >= uint64(r.Outside)+uint64(r.Count) {
		return []enter.Range{r}
	}
	before := outside - r.Outside
	if before > 0 {
		parts = append(parts, enter.Range{Inside: r.Inside, Outside: r.Outside, Count: before})
	}
	if rest := r.Count - before - 1; rest > 0 {
		parts = append(parts, enter.Range{Inside: r.Inside + before + 1, Outside: outside + 1, Count: rest})
	}
	return parts
}

// parseRange reads INSIDE:OUTSIDE:COUNT. The default of COUNT is 1.
func parseRange(word string) (r enter.Range, err error) {
	fields := strings.Split(word, ":")
	if len(fields) < 2 || len(fields) > 3 {
		return r, UsageError{fmt.Errorf("a range is written INSIDE:OUTSIDE:COUNT, 0:100000:65536 for one")}
	}
	r.Count = 1
	for i, p := range []*uint32{&r.Inside, &r.Outside, &r.Count}[:len(fields)] {
		n, err := strconv.ParseUint(fields[i], 10, 32)
		if err != nil {
			return r, UsageError{fmt.Errorf("%q is no number from 0 to %d", fields[i], uint32(1<<32-1))}
		}
		*p = uint32(n)
	}
	if r.Count == 0 {
		return r, UsageError{fmt.Errorf("it has nobody in it")}
	}
	return r, nil
}

// subRanges returns the ranges of the caller in subuid(5) or subgid(5).
func subRanges(file, what string) ([]enter.Range, error) {
	uid := strconv.Itoa(os.Geteuid())
	name := passwd.Names("/etc/passwd")(uint32(os.Geteuid()))
	text, err := sys.ReadRegular(file, maxSubIDs)
	if err != nil {
		return nil, fmt.Errorf("find out which %ss are yours to give: %w", what, err)
	}
	list, err := readSubRanges(bytes.NewReader(text), uid, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case len(list) == 0:
		return nil, fmt.Errorf("%s gives user %s no %ss", file, cmp.Or(name, uid), what)
	}
	return list, nil
}

// maxSubIDs limits the size of subuid(5), in bytes.
const maxSubIDs = 64 << 20

// maxRanges limits the ranges for the kernel: UID_GID_MAP_MAX_EXTENTS, less one for the caller and
// one for a range that it splits.
const maxRanges = 340 - 2

// readSubRanges reads the lines of a user, by number or name. The ranges follow each other inside,
// from 0 on. An ID that an earlier line has is left out.
func readSubRanges(r io.Reader, uid, name string) (list []enter.Range, err error) {
	inside := uint64(0)
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(list) < maxRanges {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != uid && (name == "" || fields[0] != name) {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 != nil || err2 != nil || count == 0 || first+count > 1<<32-1 || inside+count > 1<<32-1 {
			continue
		}
		one := enter.Range{Inside: uint32(inside), Outside: uint32(first), Count: uint32(count)}
		if slices.ContainsFunc(list, func(have enter.Range) bool { return overlap(have.Outside, have.Count, one.Outside, one.Count) }) {
			continue
		}
		list, inside = append(list, one), inside+count
	}
	return list, lines.Err()
}

// allRanges returns all IDs of the user namespace of the caller, with the same numbers.
func allRanges(file string) (list []enter.Range, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	ids, err := task.ParseIDMap(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, r := range ids {
		list = append(list, enter.Range{Inside: r.Inside, Outside: r.Inside, Count: r.Count})
	}
	return list, nil
}

// pinner returns the function that pins the new namespaces while their program still waits. A bad
// name is reported before.
func (o *Options) pinner(ctx context.Context) (func(pid int) error, error) {
	if err := pin.CheckName(o.Make.pin); err != nil {
		return nil, UsageError{err}
	}
	return func(pid int) error {
		var files []*os.File
		defer func() {
			for _, f := range files {
				f.Close()
			}
		}()
		for t := range o.Make.Types.All() {
			f, err := enter.OpenFile(fmt.Sprintf("/proc/%d/ns/%s", pid, t), t)
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		return pin.Add(ctx, o.Make.pin, files)
	}, nil
}

// seconds reads a number of seconds, with a fraction, or a duration such as 36h.
func seconds(arg string) (time.Duration, error) {
	if d, err := time.ParseDuration(arg); err == nil {
		return d, nil
	}
	d, err := time.ParseDuration(arg + "s")
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number of seconds nor a time such as 36h", arg)
	}
	return d, nil
}

// oneOf returns arg if it is one of the words.
func oneOf(arg string, words []string) (string, error) {
	if !slices.Contains(words, arg) {
		return "", fmt.Errorf("%q is none of %s", arg, strings.Join(words, ", "))
	}
	return arg, nil
}

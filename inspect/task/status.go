package task

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxStatus is the number of bytes to read of /proc/pid/status. A task can be in 65,536
// groups, and its capabilities follow after them.
const MaxStatus = 1 << 20

// errMissing means that /proc/pid/status lacks a field.
var errMissing = errors.New("missing")

// ParseStatus reads the text of /proc/pid/status, see proc_pid_status(5), into the fields of
// a [Task]. The text escapes newlines and backslashes in the name of the command, which the
// task chooses. If a needed field is missing, as for a zombie or on an older kernel, it
// returns an error.
func ParseStatus(text string, need ...string) (*Task, error) {
	t := &Task{Umask: -1, Seccomp: SeccompUnknown, Filters: -1}
	missing := slices.Clone(need)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		if err := t.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if i := slices.Index(missing, key); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(missing, ", "), errMissing)
	}
	return t, nil
}

func (t *Task) set(key, value string) (err error) {
	if key == "Name" {
		t.Comm = unescapeName(strings.TrimPrefix(value, "\t"))
		return nil
	}
	value = strings.TrimSpace(value)
	capabilities := func(to *Caps) {
		var n uint64
		n, err = strconv.ParseUint(value, 16, 64)
		*to = Caps(n)
	}
	switch key {
	case "Umask":
		var n uint64
		n, err = strconv.ParseUint(value, 8, 31)
		t.Umask = int(n)
	case "State":
		if value == "" {
			return errors.New("nothing")
		}
		t.State = value[0]
	case "PPid":
		t.PPID, err = strconv.Atoi(value)
	case "TracerPid":
		t.Tracer, err = strconv.Atoi(value)
	case "Threads":
		t.Threads, err = strconv.Atoi(value)
	case "NSpid":
		t.NSpid, err = parseInts(value)
	case "NStgid":
		t.NStgid, err = parseInts(value)
	case "Uid":
		t.UID, err = parseIDs(value)
	case "Gid":
		t.GID, err = parseIDs(value)
	case "Groups":
		t.Groups, err = parseGroups(value)
	case "CapInh":
		capabilities(&t.Caps.Inheritable)
	case "CapPrm":
		capabilities(&t.Caps.Permitted)
	case "CapEff":
		capabilities(&t.Caps.Effective)
	case "CapBnd":
		capabilities(&t.Caps.Bounding)
	case "CapAmb":
		capabilities(&t.Caps.Ambient)
	case "NoNewPrivs":
		t.NoNewPrivs = value != "0"
	case "Seccomp":
		var n int
		n, err = strconv.Atoi(value)
		t.Seccomp = Seccomp(n)
	case "Seccomp_filters":
		t.Filters, err = strconv.Atoi(value)
	}
	return err
}

// unescapeName undoes the escapes of the kernel: "\n" for a newline and "\\" for a backslash.
func unescapeName(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(s)
}

func parseInts(value string) ([]int, error) {
	var list []int
	for f := range strings.FieldsSeq(value) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func parseGroups(value string) ([]uint32, error) {
	var list []uint32
	for f := range strings.FieldsSeq(value) {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, err
		}
		list = append(list, uint32(n))
	}
	return list, nil
}

func parseIDs(value string) (IDs, error) {
	list, err := parseGroups(value)
	if err != nil {
		return IDs{}, err
	}
	if len(list) != 4 {
		return IDs{}, fmt.Errorf("%q has not four numbers", value)
	}
	return IDs{list[0], list[1], list[2], list[3]}, nil
}

package nstest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// A Host is a made-up host with processes in namespaces.
type Host struct {
	// Proc is the directory that looks like /proc; the host's file system is
	// at 1/root in it.
	Proc string
	// Root is that.
	Root string
	// PIDs are the processes, in order.
	PIDs []int
	// Inodes are the numbers of their namespaces, at the index of the type in
	// package inspect.
	Inodes map[int]*[9]uint64
	// Want is what the file "want" holds: what there is to see.
	Want string
}

// typeNames are the types of namespace, at their index in package inspect.
var typeNames = [9]string{"", "cgroup", "ipc", "net", "mnt", "pid", "time", "user", "uts"}

// MakeHost makes a host from a txtar archive. In the text ID(word) stands for
// an ID of 64 hexadecimal digits, see [ContainerID]. The file "processes" has a
// line for each process:
//
//	PID PPID NAMESPACES CGROUP ARGV...
//
// NAMESPACES is "host", or a word for a set of namespaces of its own, with
// exceptions: "web,net=db,pid=host". CGROUP may hold several lines of
// /proc/pid/cgroup, separated by "|"; a path alone is one of cgroup v2. In
// ARGV "|" stands for a blank. The start time of a process is its PID, and its
// program is the first word of ARGV, in /usr/bin if that is no path. It has no
// descriptors, and sees no mounts of namespaces, unless its files say so.
// Everything is root's, but for what the file "proc/owners" says is another
// user's, a line each: "process PID UID", "group PATH UID" and "file PATH UID",
// where a group and a file stand for what is below them too. What is
// below root/ is the host's file system, what is below proc/ goes into /proc,
// by the rules of [Proc].
func MakeHost(t testing.TB, text string) *Host {
	t.Helper()
	text = regexp.MustCompile(`ID\((\w+)\)`).ReplaceAllStringFunc(text, func(s string) string { return ContainerID(s[3 : len(s)-1]) })
	h := &Host{Inodes: make(map[int]*[9]uint64)}
	files := []txtar.File{{Name: "1/root/"}}
	archive := txtar.Parse([]byte(text)).Files
	given := make(map[string]bool)
	for _, f := range archive {
		given[strings.TrimPrefix(f.Name, "proc/")] = true
	}
	for _, f := range archive {
		switch name, inProc := strings.CutPrefix(f.Name, "proc/"); {
		case f.Name == "want":
			h.Want = string(f.Data)
		case f.Name == "processes":
			for line := range strings.Lines(string(f.Data)) {
				if strings.TrimSpace(line) != "" {
					files = append(files, h.process(t, line, given)...)
				}
			}
		case inProc:
			files = append(files, txtar.File{Name: name, Data: f.Data})
		default:
			files = append(files, txtar.File{Name: "1/" + f.Name, Data: f.Data})
		}
	}
	h.Proc = Proc(t, string(txtar.Format(&txtar.Archive{Files: files})))
	h.Root = filepath.Join(h.Proc, "1/root")
	return h
}

// process reads a line of "processes" and returns the files of that process, but
// for some that are given.
func (h *Host) process(t testing.TB, line string, given map[string]bool) []txtar.File {
	t.Helper()
	fields := strings.Fields(line)
	if len(fields) < 5 {
		t.Fatalf("processes: %q has too few words", line)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	set, exceptions, _ := strings.Cut(fields[2], ",")
	inodes := new([9]uint64)
	for i := 1; i < len(inodes); i++ {
		inodes[i] = inodeOf(set, i)
	}
	for exception := range strings.SplitSeq(exceptions, ",") {
		if name, set, ok := strings.Cut(exception, "="); ok {
			i := slices.Index(typeNames[:], name)
			inodes[i] = inodeOf(set, i)
		}
	}
	h.PIDs, h.Inodes[pid] = append(h.PIDs, pid), inodes
	cgroup := fields[3]
	if strings.HasPrefix(cgroup, "/") {
		cgroup = "0::" + cgroup
	}
	links := ""
	for i, name := range typeNames[1:] {
		links += fmt.Sprintf("%s -> %s:[%d]\n", name, name, inodes[i+1])
	}
	argv := fields[4:]
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "|", " ")
	}
	program := argv[0]
	switch {
	case strings.HasPrefix(program, "[lxc monitor] "): // its title
		program = "/usr/bin/lxc-start"
	case !filepath.IsAbs(program):
		program = "/usr/bin/" + program
	}
	files := []txtar.File{
		{Name: fields[0] + "/exe.links", Data: []byte("exe -> " + program + "\n")},
		{Name: fields[0] + "/fd/"},
		{Name: fields[0] + "/mountinfo", Data: []byte("1 1 0:1 / / rw - rootfs rootfs rw\n")},
		{Name: fields[0] + "/cgroup", Data: []byte(strings.ReplaceAll(cgroup, "|", "\n") + "\n")},
		{Name: fields[0] + "/stat", Data: fmt.Appendf(nil, "%d (%s) S %s %s%d 0\n", pid, filepath.Base(argv[0]), fields[1], strings.Repeat("0 ", 17), pid)},
		{Name: fields[0] + "/cmdline", Data: []byte(strings.Join(argv, "\n") + "\n")},
		{Name: fields[0] + "/ns/links", Data: []byte(links)},
		{Name: fields[0] + "/task/" + fields[0] + "/"},
	}
	return files
}

// inodeOf makes up the inode number of a namespace.
func inodeOf(set string, i int) uint64 {
	sum := sha256.Sum256([]byte(set))
	return 0xF0000000 + uint64(sum[0])<<16 + uint64(sum[1])<<8 + uint64(i)
}

// ContainerID returns the ID that stands for word in the text of [MakeHost].
func ContainerID(word string) string {
	sum := sha256.Sum256([]byte(word))
	return hex.EncodeToString(sum[:])
}

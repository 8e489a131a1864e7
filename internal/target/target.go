// Package target reads the words that name a process, a namespace, a container
// or a pin: the one grammar of every command, described under TARGETS in
// nstool(1).
//
// [Parse] is pure and says what a word can mean. Who can look says what it
// does mean: [Ref.Kind] Word is a name that only a scan can place.
package target

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/pin"
)

// A Kind says what sort of thing a [Ref] names.
type Kind uint8

// The kinds of thing that a TARGET can name.
const (
	// Process is a process, or with TID a thread of it.
	Process Kind = iota + 1
	// Namespace is a namespace by inode number, with Type if it was given.
	Namespace
	// File is a namespace by a file that leads to it.
	File
	// Container is a container by name or ID prefix, with Engine if it was given.
	Container
	// Pod is a Kubernetes pod, with Name the container in it if it was given.
	Pod
	// Pin is a set of namespaces pinned by nstool-pin(1), with Type if it was given.
	Pin
	// Netns is a network namespace with a name of ip-netns(8).
	Netns
	// NSID is a namespace by its 64-bit identifier.
	NSID
	// Word is a bare word. It names a container, until more is known.
	Word
)

// A Ref is a TARGET as it was written.
type Ref struct {
	Kind Kind
	Text string // the whole word, for messages

	PID int // Process; 0 is the caller ("self")
	TID int // Process: a thread of it, or 0
	// PidfdIno is the inode number of a pidfd of the process (Linux 6.9), or
	// 0: "1234:5678" is process 1234 only if it has it. See getino(1).
	PidfdIno uint64

	Type inspect.Type // Namespace, Pin: the type, or 0
	Ino  uint64       // Namespace: its inode number. NSID: the identifier
	Path string       // File

	Engine string // Container
	Name   string // Container, Pin, Netns, Word; Pod: the container, or ""
	PodNS  string // Pod: the Kubernetes namespace
	Pod    string // Pod
	Shared bool   // Pod: what its containers share is meant, not one of them
}

// MaxPID is the largest process ID that Linux gives (PID_MAX_LIMIT, proc(5)).
// A larger number is an inode: those of namespaces start at 4026531832
// (0xF0000000 less the fixed ones, see PROC_DYNAMIC_FIRST in fs/proc/generic.c).
const MaxPID = 1 << 22

// engines are the prefixes that name an engine.
var engines = []string{"docker", "podman", "containerd", "crio", "lxc", "incus", "lxd", "nspawn", "buildkit", "runc", "crun"}

// isEngine reports whether a prefix names an engine, or that of a user:
// "podman@ann".
func isEngine(prefix string) bool {
	engine, user, at := strings.Cut(prefix, "@")
	return slices.Contains(engines, engine) && (!at || user != "")
}

// isAddress reports whether a word is written as an IPv6 or a link-layer address is:
// with colons, and no prefix of a TARGET.
func isAddress(word string) bool {
	word, _, _ = strings.Cut(word, "%") // the zone
	return strings.Count(word, ":") > 1 && strings.Trim(word, "0123456789abcdefABCDEF:.") == ""
}

// Parse reads one TARGET. It looks nothing up.
func Parse(word string) (Ref, error) {
	ref := Ref{Text: word}
	bad := func(why string) (Ref, error) { return Ref{}, fmt.Errorf("bad target %q: %s", word, why) }
	switch {
	case word == "":
		return bad("it is empty")
	case word == "self":
		ref.Kind = Process
		return ref, nil
	case strings.ContainsRune(word, 0):
		return bad("it has a zero byte")
	case word[0] >= '0' && word[0] <= '9' && isProcess(word):
		return parseProcess(ref, word)
	case word[0] == '/' || word == "." || word == ".." || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../"):
		ref.Kind, ref.Path = File, word
		return ref, nil
	}
	if t, ino, ok := inspect.ParseLink(word); ok {
		ref.Kind, ref.Type, ref.Ino = Namespace, t, ino
		return ref, nil
	}
	prefix, rest, found := strings.Cut(word, ":")
	if !found || isAddress(word) {
		ref.Kind, ref.Name = Word, word
		return ref, nil
	}
	if _, err := inspect.ParseType(prefix); err == nil && prefix != "pid" {
		return bad(fmt.Sprintf("a namespace is written %s:[INODE], %s:[4026531840] for one", prefix, prefix))
	}
	if rest == "" {
		return bad("nothing stands behind the colon")
	}
	switch prefix {
	case "pid":
		if strings.HasPrefix(rest, "[") {
			return bad("a namespace is written pid:[INODE], pid:[4026531836] for one")
		}
		return parseProcess(ref, rest)
	case "file":
		ref.Kind, ref.Path = File, rest
	case "container":
		ref.Kind, ref.Name = Container, rest
	case "pod":
		parts := strings.Split(rest, "/")
		if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" || parts[len(parts)-1] == "" {
			return bad("a pod is written pod:NAMESPACE/POD[/CONTAINER]")
		}
		ref.Kind, ref.PodNS, ref.Pod = Pod, parts[0], parts[1]
		if len(parts) == 3 {
			ref.Name = parts[2]
		}
	case "pin":
		name, typ, typed := strings.Cut(rest, "/")
		if err := pin.CheckName(name); err != nil {
			return bad(err.Error())
		}
		ref.Kind, ref.Name = Pin, name
		if typed {
			t, err := inspect.ParseType(typ)
			if err != nil {
				return bad(err.Error())
			}
			ref.Type = t
		}
	case "netns":
		if strings.Contains(rest, "/") {
			return bad("a name of ip-netns(8) has no slash; write the path as it is")
		}
		if rest == "." || rest == ".." {
			return bad("that is a directory, and no name of ip-netns(8)")
		}
		ref.Kind, ref.Name = Netns, rest
	case "nsid":
		id, err := parseNumber(rest)
		if err != nil {
			return bad("an nsid is a whole number")
		}
		ref.Kind, ref.Ino = NSID, id
	default:
		if isEngine(prefix) {
			ref.Kind, ref.Engine, ref.Name = Container, prefix, rest
			return ref, nil
		}
		return bad(fmt.Sprintf("no prefix %q; there are: pid, file, container, %s, pod, pin, netns, nsid", prefix, strings.Join(engines, ", ")))
	}
	return ref, nil
}

// ParsePod reads a pod as the flag --pod has it, NAMESPACE/POD[/CONTAINER]. Of a
// whole pod it is what its containers share.
func ParsePod(word string) (Ref, error) {
	ref, err := Parse("pod:" + strings.TrimPrefix(word, "pod:"))
	if err != nil {
		return Ref{}, fmt.Errorf("bad pod %q: it is written NAMESPACE/POD[/CONTAINER]", word)
	}
	ref.Shared = ref.Name == ""
	return ref, nil
}

// isProcess reports whether a word that starts with a digit is a number, a
// thread or a process with its pidfd, and not the name of a container: an ID
// such as 3f4e5d6c7b8a starts with a digit too.
func isProcess(word string) bool {
	for _, c := range word {
		if (c < '0' || c > '9') && c != '/' && c != ':' {
			return false
		}
	}
	return true
}

// parseProcess reads PID, PID/TID or PID:PIDFDINODE, and a bare inode number.
func parseProcess(ref Ref, word string) (Ref, error) {
	bad := func(why string) (Ref, error) { return Ref{}, fmt.Errorf("bad target %q: %s", ref.Text, why) }
	ref.Kind = Process
	pid, tid, thread := strings.Cut(word, "/")
	pid, ino, held := strings.Cut(pid, ":")
	n, err := parseNumber(pid)
	if err != nil {
		return bad("a process ID is a whole number from 1 to " + strconv.Itoa(MaxPID))
	}
	if n > MaxPID && !thread && !held && ref.Text == word {
		ref.Kind, ref.Ino = Namespace, n
		return ref, nil
	}
	if n == 0 || n > MaxPID {
		return bad("a process ID is a whole number from 1 to " + strconv.Itoa(MaxPID))
	}
	ref.PID = int(n)
	if held {
		if ref.PidfdIno, err = parseNumber(ino); err != nil || ref.PidfdIno == 0 {
			return bad("behind the colon stands the inode number of a pidfd, as getino(1) prints it")
		}
	}
	if thread {
		n, err := parseNumber(tid)
		if err != nil || n == 0 || n > MaxPID {
			return bad("a thread ID is a whole number from 1 to " + strconv.Itoa(MaxPID))
		}
		ref.TID = int(n)
	}
	return ref, nil
}

// parseNumber reads a decimal number as the kernel writes it: digits alone, no
// sign, no blank, no leading zero.
func parseNumber(s string) (uint64, error) {
	if s == "" || (s[0] == '0' && s != "0") || s[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

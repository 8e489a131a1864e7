// Package target parses the words by which users name a process, a namespace, a
// container or a pin: the grammar of every command, see TARGETS in nstool(1).
//
// [Parse] looks nothing up. [Find] finds in a snapshot what a word names, and
// [Found.Open] opens the namespaces:
//
//	ref, err := target.Parse("docker:web")
//	if err != nil {
//		return err
//	}
//	found, err := target.Find(snap, container.Lookup(ctx, snap), ref)
//	if err != nil {
//		return err
//	}
//	files, err := found.Open(ctx, snap)
package target

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nstool/nstool/inspect"
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

// maxPID is the largest process ID that Linux gives (PID_MAX_LIMIT, proc(5)).
// A larger number is an inode: those of namespaces start at 4026531832
// (0xF0000000 less the fixed ones, see PROC_DYNAMIC_FIRST in fs/proc/generic.c).
const maxPID = 1 << 22

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
		if err := parseProcess(&ref, word); err != nil {
			return bad(err.Error())
		}
		return ref, nil
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
	if t, err := inspect.ParseType(prefix); err == nil && (t != inspect.PID || strings.HasPrefix(rest, "[")) {
		return bad(fmt.Sprintf("a namespace is written %s:[INODE], %s:[4026531840] for one", prefix, prefix))
	}
	if rest == "" {
		return bad("nothing stands behind the colon")
	}
	p, ok := prefixOf(prefix)
	if !ok {
		var words []string
		for _, p := range Prefixes {
			words = append(words, p.Word)
		}
		return bad(fmt.Sprintf("no prefix %q; there are: %s", prefix, strings.Join(words, ", ")))
	}
	ref.Kind = p.kind
	if err := p.parse(&ref, rest); err != nil {
		return bad(err.Error())
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

// ParsePin reads a pin as NAME or NAME/TYPE, with or without "pin:".
func ParsePin(word string) (Ref, error) {
	ref := Ref{Kind: Pin, Text: word}
	err := parsePin(&ref, strings.TrimPrefix(word, "pin:"))
	return ref, err
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

// parseProcess parses PID, PID/TID or PID:PIDFDINODE, and an inode number that is a
// whole TARGET.
func parseProcess(ref *Ref, word string) error {
	pid, tid, thread := strings.Cut(word, "/")
	pid, ino, held := strings.Cut(pid, ":")
	n, err := parseNumber(pid)
	if err == nil && n > maxPID && !thread && !held && ref.Text == word {
		ref.Kind, ref.Ino = Namespace, n
		return nil
	}
	ref.Kind, ref.PID = Process, int(n)
	if err != nil || n == 0 || n > maxPID {
		return fmt.Errorf("a process ID is a whole number from 1 to %d", maxPID)
	}
	if held {
		if ref.PidfdIno, err = parseNumber(ino); err != nil || ref.PidfdIno == 0 {
			return errors.New("behind the colon stands the inode number of a pidfd, as getino(1) prints it")
		}
	}
	if thread {
		n, err := parseNumber(tid)
		if err != nil || n == 0 || n > maxPID {
			return fmt.Errorf("a thread ID is a whole number from 1 to %d", maxPID)
		}
		ref.TID = int(n)
	}
	return nil
}

// parseNumber reads a decimal number as the kernel writes it: digits alone, no
// sign, no blank, no leading zero.
func parseNumber(s string) (uint64, error) {
	if s == "" || (s[0] == '0' && s != "0") || s[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

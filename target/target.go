// Package target parses words that name a process, a namespace, a container or a pin. It is
// the grammar of every command; see TARGETS in nstool(1).
//
// [Parse] reads nothing but the word. [Find] finds the target in a snapshot, and [Found.Open]
// opens its namespaces:
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

// A Kind is the kind of thing that a [Ref] names.
type Kind uint8

// The kinds of thing that a TARGET can name.
const (
	// Process is a process, or, with a TID, a thread.
	Process Kind = iota + 1
	// Namespace is a namespace by inode number, with Type if it was given.
	Namespace
	// File is a namespace by a file that leads to it.
	File
	// Container is a container by its name or the beginning of its ID, with Engine if given.
	Container
	// Pod is a Kubernetes pod. Name is the container in it, if given.
	Pod
	// Pin is a set of namespaces that nstool-pin(1) keeps, or, with Type, one of them.
	Pin
	// Netns is a network namespace with a name of ip-netns(8).
	Netns
	// NSID is a namespace by its 64-bit identifier.
	NSID
	// Word is a word without a prefix. It names a container, unless a command knows more.
	Word
)

// A Ref is a parsed TARGET.
type Ref struct {
	Kind Kind
	Text string // the whole word, for messages

	PID int // Process; 0 is the caller ("self")
	TID int // Process: a thread of it, or 0
	// PidfdIno is the inode number of a pidfd of the process (Linux 6.9), or 0. See
	// getino(1). "1234:5678" is process 1234 only if its pidfd has the number 5678.
	PidfdIno uint64

	Type inspect.Type // Namespace, Pin: the type, or 0
	Ino  uint64       // Namespace: its inode number. NSID: the identifier
	Path string       // File

	Engine string // Container
	Name   string // Container, Pin, Netns, Word; Pod: the container, or ""
	PodNS  string // Pod: the Kubernetes namespace
	Pod    string // Pod
	Shared bool   // Pod: what its containers share, not one of them
}

// maxPID is the largest process ID that Linux gives (PID_MAX_LIMIT, proc(5)).
// A larger number is an inode: those of namespaces start at 4026531832
// (0xF0000000 less the fixed ones, see PROC_DYNAMIC_FIRST in fs/proc/generic.c).
const maxPID = 1 << 22

// isAddress reports whether a word looks like an IPv6 or a link-layer address.
func isAddress(word string) bool {
	word, _, _ = strings.Cut(word, "%") // the zone
	return strings.Count(word, ":") > 1 && strings.Trim(word, "0123456789abcdefABCDEF:.") == ""
}

// Parse parses a TARGET. It reads nothing but the word.
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
		return bad("nothing follows the colon")
	}
	p, ok := prefixOf(prefix)
	if !ok {
		var words []string
		for _, p := range Prefixes() {
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

// ParsePod parses a pod as NAMESPACE/POD[/CONTAINER]. Without a container it stands for what
// the containers of the pod share.
func ParsePod(word string) (Ref, error) {
	ref, err := Parse("pod:" + strings.TrimPrefix(word, "pod:"))
	if err != nil {
		return Ref{}, fmt.Errorf("bad pod %q: it is written NAMESPACE/POD[/CONTAINER]", word)
	}
	ref.Shared = ref.Name == ""
	return ref, nil
}

// ParsePin parses a pin as NAME or NAME/TYPE, with or without "pin:".
func ParsePin(word string) (Ref, error) {
	ref := Ref{Kind: Pin, Text: word}
	err := parsePin(&ref, strings.TrimPrefix(word, "pin:"))
	return ref, err
}

// isProcess reports whether a word that begins with a digit is of a process, a thread or an
// inode, and not the ID of a container, such as 3f4e5d6c7b8a.
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
			return errors.New("the number after the colon is the inode number of a pidfd, as getino(1) prints it")
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

// parseNumber parses a decimal number without a sign, blanks or leading zeros, as the kernel
// writes it.
func parseNumber(s string) (uint64, error) {
	if s == "" || (s[0] == '0' && s != "0") || s[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

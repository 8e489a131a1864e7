package target

import (
	"fmt"
	"strings"

	"github.com/nstool/nstool/inspect"
)

// A Path is a file of a target or of the caller, as in nstool-cp(1).
type Path struct {
	Local bool // it is of the caller
	Ref   Ref
	Path  string
}

// ParsePath reads TARGET:PATH, or the path of a file of the caller. A word without a colon is
// of the caller, and so is a word that begins with a slash or a dot, such as ./a:b.
//
// The path begins after the colon that ends the TARGET, which may have colons itself:
// "pod:shop/cart:/etc/hosts", "1234:5678:/etc/hosts". A relative path also begins at the root
// directory of the target.
func ParsePath(word string) (Path, error) {
	bad := func(why string) (Path, error) { return Path{}, fmt.Errorf("bad path %q: %s", word, why) }
	switch {
	case word == "":
		return bad("it is empty")
	case strings.ContainsRune(word, 0):
		return bad("it has a zero byte")
	case word[0] == '/' || word[0] == '.' || word == "-" || !strings.Contains(word, ":"):
		return Path{Local: true, Path: word}, nil
	}
	name, path, found := cutTarget(word)
	if !found || path == "" {
		return bad("no path follows the target; " + name + ":/ is its root directory")
	}
	ref, err := Parse(name)
	if err != nil {
		return Path{}, err
	}
	return Path{Ref: ref, Path: path}, nil
}

// cutTarget cuts a word after the TARGET that it begins with.
func cutTarget(word string) (name, path string, found bool) {
	// In a chain, "docker:kind > shop/cart/app:/etc", the last container ends it.
	chain, _, _ := strings.Cut(word, ":/")
	if i := strings.LastIndex(chain, " > "); i >= 0 {
		i += len(" > ")
		name, path, found := cutTarget(word[i:])
		return word[:i] + name, path, found
	}
	prefix, rest, _ := strings.Cut(word, ":")
	_, isPrefix := prefixOf(prefix)
	switch {
	case prefix == "file":
		// It is a path, up to the next colon.
	case strings.HasPrefix(rest, "/"):
		return prefix, rest, true // a container may be called "docker"; no name begins with a slash
	case isPrefix:
	case isType(prefix) && strings.HasPrefix(rest, "["):
	case strings.Trim(prefix, "0123456789") == "" && prefix != "":
		// PID:PIDFDINODE:PATH
		if ino, path, ok := strings.Cut(rest, ":"); ok && ino != "" && strings.Trim(ino, "0123456789/") == "" {
			return prefix + ":" + ino, path, true
		}
		return prefix, rest, true
	default:
		return prefix, rest, true
	}
	middle, path, found := strings.Cut(rest, ":")
	// "pid:1234:5678:/path", as above.
	if prefix == "pid" && found {
		if ino, more, ok := strings.Cut(path, ":"); ok && ino != "" && strings.Trim(ino, "0123456789/") == "" {
			return prefix + ":" + middle + ":" + ino, more, true
		}
	}
	return prefix + ":" + middle, path, found
}

func isType(s string) bool {
	_, err := inspect.ParseType(s)
	return err == nil
}

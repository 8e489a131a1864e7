package entry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/nstool/nstool/enter"
	"github.com/nstool/nstool/inspect"
	"github.com/nstool/nstool/pin"
	"github.com/nstool/nstool/target"
)

// pinEarly runs the plain forms of `nstool pin add` and `nstool pin rm`, which scripts call
// often: a process as target, and namespaces without a TARGET of their own. It reports whether
// everything was done. If not, main can run the command again, and explains what is wrong.
func pinEarly(words []string) bool {
	if len(words) < 2 {
		return false
	}
	switch words[0] {
	case "add":
		return addEarly(words[1:])
	case "rm":
		return removeEarly(words[1:])
	}
	return false
}

func addEarly(words []string) bool {
	o, name := NewOptions(), ""
	var opts []pin.Option
	for len(words) > 0 {
		word := words[0]
		switch {
		case word == "--netns":
			opts = append(opts, pin.InNetns())
		case word == "--replace":
			opts = append(opts, pin.Replace())
		case strings.HasPrefix(word, "--") && o.pinFlag(word[2:]), len(word) > 1 && word[0] == '-' && strings.Trim(word[1:], "ptamuinUCT") == "":
			flags, rest, err := o.read(words)
			if err != nil || o.set(flags) != nil {
				return false
			}
			words = rest
			continue
		case name == "" && pin.CheckName(word) == nil:
			name = word
		default:
			return false
		}
		words = words[1:]
	}
	ref, err := target.Parse(o.Target)
	if name == "" || err != nil || ref.Kind != target.Process {
		return false
	}
	var types inspect.Types
	for t, from := range o.Namespaces {
		if from != "" {
			return false
		}
		types = types.With(t)
	}
	wanted := types
	if o.All || types == 0 {
		wanted = inspect.AllTypes
	}
	set, err := OpenTypes(context.Background(), ref, wanted)
	if err != nil {
		return false
	}
	files, err := Pinnable(ref.Text, set, types, o.All)
	if err != nil {
		return false
	}
	return pin.Add(context.Background(), name, files, opts...) == nil
}

// pinFlag reports whether a long flag is of a target or of a type.
func (o *Options) pinFlag(word string) bool {
	f := o.Named(word)
	return f != nil && (f.Name == "target" || f.Name == "all" || f.typ != 0 && !f.make)
}

func removeEarly(words []string) bool {
	if len(words) != 1 { // several are reported one by one
		return false
	}
	name, types, err := ParsePinned(words[0])
	return err == nil && pin.Remove(context.Background(), name, types...) == nil
}

// ParsePinned reads an argument of `nstool pin rm`: NAME for a set, or NAME/TYPE for one
// namespace of it.
func ParsePinned(word string) (name string, types []inspect.Type, err error) {
	ref, err := target.ParsePin(word)
	switch {
	case err != nil && strings.HasPrefix(word, "/"):
		return "", nil, UsageError{fmt.Errorf("%s is a path: --path %[1]s removes the pin on a file", word)}
	case err != nil:
		return "", nil, UsageError{err}
	case ref.Type != 0:
		types = append(types, ref.Type)
	}
	return ref.Name, types, nil
}

// Pinnable returns the namespaces of a target that are to be pinned: those of the given types, or by
// default all that the caller is not in. It closes the others, and all if there is an error.
func Pinnable(text string, set map[inspect.Type]*os.File, types inspect.Types, all bool) (files []*os.File, err error) {
	all = all || types == 0
	for t := range inspect.AllTypes.All() {
		f := set[t]
		switch {
		case f == nil && !all && types.Has(t):
			err = fmt.Errorf("%s has no %s namespace", text, t)
		case f == nil:
		case all && IsOwn(t, f) || !all && !types.Has(t):
			f.Close()
		default:
			files = append(files, f)
		}
	}
	if err == nil && len(files) == 0 {
		err = ErrAllShared
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	return files, nil
}

// ErrAllShared means that the caller is in all namespaces of a target.
var ErrAllShared = errors.New("it has no namespaces but the caller's own")

// IsOwn reports whether the caller is in the namespace. Its own mount namespace cannot be pinned.
func IsOwn(t inspect.Type, f *os.File) bool {
	own, err := os.Stat("/proc/self/ns/" + t.String())
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(own, info)
}

// forChildren opens namespaces of a process or thread, and checks that it is the same one
// afterwards. Of PID and time namespaces it opens those of future children. A type that the
// kernel lacks is left out.
func forChildren(t *enter.Target, types inspect.Types) (set map[inspect.Type]*os.File, err error) {
	set = make(map[inspect.Type]*os.File)
	defer func() {
		if err != nil {
			CloseFiles(set)
			set = nil
		}
	}()
	for typ := range types.All() {
		f, err := t.ForChildren(typ)
		switch {
		case errors.Is(err, fs.ErrNotExist) && typ == inspect.PID:
			return set, fmt.Errorf("nothing has been started in the new PID namespace of %s yet", t)
		case errors.Is(err, errors.ErrUnsupported):
			continue
		case err != nil:
			return set, err
		}
		set[typ] = f
	}
	return set, t.Alive()
}

package entry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// A WordError is a mistake in the words of the command, and what is written
// instead.
type WordError struct {
	Reason string
	Advice string // "" says nothing more than the help does
}

func (e *WordError) Error() string { return e.Reason }

// Plain returns the words behind "enter" or "run" in their plainest form: each flag
// by its long name, with its argument behind an equals sign, then "--" and the
// program. What can be taken for something else than is meant is a [*WordError].
//
// Where no flag says what to enter, the first word that is no flag is the TARGET.
func (o *Options) Plain(words []string) (plain []string, err error) {
	target, from := "", false // the words that have named it; and that a namespace has a place of its own
	for len(words) > 0 {
		word := words[0]
		if word == "--" {
			words = words[1:]
			break
		}
		if len(word) < 2 || word[0] != '-' {
			if o.run || target != "" || from || word == "" {
				break
			}
			target, words = word, words[1:]
			plain = append(plain, "--target="+word)
			continue
		}
		var flags []written
		if flags, words, err = o.read(words); err != nil {
			return nil, err
		}
		for _, f := range flags {
			switch {
			case f.isTarget() && target != "":
				return nil, f.secondTo(target)
			case f.isTarget():
				target = f.written + " " + strings.TrimPrefix(f.arg, "=")
			case f.typ != 0 && f.arg != "":
				from = true
			}
			plain = append(plain, "--"+f.Name+f.arg)
		}
	}
	return append(append(plain, "--"), words...), nil
}

// read reads the flags in the first word, with their arguments, and returns the
// words that are left.
func (o *Options) read(words []string) (flags []written, rest []string, err error) {
	word, rest := words[0], words[1:]
	if advice := o.habit(word); advice != "" {
		return nil, nil, &WordError{"unknown flag: " + word, advice}
	}
	if strings.HasPrefix(word, "--") {
		flags, err = o.long(word)
	} else {
		flags, err = o.letters(word)
	}
	if err != nil {
		return nil, nil, err
	}
	switch last := &flags[len(flags)-1]; {
	case last.arg != "" || last.Arg == "" || last.Optional && len(rest) == 0:
	case last.Optional:
		if advice := last.apart(rest[0]); advice != "" {
			return nil, nil, &WordError{last.written + " " + rest[0] + ": the argument stands behind an equals sign", advice}
		}
	case len(rest) == 0:
		return nil, nil, &WordError{Reason: "flag needs an argument: " + last.written}
	case last.isTarget() && strings.HasPrefix(rest[0], "-"):
		return nil, nil, &WordError{last.written + " takes a TARGET, and " + rest[0] + " is a flag", last.pidAdvice()}
	default:
		last.arg, rest = "="+rest[0], rest[1:]
	}
	return flags, rest, nil
}

// set carries out flags.
func (o *Options) set(flags []written) error {
	for _, f := range flags {
		arg := strings.TrimPrefix(f.arg, "=")
		if f.arg != "" && (f.Arg == "" || arg == "") {
			return errFlag
		}
		if err := o.Set(f.Flag, arg); err != nil {
			return err
		}
	}
	return nil
}

// errFlag says that an argument is none; the other parser has the words for it.
var errFlag = errors.New("no such argument")

// habit says what is written instead of a word of docker, podman or kubectl, which
// would be taken for flags of ours.
func (o *Options) habit(word string) string {
	switch word {
	case "-it", "-ti":
		if !o.run {
			return "leave it out: a terminal comes by itself; -c NAME is a container, -p TARGET anything else"
		}
		return "leave it out: a terminal comes by itself"
	case "-d", "--detach":
		return "what nstool runs ends with it: put & behind the command"
	case "--rm":
		return "leave it out: nothing is left behind"
	case "--tty":
		return "leave it out: a terminal comes by itself"
	case "--interactive":
		return "leave it out: standard input is always there"
	case "--workdir":
		return "-W=DIR is the working directory inside"
	}
	return ""
}

// A written flag is one as it stands in the command.
type written struct {
	*Flag
	written string // "-p" or "--target"
	arg     string // with the equals sign before it; "" is none
}

// long reads a long flag, which may be cut short as getopt_long(3) lets it be.
func (o *Options) long(word string) ([]written, error) {
	name, arg, given := strings.Cut(word[2:], "=")
	if given {
		arg = "=" + arg
	}
	f := o.Named(name)
	if f == nil {
		var found []string
		for i := range o.Flags() {
			g := &o.Flags()[i]
			for _, full := range append([]string{g.Name}, g.Aliases...) {
				if strings.HasPrefix(full, name) && name != "" && (f != g || f == nil) {
					f, found = g, append(found, "--"+full)
				}
			}
		}
		switch {
		case len(found) > 1:
			return nil, &WordError{Reason: fmt.Sprintf("--%s may be %s", name, strings.Join(found, " or "))}
		case f == nil:
			return nil, &WordError{"unknown flag: --" + name, o.meant(name)}
		}
	}
	return []written{{f, "--" + f.Name, arg}}, nil
}

// letters reads a word of letters: each but the last is a flag without argument. One
// that needs an argument has it in the next word, or behind it where that cannot be
// taken for letters.
func (o *Options) letters(word string) (flags []written, err error) {
	for i := 1; i < len(word); i++ {
		f := written{Flag: o.Lettered(word[i]), written: "-" + word[i:i+1]}
		rest := word[i+1:]
		switch {
		case f.Flag == nil:
			return nil, &WordError{Reason: fmt.Sprintf("unknown shorthand flag: '%c' in %s", word[i], word)}
		case strings.HasPrefix(rest, "="), rest == "":
			f.arg = rest
			return append(flags, f), nil
		case f.Arg == "":
		case f.Optional:
			if strings.HasPrefix(rest, "/") {
				f.arg = "=" + rest
				return append(flags, f), nil
			}
		case i == 1 && (f.Name == "container" || isNumeric(rest)):
			f.arg = "=" + rest
			return append(flags, f), nil
		default:
			return nil, &WordError{
				fmt.Sprintf("%s: %s takes an argument, and %q cannot be one", word, f.written, rest),
				fmt.Sprintf("%s is the last of several letters, or stands alone, with the argument as the next word", f.written),
			}
		}
		flags = append(flags, f)
	}
	return flags, nil
}

// isNumeric reports whether a word is numbers with a sign between them, as a PID, a
// thread's PID/TID or a user's UID:GID.
func isNumeric(word string) bool {
	return word != "" && strings.Trim(word, "0123456789/:") == "" && word[0] >= '0' && word[0] <= '9'
}

// isTarget reports whether the flag names the target of the command.
func (f written) isTarget() bool {
	return slices.Contains([]string{"target", "container", "pod"}, f.Name)
}

// secondTo says that there is a target already.
func (f written) secondTo(given string) error {
	return &WordError{given + " names the target, and " + f.written + " " + strings.TrimPrefix(f.arg, "=") + " another", f.pidAdvice()}
}

// pidAdvice is for those who write nsenter's letters.
func (f written) pidAdvice() string {
	if f.written == "-p" {
		return "the PID namespace is --pid; -p is the target, as -t is"
	}
	return ""
}

// apart says what is meant where the argument of a flag, which can be left out, is
// the next word, as docker has it.
func (f written) apart(next string) string {
	switch {
	case f.written == "-u" && f.Optional && isNumeric(next):
		return "-S " + next + " is the user; -u is the uts namespace"
	case f.written == "-e" && strings.Contains(next, "=") && !strings.HasPrefix(next, "/"):
		return "-e=" + next
	case f.written == "-w" && strings.HasPrefix(next, "/"):
		if st, err := sys.StatPath(next, true); err == nil && st.IsDir() {
			return "-W=" + next + " is the directory inside, -w=" + next + " that of the caller"
		}
	}
	return ""
}

// meant returns the flag whose name is nearest, if one is near.
func (o *Options) meant(name string) string {
	var names []string
	for i := range o.Flags() {
		names = append(append(names, o.Flags()[i].Name), o.Flags()[i].Aliases...)
	}
	if best := Nearest(name, names); best != "" {
		return "--" + best + " is meant?"
	}
	return ""
}

// Nearest returns the one of some names that a word was meant to be, or "": at most
// two letters are wrong, and most are right.
func Nearest(word string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if d := distance(word, name); d < least && d < len(name)-1 {
			best, least = name, d
		}
	}
	return best
}

// distance is how many letters must be changed, put in, left out or swapped with the
// next one to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
			default:
				rows[i][j] = 1 + min(rows[i-1][j-1], rows[i-1][j], rows[i][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

package entry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nstool/nstool/internal/sys"
)

// A WordError is a mistake in the words of the command, with advice what to write instead.
type WordError struct {
	Reason string
	Advice string // "" if there is none beyond the help
}

func (e *WordError) Error() string { return e.Reason }

// Plain returns the words after "enter" or "run" in a uniform way: each flag by its long name,
// with its argument after an equals sign, then "--" and the program. A word that probably
// means something else is a [*WordError].
//
// If no flag says what to enter, the first word that is no flag is the TARGET.
func (o *Options) Plain(words []string) (plain []string, err error) {
	target, from := "", false // the words that name the target; whether a flag says where a namespace is
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
		var flags []givenFlag
		if flags, words, err = o.read(words); err != nil {
			return nil, err
		}
		for _, f := range flags {
			switch {
			case f.isTarget() && target != "":
				return nil, f.secondTarget(target)
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

// read reads the flags in the first word, with their arguments, and returns the remaining
// words.
func (o *Options) read(words []string) (flags []givenFlag, rest []string, err error) {
	word, rest := words[0], words[1:]
	if advice := o.otherToolAdvice(word); advice != "" {
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
		if advice := last.separateArgAdvice(rest[0]); advice != "" {
			return nil, nil, &WordError{last.written + " " + rest[0] + ": the argument follows an equals sign", advice}
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

// set applies flags.
func (o *Options) set(flags []givenFlag) error {
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

// errFlag means a bad argument. The other parser explains it to the user.
var errFlag = errors.New("no such argument")

// otherToolAdvice says what to write instead of a flag of docker, podman or kubectl, which
// means something else here.
func (o *Options) otherToolAdvice(word string) string {
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

// A givenFlag is a flag as it is in the command.
type givenFlag struct {
	*Flag
	written string // "-p" or "--target"
	arg     string // with the equals sign; or ""
}

// long reads a long flag, which may be shortened as with getopt_long(3).
func (o *Options) long(word string) ([]givenFlag, error) {
	name, arg, given := strings.Cut(word[2:], "=")
	if given {
		arg = "=" + arg
	}
	f := o.Named(name)
	if name == "host" { // no prefix of --hostname: it would run here what is for another host
		return nil, &WordError{"--host is behind other words", "nstool -H HOST stands before the name of the command"}
	}
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
			return nil, &WordError{"unknown flag: --" + name, o.nearestFlag(name)}
		}
	}
	return []givenFlag{{f, "--" + f.Name, arg}}, nil
}

// letters reads a word of letters. Only the last one may have an argument: as the next word,
// or directly after it if that cannot be letters.
func (o *Options) letters(word string) (flags []givenFlag, err error) {
	for i := 1; i < len(word); i++ {
		f := givenFlag{Flag: o.Lettered(word[i]), written: "-" + word[i:i+1]}
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

// isNumeric reports whether a word consists of numbers and separators, as PID, PID/TID and
// UID:GID do.
func isNumeric(word string) bool {
	return word != "" && strings.Trim(word, "0123456789/:") == "" && word[0] >= '0' && word[0] <= '9'
}

// isTarget reports whether the flag names the target of the command.
func (f givenFlag) isTarget() bool {
	return slices.Contains([]string{"target", "container", "pod"}, f.Name)
}

// secondTarget returns the error for a second target.
func (f givenFlag) secondTarget(given string) error {
	return &WordError{given + " names the target, and " + f.written + " " + strings.TrimPrefix(f.arg, "=") + " another", f.pidAdvice()}
}

// pidAdvice is for users of nsenter, where -p is the PID namespace.
func (f givenFlag) pidAdvice() string {
	if f.written == "-p" {
		return "the PID namespace is --pid; -p is the target, as -t is"
	}
	return ""
}

// separateArgAdvice says what to write if the next word seems to be the optional argument of a
// flag, as with docker.
func (f givenFlag) separateArgAdvice(next string) string {
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

// nearestFlag returns advice with the flag whose name is nearest, if one is near.
func (o *Options) nearestFlag(name string) string {
	var names []string
	for i := range o.Flags() {
		names = append(append(names, o.Flags()[i].Name), o.Flags()[i].Aliases...)
	}
	if best := Nearest(name, names); best != "" {
		return "--" + best + " is meant?"
	}
	return ""
}

// Nearest returns the name that a word probably means, or "". At most two letters are wrong,
// and most are right.
func Nearest(word string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if d := distance(word, name); d < least && d < len(name)-1 {
			best, least = name, d
		}
	}
	return best
}

// distance returns how many letters must be changed, inserted, removed or swapped with the
// next one to turn a into b.
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

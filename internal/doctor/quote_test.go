package doctor

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

var words = []string{"", "a", "/run/netns/blue", "a b", "it's", "-x", "$(id)", "`id`", "a;b", "a\nb\n", "\x1b]0;x\x07", "\u202e", "\xff\xfe", "~", "=ls", "!x", "*", "#", "a\\b", "'\n'", "{a,b}", "\t"}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"blue": "blue", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "a\nb": `$'a\012b'`, "it's\n": `$'it\'s\012'`,
		"=ls": "'=ls'", "~": "'~'", "ü": `$'\303\274'`,
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, not %s", word, got, want)
		}
	}
}

// The shells that people paste into read back what was quoted.
func TestQuoteInShells(t *testing.T) {
	var line strings.Builder
	line.WriteString(`printf '%s\0'`)
	for _, w := range words {
		line.WriteString(" " + quote(w))
	}
	tried := 0
	for _, shell := range [][]string{{"bash", "-c"}, {"busybox", "sh", "-c"}, {"zsh", "-c"}, {"ksh", "-c"}} {
		if _, err := exec.LookPath(shell[0]); err != nil {
			continue
		}
		tried++
		out, err := exec.Command(shell[0], append(shell[1:], line.String())...).Output()
		if err != nil {
			t.Errorf("%v: %v", shell, err)
		}
		if got, want := string(out), strings.Join(words, "\x00")+"\x00"; got != want {
			t.Errorf("%v read %q, not %q", shell, got, want)
		}
	}
	if tried == 0 {
		nstest.Need(t, "busybox")
	}
}

func FuzzQuote(f *testing.F) {
	for _, w := range words {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, word string) {
		q := quote(word)
		for _, c := range []byte(q) {
			if c < ' ' || c > '~' {
				t.Fatalf("quote(%q) = %q", word, q)
			}
		}
		if got := unquote(t, q); got != word {
			t.Fatalf("quote(%q) = %s, which reads as %q", word, q, got)
		}
	})
}

// unquote reads one word as a shell does, and fails if it is more than one, or
// anything in it would be expanded.
func unquote(t *testing.T, s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$'"):
			for i += 2; s[i] != '\''; i++ {
				if s[i] != '\\' {
					b.WriteByte(s[i])
				} else if i++; s[i] == '\'' || s[i] == '\\' {
					b.WriteByte(s[i])
				} else {
					b.WriteByte((s[i]-'0')<<6 | (s[i+1]-'0')<<3 | (s[i+2] - '0'))
					i += 2
				}
			}
			i++
		case s[i] == '\'':
			for i++; s[i] != '\''; i++ {
				b.WriteByte(s[i])
			}
			i++
		case s[i] == '\\':
			b.WriteByte(s[i+1])
			i += 2
		case strings.IndexByte(" \t\n$`\"*?[]{}()<>|&;!#~", s[i]) >= 0:
			t.Fatalf("%s has a bare %q", s, s[i])
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}

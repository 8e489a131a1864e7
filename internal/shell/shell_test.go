package shell

import (
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var words = []string{
	"", "a", "/run/netns/blue", "a b", "it's", "-x", "--", "$(id)", "`id`", "a;b", "a\nb\n", "\nb", "\x1b]0;x\x07", "\u202e", "\xff\xfe",
	"~", "=ls", "!x", "*", "#", "a\\b", "'\n'", "{a,b}", "\t", "\xff!x", "%s\x01", "\\n\x01", "-n\x01", "\x01\"", "\x01'", "\x01$(id)", "\n", "\x017", " \x01 ",
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"blue": "blue", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "a\nb": `"$(printf 'a\012b')"`, "it's\n": `$'it\047s\012'`,
		"=ls": "'=ls'", "~": "'~'", "ü": `"$(printf '\303\274')"`, "-ü": `"$(printf '\055\303\274')"`,
	} {
		if got := Quote(word); got != want {
			t.Errorf("Quote(%q) = %s, not %s", word, got, want)
		}
	}
}

// shells are those that people paste into, and scripts are run by.
var shells = []struct {
	argv   []string
	newest bool // of an issue of POSIX that has $'...'
}{
	{[]string{"sh", "-c"}, false},
	{[]string{"bash", "-c"}, true},
	{[]string{"busybox", "sh", "-c"}, true},
	{[]string{"zsh", "-c"}, true},
	{[]string{"ksh", "-c"}, true},
}

// readBack has a shell read words that are quoted, and fails unless it reads the
// same.
func readBack(t *testing.T, words []string) {
	t.Helper()
	tried := 0
	for _, shell := range shells {
		if _, err := exec.LookPath(shell.argv[0]); err != nil {
			continue
		}
		tried++
		line, want := `/usr/bin/env printf '%s\0'`, ""
		for _, w := range words {
			if !strings.HasSuffix(w, "\n") || shell.newest {
				line, want = line+" "+Quote(w), want+w+"\x00"
			}
		}
		out, err := exec.Command(shell.argv[0], append(shell.argv[1:], line)...).Output()
		if err != nil {
			t.Errorf("%v: %v", shell.argv, err)
		}
		if got := string(out); got != want {
			t.Errorf("%v read %q, not %q", shell.argv, got, want)
		}
	}
	if tried == 0 {
		nstest.Need(t, "sh")
	}
}

// Every shell there is reads back what was quoted, of odd names and of random ones.
func TestQuoteInShells(t *testing.T) {
	readBack(t, words)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // for a test
	for range 4 {
		some := make([]string, 40)
		for i := range some {
			word := make([]byte, 1+random.IntN(12))
			for j := range word {
				if word[j] = byte(1 + random.IntN(255)); random.IntN(2) == 0 {
					word[j] = "\n'\"\\$`!%-= \x1b#~*"[random.IntN(15)]
				}
			}
			some[i] = string(word)
		}
		readBack(t, some)
	}
}

func FuzzQuote(f *testing.F) {
	for _, w := range words {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) {
			return // no name and no argument has it
		}
		for _, c := range []byte(Quote(word)) {
			if c < ' ' || c > '~' {
				t.Fatalf("Quote(%q) = %q", word, Quote(word))
			}
		}
		readBack(t, []string{word, "behind it"})
	})
}

// Every shell reads back the exact words, whatever bytes are in them.
func TestExactInShells(t *testing.T) {
	all := make([]byte, 255)
	for i := range all {
		all[i] = byte(i + 1)
	}
	words := append(slices.Clone(words), string(all), "a\n\n")
	for _, shell := range shells {
		if _, err := exec.LookPath(shell.argv[0]); err != nil {
			continue
		}
		line := Exact(append([]string{"/usr/bin/env", "printf", `%s\0`}, words...)...)
		out, err := exec.Command(shell.argv[0], append(shell.argv[1:], line)...).Output()
		if got, want := string(out), strings.Join(words, "\x00")+"\x00"; err != nil || got != want {
			t.Errorf("%v: %v, read %q, not %q", shell.argv, err, got, want)
		}
	}
}

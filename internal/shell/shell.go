// Package shell writes commands for a shell, whatever the names in them. All that
// nstool proposes to a reader is written here. Nothing is put behind a command in a
// comment: at a prompt, zsh takes "#" and the words after it for more arguments.
package shell

import (
	"fmt"
	"strings"
)

// Quote returns word as a shell reads it back, in printable ASCII. A word with
// other bytes in it is written as the output of printf(1), which every shell of
// POSIX understands. The output of a command loses the newlines at its end: a word
// that ends with one is written as $'...', which bash, zsh, ksh and busybox know,
// and POSIX since its eighth issue. To a shell that does not, that is another name,
// beginning with "$".
func Quote(word string) string {
	safe, printable := word != "", true
	for _, c := range []byte(word) {
		safe = safe && plain(c)
		printable = printable && c >= ' ' && c < 0x7f
	}
	switch {
	case safe && word[0] != '=': // zsh looks up =word
		return word
	case printable:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	case strings.HasSuffix(word, "\n"):
		return "$'" + escape(word) + "'"
	}
	return `"$(printf '` + escape(word) + `')"`
}

// plain reports whether a byte means itself to every shell.
func plain(c byte) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	return letter || strings.IndexByte("/._-:,@%+=", c) >= 0
}

// escape writes what means something to a shell, or to printf(1), by its number.
func escape(word string) string {
	var b strings.Builder
	for i, c := range []byte(word) {
		if plain(c) && c != '%' && (c != '-' || i > 0) || c == ' ' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return b.String()
}

// Command returns a command of these words.
func Command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// Exact returns a command of these words for the sh(1) of another host: each word in single
// quotes, byte for byte. It is nothing to be shown.
func Exact(words ...string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "'")
	}
	return b.String()
}

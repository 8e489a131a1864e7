package doctor

import (
	"fmt"
	"strings"
)

// quote returns word as a shell reads it back, in printable ASCII. What has
// other bytes in it is written as $'...', which bash, zsh, ksh and busybox know
// and POSIX since its eighth issue.
func quote(word string) string {
	plain, printable := word != "", true
	for _, c := range []byte(word) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		plain = plain && (letter || strings.IndexByte("/._-:,@%+=", c) >= 0)
		printable = printable && c >= ' ' && c < 0x7f
	}
	switch {
	case plain && word[0] != '=': // zsh looks up =word
		return word
	case printable:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for _, c := range []byte(word) {
		switch {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// command returns a command of these words. The first ones are ours.
func command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// comment returns text for behind a command: nothing in it can end the line.
func comment(text string) string {
	return "  # " + strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

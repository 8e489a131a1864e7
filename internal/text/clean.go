package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a string that another process wrote safe for a terminal. Every byte of a
// character that is not printable, and every backslash, becomes \xNN: control bytes, escape
// sequences, invalid UTF-8, and characters that change the direction or the look of the text
// around them. The original can be read back from the result.
func Clean(s string) string {
	i := dirty(s)
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if Printable(r, n) {
			b.WriteString(s[i : i+n])
		} else {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
		i += n
	}
	return b.String()
}

// CleanText is Clean for a message, which has backslashes of its own where it quotes: they are
// left, so the original cannot always be read back.
func CleanText(s string) string {
	parts := strings.Split(s, `\`)
	for i, part := range parts {
		parts[i] = Clean(part)
	}
	return strings.Join(parts, `\`)
}

// dirty returns the index of the first character that Clean would change, or
// the length of s.
func dirty(s string) int {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f || c == '\\' {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if !Printable(r, n) {
			return i
		}
		i += n
	}
	return len(s)
}

// Printable reports whether the character r of n bytes may reach a terminal.
func Printable(r rune, n int) bool {
	if r == utf8.RuneError && n == 1 {
		return false
	}
	return r != '\\' && unicode.IsPrint(r)
}

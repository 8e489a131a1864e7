package output

import "github.com/nstool/nstool/internal/text"

// Clean makes a string that another process wrote safe for a terminal. Every byte of a
// character that is not printable, and every backslash, becomes \xNN: control bytes, escape
// sequences, invalid UTF-8, and characters that change the direction or the look of the text
// around them. The original can be read back from the result.
func Clean(s string) string { return text.Clean(s) }

// CleanText is Clean for a message, which has backslashes of its own where it quotes: they are
// left, so the original cannot always be read back.
func CleanText(s string) string { return text.CleanText(s) }

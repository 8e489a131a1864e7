// Package text formats numbers, and measures and cleans text for people. It runs on any system.
package text

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Gap is between two columns.
const Gap = "  "

// Count returns a number with its noun: "1 process", "2 processes".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Size returns a number of bytes in the largest unit of which there is one.
func Size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return Count(int(n), "byte", "bytes")
	}
	f, u := float64(n)/1024, 0
	for ; f >= 1024; u++ {
		f /= 1024
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + " " + units[u:u+1] + "iB"
}

// Span returns a number of seconds in the largest unit of which there are two,
// so that it is short and says enough: "90s", "5m", "47h", "12d".
func Span(seconds int64) string {
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{24 * 60 * 60, "d"}, {60 * 60, "h"}, {60, "m"}} {
		if n := seconds / unit.seconds; n >= 2 {
			return strconv.FormatInt(n, 10) + unit.name
		}
	}
	return strconv.FormatInt(seconds, 10) + "s"
}

// Width returns the number of columns of a terminal that s takes: the sum of its characters, as
// wcwidth(3) has it. It is go-runewidth 0.0.9 that measures, the version that tablewriter asks
// for: later ones know clusters of characters, by tables of 70 kB.
func Width(s string) int {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return runewidth.StringWidth(s)
		}
	}
	return len(s)
}

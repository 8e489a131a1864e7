package entry

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nstool/nstool/enter"
)

// Every line of a user counts, by number and by name, and each outside once.
func TestReadSubRanges(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []enter.Range
	}{
		{"ann:100000:65536\n", []enter.Range{{Inside: 0, Outside: 100000, Count: 65536}}},
		{"bob:1:2\nann:100000:10\n1000:200000:5\nann:300000:1\n", []enter.Range{{Inside: 0, Outside: 100000, Count: 10}, {Inside: 10, Outside: 200000, Count: 5}, {Inside: 15, Outside: 300000, Count: 1}}},
		{"ann:100000:10\n1000:100000:10\nann:100005:10\nann:100010:1\n", []enter.Range{{Inside: 0, Outside: 100000, Count: 10}, {Inside: 10, Outside: 100010, Count: 1}}},
		{"ann:x:1\nann:1:0\nann:1\nann:4294967295:1\nann:7:4294967295\nann:5:1", []enter.Range{{Inside: 0, Outside: 5, Count: 1}}},
		{"bob:1:1\n", nil},
	} {
		if got, err := readSubRanges(strings.NewReader(tt.text), "1000", "ann"); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %v, %v; want %v", tt.text, got, err, tt.want)
		}
	}
	var many strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&many, "ann:%d:1\n", 10+2*n)
	}
	if got, _ := readSubRanges(strings.NewReader(many.String()), "1000", "ann"); len(got) != maxRanges {
		t.Errorf("%d ranges", len(got))
	}
}

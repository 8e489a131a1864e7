package copy

import (
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// Twins are the files with several names in what is copied: the copies have
// them too. Each has a number in the stream.
type twins struct {
	numbers map[twin]uint64
	last    uint64
}

// A twin is a file with other names. Its number alone may be that of another
// file by now.
type twin struct {
	sys.FileID
	size    int64
	changed time.Time
}

// maxTwins is how many are known. Of what is more, each name becomes a file.
const maxTwins = 1 << 20

// of returns the number of a file with several names, or 0, and whether it was
// asked for before.
func (t *twins) of(st sys.FileStat) (n uint64, again bool) {
	if st.Links < 2 {
		return 0, false
	}
	key := twin{st.FileID, st.Size, st.Changed}
	if n = t.numbers[key]; n != 0 {
		return n, true
	}
	if len(t.numbers) >= maxTwins {
		return 0, false
	}
	if t.numbers == nil {
		t.numbers = make(map[twin]uint64)
	}
	t.last++
	t.numbers[key] = t.last
	return t.last, false
}

// forget makes the next name of a file the first: this one could not be read.
func (t *twins) forget(st sys.FileStat) { delete(t.numbers, twin{st.FileID, st.Size, st.Changed}) }

package copy

import (
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// Twins are the files with several names among the copied ones. Their copies have several names
// too. Each has a number in the stream.
type twins struct {
	numbers map[twin]uint64
	last    uint64
}

// A twin is a file with several names. Its inode number alone may be used again by now.
type twin struct {
	sys.FileID
	size    int64
	changed time.Time
}

// maxTwins is the most twins. Each name of a further one becomes a file.
const maxTwins = 1 << 20

// of returns the number of a file with several names, or 0, and whether it is a repetition.
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

// forget makes the next name of a file the first one, since this one could not be read.
func (t *twins) forget(st sys.FileStat) { delete(t.numbers, twin{st.FileID, st.Size, st.Changed}) }

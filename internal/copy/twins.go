package copy

import (
	"os"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// Twins are the files with several names in what is copied: the copies have
// them too.
type twins struct {
	top    *os.File // the directory that the copies are in; of an archive nil
	prefix string   // of the text of a place in it
	first  map[twin]string
}

// A twin is a file with other names. Its number alone may be that of another
// file by now.
type twin struct {
	sys.FileID
	size    int64
	changed time.Time
}

// mostTwins is how many are known. Of what is more, each name becomes a file.
const mostTwins = 1 << 20

func newTwins(top *os.File, text string) *twins {
	if text != "" {
		text = strings.TrimSuffix(text, "/") + "/"
	}
	return &twins{top, text, make(map[twin]string)}
}

// of returns the name of the first copy of a file, relative to the top, or "".
func (t *twins) of(st sys.FileStat) string {
	if t == nil || st.Links < 2 {
		return ""
	}
	return t.first[twin{st.FileID, st.Size, st.Changed}]
}

// add says that a file has been copied to a place.
func (t *twins) add(st sys.FileStat, text string) {
	if t != nil && st.Links > 1 && len(t.first) < mostTwins {
		t.first[twin{st.FileID, st.Size, st.Changed}] = strings.TrimPrefix(text, t.prefix)
	}
}

package copy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nstool/nstool/internal/sys"
)

// Files go from the reader to the writer as a stream of frames, through a pipe between two
// processes: one frame for the whole, then one for each file, link and directory, followed by
// its content. The writer does not trust the stream.
type kind byte

const (
	frameTop  kind = iota + 1 // the start: the name of the copy, or none
	frameDir                  // a directory: all frames until its frameEnd are in it
	frameEnd                  //
	frameFile                 // a file: data and holes until its frameDone
	frameData                 //
	frameHole                 //
	frameDone                 // complete or not
	frameLink                 // a symbolic link
	frameTwin                 // another name of a file that was sent before
	frameStop                 // the end
)

// A frame is one step of a stream.
type frame struct {
	kind  kind
	name  string
	stat  sys.FileStat
	text  string // of a link
	twin  uint64 // the number of a file with several names, or 0
	n     int64  // bytes of data or of a hole
	whole bool
}

const (
	maxFrame = 16 << 10 // bytes of a frame without its data
	maxData  = 1 << 20  // bytes of data in a frame
	maxName  = 255
	maxText  = 4096 // of a link
)

// noID stands for a user or group that is not mapped where its file is read.
const noID = 1<<32 - 1

var (
	// ErrCut reports that a stream ended too early: the other side knows why.
	ErrCut = errors.New("what is copied has been cut off")
	// errTold reports that a file is incomplete, which the other side has reported.
	errTold = errors.New("not read")
)

// A streamError is about the stream itself, for example if its reader is gone.
type streamError struct{ err error }

func (e streamError) Error() string { return e.err.Error() }
func (e streamError) Unwrap() error { return e.err }

// A writer writes a stream.
type writer struct {
	w *bufio.Writer
	b []byte
}

func newWriter(w io.Writer) *writer { return &writer{w: bufio.NewWriterSize(w, block)} }

// put writes a frame without its data.
func (w *writer) put(f frame) error {
	b := append(w.b[:0], byte(f.kind))
	switch f.kind {
	case frameData, frameHole:
		b = binary.AppendUvarint(b, uint64(f.n))
	default:
		var p []byte
		whole := uint64(0)
		if f.whole {
			whole = 1
		}
		p = binary.AppendUvarint(p, whole)
		p = binary.AppendUvarint(p, f.twin)
		for _, s := range []string{f.name, f.text} {
			p = append(binary.AppendUvarint(p, uint64(len(s))), s...)
		}
		s := f.stat
		for _, n := range []uint64{s.Dev, s.Ino, uint64(s.UID), uint64(s.GID), uint64(s.Mode), s.Links, uint64(s.Size)} {
			p = binary.AppendUvarint(p, n)
		}
		if !s.Changed.IsZero() {
			p = binary.AppendVarint(p, s.Changed.Unix())
			p = binary.AppendUvarint(p, uint64(s.Changed.Nanosecond()))
		}
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	w.b = b
	_, err := w.w.Write(b)
	return stream(err)
}

// data writes a frame of data.
func (w *writer) data(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := w.put(frame{kind: frameData, n: int64(len(b))}); err != nil {
		return err
	}
	_, err := w.w.Write(b)
	return stream(err)
}

// stop ends the stream.
func (w *writer) stop() error {
	if err := w.put(frame{kind: frameStop}); err != nil {
		return err
	}
	return w.flush()
}

// flush sends everything that has been written so far.
func (w *writer) flush() error { return stream(w.w.Flush()) }

func stream(err error) error {
	if err == nil {
		return nil
	}
	return streamError{err}
}

// A reader reads a stream.
type reader struct {
	r      *bufio.Reader
	b      []byte
	left   int64 // of the data of the last frame
	apart  bool  // from another machine: see Options.Apart
	inFile bool
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, block)} }

// bad returns the error for a stream that this program cannot have written.
func bad(what string) error {
	return streamError{fmt.Errorf("what is copied makes no sense: %s", what)}
}

// next reads a frame, after the data of the one before has been read. At the end
// of the stream, without a frameStop, the error is ErrCut.
func (r *reader) next() (f frame, err error) {
	if r.left > 0 {
		return f, bad("there is more data")
	}
	k, err := r.r.ReadByte()
	if err != nil {
		return f, streamError{ErrCut}
	}
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return f, streamError{ErrCut}
	}
	switch f.kind = kind(k); f.kind {
	case frameData:
		if n == 0 || n > maxData || !r.inFile {
			return f, bad("data")
		}
		f.n, r.left = int64(n), int64(n)
		return f, nil
	case frameHole:
		if n > 1<<62 || !r.inFile {
			return f, bad("a hole")
		}
		f.n = int64(n)
		return f, nil
	}
	if n > maxFrame {
		return f, bad("a frame that is too long")
	}
	if cap(r.b) < int(n) {
		r.b = make([]byte, maxFrame)
	}
	p := r.b[:n]
	if _, err := io.ReadFull(r.r, p); err != nil {
		return f, streamError{ErrCut}
	}
	if err := f.parse(p); err != nil {
		return f, err
	}
	if r.inFile != (f.kind == frameDone) {
		return f, bad("a frame out of place")
	}
	r.inFile = f.kind == frameFile
	if r.apart {
		f.stat.FileID = sys.FileID{}
	}
	return f, f.check()
}

// parse reads the rest of a frame after its kind.
func (f *frame) parse(p []byte) error {
	ok := true
	number := func() uint64 {
		n, size := binary.Uvarint(p)
		if size <= 0 {
			ok = false
			return 0
		}
		p = p[size:]
		return n
	}
	text := func() string {
		n := number()
		if n > uint64(len(p)) {
			ok = false
			return ""
		}
		s := string(p[:n])
		p = p[n:]
		return s
	}
	f.whole, f.twin = number() == 1, number()
	f.name, f.text = text(), text()
	s := &f.stat
	s.Dev, s.Ino, s.UID, s.GID = number(), number(), uint32(number()), uint32(number())
	s.Mode, s.Links, s.Size = uint32(number()), number(), int64(number())
	if len(p) > 0 {
		sec, size := binary.Varint(p)
		if size <= 0 {
			return bad("a time")
		}
		p = p[size:]
		s.Changed = time.Unix(sec, int64(number()%1e9))
	}
	if !ok || len(p) > 0 || s.Size < 0 {
		return bad("a frame")
	}
	return nil
}

// check returns what is wrong with a frame, which is not trusted.
func (f *frame) check() error {
	switch f.kind {
	case frameDir, frameFile, frameLink, frameTwin, frameTop:
		if f.name == "." || f.name == ".." || len(f.name) > maxName || strings.ContainsAny(f.name, "/\x00") {
			return bad("a name")
		}
		if len(f.text) > maxText || strings.Contains(f.text, "\x00") || f.kind == frameLink && f.text == "" {
			return bad("a link")
		}
		is := map[kind]bool{frameDir: f.stat.IsDir(), frameLink: f.stat.IsLink()}
		if good, ok := is[f.kind]; ok && !good || (f.kind == frameFile || f.kind == frameTwin) && !f.stat.IsRegular() {
			return bad("a kind of file")
		}
	case frameEnd, frameDone, frameStop:
	default:
		return bad("a frame that nobody knows")
	}
	return nil
}

// Read reads the data of the last frame.
func (r *reader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	if err != nil && r.left > 0 {
		err = streamError{ErrCut}
	}
	return n, err
}

// skipFile skips the rest of a file.
func (r *reader) skipFile() error {
	for r.inFile {
		if r.left > 0 {
			n, err := r.r.Discard(int(min(r.left, maxData)))
			if r.left -= int64(n); err != nil {
				return streamError{ErrCut}
			}
		}
		if _, err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// skip skips the content of a directory.
func (r *reader) skip() error {
	for depth := 1; depth > 0; {
		f, err := r.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case frameDir:
			depth++
		case frameEnd:
			depth--
		case frameFile:
			if err := r.skipFile(); err != nil {
				return err
			}
		case frameStop:
			return bad("an end inside")
		}
	}
	return nil
}

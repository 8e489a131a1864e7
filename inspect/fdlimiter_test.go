package inspect

import (
	"errors"
	"os"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A process with thousands of descriptors of its namespace costs as much as one with some
// hundreds, and is reported.
func TestManyFDs(t *testing.T) {
	const n = 5000
	for range n {
		f, err := os.Open("/proc/self/ns/uts")
		if err != nil {
			t.Skip(err)
		}
		defer f.Close()
	}
	link, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	check := func(how string, opts ...Option) {
		s := scan(t, opts...)
		_, ino, _ := ParseLink(link)
		ns, ok := s.Find(ino)
		if !ok {
			t.Fatal(how, "not found")
		}
		mine := 0
		for _, h := range ns.Others() {
			if h.Kind == ByFD && h.PID == os.Getpid() {
				mine++
			}
		}
		if mine != maxPerNamespace {
			t.Errorf("%s: %d descriptors", how, mine)
		}
		reported := 0
		for _, g := range s.Gaps() {
			if g.PID == os.Getpid() && errors.Is(g.Err, errManyFDs) {
				reported++
			}
		}
		if reported != 1 {
			t.Errorf("%s: reported %d times", how, reported)
		}
	}
	check("proc", WithoutBPF())
	if nstest.Lacks("root") == nil && nstest.Lacks("bpf") == nil {
		check("iterators", func(o *options) { o.bpfFrom = 0 })
	}
}

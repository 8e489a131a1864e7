package inspect

import (
	"errors"
	"os"
	"testing"

	"github.com/nstool/nstool/internal/nstest"
)

// A process that has thousands of descriptors of its namespace costs no more
// than some hundred, and is told.
func TestScanCrowd(t *testing.T) {
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
	source := func(how string, opts ...Option) {
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
		bpfTasks := 0
		for _, g := range s.Gaps() {
			if g.PID == os.Getpid() && errors.Is(g.Err, errManyFDs) {
				bpfTasks++
			}
		}
		if bpfTasks != 1 {
			t.Errorf("%s: told %d times", how, bpfTasks)
		}
	}
	source("proc", WithoutBPF())
	if nstest.Lacks("root") == nil && nstest.Lacks("bpf") == nil {
		source("iterators", func(o *options) { o.bpfFrom = 0 })
	}
}
